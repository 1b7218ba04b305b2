//! What avpsctl does to a machine, tried on a model of one.

pub(crate) mod drivers;
mod enduring;
mod isolated;
mod killed;
mod own_domain;
mod placing;
mod serving;
mod starting;
mod stopping;
mod supervised;
mod supervising;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use crate::cancel::Cancel;
use crate::error::Result;
use crate::machine::model::Model;
use crate::observe::{Event, Observer};
use crate::order;
use crate::rundir::RunDir;
use crate::start::{self, Started};
use crate::supervise::Supervisor;

/// Keeps what it was told.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics inside").clone()
    }
}

impl Observer for Recorder {
    fn observe(&self, event: Event) {
        self.0
            .lock()
            .expect("no test panics inside")
            .push(event.to_string());
    }
}

/// Two guests: "a" with two disks, "b" with one.
pub(crate) fn plan() -> Plan {
    plan_with("")
}

/// The same with more keys in the table of "b".
pub(crate) fn plan_with(keys_of_b: &str) -> Plan {
    let text = format!(
        r#"
schema = "avps/1"
[platform]
name = "test"
[[domain]]
name = "a"
kernel = "/Image"
memory = "64MiB"
[[domain.block]]
image = "/a.img"
[[domain.block]]
image = "/ro.img"
readonly = true
memory = "foreign"
block_size = 4096
serial = "S1"
[[domain]]
name = "b"
kernel = "/Image"
memory = "32MiB"
vcpus = 2
{keys_of_b}
[[domain.block]]
image = "/b.img"
"#
    );
    plan_of(&text)
}

/// The plan of a document without errors.
pub(crate) fn plan_of(text: &str) -> Plan {
    let analysis = platform::analyse(text, "/");
    let findings = analysis.findings;
    analysis.plan.unwrap_or_else(|| panic!("{findings:?}"))
}

/// The smallest file that is a static program for the machine.
pub(crate) fn static_program() -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    // ELF-64, little-endian, ET_EXEC, EM_AARCH64, an entry; one program header, which is PT_LOAD.
    put(0, b"\x7fELF\x02\x01");
    put(16, &[2, 0, 183, 0]);
    put(24, &[64]);
    put(32, &[64]);
    put(54, &[56, 0, 1, 0]);
    put(64, &[1]);
    elf
}

pub(crate) const OPTIONS: start::Options = start::Options {
    timeout: Duration::from_secs(30),
    unpause: true,
};

pub(crate) async fn start(model: &Arc<Model>, domains: &[DomainPlan]) -> Result<Vec<Started>> {
    let recorder = Recorder::default();
    start::start(
        &model.machine(),
        &plan(),
        domains,
        OPTIONS,
        &recorder,
        &Cancel::never(),
    )
    .await
}

/// Starts a plan, supervises it, and does something meanwhile; tells what the supervisor said, and whether it ended by itself. It is cancelled
/// at the end of it unless it ended before.
pub(crate) async fn supervise<F: Future<Output = ()>>(
    model: &Arc<Model>,
    plan: &Plan,
    meanwhile: impl FnOnce(Arc<Model>) -> F,
) -> (Vec<String>, bool) {
    let dir = tempfile::tempdir().expect("temporary folder");
    supervise_in(&RunDir::new(dir.path()), model, plan, meanwhile).await
}

/// The same with a run directory that the test knows.
pub(crate) async fn supervise_in<F: Future<Output = ()>>(
    run: &RunDir,
    model: &Arc<Model>,
    plan: &Plan,
    meanwhile: impl FnOnce(Arc<Model>) -> F,
) -> (Vec<String>, bool) {
    let recorder = Arc::new(Recorder::default());
    let (canceller, cancel) = Cancel::pair();
    let machine = model.machine();
    // One after the other, so that their numbers are known.
    for domain in order::in_order(&plan.domains) {
        let (recorder, cancel) = (Recorder::default(), Cancel::never());
        start::start(&machine, plan, &[domain], OPTIONS, &recorder, &cancel)
            .await
            .expect("starts");
    }
    let run = run.clone();
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    let supervisor = Supervisor::new(machine, plan.clone(), run, OPTIONS.timeout, observer);
    let script = async {
        settle().await;
        meanwhile(model.clone()).await;
        settle().await;
        canceller.cancel();
        settle().await;
    };
    let ended_by_itself = async {
        supervisor.run(&cancel).await;
        !cancel.is_cancelled()
    };
    let (ended, ()) = tokio::join!(ended_by_itself, script);
    (recorder.lines(), ended)
}

/// Lets the supervisor do what there is to do.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
