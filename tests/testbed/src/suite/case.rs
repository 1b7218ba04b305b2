//! One result of a test run.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A test's result. A second try is a case of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Case {
    /// The JUnit suite it belongs to: `source`, `unit`, `bed` …
    pub(super) suite: String,
    /// Its name; unique within the suite.
    pub(super) name: String,
    /// How long it took.
    pub(super) time: Duration,
    /// How it ended.
    pub(super) verdict: Verdict,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// It passed.
    Passed,
    /// It failed, and this was seen.
    Failed(String),
    /// It failed, this was seen, and its second try passed.
    Flaky(String),
}

impl Case {
    /// A case that failed if something was seen.
    pub(super) fn new(
        suite: &str,
        name: impl Into<String>,
        time: Duration,
        failure: Option<String>,
    ) -> Self {
        Self {
            suite: suite.to_owned(),
            name: name.into(),
            time,
            verdict: failure.map_or(Verdict::Passed, Verdict::Failed),
        }
    }

    /// What was seen, if it failed.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Failed(seen) => Some(seen),
            Verdict::Passed | Verdict::Flaky(_) => None,
        }
    }

    /// What was seen, if it failed and then passed.
    pub(super) fn flaky(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Flaky(seen) => Some(seen),
            Verdict::Passed | Verdict::Failed(_) => None,
        }
    }

    /// Whether it passed at its first try, or is a second try that passed.
    pub(super) fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}
