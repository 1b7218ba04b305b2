//! A platform document in dom0, started and ended by avpsctl.

use super::guests::{self, DOCUMENTS};
use super::{Context, Failed, Outcome};
use platform::{Plan, Severity};
use std::time::Duration;

/// The document, and its plan.
pub(super) struct Document {
    /// Path in dom0.
    pub(super) path: String,
    pub(super) plan: Plan,
    /// Longest time of a command.
    time: Duration,
}

impl Document {
    /// Puts a document without errors where documents are.
    pub(super) fn put(
        context: &Context,
        name: &str,
        text: &str,
        time: Duration,
    ) -> Result<Self, Failed> {
        let analysis = platform::analyse(text, DOCUMENTS);
        let plan = analysis.plan.ok_or_else(|| {
            let errors = analysis.findings.iter();
            let errors = errors.filter(|finding| finding.severity == Severity::Error);
            let errors: Vec<String> = errors
                .map(|finding| format!("{} at {}", finding.message, finding.at))
                .collect();
            Failed(format!("{name}: {}", errors.join("; ")))
        })?;
        let path = format!("{DOCUMENTS}/{name}.avps.toml");
        context.dom0().put_bytes(text.as_bytes(), &path, 0o644)?;
        Ok(Self { path, plan, time })
    }

    pub(super) fn up(&self, context: &Context) -> Outcome {
        let seconds = self.time.as_secs().to_string();
        let up = ["avpsctl", "up", "--timeout", &seconds, &self.path];
        context.dom0().command(up).time(self.time).text()?;
        Ok(())
    }

    /// Ends it, whatever `outcome` is.
    pub(super) fn down(&self, context: &Context, outcome: Outcome) -> Outcome {
        let down = ["avpsctl", "down", "--timeout", "0", "--force", &self.path];
        let ended = context.dom0().command(down).time(self.time).text();
        outcome?;
        ended?;
        guests::nothing_left(&context.dom0())
    }
}
