//! What a test of the bed has to work with.

use super::run::Tier;
use crate::run::bed::Bed;
use agent::client::Remote;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a test failed: what was seen, for a person.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) String);

/// How a test ended.
pub(crate) type Outcome = Result<(), Failed>;

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        Self(text)
    }
}

/// Fails with what was seen unless `condition` holds.
pub(crate) fn ensure<T: Display>(condition: bool, seen: impl FnOnce() -> T) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Failed(seen().to_string()))
    }
}

/// One booted bed, and a place for figures.
pub(crate) struct Context {
    bed: Arc<Bed>,
    tier: Tier,
    notes: Mutex<Vec<String>>,
}

impl Context {
    /// A context on this bed.
    pub(crate) fn new(bed: Arc<Bed>) -> Self {
        Self {
            bed,
            tier: Tier::Full,
            notes: Mutex::default(),
        }
    }

    /// The same, in a run of this tier.
    pub(super) fn of_tier(self, tier: Tier) -> Self {
        Self { tier, ..self }
    }

    /// How much of something is done: so much in the gate, so much in the full tier.
    pub(super) fn amount<T>(&self, gate: T, full: T) -> T {
        match self.tier {
            Tier::Gate => gate,
            Tier::Full => full,
        }
    }

    /// The machine.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }

    /// dom0's agent.
    pub(crate) fn dom0(&self) -> Remote {
        self.bed.dom0()
    }

    /// A running guest's agent, over its console; waits for it. Call it again after the guest was restarted.
    pub(crate) fn guest(&self, name: &str) -> Result<Remote, Failed> {
        Ok(self.bed.guest(name, Duration::from_secs(60))?)
    }

    /// A time limit that was set for an idle host, for this machine: longer where the boot already took longer.
    pub(crate) fn within(&self, idle: Duration) -> Duration {
        self.dom0().within(idle)
    }

    /// Runs a line in dom0's shell; anything but code 0 fails the test. Returns standard output.
    pub(crate) fn sh(&self, line: &str) -> Result<String, Failed> {
        Ok(self.dom0().shell(line).text()?)
    }

    /// Says something worth knowing although the test passed; printed below its line.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    /// What was noted.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
