//! When to start a worker again after it died.
//!
//! A worker's death must cost the guest a delay and nothing else, so the first restarts come at once. But
//! a worker that dies of what the guest feeds it must not turn the machine into a fork loop: short lives
//! in a row are answered with growing pauses, and a budget bounds the long run. The holder never
//! gives up for good (the guest's vCPU would wait for ever); it slows down and says so.

use std::time::{Duration, Instant};

/// A worker that served at least this long was well: the next restart is immediate.
const HEALTHY: Duration = Duration::from_millis(300);
/// First pause after a short life; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short lives in a row before the guest's devices show an error.
const SHORT_LIVES: u32 = 8;
/// Pause once in trouble.
const SLOW_PAUSE: Duration = Duration::from_secs(30);
/// Restarts that may be spent at once; one comes back each second.
const BUDGET: u32 = 300;

/// What to do about a dead worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Start the next one after this long.
    pub(crate) pause: Duration,
    /// The cap is reached: tell the user.
    pub(crate) trouble: bool,
}

/// Memory of one guest's worker deaths.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    total: u64,
    short_lives: u32,
    budget: u32,
    refilled: Instant,
}

impl Restarts {
    /// No deaths yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            total: 0,
            short_lives: 0,
            budget: BUDGET,
            refilled: now,
        }
    }

    /// Deaths so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The worker is dead. `served_since` is when it said it was ready, if it ever did.
    pub(crate) fn died(&mut self, now: Instant, served_since: Option<Instant>) -> Verdict {
        self.total = self.total.saturating_add(1);
        self.refill(now);
        let healthy =
            served_since.is_some_and(|since| now.saturating_duration_since(since) >= HEALTHY);
        self.short_lives = if healthy {
            0
        } else {
            self.short_lives.saturating_add(1)
        };
        if self.short_lives > SHORT_LIVES || self.budget == 0 {
            return Verdict {
                pause: SLOW_PAUSE,
                trouble: true,
            };
        }
        self.budget = self.budget.saturating_sub(1);
        let pause = match self.short_lives.checked_sub(1) {
            None | Some(0) => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE
                .saturating_mul(1_u32.checked_shl(doublings.saturating_sub(1)).unwrap_or(1)),
        };
        Verdict {
            pause,
            trouble: false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.refilled = now;
            let gained = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.budget = self.budget.saturating_add(gained).min(BUDGET);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_killed_every_half_second_is_restarted_at_once_two_hundred_times() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        for kill in 0..200 {
            let ready = now;
            now += Duration::from_millis(500);
            let verdict = restarts.died(now, Some(ready));
            assert_eq!(verdict.pause, Duration::ZERO, "kill {kill}");
            assert!(!verdict.trouble);
        }
        assert_eq!(restarts.total(), 200);
    }

    #[test]
    fn a_worker_that_dies_at_birth_is_slowed_down_and_told() {
        let now = Instant::now();
        let mut restarts = Restarts::new(now);
        let verdicts: Vec<Verdict> = (0..10).map(|_| restarts.died(now, None)).collect();
        assert_eq!(verdicts[0].pause, Duration::ZERO);
        assert!(
            verdicts
                .windows(2)
                .all(|pair| pair[0].pause <= pair[1].pause)
        );
        assert_eq!(verdicts.iter().filter(|verdict| verdict.trouble).count(), 2);
        assert_eq!(verdicts[9].pause, SLOW_PAUSE);
    }

    #[test]
    fn a_restart_storm_starts_a_bounded_number_of_processes() {
        let mut now = Instant::now();
        let start = now;
        let mut restarts = Restarts::new(now);
        let mut started = 0;
        while now.duration_since(start) < Duration::from_secs(600) {
            let verdict = restarts.died(now, None);
            now += verdict.pause + Duration::from_millis(1);
            started += 1;
        }
        assert!(started < 40, "{started} processes in ten minutes");
    }

    #[test]
    fn workers_that_live_just_long_enough_run_into_the_budget() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        let trouble = (0..1000).any(|_| {
            let ready = now;
            now += HEALTHY;
            restarts.died(now, Some(ready)).trouble
        });
        assert!(trouble);
    }

    #[test]
    fn one_healthy_life_forgives_the_short_ones() {
        let now = Instant::now();
        let mut restarts = Restarts::new(now);
        for _ in 0..20 {
            restarts.died(now, None);
        }
        let verdict = restarts.died(now + HEALTHY, Some(now));
        assert_eq!(verdict.pause, Duration::ZERO);
        assert!(!verdict.trouble);
    }
}
