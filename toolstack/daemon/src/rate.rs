//! A bound where a guest can cause lines of the log.

use std::time::{Duration, Instant};

/// Lets a few messages through per interval, and counts the others.
#[derive(Debug)]
pub struct RateLimit {
    burst: u32,
    interval: Duration,
    started: Instant,
    passed: u32,
    withheld: u64,
}

impl RateLimit {
    /// At most `burst` messages in each `interval`.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            started: Instant::now(),
            passed: 0,
            withheld: 0,
        }
    }

    /// Whether a message may be written now; `Some(n)` also tells how many were withheld before it.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.started) >= self.interval {
            self.started = now;
            self.passed = 0;
        }
        if self.passed >= self.burst {
            self.withheld = self.withheld.saturating_add(1);
            return None;
        }
        self.passed = self.passed.saturating_add(1);
        Some(std::mem::take(&mut self.withheld))
    }
}

/// What to say about messages that were withheld before this one.
pub fn not_shown(withheld: u64) -> String {
    match withheld {
        0 => String::new(),
        count => format!(" ({count} messages before this one not shown)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_is_cut_and_counted() {
        let start = Instant::now();
        let mut limit = RateLimit::new(3, Duration::from_secs(10));
        let passed = (0..1000).filter(|_| limit.pass(start).is_some()).count();
        assert_eq!(passed, 3);
        assert_eq!(limit.pass(start + Duration::from_secs(11)), Some(997));
        assert_eq!(limit.pass(start + Duration::from_secs(11)), Some(0));
    }
}
