//! CPU pools, and domains that serve others.

use platform::plan::Plan;

use super::{OPTIONS, Recorder, plan_of};
use crate::cancel::Cancel;
use crate::error::{Error, Exit, NotStarted, Result};
use crate::machine::Machine;
use crate::machine::model::Model;
use crate::start::{self, Started};
use crate::{applied, keys, pools};

fn plan(text: &str) -> Plan {
    let head = "schema = \"avps/1\"\n[platform]\nname = \"test\"\n";
    plan_of(&format!("{head}{text}"))
}

fn pooled() -> Plan {
    plan(
        "[machine]\ncpus = 2\n[[cpupool]]\nname = \"fast\"\ncpus = [1]\nscheduler = \"null\"\n\
         [[domain]]\nname = \"a\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\ncpupool = \"fast\"\ncpus = [1]\n",
    )
}

fn served() -> Plan {
    plan(
        "[xen]\nflask = \"enforcing\"\n\
         [[domain]]\nname = \"storage\"\nkind = \"driver\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n\
         [[domain]]\nname = \"a\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\nafter = [\"storage\"]\n\
         [[domain.block]]\nimage = \"/a.img\"\nbackend = \"storage\"\n",
    )
}

async fn start(machine: &Machine, plan: &Plan) -> Result<Vec<Started>> {
    let recorder = Recorder::default();
    start::start(
        machine,
        plan,
        &plan.domains,
        OPTIONS,
        &recorder,
        &Cancel::never(),
    )
    .await
}

/// Number and CPUs of each pool.
fn cpus(machine: &Machine) -> Vec<(u32, Vec<u32>)> {
    let pools = machine.domains.pools().expect("a model");
    pools.into_iter().map(|pool| (pool.id, pool.cpus)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_made_of_cpus_of_the_first_one_and_given_back_when_nothing_runs_in_it() {
    let model = Model::new();
    let machine = model.machine();
    let plan = pooled();
    start(&machine, &plan).await.expect("starts");
    assert_eq!(cpus(&machine), [(0, vec![0]), (1, vec![1])]);
    let guest = machine.find("a").expect("it runs");
    assert_eq!(guest.cpupool, 1);
    assert_eq!(
        model.log()[..3],
        ["CPU 1 out of pool 0", "pool fast of [1]", "create a"]
    );

    let told = pools::give_back(&machine, &plan).expect("a model");
    assert_eq!(told, ["CPU pool fast: kept, 1 domain(s) run in it"]);
    machine.domains.destroy(guest.domid).expect("a model");
    pools::give_back(&machine, &plan).expect("a model");
    assert_eq!(cpus(&machine), [(0, vec![0, 1])]);
}

#[tokio::test(start_paused = true)]
async fn when_a_domain_cannot_be_made_its_pool_is_gone_again() {
    let model = Model::new();
    let machine = model.machine();
    model.fail_create("a");
    start(&machine, &pooled()).await.expect_err("refused");
    assert_eq!(cpus(&machine), [(0, vec![0, 1])]);
    assert_eq!(model.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn when_a_pool_cannot_be_made_its_cpus_go_back_and_nothing_is_created() {
    let model = Model::new();
    let machine = model.machine();
    model.fail_create("fast");
    let error = start(&machine, &pooled()).await.expect_err("refused");
    assert!(error.to_string().contains("the pool"), "{error}");
    assert_eq!(cpus(&machine), [(0, vec![0, 1])]);
    assert!(!model.log().iter().any(|line| line.starts_with("create")));
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_rtds_stays_because_xen_does_not_survive_its_end() {
    let model = Model::new();
    let machine = model.machine();
    let mut plan = pooled();
    plan.xen.cpupools[0].scheduler = platform::plan::Scheduler::Rtds;
    model.fail_create("a");
    let error = start(&machine, &plan).await.expect_err("refused");
    assert!(
        matches!(&error, Error::Remains { remains, .. } if remains[0].contains("CPU pool fast")),
        "{error}"
    );
    let there = [(0, vec![0]), (1, vec![1])];
    assert_eq!(cpus(&machine), there);
    let told = pools::give_back(&machine, &plan).expect("a model");
    assert!(told[0].starts_with("CPU pool fast: kept"), "{told:?}");
    assert_eq!(cpus(&machine), there);
}

#[tokio::test(start_paused = true)]
async fn a_pool_made_at_boot_is_used_under_its_own_name_and_stays() {
    let model = Model::new();
    let machine = model.machine();
    let plan = pooled();
    let mut at_boot = plan.xen.cpupools[0].clone();
    at_boot.name = "Pool-1".into();
    machine.domains.remove_cpu(0, 1).expect("a model");
    machine
        .domains
        .create_pool(&at_boot, "somebody's")
        .expect("a model");
    start(&machine, &plan).await.expect("starts");
    let guest = machine.find("a").expect("it runs");
    assert_eq!(guest.cpupool, 1);
    machine.domains.destroy(guest.domid).expect("a model");
    pools::give_back(&machine, &plan).expect("a model");
    assert_eq!(cpus(&machine), [(0, vec![0]), (1, vec![1])]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_otherwise_than_the_document_says_is_told_and_left_alone() {
    let model = Model::new();
    let machine = model.machine();
    let plan = pooled();
    let mut other = plan.clone();
    other.xen.cpupools[0].scheduler = platform::plan::Scheduler::Rtds;
    start(&machine, &other).await.expect("starts");
    let error = pools::compare(&machine, &plan).expect_err("differs");
    assert!(
        error
            .to_string()
            .contains("with scheduler rtds here, and have null"),
        "{error}"
    );

    let mut beyond = plan.clone();
    beyond.platform = "another".into();
    beyond.xen.cpupools[0].name = "far".into();
    for (cpus, why) in [
        (vec![0], "scheduler credit2 here, and have null"),
        (vec![7], "this machine has 2 CPUs, and no CPU 7"),
        (
            vec![0, 1],
            "it has CPUs 0 here, and CPUs 0, 1 in the document",
        ),
    ] {
        beyond.xen.cpupools[0].cpus = cpus;
        let error = pools::compare(&machine, &beyond).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_for_a_scheduler_that_does_not_run_is_refused() {
    let model = Model::new();
    let mut plan = pooled();
    plan.domains[0].rtds = Some(platform::plan::RtdsShare {
        period_us: 10_000,
        budget_us: 2_000,
    });
    let error = start(&model.machine(), &plan).await.expect_err("refused");
    assert!(error.to_string().contains("has a share of rtds"), "{error}");
    assert_eq!(cpus(&model.machine()), [(0, vec![0, 1])]);
}

#[tokio::test(start_paused = true)]
async fn a_domain_is_created_when_the_domain_that_serves_it_runs_and_is_ready() {
    let model = Model::new();
    let machine = model.machine();
    // Whoever runs in the driver domain says so as soon as it is there.
    let for_hook = std::sync::Arc::downgrade(&model);
    model.on_create(move |domid| {
        if let Some(model) = for_hook.upgrade().filter(|_| domid == 1) {
            model.set(&format!("{}/ready", keys::backend_folder(1)), "1");
        }
    });
    let plan = served();
    start(&machine, &plan).await.expect("starts");
    let steps: Vec<_> = model
        .log()
        .into_iter()
        .filter(|line| line.starts_with("create") || line.starts_with("unpause"))
        .collect();
    assert_eq!(
        steps,
        ["create storage", "unpause 1", "create a", "unpause 2"]
    );
    // Made of avps-backend, read by libxl, and gone: the guest's own is none of ours.
    let read: Vec<_> = model
        .log()
        .into_iter()
        .filter(|line| line.starts_with("read"))
        .collect();
    assert_eq!(read, ["read the ramdisk of storage"]);
    assert_eq!(model.ramdisks(), 0);
    let image = "/local/domain/1/backend/virtio/2/0/avps/image";
    assert_eq!(model.nodes().get(image).map(String::as_str), Some("/a.img"));
    let statuses = crate::compare::compare(&machine, &plan).expect("a model");
    assert!(
        statuses
            .iter()
            .all(|(_, status)| matches!(status, crate::compare::Status::Matches { .. })),
        "{statuses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_driver_domain_that_nothing_can_be_made_for_is_not_created() {
    let model = Model::new();
    std::fs::remove_file(model.program()).expect("there");
    let error = start(&model.machine(), &served())
        .await
        .expect_err("no program");
    assert!(matches!(error, Error::NoRamdisk(_)), "{error}");
    assert!(error.to_string().contains("there is no"), "{error}");
    assert_eq!(model.names(), Vec::<String>::new());
    let mut own = served();
    own.domains[0].ramdisk_generated = false;
    let error = start(&model.machine(), &own)
        .await
        .expect_err("nobody serves");
    assert!(nobody_serves(&error), "{error}");
}

/// "storage" runs, and "a" was not created because nothing serves there.
fn nobody_serves(error: &Error) -> bool {
    let Error::NotStarted { failed, running } = error else {
        return false;
    };
    let not_running =
        |one: &NotStarted| matches!(one.cause, Error::BackendNotRunning { domid: 1, .. });
    running == &["storage"] && failed.len() == 1 && failed.iter().all(not_running)
}

#[test]
fn where_a_ramdisk_would_be_written_makes_no_other_domain() {
    let here = served().domains[0].clone();
    let mut there = here.clone();
    there.ramdisk = Some("/elsewhere/storage.ramdisk.cpio".into());
    assert_eq!(applied::digest(&here), applied::digest(&there));
    there.ramdisk_generated = false;
    assert_ne!(applied::digest(&here), applied::digest(&there));
}

#[tokio::test(start_paused = true)]
async fn without_a_backend_in_the_driver_domain_its_guest_is_not_started_and_it_keeps_running() {
    let model = Model::new();
    let error = start(&model.machine(), &served())
        .await
        .expect_err("nobody serves");
    assert!(nobody_serves(&error), "{error}");
    assert_eq!(error.exit(), Exit::Partly);
    assert_eq!(model.names(), ["storage"]);
}
