use super::*;
use crate::parameters::Memory;
use crate::store::folder::{FolderError, Window};
use proptest::prelude::*;
use std::path::PathBuf;

fn folder(online: bool, state: BusState) -> Folder {
    Folder {
        window: Window {
            base: 0x0200_0000,
            irq: 33,
        },
        wired_for: Memory::Grant,
        online,
        state,
        content: Content::Unsaid,
        error_shown: false,
    }
}

fn block(path: &str) -> BlockParameters {
    BlockParameters::new(PathBuf::from(path))
}

fn see(life: &mut Lifecycle, folder: &Folder, content: &Content) -> Vec<Action> {
    life.step(Input::Seen { folder, content })
}

fn wanted() -> Folder {
    folder(true, BusState::Initialising)
}

/// A device that has come as far as InitWait.
fn ready() -> Lifecycle {
    let mut life = Lifecycle::new();
    see(&mut life, &wanted(), &Content::Block(block("/a")));
    assert_eq!(
        life.step(Input::Attached { driver_ok: false }),
        [Action::Publish(BusState::InitWait)]
    );
    life
}

#[test]
fn a_window_is_claimed_before_anyone_says_what_to_serve() {
    let mut life = Lifecycle::new();
    assert_eq!(
        see(&mut life, &wanted(), &Content::Unsaid),
        [Action::ClaimWindow]
    );
    assert_eq!(see(&mut life, &wanted(), &Content::Unsaid), []);
    assert!(life.has_window() && !life.is_served());
    assert_eq!(
        see(&mut life, &wanted(), &Content::Block(block("/a"))),
        [Action::Open(block("/a"))]
    );
}

#[test]
fn the_driver_moves_the_state_between_initwait_and_connected() {
    let mut life = ready();
    assert_eq!(
        life.step(Input::Driver { ok: true }),
        [Action::Publish(BusState::Connected)]
    );
    assert_eq!(life.step(Input::Driver { ok: true }), []);
    assert_eq!(
        life.step(Input::Driver { ok: false }),
        [Action::Publish(BusState::InitWait)]
    );
}

#[test]
fn a_destroyed_device_reaches_closed_after_it_was_given_back() {
    let mut life = ready();
    life.step(Input::Driver { ok: true });
    let closing = folder(false, BusState::Closing);
    assert_eq!(
        see(&mut life, &closing, &Content::Unsaid),
        [Action::TearDown]
    );
    assert_eq!(see(&mut life, &closing, &Content::Unsaid), []);
    assert_eq!(life.step(Input::Driver { ok: false }), []);
    assert_eq!(
        life.step(Input::TornDown),
        [Action::Publish(BusState::Closed)]
    );
    assert_eq!(life.step(Input::TornDown), []);
    assert_eq!(life.step(Input::Gone), [Action::Forget]);
}

#[test]
fn a_vanished_folder_is_torn_down_without_writing_into_it() {
    let mut life = ready();
    assert_eq!(life.step(Input::Gone), [Action::TearDown]);
    assert_eq!(life.step(Input::TornDown), [Action::Forget]);

    let mut life = ready();
    see(
        &mut life,
        &folder(false, BusState::Closing),
        &Content::Unsaid,
    );
    assert_eq!(life.step(Input::Gone), []);
    assert_eq!(life.step(Input::TornDown), [Action::Forget]);
}

#[test]
fn an_error_keeps_state_one_and_can_be_mended() {
    let mut life = Lifecycle::new();
    see(&mut life, &wanted(), &Content::Block(block("/missing")));
    assert_eq!(
        life.step(Input::Failed("no such image".into())),
        [Action::ShowError("no such image".into())]
    );
    let mut shown = wanted();
    shown.error_shown = true;
    assert_eq!(
        see(&mut life, &shown, &Content::Block(block("/missing"))),
        []
    );
    assert_eq!(
        see(&mut life, &shown, &Content::Block(block("/there"))),
        [Action::ClearError, Action::Open(block("/there"))]
    );
}

#[test]
fn removing_the_error_key_tries_again() {
    let mut life = Lifecycle::new();
    see(&mut life, &wanted(), &Content::Block(block("/a")));
    life.step(Input::Failed("not yet".into()));
    assert_eq!(
        see(&mut life, &wanted(), &Content::Block(block("/a"))),
        [Action::Open(block("/a"))]
    );
}

#[test]
fn refused_parameters_are_told() {
    let mut life = Lifecycle::new();
    let content = Content::Refused(FolderError::Kind("tea".into()));
    let actions = see(&mut life, &wanted(), &content);
    assert!(
        matches!(&actions[..], [Action::ClaimWindow, Action::ShowError(text)] if text.contains("tea"))
    );
}

#[test]
fn a_failed_device_still_closes() {
    let mut life = Lifecycle::new();
    see(&mut life, &wanted(), &Content::Block(block("/a")));
    life.step(Input::Failed("x".into()));
    assert_eq!(
        see(
            &mut life,
            &folder(false, BusState::Closing),
            &Content::Unsaid
        ),
        [Action::TearDown]
    );
    assert_eq!(
        life.step(Input::TornDown),
        [Action::Publish(BusState::Closed)]
    );
}

#[test]
fn a_device_never_served_closes_at_once() {
    let mut life = Lifecycle::new();
    assert_eq!(
        see(
            &mut life,
            &folder(false, BusState::Closing),
            &Content::Unsaid
        ),
        [Action::Publish(BusState::Closed)]
    );
    let mut stale = Lifecycle::new();
    assert_eq!(
        see(
            &mut stale,
            &folder(false, BusState::Closed),
            &Content::Unsaid
        ),
        []
    );
}

#[test]
fn a_device_added_again_under_the_same_number_is_served_again() {
    let mut life = ready();
    see(
        &mut life,
        &folder(false, BusState::Closing),
        &Content::Unsaid,
    );
    life.step(Input::TornDown);
    assert_eq!(
        see(&mut life, &wanted(), &Content::Block(block("/b"))),
        [Action::ClaimWindow, Action::Open(block("/b"))]
    );
}

#[test]
fn a_restarted_worker_changes_only_what_the_guest_would_see() {
    let mut life = ready();
    life.step(Input::Driver { ok: true });
    assert_eq!(life.step(Input::Attached { driver_ok: true }), []);
}

#[test]
fn a_device_that_lost_its_state_under_a_running_driver_says_so_until_it_is_reset() {
    let mut life = ready();
    life.step(Input::Driver { ok: true });
    assert_eq!(
        life.step(Input::Attached { driver_ok: false }),
        [
            Action::Publish(BusState::InitWait),
            Action::ShowError(STATE_LOST.into())
        ]
    );
    assert_eq!(life.step(Input::Driver { ok: false }), [Action::ClearError]);
    assert_eq!(
        life.step(Input::Driver { ok: true }),
        [Action::Publish(BusState::Connected)]
    );
}

#[test]
fn a_worker_that_keeps_dying_is_told_and_the_word_is_taken_back() {
    let mut life = ready();
    assert_eq!(
        life.step(Input::Trouble("dies".into())),
        [Action::ShowError("dies".into())]
    );
    assert_eq!(
        life.step(Input::Attached { driver_ok: false }),
        [Action::ClearError]
    );
    assert_eq!(life.step(Input::Attached { driver_ok: false }), []);
}

#[test]
fn a_holder_that_starts_late_takes_over_a_running_device() {
    let mut life = Lifecycle::new();
    let running = folder(true, BusState::Connected);
    assert_eq!(
        see(&mut life, &running, &Content::Block(block("/a"))),
        [Action::ClaimWindow, Action::Open(block("/a"))]
    );
    let mut lost = life.clone();
    assert_eq!(life.step(Input::Attached { driver_ok: true }), []);
    assert_eq!(
        lost.step(Input::Attached { driver_ok: false }),
        [
            Action::Publish(BusState::InitWait),
            Action::ShowError(STATE_LOST.into())
        ]
    );
}

#[test]
fn a_device_of_a_domain_that_ends_is_given_back_and_says_so_once() {
    let mut life = ready();
    life.step(Input::Driver { ok: true });
    assert_eq!(life.step(Input::GivenUp), [Action::TearDown]);
    assert_eq!(life.step(Input::GivenUp), []);
    assert_eq!(
        life.step(Input::TornDown),
        [Action::Publish(BusState::Closed)]
    );
    assert_eq!(life.step(Input::GivenUp), []);
    assert_eq!(Lifecycle::new().step(Input::GivenUp), []);

    let mut waiting = Lifecycle::new();
    see(&mut waiting, &wanted(), &Content::Block(block("/dev/vda")));
    assert_eq!(waiting.step(Input::GivenUp), [Action::TearDown]);
}

#[derive(Clone, Debug)]
enum Event {
    Seen(bool, u8, u8, bool),
    Gone,
    Failed,
    Attached(bool),
    Driver(bool),
    Trouble,
    GivenUp,
    TornDown,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<bool>(), 0u8..7, 0u8..3, any::<bool>())
            .prop_map(|(online, state, content, shown)| Event::Seen(online, state, content, shown)),
        Just(Event::Gone),
        Just(Event::Failed),
        any::<bool>().prop_map(Event::Attached),
        any::<bool>().prop_map(Event::Driver),
        Just(Event::Trouble),
        Just(Event::GivenUp),
        Just(Event::TornDown),
    ]
}

const STATES: [BusState; 7] = [
    BusState::Unknown,
    BusState::Initialising,
    BusState::InitWait,
    BusState::Initialised,
    BusState::Connected,
    BusState::Closing,
    BusState::Closed,
];

proptest! {
    /// Whatever comes in whatever order: windows are claimed and given back in turn, nothing is
    /// opened without a window, Closed is written only once nothing is held.
    #[test]
    fn every_order_of_events_keeps_claims_and_releases_paired(events in proptest::collection::vec(event(), 0..60)) {
        let mut life = Lifecycle::new();
        let mut held = false;
        let mut tearing = false;
        for event in events {
            let actions = match event {
                Event::Seen(online, state, content, shown) => {
                    let mut folder = folder(online, STATES[usize::from(state)]);
                    folder.error_shown = shown;
                    let content = match content {
                        0 => Content::Unsaid,
                        1 => Content::Block(block("/a")),
                        _ => Content::Refused(FolderError::Kind("x".into())),
                    };
                    see(&mut life, &folder, &content)
                }
                Event::Gone => life.step(Input::Gone),
                Event::Failed => life.step(Input::Failed("f".into())),
                Event::Attached(driver_ok) => life.step(Input::Attached { driver_ok }),
                Event::Driver(ok) => life.step(Input::Driver { ok }),
                Event::Trouble => life.step(Input::Trouble("t".into())),
                Event::GivenUp => life.step(Input::GivenUp),
                Event::TornDown => {
                    let actions = life.step(Input::TornDown);
                    if tearing {
                        held = false;
                        tearing = false;
                    }
                    actions
                }
            };
            for action in actions {
                match action {
                    Action::ClaimWindow => { prop_assert!(!held); held = true; }
                    Action::Open(_) => prop_assert!(held && !tearing),
                    Action::TearDown => { prop_assert!(held && !tearing); tearing = true; }
                    Action::Publish(BusState::Closed) | Action::Forget => prop_assert!(!held),
                    _ => {}
                }
            }
            prop_assert_eq!(life.has_window(), held);
        }
    }
}
