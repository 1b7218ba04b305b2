//! What follows when a guest ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Recorder, plan, plan_with, settle, start, supervise};
use crate::cancel::Cancel;
use crate::machine::DomainState;
use crate::machine::ShutdownReason::{self, Crash, Poweroff, Reboot, Suspend, Watchdog};
use crate::machine::model::Model;
use crate::rundir::RunDir;
use crate::supervise::{Decision, History, MAX_RESTARTS, Supervisor, WINDOW};

#[tokio::test(start_paused = true)]
async fn a_guest_that_reboots_is_started_again_as_planned() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model| {
        model.end("b", Reboot);
        settle().await;
        assert_eq!(model.domid("b"), Some(3), "a new domain");
        assert_eq!(model.domid("a"), Some(1), "the other goes on");
        let nodes = model.nodes();
        assert_eq!(
            nodes["/local/domain/0/backend/virtio/3/0/avps/image"],
            "/b.img"
        );
        assert!(
            !nodes.keys().any(|path| path.contains("/virtio/2/")),
            "nothing of the old one"
        );
    })
    .await;
    assert!(!ended);
    assert!(
        said.iter()
            .any(|line| line == "b: rebooted; starting it again"),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn policies_of_the_document_are_applied() {
    let cases: [(&str, ShutdownReason, bool); 7] = [
        ("", Poweroff, false),
        ("", Crash, false),
        ("on_reboot = \"destroy\"", Reboot, false),
        ("on_crash = \"restart\"", Crash, true),
        ("on_crash = \"restart\"", Watchdog, true),
        ("on_poweroff = \"restart\"", Poweroff, true),
        ("on_crash = \"preserve\"", Crash, true),
    ];
    for (keys, reason, exists) in cases {
        let model = Model::new();
        supervise(&model, &plan_with(keys), async |model| {
            model.end("b", reason)
        })
        .await;
        assert_eq!(model.domid("b").is_some(), exists, "{keys} {reason:?}");
        let preserved = keys.contains("preserve");
        if exists {
            assert_eq!(
                model.domid("b"),
                Some(if preserved { 2 } else { 3 }),
                "{keys}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ends_at_once_is_not_restarted_for_ever() {
    let model = Model::new();
    let plan = plan_with("on_crash = \"restart\"");
    let (said, _) = supervise(&model, &plan, async |model| {
        while model.domid("b").is_some() {
            model.end("b", Crash);
            settle().await;
        }
    })
    .await;
    let restarts = said
        .iter()
        .filter(|line| line.contains("starting it again"))
        .count();
    assert_eq!(restarts, MAX_RESTARTS);
    assert!(
        said.iter().any(|line| line.contains("too often")),
        "{said:?}"
    );
    assert_eq!(model.names(), ["a"], "it is gone, the other is not");
}

#[test]
fn restarts_long_ago_are_forgotten() {
    let plan = plan();
    let mut history = History::default();
    let now = Instant::now();
    for _ in 0..MAX_RESTARTS {
        assert_eq!(
            history.decide(&plan.domains[0], Reboot, now),
            Decision::Restart
        );
    }
    assert_eq!(
        history.decide(&plan.domains[0], Reboot, now),
        Decision::GiveUp
    );
    assert_eq!(
        history.decide(&plan.domains[0], Reboot, now + WINDOW),
        Decision::Restart
    );
    assert_eq!(
        history.decide(&plan.domains[0], Suspend, now),
        Decision::Keep
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_somebody_removed_is_not_started_again() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model| {
        let machine = model.machine();
        machine.domains.destroy(1).expect("destroyed");
        settle().await;
        machine.domains.destroy(2).expect("destroyed");
    })
    .await;
    assert_eq!(model.names(), [""; 0]);
    assert!(
        said.iter()
            .any(|line| line == "a: gone, no longer supervised"),
        "{said:?}"
    );
    assert!(ended, "nothing is left to supervise");
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_started_again_when_the_backend_is_back() {
    let model = Model::new();
    let (said, _) = supervise(&model, &plan(), async |model| {
        model.stop_backend();
        model.end("b", Reboot);
        settle().await;
        assert_eq!(model.domid("b"), None);
        model.start_backend();
        sleep(Duration::from_secs(2)).await;
        assert!(model.domid("b").is_some());
    })
    .await;
    assert!(
        said.iter().any(|line| line.contains("trying again")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_cannot_be_started_again_is_given_up_in_the_end() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model| {
        model.machine().domains.destroy(1).expect("destroyed");
        model.fail_create("b");
        model.end("b", Reboot);
        sleep(Duration::from_secs(300)).await;
    })
    .await;
    assert!(
        said.iter().any(|line| line.contains("given up")),
        "{said:?}"
    );
    assert!(ended);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_while_another_avpsctl_works_on_the_platform() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    let lock = run.lock("test", &Cancel::never()).await.expect("free");
    let (canceller, cancel) = Cancel::pair();
    let recorder = Arc::new(Recorder::default());
    let timeout = Duration::from_secs(30);
    let supervisor = Supervisor::new(model.machine(), plan(), run, timeout, recorder);
    let script = async {
        settle().await;
        model.end("b", Reboot);
        settle().await;
        assert_eq!(model.domid("b"), Some(2), "not yet");
        drop(lock);
        settle().await;
        assert_eq!(model.domid("b"), Some(3), "now");
        canceller.cancel();
    };
    tokio::join!(supervisor.run(&cancel), script);
}

#[tokio::test(start_paused = true)]
async fn domains_that_are_freed_in_silence_are_noticed_and_the_supervisor_ends() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model| {
        for name in ["a", "b"] {
            model.change(name, |info| info.state = DomainState::Dying);
        }
        settle().await;
        for name in ["a", "b"] {
            model.free(name);
        }
        settle().await;
    })
    .await;
    assert!(ended, "{said:?}");
}
