//! What the supervisor does when a driver domain ends.

use std::sync::Arc;
use std::time::Duration;

use super::{RESTART, matches, model, plan, plan_with, steps};
use crate::machine::model::Model;
use crate::machine::{DOMAIN_ENDED, DomainState, ShutdownReason};
use crate::supervise::MAX_RESTARTS;
use crate::tests::{settle, supervise};

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_crashes_is_started_again_between_the_end_and_the_start_of_its_guests()
{
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        let from = model.log().len();
        model.end("storage", ShutdownReason::Crash);
        settle().await;
        let steps = steps(&model, from);
        let (in_order, side_by_side) = steps.split_at(5);
        assert_eq!(
            in_order,
            [
                "destroy 4",
                "destroy 2",
                "destroy 1",
                "create storage",
                "unpause 5"
            ]
        );
        let at = |step: &str| side_by_side.iter().position(|known| known == step);
        for name in ["a", "b"] {
            let domid = model.domid(name).expect("runs");
            let created = at(&format!("create {name}")).expect("made");
            let runs = at(&format!("unpause {domid}")).expect("let run");
            assert!(created < runs, "{steps:?}");
        }
        assert_eq!(side_by_side.len(), 4, "{steps:?}");
        // libxl need not wait for a backend that will never say so itself.
        let log = model.log().split_off(from);
        let closed = |line: &String| line == "write /local/domain/1/backend/virtio/4/0/state";
        assert!(log.iter().position(closed) < log.iter().position(|line| line == "destroy 4"));
        assert!(log.iter().any(closed), "{log:?}");
        assert!(matches(&model, &plan()));
        assert_eq!(model.domid("archive"), Some(3), "the other one goes on");
        assert_eq!(model.readers(DOMAIN_ENDED), [3, 5]);
        let mut old = model.nodes();
        old.retain(|path, _| ["/1/", "/2/", "/4/"].iter().any(|old| path.contains(old)));
        old.retain(|path, _| path.starts_with("/local/domain/1/") || !path.contains("/device/"));
        let old: Vec<_> = old
            .into_keys()
            .filter(|path| !path.contains("/virtio/6/") && !path.contains("/virtio/7/"))
            .collect();
        assert_eq!(old, [""; 0]);
    })
    .await;
    for wanted in [
        "storage: crashed; starting it again; it served a, b",
        "a: lost its devices with storage; removing it, and starting it again when it is served",
        "storage: domain 1 is gone",
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(wanted)),
            "{wanted}: {said:?}"
        );
    }
    assert!(
        said.iter()
            .any(|line| line.starts_with("a, b, storage run again after ")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_somebody_destroys_under_its_guests_counts_as_crashed() {
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        for _ in 0..3 {
            let storage = model.domid("storage").expect("runs");
            model.machine().domains.destroy(storage).expect("a model");
            assert_eq!(model.domid("storage"), None, "a zombie has no name");
            settle().await;
            assert!(matches(&model, &plan()));
            assert_eq!(model.machine().domains.list().expect("a model").len(), 5);
        }
    })
    .await;
    assert!(
        said.iter()
            .any(|line| line
                .starts_with("storage: destroyed while it served others; starting it again")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn guests_with_other_wishes_are_removed_or_kept_and_who_is_kept_holds_the_number() {
    let model = model();
    let plan = plan_with(RESTART, "on_crash = \"preserve\"", "");
    let (said, _) = supervise(&model, &plan, async |model: Arc<Model>| {
        model.end("storage", ShutdownReason::Crash);
        settle().await;
        assert_eq!(model.domid("a"), Some(2), "kept");
        assert_eq!(model.domid("b"), None, "removed");
        assert_eq!(model.domid("storage"), Some(5), "runs again");
        let list = model.machine().domains.list().expect("a model");
        let zombie = list.iter().find(|info| info.domid == 1).expect("held");
        assert_eq!(zombie.state, DomainState::Dying);
        // And again, with a zombie of an earlier one about.
        model.end("storage", ShutdownReason::Crash);
        settle().await;
        assert_eq!(model.domid("a"), Some(2), "still kept");
        model.machine().domains.destroy(2).expect("a model");
        assert!(
            model
                .machine()
                .domains
                .list()
                .expect("a model")
                .iter()
                .all(|info| info.domid != 1),
            "freed"
        );
    })
    .await;
    for wanted in [
        "a: lost its devices with storage; kept as it is",
        "b: lost its devices with storage; removing it",
        "storage: domain 1 is destroyed; its number stays taken as long as a is there",
    ] {
        assert!(
            said.iter().any(|line| line.starts_with(wanted)),
            "{wanted}: {said:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_driver_domain_no_guest_is_tried() {
    for (keys, reason) in [
        ("on_crash = \"destroy\"", ShutdownReason::Crash),
        (RESTART, ShutdownReason::Poweroff),
    ] {
        let model = model();
        let plan = plan_with(keys, RESTART, RESTART);
        let from_start = std::sync::Mutex::new(0);
        let (said, _) = supervise(&model, &plan, async |model: Arc<Model>| {
            *from_start.lock().expect("no panic") = model.log().len();
            model.end("storage", reason);
            settle().await;
            assert_eq!(model.names(), ["archive"]);
        })
        .await;
        let from = from_start.into_inner().expect("no panic");
        assert!(
            !steps(&model, from)
                .iter()
                .any(|step| step.starts_with("create"))
        );
        let wanted = "a: lost its devices with storage; removing it; it is not started again";
        assert!(said.iter().any(|line| line.starts_with(wanted)), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_kept_for_examination_keeps_the_numbers_of_its_guests() {
    let model = model();
    let plan = plan_with("on_crash = \"preserve\"", RESTART, RESTART);
    let (said, _) = supervise(&model, &plan, async |model: Arc<Model>| {
        model.end("storage", ShutdownReason::Crash);
        settle().await;
        assert_eq!(model.domid("storage"), Some(1));
        assert_eq!(model.domid("a"), None);
    })
    .await;
    let wanted = "a: domain 2 is destroyed; its number stays taken as long as storage is there";
    assert!(said.iter().any(|line| line == wanted), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn while_its_driver_domain_cannot_be_started_no_guest_is_tried_and_all_come_back_with_it() {
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        let from = model.log().len();
        model.no_backend_starts_in("storage");
        model.end("storage", ShutdownReason::Crash);
        tokio::time::sleep(Duration::from_secs(33)).await;
        assert!(!steps(&model, from).iter().any(|step| step == "create a"));
        model.backend_starts_in("storage");
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(matches(&model, &plan()));
        let creates: Vec<_> = steps(&model, from)
            .into_iter()
            .filter(|s| s.starts_with("create"))
            .collect();
        assert_eq!(
            creates[creates.len() - 3..],
            ["create storage", "create a", "create b"]
        );
    })
    .await;
    let gone = |line: &String| line.contains("no longer supervised");
    assert!(
        !said.iter().any(gone),
        "those that wait are not forgotten: {said:?}"
    );
    let wanted = "storage: not started again (avps-backend is not running in domain";
    assert!(said.iter().any(|line| line.starts_with(wanted)), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_crashes_again_and_again_is_given_up_and_so_are_its_guests() {
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        while model.domid("storage").is_some() {
            model.end("storage", ShutdownReason::Crash);
            settle().await;
        }
        assert_eq!(model.names(), ["archive"]);
    })
    .await;
    let starts = said
        .iter()
        .filter(|line| line.starts_with("storage: crashed; starting it again"));
    assert_eq!(starts.count(), MAX_RESTARTS);
    assert!(
        said.iter()
            .any(|line| line.starts_with("storage: crashed; it ended too often")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_started_is_given_up_in_the_end_with_those_that_wait_for_it() {
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        model.fail_create("storage");
        model.end("storage", ShutdownReason::Crash);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(model.names(), ["archive"]);
    })
    .await;
    for wanted in [
        "storage: cannot be started again, given up",
        "a: not started again: storage does not run",
        "b: not started again: storage does not run",
    ] {
        assert!(said.iter().any(|line| line == wanted), "{wanted}: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_driver_domains_that_end_at_once_are_both_back_before_who_needs_both() {
    let model = model();
    supervise(&model, &plan(), async |model: Arc<Model>| {
        let from = model.log().len();
        model.end("storage", ShutdownReason::Crash);
        model.machine().domains.destroy(3).expect("a model");
        settle().await;
        settle().await;
        assert!(matches(&model, &plan()));
        let steps = steps(&model, from);
        let last = |what: &str| steps.iter().rposition(|step| step == what).expect("done");
        assert!(
            last("create b") > last("create storage").max(last("create archive")),
            "{steps:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guests_removed_by_hand_together_with_their_driver_domain_are_not_fought_for() {
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        for name in ["a", "b", "storage"] {
            let domid = model.domid(name).expect("runs");
            model.machine().domains.destroy(domid).expect("a model");
        }
        settle().await;
        assert_eq!(model.names(), ["archive"]);
    })
    .await;
    assert!(
        said.iter()
            .any(|line| line == "storage: gone, no longer supervised"),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_suspends_a_driver_domain_finds_its_guests_untouched() {
    let model = model();
    supervise(&model, &plan(), async |model: Arc<Model>| {
        model.end("storage", ShutdownReason::Suspend);
        settle().await;
        assert_eq!(model.names().len(), 4);
        assert_eq!(model.domid("a"), Some(2));
    })
    .await;
}
