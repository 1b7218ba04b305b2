//! Removing leaves nothing behind; shutting down waits and tells who does not obey.

use std::time::Duration;

use tokio::time::Instant;

use super::{OPTIONS, Recorder, plan, start};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::keys;
use crate::machine::DomainState;
use crate::machine::model::Model;
use crate::remove::{remove, shut_down};
use crate::start::{Options, start as start_with};
use crate::stop::{Outcome, stop};

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_removed_domain() {
    let model = Model::new();
    let before = model.nodes();
    start(&model, &plan().domains[..1]).await.expect("starts");
    let recorder = Recorder::default();
    remove(&model.machine(), "a", 1, &recorder)
        .await
        .expect("removed");
    assert_eq!(model.nodes(), before);
    assert_eq!(model.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn folders_a_backend_leaves_are_removed_after_it_had_its_time() {
    let model = Model::new();
    let before = model.nodes();
    model.backend_leaves_folders();
    start(&model, &plan().domains).await.expect("starts");
    let began = Instant::now();
    let recorder = Recorder::default();
    remove(&model.machine(), "a", 1, &recorder)
        .await
        .expect("removed");
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "the backend has time to close"
    );
    assert!(
        recorder
            .lines()
            .last()
            .is_some_and(|line| line.contains("1 folder")),
        "{:?}",
        recorder.lines()
    );
    assert!(
        !keys::devices(model.machine().store.as_ref(), 2)
            .expect("works")
            .is_empty(),
        "those of other guests stay"
    );
    remove(&model.machine(), "b", 2, &recorder)
        .await
        .expect("removed");
    assert_eq!(model.nodes(), before);
}

#[tokio::test(start_paused = true)]
async fn without_a_backend_nobody_is_waited_for() {
    let model = Model::new();
    start(&model, &plan().domains[..1]).await.expect("starts");
    model.stop_backend();
    let began = Instant::now();
    remove(&model.machine(), "a", 1, &Recorder::default())
        .await
        .expect("removed");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!model.nodes().keys().any(|path| path.contains("/backend/")));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_cannot_be_destroyed_is_an_error() {
    let model = Model::new();
    start(&model, &plan().domains[..1]).await.expect("starts");
    model.fail_destroy();
    let result = remove(&model.machine(), "a", 1, &Recorder::default()).await;
    assert!(matches!(result, Err(Error::Xen(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn guests_that_power_off_are_waited_for_and_a_paused_one_is_let_run() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    model.change("b", |info| info.state = DomainState::Paused);
    let guests = model.machine().domains.list().expect("listed")[1..].to_vec();
    let cancel = Cancel::never();
    let timeout = Duration::from_secs(5);
    let recorder = Recorder::default();
    let running = shut_down(&model.machine(), &guests, timeout, &recorder, &cancel).await;
    assert_eq!(running.expect("works"), [0; 0]);
    assert!(
        model
            .log()
            .ends_with(&["unpause 2".into(), "shutdown 2".into()]),
        "{:?}",
        model.log()
    );
}

#[tokio::test(start_paused = true)]
async fn guests_that_do_not_obey_are_told_at_the_time_limit() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    model.ignores_shutdown();
    let guests = model.machine().domains.list().expect("listed")[1..].to_vec();
    let began = Instant::now();
    let timeout = Duration::from_secs(5);
    let recorder = Recorder::default();
    let running = shut_down(
        &model.machine(),
        &guests,
        timeout,
        &recorder,
        &Cancel::never(),
    )
    .await;
    assert_eq!(running.expect("works"), [1, 2]);
    assert_eq!(began.elapsed(), timeout);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_cannot_be_asked_counts_as_running_and_holds_up_nobody() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    model.fail_shutdown(1);
    let guests = model.machine().domains.list().expect("listed")[1..].to_vec();
    let began = Instant::now();
    let recorder = Recorder::default();
    let timeout = Duration::from_secs(5);
    let cancel = Cancel::never();
    let running = shut_down(&model.machine(), &guests, timeout, &recorder, &cancel).await;
    assert_eq!(running.expect("works"), [1]);
    assert!(began.elapsed() < timeout);
    assert!(
        recorder
            .lines()
            .iter()
            .any(|line| line.starts_with("a: cannot"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_ran_is_not_asked_and_goes_without_force() {
    let model = Model::new();
    let plan = plan();
    let options = Options {
        unpause: false,
        ..OPTIONS
    };
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    start_with(&machine, &plan, &plan.domains, options, &recorder, &cancel)
        .await
        .expect("starts");
    let began = Instant::now();
    let timeout = Duration::from_secs(5);
    let ended = stop(&machine, &plan, timeout, false, &recorder, &cancel)
        .await
        .expect("works");
    assert!(
        ended
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Removed)
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(model.names(), [""; 0]);
    let log = model.log();
    let asked = |line: &String| line.starts_with("shutdown") || line.starts_with("unpause");
    assert!(!log.iter().any(asked), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_before_the_first_is_waited_for_and_ctrl_c_ends_the_waiting() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    model.ignores_shutdown();
    let guests = model.machine().domains.list().expect("listed")[1..].to_vec();
    let (canceller, cancel) = Cancel::pair();
    let (machine, recorder) = (model.machine(), Recorder::default());
    let timeout = Duration::from_secs(60);
    let waiting = shut_down(&machine, &guests, timeout, &recorder, &cancel);
    let began = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(
            model
                .log()
                .ends_with(&["shutdown 1".into(), "shutdown 2".into()]),
            "{:?}",
            model.log()
        );
        canceller.cancel();
    };
    let (result, ()) = tokio::join!(waiting, later);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_ends_the_waiting() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    model.ignores_shutdown();
    let guests = model.machine().domains.list().expect("listed")[1..].to_vec();
    let (canceller, cancel) = Cancel::pair();
    canceller.cancel();
    let result = shut_down(
        &model.machine(),
        &guests,
        Duration::from_secs(5),
        &Recorder::default(),
        &cancel,
    )
    .await;
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
}
