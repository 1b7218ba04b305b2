//! Times of an outage, told when all that come back run again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// An outage whose domains are being brought back.
pub(super) struct Recovery {
    began: Instant,
    /// When what was left of them was removed.
    removed: Option<Duration>,
    /// When those that serve were ready.
    served: Option<Duration>,
    all: BTreeSet<String>,
    /// Those that serve and do not run yet.
    servers: BTreeSet<String>,
    /// All that do not run yet.
    missing: BTreeSet<String>,
}

impl Recovery {
    pub(super) fn new(returning: &BTreeSet<String>, servers: BTreeSet<String>) -> Recovery {
        Recovery {
            began: Instant::now(),
            removed: None,
            served: None,
            all: returning.clone(),
            servers,
            missing: returning.clone(),
        }
    }

    pub(super) fn concerns(&self, name: &str) -> bool {
        self.all.contains(name)
    }

    /// What was left of its domains is removed.
    pub(super) fn removed(&mut self) {
        self.removed = Some(self.began.elapsed());
        if self.servers.is_empty() {
            self.served = self.removed;
        }
    }

    /// A domain runs. What is to be told when it was the last one.
    pub(super) fn runs(&mut self, name: &str) -> Option<String> {
        self.servers.remove(name);
        let now = self.began.elapsed();
        if self.servers.is_empty() {
            self.served.get_or_insert(now);
        }
        if !self.missing.remove(name) || !self.missing.is_empty() {
            return None;
        }
        let removed = self.removed.unwrap_or_default();
        let served = self.served.unwrap_or(now);
        Some(format!(
            "{} run again after {:.1} s: {:.1} s to remove what was left, {:.1} s until those that serve were ready, {:.1} s for \
             those they serve",
            super::outage::list(self.all.iter().map(String::as_str)),
            now.as_secs_f64(),
            removed.as_secs_f64(),
            served.saturating_sub(removed).as_secs_f64(),
            now.saturating_sub(served).as_secs_f64(),
        ))
    }
}
