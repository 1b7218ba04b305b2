//! Domains are started completely or not at all.

use std::time::Duration;

use tokio::time::Instant;

use super::{OPTIONS, Recorder, plan, plan_with, start};
use crate::cancel::Cancel;
use crate::compare::{Status, compare};
use crate::error::{Error, Exit};
use crate::machine::model::{Backend, Model};
use crate::machine::{DomainState, ShutdownReason};
use crate::start::{Options, require_devices, start as start_with};
use crate::work::Work;

#[tokio::test(start_paused = true)]
async fn no_guest_runs_before_every_backend_is_ready() {
    let model = Model::new();
    let started = start(&model, &plan().domains).await.expect("starts");
    assert_eq!(started.len(), 2);
    let log: Vec<_> = model
        .log()
        .into_iter()
        .filter(|line| line.starts_with("create") || line.starts_with("unpause"))
        .collect();
    assert_eq!(log, ["create a", "create b", "unpause 1", "unpause 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_backend_is_told_everything_and_the_version_last() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    let nodes = model.nodes();
    let folder = "/local/domain/0/backend/virtio/1/1/avps";
    for (key, value) in [
        ("kind", "block"),
        ("image", "/ro.img"),
        ("readonly", "1"),
        ("memory", "foreign"),
        ("block-size", "4096"),
        ("serial", "S1"),
        ("cache", "writeback"),
        ("version", "1"),
    ] {
        assert_eq!(
            nodes.get(&format!("{folder}/{key}")).map(String::as_str),
            Some(value),
            "{key}"
        );
    }
    assert!(!nodes.contains_key("/local/domain/0/backend/virtio/1/0/avps/serial"));
    let writes: Vec<_> = model
        .log()
        .into_iter()
        .filter(|line| line.contains("/virtio/1/1/avps/"))
        .collect();
    assert!(
        writes
            .last()
            .is_some_and(|line| line.ends_with("/avps/version")),
        "{writes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_a_device_is_hidden_from_the_guest_before_it_is_written() {
    let model = Model::new();
    start(&model, &plan().domains).await.expect("starts");
    let log = model.log();
    let mut about: Vec<_> = log
        .iter()
        .filter(|line| line.contains("/backend/virtio/2/0/avps"))
        .collect();
    let first = about.remove(0);
    assert_eq!(
        first,
        "private /local/domain/0/backend/virtio/2/0/avps of 0"
    );
    assert!(about.iter().all(|line| line.starts_with("write ")));
}

#[tokio::test(start_paused = true)]
async fn a_domain_can_be_left_paused() {
    let model = Model::new();
    let options = Options {
        unpause: false,
        ..OPTIONS
    };
    let recorder = Recorder::default();
    let plan = plan();
    start_with(
        &model.machine(),
        &plan,
        &plan.domains[..1],
        options,
        &recorder,
        &Cancel::never(),
    )
    .await
    .expect("starts");
    assert!(!model.log().iter().any(|line| line.starts_with("unpause")));
    assert!(recorder.lines().iter().any(|line| line.contains("paused")));
}

#[tokio::test(start_paused = true)]
async fn without_a_backend_nothing_is_created_and_the_user_is_told_what_to_start() {
    let model = Model::new();
    model.stop_backend();
    let error = start(&model, &plan().domains)
        .await
        .expect_err("no backend");
    assert!(
        matches!(error, Error::BackendNotRunning { domid: 0, .. }),
        "{error}"
    );
    assert!(
        error
            .help()
            .is_some_and(|help| help.contains("avps-backend serve"))
    );
    assert_eq!(error.exit(), Exit::HostCannot);
    assert_eq!(model.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_was_killed_is_not_taken_for_one_that_runs() {
    let model = Model::new();
    model.set("/local/domain/0/data/avps-backend/pid", "4711");
    let error = start(&model, &plan().domains).await.expect_err("killed");
    assert!(matches!(error, Error::BackendNotRunning { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_virtio_devices_needs_no_backend() {
    let model = Model::new();
    model.stop_backend();
    let mut plan = plan();
    plan.domains[0].virtio.clear();
    start(&model, &plan.domains[..1]).await.expect("starts");
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_ends_at_the_time_limit_with_nothing_left() {
    let model = Model::new();
    model.backend(Backend::Silent);
    let before = model.nodes();
    let began = Instant::now();
    let error = start(&model, &plan().domains).await.expect_err("silent");
    let Error::NotStarted { failed, running } = &error else {
        panic!("{error}");
    };
    assert_eq!(running, &[""; 0]);
    let mut waiting = Vec::new();
    for one in failed {
        let Error::BackendTimeout {
            seconds: 30,
            waiting: devices,
        } = &one.cause
        else {
            panic!("{error}");
        };
        waiting.extend(devices);
    }
    assert_eq!(waiting.len(), 3, "{waiting:?}");
    assert!(waiting[0].contains("block 0 of \"a\""), "{waiting:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(30));
    assert!(took < Duration::from_secs(31), "side by side: {took:?}");
    assert_eq!(model.nodes(), before, "no key is left");
    assert_eq!(model.names(), [""; 0], "no domain is left");
    assert_eq!(error.exit(), Exit::HostCannot);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_its_time_is_waited_for() {
    let model = Model::new();
    model.backend(Backend::Silent);
    let later = model.clone();
    let ready = async move {
        for device in ["1/0", "1/1", "2/0"] {
            tokio::time::sleep(Duration::from_secs(5)).await;
            later.set(
                &format!("/local/domain/0/backend/virtio/{device}/state"),
                "2",
            );
        }
    };
    let domains = plan().domains;
    let began = Instant::now();
    let (started, ()) = tokio::join!(start(&model, &domains), ready);
    assert_eq!(started.expect("starts").len(), 2);
    assert_eq!(began.elapsed().as_secs(), 15, "not a moment later");
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_says_is_shown_and_nothing_is_left() {
    let model = Model::new();
    model.backend(Backend::Refuses("cannot open /a.img: no such file"));
    let before = model.nodes();
    let error = start(&model, &plan().domains).await.expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("cannot open /a.img: no such file"),
        "{error}"
    );
    assert!(error.to_string().contains("\"a\""), "{error}");
    assert_eq!(model.nodes(), before);
    assert_eq!(model.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_dies_meanwhile_is_noticed_before_the_time_limit() {
    let model = Model::new();
    model.backend(Backend::Dies);
    let began = Instant::now();
    let error = start(&model, &plan().domains[..1]).await.expect_err("died");
    assert!(matches!(error, Error::BackendNotRunning { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(model.names(), [""; 0]);
    assert!(
        !model.nodes().keys().any(|path| path.contains("/backend/")),
        "{:?}",
        model.nodes()
    );
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_takes_everything_back_and_says_so() {
    // While waiting for a backend, and while libxl builds the first domain.
    for waiting in [true, false] {
        let model = Model::new();
        model.backend(Backend::Silent);
        let before = model.nodes();
        let (canceller, cancel) = Cancel::pair();
        if !waiting {
            model.on_create(move |_| canceller.cancel());
        } else {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                canceller.cancel();
            });
        }
        let recorder = Recorder::default();
        let domains = plan().domains;
        let result = start_with(
            &model.machine(),
            &plan(),
            &domains,
            OPTIONS,
            &recorder,
            &cancel,
        )
        .await;
        let error = result.expect_err("interrupted");
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert_eq!(error.exit() as u8, 130);
        assert_eq!(model.nodes(), before);
        assert_eq!(model.names(), [""; 0]);
        let said = recorder.lines().join("\n");
        assert!(said.contains("interrupted: removing the"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_back_is_named_and_has_an_exit_code_of_its_own() {
    let model = Model::new();
    model.backend(Backend::Refuses("no"));
    model.fail_destroy();
    let error = start(&model, &plan().domains).await.expect_err("refused");
    assert_eq!(error.exit(), Exit::Partly);
    let text = error.to_string();
    assert!(
        text.contains("domain 1 (\"a\"") && text.contains("domain 2 (\"b\""),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_runs_as_planned_is_recognised() {
    let model = Model::new();
    let plan = plan();
    let status = |plan: &platform::Plan| {
        let statuses = compare(&model.machine(), plan).expect("works");
        statuses
            .into_iter()
            .map(|(_, status)| status)
            .collect::<Vec<_>>()
    };
    assert_eq!(status(&plan), [Status::Absent, Status::Absent]);
    start(&model, &plan.domains).await.expect("starts");
    let matching = [
        Status::Matches {
            domid: 1,
            paused: false,
        },
        Status::Matches {
            domid: 2,
            paused: false,
        },
    ];
    assert_eq!(status(&plan), matching);

    let changed = status(&plan_with("cmdline = \"other\""));
    assert_eq!(changed[0], matching[0]);
    let differs = Status::Differs {
        domid: 2,
        what: vec!["cmdline: console=hvc0 → other".into()],
    };
    assert_eq!(changed[1], differs);

    let mut other_image = plan.clone();
    let platform::plan::DevicePlan::Block(block) = &mut other_image.domains[1].virtio[0].device;
    block.image = "/new.img".into();
    let Status::Differs { what, .. } = &status(&other_image)[1] else {
        panic!("differs");
    };
    assert_eq!(what, &["block 0 image: /b.img → /new.img"]);

    model.end("b", ShutdownReason::Poweroff);
    assert_eq!(status(&plan)[1], Status::Ended { domid: 2 });
}

#[tokio::test(start_paused = true)]
async fn an_inserted_table_above_changes_nothing_for_running_guests() {
    let model = Model::new();
    let plan = plan();
    let mut first = plan.clone();
    first.domains.remove(0);
    // As it is planned when it stands alone in its document.
    let platform::plan::VirtioPlan { from, .. } = &mut first.domains[0].virtio[0];
    assert_eq!(
        std::mem::replace(from, "domain[0].block[0]".into()),
        "domain[1].block[0]"
    );
    start(&model, &first.domains).await.expect("starts");
    let statuses = compare(&model.machine(), &plan).expect("works");
    let running = Status::Matches {
        domid: 1,
        paused: false,
    };
    assert_eq!(statuses[1].1, running);
    let work = Work::of(&statuses, false).expect("no drift");
    let names: Vec<_> = work
        .start
        .iter()
        .map(|domain| domain.name.as_str())
        .collect();
    assert_eq!(names, ["a"]);
    assert_eq!(work.remove, []);
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_a_record_is_compared_by_what_can_be_seen_and_never_taken_for_the_same() {
    let model = Model::new();
    let plan = plan();
    start(&model, &plan.domains).await.expect("starts");
    model.unset("/libxl/1/avps");
    let statuses = compare(&model.machine(), &plan).expect("works");
    let Status::Differs { domid: 1, what } = &statuses[0].1 else {
        panic!("{:?}", statuses[0].1);
    };
    assert_eq!(what.len(), 1, "{what:?}");
    assert!(what[0].contains("not started by this release"), "{what:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_somebody_elses_is_not_touched() {
    let model = Model::new();
    let plan = plan();
    start(&model, &plan.domains).await.expect("starts");
    model.change("a", |info| {
        info.uuid = "11111111-1111-1111-1111-111111111111".into()
    });
    let error = compare(&model.machine(), &plan).expect_err("taken");
    assert!(
        matches!(&error, Error::NameTaken { name, domid: 1 } if name == "a"),
        "{error}"
    );
    model.change("a", |info| info.state = DomainState::Paused);
}

#[tokio::test(start_paused = true)]
async fn no_guest_is_let_run_before_its_devices_are_ready() {
    let model = Model::new();
    let machine = model.machine();
    let plan = plan();
    let options = Options {
        unpause: false,
        ..OPTIONS
    };
    let (recorder, cancel) = (Recorder::default(), Cancel::never());
    start_with(&machine, &plan, &plan.domains, options, &recorder, &cancel)
        .await
        .expect("starts");
    let a = machine.find("a").expect("it is there");
    require_devices(&machine, &a).expect("ready");

    model.set("/local/domain/0/backend/virtio/1/1/state", "1");
    let error = require_devices(&machine, &a).expect_err("waiting");
    assert_eq!(
        error.to_string(),
        "devices of \"a\" are not ready: block 1 (waiting)"
    );
    assert!(
        error
            .help()
            .is_some_and(|help| help.contains("avpsctl destroy a"))
    );
    model.set(
        "/local/domain/0/backend/virtio/1/1/avps/error",
        "no such file",
    );
    let error = require_devices(&machine, &a).expect_err("refused");
    assert!(error.to_string().contains("no such file"), "{error}");
    // One that said ready and was killed.
    model.unset("/local/domain/0/backend/virtio/1/1/avps/error");
    model.set("/local/domain/0/backend/virtio/1/1/state", "2");
    model.stop_backend();
    let error = require_devices(&machine, &a).expect_err("gone");
    assert!(
        error.to_string().contains("its backend does not run"),
        "{error}"
    );
}
