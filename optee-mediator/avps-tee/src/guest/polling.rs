//! Whether it pays for a thread to look for a guest's next call itself.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock;

/// How long a thread looks for a guest's next call itself, and how soon that must have come the last time: so many times as long
/// as the last call took, and not longer than this.
const SOON: (u32, Duration) = (4, Duration::from_millis(4));

/// When a guest called and was answered.
#[derive(Debug)]
pub(super) struct PollGuard {
    allowed: bool,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    called: Option<Instant>,
    answered: Option<Instant>,
    /// The next call is soon if it comes within this.
    soon: Duration,
    /// The last one was.
    was_soon: bool,
}

impl PollGuard {
    pub(super) fn new(allowed: bool) -> Self {
        Self {
            allowed,
            times: Mutex::default(),
        }
    }

    pub(super) fn called(&self) {
        let (mut times, now) = (lock(&self.times), Instant::now());
        times.was_soon = times
            .answered
            .is_some_and(|answered| now - answered < times.soon);
        times.called = Some(now);
    }

    pub(super) fn answered(&self) {
        let (mut times, now) = (lock(&self.times), Instant::now());
        let (factor, most) = SOON;
        if let Some(called) = times.called.take() {
            times.soon = most.min((now - called) * factor);
        }
        times.answered = Some(now);
    }

    /// How long after an answer it pays to look for the next call.
    pub(super) fn pays(&self) -> Option<Duration> {
        let times = lock(&self.times);
        (self.allowed && times.was_soon).then_some(times.soon)
    }
}
