//! The log: to standard error, and bounded where a guest can cause the lines.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::cli::LogLevel;

/// Starts the log of this process.
pub(crate) fn start(level: LogLevel) {
    let filter = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Fails only when a log was started before: then that one goes on.
    let _ = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        // A console that nobody has described is no place for colours: that of a domain is kept in a file.
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some())
        .with_target(false)
        .try_init();
}

/// Lets a few messages through per interval, and counts the others.
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    interval: Duration,
    started: Instant,
    passed: u32,
    withheld: u64,
}

impl RateLimit {
    /// At most `burst` messages in each `interval`.
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            started: Instant::now(),
            passed: 0,
            withheld: 0,
        }
    }

    /// Whether a message may be written now; `Some(n)` also tells how many were withheld before it.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
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
pub(crate) fn not_shown(withheld: u64) -> String {
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
