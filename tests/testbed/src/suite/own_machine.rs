//! Tests that boot a machine of their own: a document with a control domain and guests that Xen itself starts.

use super::case::Case;
use super::report::Report;
use super::{Context, Failed, Outcome};
use crate::failure::Failure;
use crate::oracle::{Content, Oracle, documents};
use crate::progress::Step;
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::{Machine, SERIAL_LOG};
use platform::Plan;
use platform::plan::{DomainKind, Module};
use std::sync::Arc;
use std::time::Instant;

/// Such a test.
pub(super) struct Test {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// Of its logs and files.
    pub(super) folder: &'static str,
    /// What it does first, for people who wait.
    pub(super) boots: &'static str,
}

impl Test {
    /// Boots the machine, runs `body` on it and reports what came of that. The machine is switched off outright: its control
    /// domain need not live any more.
    pub(super) fn run(
        &self,
        media: &Media,
        machine: &Machine,
        report: &Report,
        body: impl FnOnce(&Context, &Step) -> Outcome,
    ) -> Result<(), Failure> {
        let step = Step::begin("dom0less", self.boots);
        let began = Instant::now();
        let bed = Arc::new(Bed::boot(media, machine, self.folder)?);
        let context = Context::new(Arc::clone(&bed));
        let outcome = body(&context, &step);
        step.done("done");
        let logs = bed.logs().display().to_string();
        let failure = outcome
            .err()
            .map(|Failed(seen)| format!("{seen}\nLogs: {logs}"));
        report.case(Case::new("bed", self.name, began.elapsed(), failure));
        for note in context.notes() {
            report.aside(&note);
        }
        bed.kill();
        Ok(())
    }
}

/// The machine of a plan, with `content` for its modules.
pub(super) fn laid_out(
    oracle: &Oracle,
    plan: &Plan,
    folder: &str,
    content: &dyn Fn(&Module) -> Content,
) -> Result<Machine, Failure> {
    let layout = documents::layout(oracle, plan, content)?;
    let layout =
        layout.ok_or_else(|| Failure::new(format!("{} cannot be emitted", plan.platform)))?;
    Ok(Machine {
        memory_mib: layout.machine.memory_mib,
        cpus: layout.machine.cpus,
        layout: Some(oracle.files(folder, &layout)?),
        ..Machine::default()
    })
}

/// Whether a module is the control domain's.
pub(super) fn is_control(plan: &Plan, module: &Module) -> bool {
    let domain = plan.domain(&module.domain);
    domain.is_some_and(|domain| domain.kind == DomainKind::Control)
}

/// What is on Xen's console so far.
pub(super) fn console(context: &Context) -> Result<String, Failed> {
    let bytes = std::fs::read(context.bed().logs().join(SERIAL_LOG))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
