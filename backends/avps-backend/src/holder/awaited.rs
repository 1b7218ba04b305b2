//! Devices whose image is not there yet: a disk that the kernel is still looking for is waited for, and not for long.
//!
//! Meanwhile the device stays at "attaching": its window answers as an empty slot, and the toolstack, which waits for state 2,
//! keeps its guest paused.

use std::time::{Duration, Instant};

use super::Holder;
use crate::image::ImageError;
use crate::lifecycle::Input;
use crate::parameters::BlockParameters;
use crate::store::folder::DeviceKey;

/// How long a disk may take to appear. A disk that another domain serves is there when that one's backend is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const RETRY: Duration = Duration::from_millis(200);

/// A device that waits.
#[derive(Debug)]
pub(super) struct Awaited {
    parameters: BlockParameters,
    since: Instant,
    next: Instant,
}

impl Awaited {
    fn new(parameters: BlockParameters, now: Instant) -> Self {
        Self {
            parameters,
            since: now,
            next: later(now),
        }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether there is no point in looking again.
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PATIENCE
    }
}

fn later(now: Instant) -> Instant {
    now.checked_add(RETRY).unwrap_or(now)
}

/// Why a device cannot be served now.
#[derive(Debug)]
pub(super) struct Refusal {
    text: String,
    /// Its image may be there in a moment.
    may_come: bool,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self {
            text,
            may_come: false,
        }
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self {
            text: error.to_string(),
            may_come: error.may_come(),
        }
    }
}

impl Holder {
    /// Opens a device's image, or waits for it.
    pub(super) fn open_now(&mut self, key: DeviceKey, parameters: BlockParameters) {
        self.awaited.remove(&key);
        // Closed, or gone, since it was to be opened.
        if !self.is_without_image(key) {
            return;
        }
        let Err(refusal) = self.open(key, &parameters) else {
            return;
        };
        if !refusal.may_come {
            self.feed(key, Input::Failed(refusal.text));
            return;
        }
        tracing::info!("{key}: waiting for {}", parameters.image.display());
        self.awaited
            .insert(key, Awaited::new(parameters, Instant::now()));
    }

    /// Looks again for what is due.
    pub(super) fn tend_awaited(&mut self, now: Instant) {
        let due: Vec<DeviceKey> = self
            .awaited
            .iter()
            .filter(|(_, awaited)| awaited.next <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(mut awaited) = self.awaited.remove(&key) else {
                continue;
            };
            // Closed, or gone.
            if !self.is_without_image(key) {
                continue;
            }
            match self.open(key, &awaited.parameters) {
                Ok(()) => {}
                Err(refusal) if refusal.may_come && !awaited.is_over(now) => {
                    awaited.next = later(now);
                    self.awaited.insert(key, awaited);
                }
                Err(refusal) => self.feed(key, Input::Failed(refusal.text)),
            }
        }
    }

    fn is_without_image(&self, key: DeviceKey) -> bool {
        self.devices
            .get(&key)
            .is_some_and(|device| device.life.is_served() && device.block.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_looked_for_a_while_and_then_no_more() {
        let begin = Instant::now();
        let mut awaited = Awaited::new(BlockParameters::new("/dev/vda".into()), begin);
        let mut looks = 0;
        while !awaited.is_over(awaited.next()) {
            awaited.next = later(awaited.next());
            looks += 1;
        }
        assert!((10..=100).contains(&looks), "{looks}");
        assert!(awaited.next() <= begin + PATIENCE + RETRY);
    }
}
