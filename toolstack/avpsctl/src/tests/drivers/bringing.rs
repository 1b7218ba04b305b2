//! `up`, `diff` and `down` with driver domains, and the rights these get.

use std::time::Duration;

use super::{
    RESTART, matches, model, nothing_is_left, plan, plan_with, start, statuses, steps, up,
};
use crate::cancel::Cancel;
use crate::compare::Status;
use crate::error::{Error, Exit, NotStarted};
use crate::machine::model::Backend;
use crate::machine::{DOMAIN_ENDED, ShutdownReason};
use crate::stop::{Outcome, stop};
use crate::tests::{OPTIONS, Recorder};

#[tokio::test(start_paused = true)]
async fn driver_domains_are_started_first_whatever_the_order_of_the_document() {
    let model = model();
    start(&model, &plan()).await.expect("starts");
    let steps = steps(&model, 0);
    let at = |step: &str| steps.iter().position(|s| s == step).expect(step);
    let domid = |name: &str| model.domid(name).expect(name);
    let runs = |name: &str| at(&format!("unpause {}", domid(name)));
    assert!(at("create a") > runs("storage"), "{steps:?}");
    assert!(at("create b") > runs("storage"), "{steps:?}");
    assert!(at("create b") > runs("archive"), "{steps:?}");
    assert!(
        at("create archive") < runs("storage"),
        "side by side: {steps:?}"
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
        place(&format!("permit /local/domain/{a}/vm to 1"))
            < place(&format!("write /local/domain/1/backend/virtio/{a}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_the_control_domain_gives_nobody_rights() {
    let model = model();
    crate::tests::start(&model, &crate::tests::plan().domains)
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
            "shutdown 3",
            "destroy 4",
            "destroy 3",
            "shutdown 2",
            "shutdown 1",
            "destroy 2",
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
        matches!(statuses(&model, &plan())[0].1, Status::Matches { .. }),
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
            .any(|line| line == "shutdown 3" || line == "shutdown 4")
    );
    nothing_is_left(&model);
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_driver_domain_is_gone_is_shown_and_repaired_without_being_asked() {
    let model = model();
    let plan = plan();
    start(&model, &plan).await.expect("starts");
    let (storage, a, b) = (1, 3, 4);
    // As xl destroy does it.
    model.machine().domains.destroy(storage).expect("a model");
    let gone = |domid: u32| Status::BackendGone {
        domid,
        backends: vec!["storage".into()],
    };
    let now: Vec<_> = statuses(&model, &plan)
        .into_iter()
        .map(|(_, s)| s)
        .collect();
    assert_eq!(now[..2], [gone(a), gone(b)]);
    assert_eq!(
        now[2],
        Status::Ended { domid: storage },
        "held by its guests"
    );
    assert!(matches!(now[3], Status::Matches { domid: 2, .. }));

    let from = model.log().len();
    let (started, said) = up(&model, &plan, false).await.expect("repairs");
    assert_eq!(
        steps(&model, from)[..3],
        ["destroy 4", "destroy 3", "destroy 1"],
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
    assert_eq!(model.domid("archive"), Some(2), "the other one goes on");
}

#[tokio::test(start_paused = true)]
async fn a_guest_of_an_earlier_driver_domain_is_not_taken_for_unchanged() {
    let model = model();
    let plan = plan();
    start(&model, &plan).await.expect("starts");
    model.machine().domains.destroy(1).expect("a model");
    // Somebody starts it again, beside the one that its guests hold.
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
    let status = statuses(&model, &plan);
    assert!(matches!(status[0].1, Status::BackendGone { domid: 3, .. }));
    assert!(
        matches!(status[2].1, Status::Matches { domid: 5, .. }),
        "{:?}",
        status[2].1
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
    assert_eq!(statuses(&model, &plan)[2].1, Status::Ended { domid: 1 });
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
        statuses(&model, &other)[0].1,
        Status::Matches { .. }
    ));

    let from = model.log().len();
    let (_, said) = up(&model, &other, true).await.expect("replaces");
    assert_eq!(
        steps(&model, from)[..6],
        [
            "shutdown 4",
            "destroy 4",
            "shutdown 3",
            "destroy 3",
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
    let said = error.to_string();
    for part in [
        "avps-backend is not running in domain 1 (\"storage\"), and \"a\" need(s) it",
        "avps-backend is not running in domain 1 (\"storage\"), and \"b\" need(s) it",
        "running: storage, archive",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(error.exit(), Exit::Partly);
    let help = error.help().expect("help");
    assert!(
        help.contains("ramdisk") && help.contains("avpsctl console storage"),
        "{help}"
    );
    assert_eq!(
        model.names(),
        ["storage", "archive"],
        "they ran, and run on"
    );
    assert!(!model.log().iter().any(|line| line.starts_with("destroy")));

    let model = super::model();
    model.backend(Backend::Refuses("no such file"));
    let error = start(&model, &plan()).await.expect_err("refused");
    assert!(
        error.to_string().contains("in domain \"storage\""),
        "{error}"
    );
    let help = error.help().expect("help");
    assert!(help.contains("avpsctl console storage"), "{help}");
    assert_eq!(
        model.names(),
        ["storage", "archive"],
        "they ran, and run on"
    );
    assert!(
        !model.nodes().keys().any(|path| path.contains("/backend/")),
        "nothing is left of the guests: {:?}",
        model.nodes()
    );
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
    let Err(Error::NotStarted { failed, running }) = started else {
        panic!("{started:?}");
    };
    let crashed = |one: &NotStarted| matches!(one.cause, Error::NoBackendDomain { .. });
    assert!(
        failed.len() == 2 && failed.iter().all(crashed),
        "{failed:?}"
    );
    assert_eq!(running, ["storage", "archive"]);
    assert!(began.elapsed() < Duration::from_secs(5));
}
