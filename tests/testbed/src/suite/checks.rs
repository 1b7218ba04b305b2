//! Checks of the source: formatting and lints.

use super::case::Case;
use super::report::Report;
use crate::paths;
use crate::process::{Error, Run};
use crate::progress::Step;
use std::path::PathBuf;
use std::time::Instant;

/// Where the checks' output is.
pub(super) fn log(name: &str) -> PathBuf {
    paths::tree_target()
        .join("checks")
        .join(format!("{name}.log"))
}

/// rustfmt and clippy.
pub(super) const CHECKS: [Check; 2] = [
    Check {
        name: "source: formatted as rustfmt does",
        log: "format",
        arguments: &["fmt", "--all", "--check"],
    },
    Check {
        name: "source: clippy has nothing to say",
        log: "clippy",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            // What only the bed builds.
            "--features",
            "avps-backend/probe",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    },
];

/// One call of cargo that must succeed.
pub(super) struct Check {
    /// As a test.
    pub(super) name: &'static str,
    log: &'static str,
    arguments: &'static [&'static str],
}

impl Check {
    /// Runs it.
    pub(super) fn run(&self, report: &Report) -> Result<(), Error> {
        let log = log(self.log);
        let step = Step::begin(self.log, "running");
        let began = Instant::now();
        let ended = cargo(&log, self.arguments).run();
        drop(step);
        let failure = match ended {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => Some(error.to_string()),
            Ok(()) => None,
        };
        let time = began.elapsed();
        report.case(Case::new("source", self.name, time, failure));
        Ok(())
    }
}

/// A call of cargo in the workspace, with a new log.
pub(super) fn cargo(log: &std::path::Path, arguments: &[&str]) -> Run {
    // A log that cannot be removed is appended to.
    let _ = std::fs::remove_file(log);
    Run::new("cargo")
        .args(arguments)
        .current_dir(paths::workspace())
        .log(log)
}
