//! Driver domains: their rights, and the order in which they and their guests come and go.

use std::sync::Arc;
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use super::{OPTIONS, Recorder, plan_of, settle, supervise};
use crate::cancel::Cancel;
use crate::compare::{Standing, compare};
use crate::error::{Error, Result};
use crate::machine::model::{Backend, Model};
use crate::machine::{DOMAIN_ENDED, DomainState, ShutdownReason};
use crate::start::{self, Started};
use crate::stop::{Outcome, stop};
use crate::supervise::MAX_RESTARTS;
use crate::work::{Work, carry_out};

/// Two driver domains; "a" and "b" have a disk of "storage", "b" one of "archive", too. The guests stand first.
fn plan_with(storage: &str, a: &str, b: &str) -> Plan {
    let driver = |name: &str, keys: &str| {
        format!(
            "[[domain]]\nname = \"{name}\"\nkind = \"driver\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{keys}\n"
        )
    };
    let guest = |name: &str, keys: &str, backends: &[&str]| {
        let disks = backends.iter().map(|backend| {
            format!(
                "[[domain.block]]\nimage = \"/{name}-{backend}.img\"\nbackend = \"{backend}\"\n"
            )
        });
        format!(
            "[[domain]]\nname = \"{name}\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{keys}\n{}",
            disks.collect::<String>()
        )
    };
    plan_of(&format!(
        "schema = \"avps/1\"\n[platform]\nname = \"test\"\n[xen]\nflask = \"enforcing\"\n{}{}{}{}",
        guest("a", a, &["storage"]),
        guest("b", b, &["storage", "archive"]),
        driver("storage", storage),
        driver("archive", RESTART),
    ))
}

const RESTART: &str = "on_crash = \"restart\"";

fn plan() -> Plan {
    plan_with(RESTART, RESTART, RESTART)
}

fn model() -> Arc<Model> {
    let model = Model::new();
    model.backend_starts_in("storage");
    model.backend_starts_in("archive");
    model
}

async fn start(model: &Arc<Model>, plan: &Plan) -> Result<Vec<Started>> {
    let (machine, recorder) = (model.machine(), Recorder::default());
    let cancel = Cancel::never();
    start::start(&machine, plan, &plan.domains, OPTIONS, &recorder, &cancel).await
}

/// What was done to domains, in order, from an earlier length of the log.
fn steps(model: &Model, from: usize) -> Vec<String> {
    let verbs = ["create", "destroy", "shutdown", "unpause"];
    let mut log = model.log().split_off(from);
    log.retain(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    log
}

fn standings(model: &Arc<Model>, plan: &Plan) -> Vec<(DomainPlan, Standing)> {
    compare(&model.machine(), plan).expect("a model")
}

/// What `avpsctl up` does.
async fn up(model: &Arc<Model>, plan: &Plan, replace: bool) -> Result<(Vec<Started>, Vec<String>)> {
    let work = Work::of(&standings(model, plan), replace)?;
    let (machine, recorder) = (model.machine(), Recorder::default());
    let cancel = Cancel::never();
    let started = carry_out(&machine, plan, &work, OPTIONS, &recorder, &cancel).await?;
    Ok((started, recorder.lines()))
}

fn matches(model: &Arc<Model>, plan: &Plan) -> bool {
    let standings = standings(model, plan);
    let mut standings = standings.iter();
    standings.all(|(_, standing)| matches!(standing, Standing::Matches { .. }))
}

/// Only dom0 is left, and nothing in XenStore of anybody else.
fn nothing_is_left(model: &Model) {
    assert_eq!(model.nodes(), Model::new().nodes());
    assert_eq!(model.names(), [""; 0]);
    assert_eq!(model.readers(DOMAIN_ENDED), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn driver_domains_are_started_first_whatever_the_order_of_the_document() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    assert_eq!(
        steps(&model, 0),
        [
            "create storage",
            "unpause 1",
            "create a",
            "create archive",
            "unpause 2",
            "unpause 3",
            "create b",
            "unpause 4"
        ]
    );
    assert!(matches(&model, &plan()));
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_may_watch_ends_and_read_name_and_identity_of_its_guests_and_nothing_else()
{
    let model = model();
    start(&model, &plan()).await.expect("starts");
    let [storage, a, archive, b] =
        ["storage", "a", "archive", "b"].map(|n| model.domid(n).expect(n));
    assert_eq!(model.readers(DOMAIN_ENDED), [storage, archive]);
    for key in ["name", "vm"] {
        let readers = |domid: u32| model.readers(&format!("/local/domain/{domid}/{key}"));
        assert_eq!(readers(a), [a, storage], "{key}");
        assert_eq!(readers(b), [b, storage, archive], "{key}");
        assert_eq!(readers(storage), [storage], "{key}");
    }
    let log = model.log();
    let permits = log.iter().filter(|line| line.starts_with("permit"));
    assert_eq!(permits.count(), 2 + 2 + 4, "{log:?}");
    // Before its first instruction; and before the backend hears of the guest.
    let place = |what: &str| {
        log.iter()
            .position(|line| line.starts_with(what))
            .expect("done")
    };
    assert!(place("permit @releaseDomain to 1") < place("unpause 1"));
    assert!(
        place("permit /local/domain/2/vm to 1") < place("write /local/domain/1/backend/virtio/2")
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_the_control_domain_gives_nobody_rights() {
    let model = model();
    super::start(&model, &super::plan().domains)
        .await
        .expect("starts");
    assert!(!model.log().iter().any(|line| line.starts_with("permit")));
}

#[tokio::test(start_paused = true)]
async fn rights_are_taken_back_with_the_domain_and_others_keep_theirs() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    let machine = model.machine();
    let recorder = Recorder::default();
    for name in ["b", "archive"] {
        let domid = model.domid(name).expect("runs");
        crate::remove::remove(&machine, name, domid, &recorder)
            .await
            .expect("removed");
    }
    assert_eq!(
        model.readers(DOMAIN_ENDED),
        [model.domid("storage").expect("runs")]
    );
}

#[tokio::test(start_paused = true)]
async fn down_ends_guests_before_those_that_serve_them_and_leaves_nothing() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    let from = model.log().len();
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    let timeout = Duration::from_secs(5);
    let ended = stop(&machine, &plan(), timeout, false, &recorder, &cancel)
        .await
        .expect("ends");
    assert!(
        ended
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Removed)
    );
    assert_eq!(
        steps(&model, from),
        [
            "shutdown 4",
            "shutdown 2",
            "destroy 4",
            "destroy 2",
            "shutdown 3",
            "shutdown 1",
            "destroy 3",
            "destroy 1"
        ]
    );
    nothing_is_left(&model);
}

#[tokio::test(start_paused = true)]
async fn down_lets_a_driver_domain_run_while_a_guest_that_does_not_end_uses_it() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    model.fail_shutdown(model.domid("a").expect("runs"));
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    let timeout = Duration::from_secs(5);
    let ended = stop(&machine, &plan(), timeout, false, &recorder, &cancel)
        .await
        .expect("ends");
    let names = |wanted: Outcome| {
        let some = ended.iter().filter(|(_, outcome)| *outcome == wanted);
        some.map(|(info, _)| info.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(Outcome::Running), ["a", "storage"]);
    assert_eq!(names(Outcome::Removed), ["b", "archive"]);
    assert!(
        matches!(standings(&model, &plan())[0].1, Standing::Matches { .. }),
        "a goes on"
    );

    let forced = stop(&machine, &plan(), timeout, true, &recorder, &cancel)
        .await
        .expect("ends");
    assert_eq!(forced[0].1, Outcome::Forced);
    nothing_is_left(&model);
}

#[tokio::test(start_paused = true)]
async fn down_does_not_wait_for_guests_whose_driver_domain_crashed() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    model.end("storage", ShutdownReason::Crash);
    model.ignores_shutdown();
    let began = tokio::time::Instant::now();
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    let timeout = Duration::from_secs(50);
    stop(&machine, &plan(), timeout, true, &recorder, &cancel)
        .await
        .expect("ends");
    // Only the other driver domain was asked, in vain.
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert!(
        !model
            .log()
            .iter()
            .any(|line| line == "shutdown 2" || line == "shutdown 4")
    );
    nothing_is_left(&model);
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_driver_domain_is_gone_is_shown_and_repaired_without_being_asked() {
    let model = model();
    let plan = plan();
    start(&model, &plan).await.expect("starts");
    let (storage, a, b) = (1, 2, 4);
    // As xl destroy does it.
    model.machine().domains.destroy(storage).expect("a model");
    let gone = |domid: u32| Standing::BackendGone {
        domid,
        backends: vec!["storage".into()],
    };
    let now: Vec<_> = standings(&model, &plan)
        .into_iter()
        .map(|(_, s)| s)
        .collect();
    assert_eq!(now[..2], [gone(a), gone(b)]);
    assert_eq!(
        now[2],
        Standing::Ended { domid: storage },
        "held by its guests"
    );
    assert!(matches!(now[3], Standing::Matches { domid: 3, .. }));

    let from = model.log().len();
    let (started, said) = up(&model, &plan, false).await.expect("repairs");
    assert_eq!(
        steps(&model, from)[..3],
        ["destroy 4", "destroy 2", "destroy 1"],
        "guests first, not shut down"
    );
    let names: Vec<_> = started
        .iter()
        .map(|started| started.name.as_str())
        .collect();
    assert_eq!(names, ["storage", "a", "b"]);
    assert!(
        said.iter()
            .any(|line| line.starts_with("a: its devices are lost")),
        "{said:?}"
    );
    assert!(matches(&model, &plan));
    assert_eq!(model.domid("archive"), Some(3), "the other one goes on");
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_an_earlier_driver_domain_is_not_taken_for_unchanged() {
    let model = model();
    let plan = plan();
    start(&model, &plan).await.expect("starts");
    model.machine().domains.destroy(1).expect("a model");
    // Somebody starts it anew, beside the one that its guests hold.
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    start::start(
        &machine,
        &plan,
        &plan.domains[2..3],
        OPTIONS,
        &recorder,
        &cancel,
    )
    .await
    .expect("starts");
    assert_eq!(model.domid("storage"), Some(5));
    let standing = standings(&model, &plan);
    assert!(matches!(
        standing[0].1,
        Standing::BackendGone { domid: 2, .. }
    ));
    assert!(
        matches!(standing[2].1, Standing::Matches { domid: 5, .. }),
        "{:?}",
        standing[2].1
    );
    up(&model, &plan, false).await.expect("repairs");
    assert!(matches(&model, &plan));
    assert_eq!(
        model.machine().domains.list().expect("a model").len(),
        5,
        "the old one is freed"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_up_removes_guests_and_driver_domain_although_they_hold_each_other() {
    let model = model();
    let plan = plan();
    start(&model, &plan).await.expect("starts");
    model.end("storage", ShutdownReason::Crash);
    assert_eq!(standings(&model, &plan)[2].1, Standing::Ended { domid: 1 });
    up(&model, &plan, false).await.expect("repairs");
    assert!(matches(&model, &plan));
}

#[tokio::test(start_paused = true)]
async fn with_replace_the_guests_of_a_driver_domain_that_differs_shut_down_before_it() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    let other = plan_with("on_crash = \"restart\"\nvcpus = 2", RESTART, RESTART);
    let error = up(&model, &other, false).await.expect_err("differs");
    assert!(
        matches!(&error, Error::Drift(what) if what.len() == 1),
        "{error}"
    );
    assert!(matches!(
        standings(&model, &other)[0].1,
        Standing::Matches { .. }
    ));

    let from = model.log().len();
    let (_, said) = up(&model, &other, true).await.expect("replaces");
    assert_eq!(
        steps(&model, from)[..6],
        [
            "shutdown 4",
            "destroy 4",
            "shutdown 2",
            "destroy 2",
            "shutdown 1",
            "destroy 1"
        ]
    );
    assert!(
        said.iter()
            .any(|line| line.starts_with("a: storage serves its devices")),
        "{said:?}"
    );
    assert!(matches(&model, &other));
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_in_a_driver_domain_lacks_is_told_with_where_to_look() {
    let model = model();
    model.no_backend_starts_in("storage");
    let error = start(&model, &plan()).await.expect_err("nobody serves");
    assert_eq!(
        error.to_string(),
        "avps-backend is not running in domain 1 (\"storage\"), and \"a\" need(s) it"
    );
    let help = error.help().expect("help");
    assert!(
        help.contains("ramdisk") && help.contains("avpsctl console storage"),
        "{help}"
    );
    nothing_is_left(&model);

    model.backend_starts_in("storage");
    model.backend(Backend::Refuses("no such file"));
    let error = start(&model, &plan()).await.expect_err("refused");
    assert!(
        error.to_string().contains("in domain \"storage\""),
        "{error}"
    );
    let help = error.help().expect("help");
    assert!(help.contains("avpsctl console storage"), "{help}");
    nothing_is_left(&model);
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_crashes_meanwhile_is_not_waited_for() {
    let model = model();
    model.no_backend_starts_in("storage");
    let later = model.clone();
    let crash = async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        later.end("storage", ShutdownReason::Crash);
    };
    let plan = plan();
    let began = tokio::time::Instant::now();
    let (started, ()) = tokio::join!(start(&model, &plan), crash);
    assert!(
        matches!(started, Err(Error::NoBackendDomain { .. })),
        "{started:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_crashes_is_started_again_between_the_end_and_the_start_of_its_guests()
{
    let model = model();
    let (said, _) = supervise(&model, &plan(), async |model: Arc<Model>| {
        let from = model.log().len();
        model.end("storage", ShutdownReason::Crash);
        settle().await;
        assert_eq!(
            steps(&model, from),
            [
                "destroy 4",
                "destroy 2",
                "destroy 1",
                "create storage",
                "unpause 5",
                "create a",
                "unpause 6",
                "create b",
                "unpause 7"
            ]
        );
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
