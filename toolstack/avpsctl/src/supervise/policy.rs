//! What the document wants when a domain ends, and how often it may be started again.

use std::collections::VecDeque;
use std::time::Duration;

use platform::plan::{Action, DomainPlan};
use tokio::time::Instant;

use crate::error::Error;
use crate::machine::ShutdownReason;

/// Restarts of one domain that are allowed within [`WINDOW`].
pub const MAX_RESTARTS: usize = 5;
/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What is done about a domain that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Remove it and start it again.
    Restart,
    /// Remove it.
    Remove,
    /// Leave it as it is.
    Keep,
    /// It ended too often: remove it.
    GiveUp,
}

impl Decision {
    pub(super) fn words(self) -> &'static str {
        match self {
            Decision::Restart => "starting it again",
            Decision::Remove => "removing it",
            Decision::Keep => "kept as it is, for examination",
            Decision::GiveUp => "it ended too often in a short time and is removed",
        }
    }
}

/// Recent restarts of one domain. Bounded: never more than [`MAX_RESTARTS`] entries.
#[derive(Debug, Default)]
pub struct History(VecDeque<Instant>);

impl History {
    /// Decides what follows when a domain ended at `now`, and counts a restart if that is it.
    pub fn decide(&mut self, plan: &DomainPlan, reason: ShutdownReason, now: Instant) -> Decision {
        match action(plan, reason) {
            Action::Destroy => Decision::Remove,
            Action::Preserve => Decision::Keep,
            Action::Restart if self.count(now) => Decision::Restart,
            Action::Restart => Decision::GiveUp,
        }
    }

    /// Counts a restart; `false` when there were too many.
    pub(super) fn count(&mut self, now: Instant) -> bool {
        while self
            .0
            .front()
            .is_some_and(|then| now.duration_since(*then) >= WINDOW)
        {
            self.0.pop_front();
        }
        if self.0.len() >= MAX_RESTARTS {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

/// Whether a start failed because somebody who has to serve the domain is not there, or does not answer. That says nothing about the
/// domain: it is tried as long as it takes, and none of it counts as a restart.
pub(super) fn is_outage(error: &Error) -> bool {
    match error {
        Error::BackendNotRunning { .. }
        | Error::BackendTimeout { .. }
        | Error::NoBackendDomain { .. }
        | Error::NoMediator { .. }
        | Error::MediatorTimeout { .. }
        | Error::Store(_) => true,
        Error::Remains { cause, .. } => is_outage(cause),
        _ => false,
    }
}

/// What the document wants when a domain ends in this way.
pub(super) fn action(plan: &DomainPlan, reason: ShutdownReason) -> Action {
    match reason {
        ShutdownReason::Poweroff => plan.on_poweroff,
        ShutdownReason::Reboot => plan.on_reboot,
        ShutdownReason::Crash | ShutdownReason::Watchdog | ShutdownReason::Unknown => plan.on_crash,
        // Nobody here saves and resumes guests; whoever asked for it knows what to do with it.
        ShutdownReason::Suspend => Action::Preserve,
    }
}

/// How a domain ended, for people.
pub(super) fn reason_words(reason: ShutdownReason) -> &'static str {
    match reason {
        ShutdownReason::Poweroff => "powered off",
        ShutdownReason::Reboot => "rebooted",
        ShutdownReason::Suspend => "suspended itself",
        ShutdownReason::Crash => "crashed",
        ShutdownReason::Watchdog => "its watchdog ran out",
        ShutdownReason::Unknown => "ended for an unknown reason",
    }
}
