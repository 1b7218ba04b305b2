//! How long to wait before a transaction that lost a race is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Limits for the retries of a transaction.
///
/// The server lets the first of several competing commits win, so some client always makes
/// progress. The waits grow and are spread at random, so that the losers do not meet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often the transaction is carried out at most, at least 1.
    pub attempts: u32,
    /// Upper limit of the wait after the first failure; it doubles from one to the next.
    pub first_wait: Duration,
    /// Upper limit of any wait.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// 1000 attempts, waits from 200 µs to 20 ms.
    fn default() -> Self {
        Self {
            attempts: 1000,
            first_wait: Duration::from_micros(200),
            longest_wait: Duration::from_millis(20),
        }
    }
}

/// One transaction's retries.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        // The only source of randomness in std: every RandomState has new keys.
        let random = RandomState::new().build_hasher().finish() | 1;
        Self {
            policy,
            failures: 0,
            random,
        }
    }

    /// Attempts that have failed so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure; how long to wait before the next attempt, `None` when it was the last.
    pub(crate) fn next_wait(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.attempts {
            return None;
        }
        let doubled = 1u32
            .checked_shl(self.failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let ceiling = self
            .policy
            .first_wait
            .saturating_mul(doubled)
            .min(self.policy.longest_wait);
        // xorshift64: no need for more than being different from the neighbour.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(
            self.random
                .checked_rem(nanos.saturating_add(1))
                .unwrap_or(0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_their_limits_and_end() {
        let policy = RetryPolicy {
            attempts: 50,
            ..RetryPolicy::default()
        };
        let mut backoff = Backoff::new(policy);
        let waits: Vec<Duration> = std::iter::from_fn(|| backoff.next_wait()).collect();
        assert_eq!(waits.len(), 49);
        assert!(waits[0] <= policy.first_wait);
        assert!(waits.iter().all(|wait| *wait <= policy.longest_wait));
        assert_eq!(backoff.failures(), 50);
    }

    #[test]
    fn two_losers_wait_differently() {
        let mut one = Backoff::new(RetryPolicy::default());
        let mut two = Backoff::new(RetryPolicy::default());
        let differ = (0..20).any(|_| one.next_wait() != two.next_wait());
        assert!(differ);
    }
}
