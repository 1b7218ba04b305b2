//! How long a queue's thread that has run out of work looks for more before it sleeps.
//!
//! To sleep and be woken costs a notification that stops the guest's vCPU, two switches of threads, and often two of
//! vCPUs. Looking costs CPU time that others may need, so it is bounded by the time that work has lately taken: a
//! thread that works little looks for little. Looks in vain are given up after a few, and tried again rarely.

use std::time::Duration;

/// Looks last this many times as long as the work before them.
const FACTOR: u32 = 4;
/// No look is longer.
const LONGEST: Duration = Duration::from_millis(2);
/// Looks in vain in a row after which only each [`RARELY`]th is made.
const ENOUGH: u32 = 4;
const RARELY: u32 = 32;

/// What the last looks teach about the next.
#[derive(Debug, Default)]
pub(super) struct Spin {
    /// Time from waking to having nothing more to do, lately.
    work: Duration,
    /// Looks in vain, or not made, in a row.
    vain: u32,
}

impl Spin {
    /// Some work has ended that took this long.
    pub(super) fn worked(&mut self, time: Duration) {
        // Half of what it was, half of what it is.
        self.work = self
            .work
            .saturating_add(time)
            .checked_div(2)
            .unwrap_or(time);
    }

    /// How long to look now.
    pub(super) fn limit(&mut self) -> Duration {
        if self.vain >= ENOUGH && !self.vain.is_multiple_of(RARELY) {
            self.vain = self.vain.wrapping_add(1).max(ENOUGH);
            return Duration::ZERO;
        }
        self.work.saturating_mul(FACTOR).min(LONGEST)
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, found: bool) {
        self.vain = match found {
            true => 0,
            false => self.vain.wrapping_add(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_micros(20);

    #[test]
    fn a_look_is_bounded_by_the_work_and_for_good() {
        let mut spin = Spin::default();
        assert_eq!(spin.limit(), Duration::ZERO);
        for (work, longest) in [(WORK, WORK * FACTOR), (Duration::from_secs(9), LONGEST)] {
            for _ in 0..20 {
                spin.worked(work);
            }
            let limit = spin.limit();
            assert!(limit > longest / 2 && limit <= longest, "{limit:?}");
        }
    }

    #[test]
    fn looks_in_vain_become_rare_and_one_that_finds_brings_them_back() {
        let mut spin = Spin::default();
        spin.worked(WORK);
        let mut looks = 0_u32;
        for _ in 0..1000 {
            if spin.limit() > Duration::ZERO {
                looks += 1;
                spin.looked(false);
            }
        }
        assert!(looks <= ENOUGH + 1000 / RARELY + 1, "{looks}");
        while spin.limit() == Duration::ZERO {}
        spin.looked(true);
        assert!((0..ENOUGH).all(|_| {
            let looks = spin.limit() > Duration::ZERO;
            spin.looked(false);
            looks
        }));
    }
}
