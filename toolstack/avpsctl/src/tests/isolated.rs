//! Who waits for whom, what runs side by side, and what a failure takes with it.

use std::sync::Arc;
use std::time::Duration;

use platform::plan::Plan;
use tokio::time::Instant;

use super::{OPTIONS, Recorder, plan_of};
use crate::cancel::Cancel;
use crate::compare::compare;
use crate::error::{Error, Exit, Result};
use crate::machine::DomainState;
use crate::machine::model::{Backend, Model};
use crate::start::{self, Options, Report, Started};
use crate::work::{Work, carry_out};

/// A guest with a disk.
fn guest(name: &str, keys: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{keys}\n\
         [[domain.block]]\nimage = \"/{name}.img\"\n"
    )
}

fn document(domains: &[String]) -> Plan {
    let head = "schema = \"avps/1\"\n[platform]\nname = \"test\"\n";
    plan_of(&format!("{head}{}", domains.concat()))
}

/// As `configs/cockpit.avps.toml`: two that wait for the first.
fn cockpit() -> Plan {
    let text = include_str!("../../../../configs/cockpit.avps.toml");
    let plan = plan_of(text);
    let names: Vec<_> = plan
        .domains
        .iter()
        .map(|domain| domain.name.as_str())
        .collect();
    assert_eq!(names, ["cluster", "infotainment", "telematics"]);
    plan
}

async fn start(model: &Arc<Model>, plan: &Plan) -> Result<Vec<Started>> {
    let (recorder, cancel) = (Recorder::default(), Cancel::never());
    start::start(
        &model.machine(),
        plan,
        &plan.domains,
        OPTIONS,
        &recorder,
        &cancel,
    )
    .await
}

/// What `avpsctl up` does.
async fn up(model: &Arc<Model>, plan: &Plan) -> Result<Report> {
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    let work = Work::of(&compare(&machine, plan)?, false)?;
    carry_out(&machine, plan, work, OPTIONS, &recorder, &cancel).await
}

fn names(report: &Report) -> (Vec<&str>, Vec<&str>) {
    let started = report.started.iter().map(|one| one.name.as_str());
    let failed = report.failed.iter().map(|one| one.name.as_str());
    (started.collect(), failed.collect())
}

#[tokio::test(start_paused = true)]
async fn a_domain_is_created_when_those_named_in_after_run() {
    let model = Model::new();
    start(&model, &cockpit()).await.expect("starts");
    let mut log = model.log();
    log.retain(|line| line.starts_with("create") || line.starts_with("unpause"));
    assert_eq!(log[..2], ["create cluster", "unpause 1"], "{log:?}");
    assert_eq!(
        log[2..4],
        ["create infotainment", "create telematics"],
        "side by side: {log:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn after_waits_until_the_devices_of_the_other_are_ready() {
    let model = Model::new();
    model.backend(Backend::SilentAbout("/a.img"));
    let plan = document(&[guest("b", "after = [\"a\"]"), guest("a", "")]);
    let later = model.clone();
    let ready = async move {
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(later.names(), ["a"], "b is not even created");
        later.set("/local/domain/0/backend/virtio/1/0/state", "2");
    };
    let (started, ()) = tokio::join!(start(&model, &plan), ready);
    let started = started.expect("starts");
    let names: Vec<_> = started.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_domain_holds_up_only_those_that_wait_for_it() {
    let model = Model::new();
    model.backend(Backend::SilentAbout("/slow.img"));
    let plan = document(&[
        guest("slow", ""),
        guest("waits", "after = [\"slow\"]"),
        guest("quick", ""),
    ]);
    let later = model.clone();
    let script = async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let list = later.machine().domains.list().expect("a model");
        let quick = list
            .iter()
            .find(|info| info.name == "quick")
            .expect("created");
        assert_eq!(quick.state, DomainState::Running, "at once");
        assert_eq!(later.domid("waits"), None);
    };
    let began = Instant::now();
    let (result, ()) = tokio::join!(start(&model, &plan), script);
    let error = result.expect_err("one is never ready");
    assert_eq!(began.elapsed(), OPTIONS.timeout);
    assert_eq!(error.exit(), Exit::Partly);
    let said = error.to_string();
    for part in [
        "slow (not ready after 30 s",
        "waits (it waits for \"slow\")",
        "running: quick",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(model.names(), ["quick"], "nothing is left of the others");
}

#[tokio::test(start_paused = true)]
async fn with_a_broken_telematics_image_cluster_and_infotainment_run() {
    let model = Model::new();
    let plan = cockpit();
    model.backend(Backend::RefusesImage("/var/lib/avps/images/telematics.img"));
    let report = up(&model, &plan).await.expect("goes on");
    assert_eq!(
        names(&report),
        (vec!["cluster", "infotainment"], vec!["telematics"])
    );
    let error = report.complete().expect_err("one is missing");
    assert_eq!(error.exit(), Exit::Partly);
    let said = error.to_string();
    assert!(
        said.contains("telematics (the backend cannot serve block 0"),
        "{said}"
    );
    assert!(said.contains("running: cluster, infotainment"), "{said}");
    assert_eq!(model.names(), ["cluster", "infotainment"]);
    assert!(!model.nodes().keys().any(|path| path.contains("/virtio/3/")));

    // The image is there again.
    model.backend(Backend::Serves);
    let report = up(&model, &plan).await.expect("works");
    assert_eq!(names(&report), (vec!["telematics"], vec![]));
    assert_eq!(model.domid("cluster"), Some(1), "left alone");
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_cannot_be_built_takes_only_those_with_it_that_wait_for_it() {
    let model = Model::new();
    model.fail_create("cluster");
    let report = up(&model, &cockpit()).await.expect("a report");
    assert_eq!(names(&report).1, ["cluster", "infotainment", "telematics"]);
    let error = report.complete().expect_err("nothing runs");
    assert!(
        matches!(error, Error::Xen(_)),
        "one cause explains all: {error}"
    );
    assert_eq!(error.exit(), Exit::HostCannot);
    assert_eq!(model.names(), [""; 0]);

    let model = Model::new();
    model.fail_create("infotainment");
    let report = up(&model, &cockpit()).await.expect("a report");
    assert_eq!(
        names(&report),
        (vec!["cluster", "telematics"], vec!["infotainment"])
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_backend_a_domain_without_devices_runs_all_the_same() {
    let model = Model::new();
    model.stop_backend();
    let plain =
        "[[domain]]\nname = \"plain\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n".to_owned();
    let report = up(&model, &document(&[guest("a", ""), plain]))
        .await
        .expect("a report");
    assert_eq!(names(&report), (vec!["plain"], vec!["a"]));
    assert!(matches!(
        report.failed[0].cause,
        Error::BackendNotRunning { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_removes_what_never_ran_and_leaves_what_runs() {
    let model = Model::new();
    model.backend(Backend::SilentAbout("/b.img"));
    let plan = document(&[
        guest("a", ""),
        guest("b", ""),
        guest("c", "after = [\"b\"]"),
    ]);
    let (canceller, cancel) = Cancel::pair();
    let script = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        canceller.cancel();
    };
    let (machine, recorder) = (model.machine(), Recorder::default());
    let starting = start::start(&machine, &plan, &plan.domains, OPTIONS, &recorder, &cancel);
    let (result, ()) = tokio::join!(starting, script);
    let error = result.expect_err("interrupted");
    let said = error.to_string();
    assert!(
        said.contains("b (interrupted)") && said.contains("running: a"),
        "{said}"
    );
    assert_eq!(error.exit(), Error::Interrupted.exit());
    assert_eq!(model.names(), ["a"]);
    assert!(!model.log().contains(&"destroy 1".to_owned()), "it ran");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_somebody_let_run_meanwhile_is_not_taken_back() {
    let model = Model::new();
    model.backend(Backend::Silent);
    let plan = document(&[guest("a", "")]);
    let later = model.clone();
    let script = async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        later.machine().domains.unpause(1).expect("a model");
    };
    let (result, ()) = tokio::join!(start(&model, &plan), script);
    let error = result.expect_err("never ready");
    assert_eq!(error.exit(), Exit::Partly);
    assert!(
        error.to_string().contains("domain 1 (\"a\", which runs)"),
        "{error}"
    );
    assert_eq!(model.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_domain_is_not_started_after_one_that_only_stands_paused() {
    let model = Model::new();
    let plan = document(&[
        guest("a", ""),
        guest("b", "after = [\"a\"]"),
        guest("c", ""),
    ]);
    let options = Options {
        unpause: false,
        ..OPTIONS
    };
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    start::start(
        &machine,
        &plan,
        &plan.domains[..1],
        options,
        &recorder,
        &cancel,
    )
    .await
    .expect("created");
    let report = up(&model, &plan).await.expect("a report");
    assert_eq!(names(&report), (vec!["c"], vec!["b"]));
    let Error::NotRunning { name, other } = &report.failed[0].cause else {
        panic!("{:?}", report.failed);
    };
    assert_eq!((name.as_str(), other.as_str()), ("b", "a"));
    machine.domains.unpause(1).expect("a model");
    let report = up(&model, &plan).await.expect("a report");
    assert_eq!(names(&report), (vec!["b"], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_cannot_be_started_is_not_removed_for_its_replacement() {
    let model = Model::new();
    let plan = document(&[guest("a", ""), guest("b", "")]);
    start(&model, &plan).await.expect("starts");
    let mut other = plan.clone();
    other.domains.iter_mut().for_each(|domain| domain.vcpus = 2);
    let mut work =
        Work::of(&compare(&model.machine(), &other).expect("a model"), true).expect("replaced");
    assert_eq!(work.remove.len(), 2);
    let lacks = crate::error::NotStarted {
        name: "b".into(),
        cause: Error::Lacks(vec!["no image".into()]),
    };
    assert!(work.leave_out(&[lacks]).is_empty());
    let (machine, recorder, cancel) = (model.machine(), Recorder::default(), Cancel::never());
    let report = carry_out(&machine, &other, work, OPTIONS, &recorder, &cancel)
        .await
        .expect("a report");
    assert_eq!(names(&report).0, ["a"]);
    assert_eq!(model.domid("b"), Some(2), "goes on as it was");
    assert_eq!(model.domid("a"), Some(3));
}
