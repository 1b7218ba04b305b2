//! Pauses between attempts, and what is told while nothing works.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::observe::{Event, Observer};

/// The first pause; each one that follows is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Whoever waits for a backend, or for libxl, goes on this soon after it is back.
const LONGEST: Duration = Duration::from_secs(16);

/// A pause before the next attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) until: Instant,
    pub(super) length: Duration,
}

impl Pause {
    /// The pause that follows another one.
    pub(super) fn after(previous: Option<Pause>) -> Pause {
        let doubled = previous.map(|pause| pause.length.saturating_mul(2));
        let length = doubled.map_or(FIRST, |length| length.min(LONGEST));
        Pause {
            until: Instant::now() + length,
            length,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }
}

/// Looks that failed, one after the other.
#[derive(Default)]
pub(super) struct Trouble {
    pause: Option<Pause>,
    told: Option<String>,
}

impl Trouble {
    /// A look failed. The same reason is told once.
    pub(super) fn had(&mut self, error: &Error, observer: &dyn Observer) {
        self.pause = Some(Pause::after(self.pause));
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            observer.observe(Event::Note(format!(
                "cannot supervise: {text}; trying again until it works"
            )));
            self.told = Some(text);
        }
    }

    /// A look succeeded.
    pub(super) fn is_over(&mut self, observer: &dyn Observer) {
        self.pause = None;
        if self.told.take().is_some() {
            observer.observe(Event::Note("supervising again".into()));
        }
    }

    pub(super) fn pause(&self) -> Option<Pause> {
        self.pause
    }
}
