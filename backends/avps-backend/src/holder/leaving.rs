//! The end of the whole domain: every device is given up, and every ioreq server ended, before the daemon does.
//!
//! Xen keeps a domain that has ended, and its number, as long as an ioreq server of it is left; only the server's guest going away,
//! or this, ends one. A guest that still runs loses its disks for good: whoever ends this domain has ended its guests before, or
//! means it.

use std::time::Instant;

use super::{Holder, STOP_PATIENCE};
use crate::lifecycle::Input;
use crate::store::folder::DeviceKey;

impl Holder {
    /// SIGUSR1: the domain is about to end.
    pub(super) fn give_up(&mut self) {
        if self.leaving.is_some() || self.stopping {
            return;
        }
        tracing::info!("giving up every device: this domain is about to end");
        // Before anything else: no toolstack is to start a guest on it now.
        if let Err(error) = self.store.withdraw() {
            tracing::warn!("the ready key could not be removed: {error}");
        }
        self.leaving = Instant::now().checked_add(STOP_PATIENCE);
        self.awaited.clear();
        self.opening.clear();
        let keys: Vec<DeviceKey> = self.devices.keys().copied().collect();
        for key in keys {
            self.feed(key, Input::GivenUp);
        }
    }

    /// Nothing is held for any guest any more.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.is_some() && self.guests.is_empty()
    }

    /// Ends workers that do not finish.
    pub(super) fn tend_leaving(&mut self, now: Instant) {
        if self.leaving.is_none_or(|by| by > now) {
            return;
        }
        for guest in self.guests.values() {
            if let Some(worker) = &guest.worker {
                tracing::warn!(
                    "guest {}: worker {} does not finish and is ended",
                    guest.domid,
                    worker.pid
                );
                worker.kill();
            }
        }
        // Once more later, should the kernel be slow.
        self.leaving = now.checked_add(STOP_PATIENCE);
    }
}
