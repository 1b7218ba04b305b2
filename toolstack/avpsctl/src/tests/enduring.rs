//! The supervisor outlives trouble: an error, or a defect, ends one attempt for one domain.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::drivers::{self, RESTART};
use super::{plan, plan_of, plan_with, settle, start, supervise, supervise_in};
use crate::cancel::Cancel;
use crate::machine::ShutdownReason::{Crash, Reboot};
use crate::machine::model::{Backend, Model, NoList};
use crate::rundir::RunDir;
use crate::supervise::MAX_RESTARTS;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn while_libxl_does_not_answer_the_supervisor_waits_and_goes_on_afterwards() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model: Arc<Model>| {
        model.no_list(Some(NoList::Refused));
        model.end("b", Reboot);
        sleep(30 * MINUTE).await;
        model.no_list(None);
        sleep(MINUTE).await;
        assert_eq!(model.domid("b"), Some(3), "it is started again");
    })
    .await;
    assert!(!ended, "{said:?}");
    let told = said.iter().filter(|line| line.contains("could not list"));
    assert_eq!(told.count(), 1, "the same trouble is told once: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_xenstore_does_not_tell_of_one_domain_concerns_no_other() {
    let model = drivers::model();
    let plan = drivers::plan();
    supervise(&model, &plan, async |model: Arc<Model>| {
        let a = model.domid("a").expect("runs");
        let (b, archive) = (model.domid("b"), model.domid("archive"));
        model.refuse_reads(Some(&format!("/libxl/{a}/")));
        model.end("archive", Crash);
        sleep(MINUTE).await;
        assert!(model.domid("archive") > archive && model.domid("b") > b);
        assert_eq!(model.domid("a"), Some(a), "it goes on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_lost_is_set_again() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model: Arc<Model>| {
        for domid in 3..6 {
            model.lose_watches();
            sleep(MINUTE).await;
            model.end("b", Reboot);
            settle().await;
            assert_eq!(model.domid("b"), Some(domid));
        }
    })
    .await;
    assert!(!ended, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_another_avpsctl_holds_for_long_is_supervised_afterwards() {
    let model = Model::new();
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    let (said, ended) = supervise_in(&run, &model, &plan(), async |model: Arc<Model>| {
        let lock = run.lock("test", &Cancel::never()).await.expect("free");
        model.end("b", Reboot);
        sleep(25 * MINUTE).await;
        assert_eq!(model.domid("b"), Some(2), "nothing is changed meanwhile");
        drop(lock);
        sleep(MINUTE).await;
        assert_eq!(model.domid("b"), Some(3));
    })
    .await;
    assert!(!ended, "{said:?}");
    let restarts = said
        .iter()
        .filter(|line| line.contains("starting it again"));
    assert_eq!(restarts.count(), 1, "an attempt that waits counts once");
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_one_attempt_ends_that_attempt() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model: Arc<Model>| {
        model.on_create(|_| panic!("a defect, put in by the test"));
        model.end("b", Reboot);
        settle().await;
        model.end("a", Reboot);
        sleep(MINUTE).await;
        for name in ["a", "b"] {
            let domid = model.domid(name).expect("runs");
            assert!(model.log().contains(&format!("unpause {domid}")), "{name}");
        }
        assert_eq!(model.names().len(), 2, "nothing half made is left");
    })
    .await;
    assert!(!ended, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_one_look_ends_that_look() {
    let model = Model::new();
    let (said, ended) = supervise(&model, &plan(), async |model: Arc<Model>| {
        model.no_list(Some(NoList::Defect));
        model.end("b", Reboot);
        settle().await;
        model.no_list(None);
        sleep(MINUTE).await;
        assert_eq!(model.domid("b"), Some(3));
    })
    .await;
    assert!(!ended, "{said:?}");
    assert!(said.iter().any(|line| line.contains("defect")), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_backend_of_any_length_uses_up_no_restart() {
    for outage in [40, 3600, 6 * 3600] {
        let model = Model::new();
        let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
            model.stop_backend();
            model.end("b", Reboot);
            sleep(Duration::from_secs(outage)).await;
            assert_eq!(model.domid("b"), None);
            model.start_backend();
            sleep(Duration::from_secs(19)).await;
            assert!(model.domid("b").is_some(), "after {outage} s");
            for _ in 1..MAX_RESTARTS {
                model.end("b", Reboot);
                settle().await;
                assert!(model.domid("b").is_some(), "after {outage} s");
            }
        })
        .await;
        let told = said.iter().filter(|line| line.contains("trying again"));
        assert_eq!(told.count(), 1, "the same reason is told once: {said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_does_not_delay_another_guest() {
    let model = Model::new();
    supervise(&model, &plan(), async |model: Arc<Model>| {
        model.backend(Backend::Silent);
        model.end("a", Reboot);
        settle().await;
        assert_eq!(model.domid("a"), Some(3), "made, and not served");
        model.backend(Backend::Serves);
        model.end("b", Reboot);
        settle().await;
        assert!(model.log().contains(&"unpause 4".to_owned()), "b runs");
        assert!(!model.log().contains(&"unpause 3".to_owned()), "a waits");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_removal_does_not_delay_another_guest() {
    let model = Model::new();
    supervise(&model, &plan(), async |model: Arc<Model>| {
        // The backend is waited for until its time is over, five seconds for each guest.
        model.backend_leaves_folders();
        model.end("a", Reboot);
        settle().await;
        model.end("b", Reboot);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(model.names(), ["a", "b"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_does_not_come_back_does_not_delay_another_and_its_guests() {
    let driver = |name: &str| {
        format!(
            "[[domain]]\nname = \"{name}\"\nkind = \"driver\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{RESTART}\n"
        )
    };
    let guest = |name: &str, backend: &str| {
        format!(
            "[[domain]]\nname = \"{name}\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{RESTART}\n\
             [[domain.block]]\nimage = \"/{name}.img\"\nbackend = \"{backend}\"\n"
        )
    };
    let plan = plan_of(&format!(
        "schema = \"avps/1\"\n[platform]\nname = \"test\"\n[xen]\nflask = \"enforcing\"\n{}{}{}{}",
        driver("storage"),
        driver("archive"),
        guest("a", "storage"),
        guest("b", "archive"),
    ));
    let model = drivers::model();
    supervise(&model, &plan, async |model: Arc<Model>| {
        model.no_backend_starts_in("storage");
        model.end("storage", Crash);
        model.end("archive", Crash);
        sleep(Duration::from_secs(3)).await;
        let b = model.domid("b").expect("is made");
        assert!(model.log().contains(&format!("unpause {b}")), "b runs");
        assert_eq!(model.domid("a"), None, "nobody serves it yet");
        model.backend_starts_in("storage");
        sleep(MINUTE).await;
        assert!(drivers::matches(&model, &plan));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_supervisor_takes_back_what_it_was_starting() {
    let model = Model::new();
    supervise(&model, &plan(), async |model: Arc<Model>| {
        model.backend(Backend::Silent);
        model.end("a", Reboot);
        settle().await;
        assert_eq!(model.domid("a"), Some(3), "made, and not served");
    })
    .await;
    assert_eq!(model.names(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_with_the_number_of_one_that_was_kept_is_supervised() {
    let model = Model::new();
    let plan = plan_with("on_crash = \"preserve\"");
    supervise(&model, &plan, async |model: Arc<Model>| {
        model.end("b", Crash);
        settle().await;
        assert_eq!(model.domid("b"), Some(2), "kept");
        model.machine().domains.destroy(2).expect("destroyed");
        settle().await;
        model.next_number(2);
        start(&model, &plan.domains[1..]).await.expect("starts");
        assert_eq!(
            model.domid("b"),
            Some(2),
            "as Xen does once all have been given"
        );
        settle().await;
        model.end("b", Reboot);
        settle().await;
        assert_eq!(model.domid("b"), Some(3));
    })
    .await;
}
