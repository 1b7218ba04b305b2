//! One run of `cargo xtask test`: which cases, their results, and what all groups share.

use super::report::Report;
use super::tiers;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// What every change must pass.
    Gate,
    /// Everything.
    Full,
}

impl Tier {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Full => "full",
        }
    }
}

/// A run under way; its lanes share it.
pub(super) struct Run {
    /// Where results go.
    pub(super) report: Report,
    /// Which cases.
    pub(super) tier: Tier,
    /// Only cases whose name holds this text; then the gate's table of what it leaves out does not count.
    pub(super) filter: Option<String>,
    /// Of the whole run.
    second_tries: Arc<AtomicU32>,
}

impl Run {
    /// Nothing has run yet.
    pub(super) fn new(
        report: Report,
        tier: Tier,
        filter: Option<String>,
        second_tries: u32,
    ) -> Self {
        Self {
            report,
            tier,
            filter,
            second_tries: Arc::new(AtomicU32::new(second_tries)),
        }
    }

    /// The same run, as a group sees it.
    pub(super) fn of_group(&self, group: &'static str) -> Self {
        Self {
            report: self.report.of_group(group),
            tier: self.tier,
            filter: self.filter.clone(),
            second_tries: Arc::clone(&self.second_tries),
        }
    }

    /// Whether this case is to run.
    pub(super) fn wants(&self, name: &str) -> bool {
        match &self.filter {
            Some(filter) => name.contains(filter.as_str()),
            None => self.tier == Tier::Full || !tiers::is_full_only(name),
        }
    }

    /// Whether this case is to run; if not, it counts as skipped.
    pub(super) fn wants_or_skips(&self, name: &str) -> bool {
        let wanted = self.wants(name);
        if !wanted {
            self.report.skip(1);
        }
        wanted
    }

    /// Takes one of the run's second tries, if any is left.
    pub(super) fn take_second_try(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.second_tries
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_tries_are_those_of_the_whole_run() {
        let run = Run::new(Report::new(true), Tier::Gate, None, 2);
        assert!(run.take_second_try());
        assert!(run.take_second_try());
        assert!(!run.take_second_try());
        assert!(!run.take_second_try());
    }

    #[test]
    fn a_filter_reaches_cases_of_the_full_tier() {
        let Some(name) = tiers::FULL_ONLY.first().map(|moved| moved.case) else {
            return;
        };
        let gate = Run::new(Report::new(true), Tier::Gate, None, 0);
        assert!(!gate.wants(name));
        let full = Run::new(Report::new(true), Tier::Full, None, 0);
        assert!(full.wants(name));
        let named = Run::new(Report::new(true), Tier::Gate, Some(name.to_owned()), 0);
        assert!(named.wants(name));
        assert!(!named.wants("another"));
    }
}
