//! Guests that are gone, and what they leave: devices, folders, notes.

use std::time::{Duration, Instant};

use xen::DomId;

use super::Holder;
use super::records::Owner;
use crate::lifecycle::Input;
use crate::store::folder::DeviceKey;

/// How long a folder without a living domain may stay before it is removed. In dom0 libxl removes it
/// itself; one that stays was left by a toolstack that died.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a Closed folder stays in a driver domain, where nobody else removes it: long enough for
/// the toolstack to see the state.
const CLOSED_PATIENCE: Duration = Duration::from_secs(2);

impl Holder {
    /// A domain is known now, perhaps one whose devices' folders were there before it.
    pub(super) fn look_for_introduced(&mut self) {
        self.dirty.extend(self.orphans.keys().copied());
    }

    /// Some domain is gone: which?
    pub(super) fn look_for_dead(&mut self) {
        let guests: Vec<DomId> = self.guests.keys().copied().collect();
        for guest in guests {
            if !self.is_alive(guest) || !self.same_guest(guest) {
                self.bury(guest);
            }
        }
    }

    /// A guest is gone: its devices follow.
    pub(super) fn bury(&mut self, guest: DomId) {
        tracing::info!("guest {guest}: gone");
        let keys: Vec<DeviceKey> = self
            .devices
            .keys()
            .filter(|key| key.guest == guest)
            .copied()
            .collect();
        for key in keys {
            self.feed(key, Input::Gone);
        }
    }

    /// Whether the guest is there. When XenStore does not answer, it is: nothing is torn down on a guess.
    pub(super) fn is_alive(&self, guest: DomId) -> bool {
        self.store.is_alive(guest).unwrap_or_else(|error| {
            tracing::warn!("guest {guest}: whether it lives cannot be asked: {error}");
            true
        })
    }

    /// Whether the domain of this number is still the one we know. Starts the end of the other.
    pub(super) fn same_guest(&mut self, domid: DomId) -> bool {
        let Some(guest) = self.guests.get(&domid) else {
            return true;
        };
        if guest.ending {
            return false;
        }
        let now = match self.store.vm(domid) {
            // Absent while the toolstack takes the domain's keys away; its devices tell then.
            Ok(None) | Err(_) => return true,
            Ok(now) => now,
        };
        if guest.facts.vm.is_none() || guest.facts.vm == now {
            return true;
        }
        tracing::info!("guest {domid}: the number belongs to another domain now");
        self.bury(domid);
        false
    }

    /// Looks after folders that only time changes.
    pub(super) fn tend_leftovers(&mut self, now: Instant) {
        let orphans: Vec<(DeviceKey, Instant)> = self
            .orphans
            .iter()
            .map(|(key, since)| (*key, *since))
            .collect();
        for (key, since) in orphans {
            if self.is_alive(key.guest) {
                self.orphans.remove(&key);
                self.dirty.insert(key);
            } else if now.saturating_duration_since(since) >= ORPHAN_PATIENCE {
                self.orphans.remove(&key);
                self.remove_folder(key, "its domain does not exist");
            }
        }
        let driver_domain = self.store.own() != DomId::DOM0;
        let closed: Vec<(DeviceKey, Instant)> = self
            .devices
            .iter()
            .filter_map(|(key, device)| Some((*key, device.closed_at?)))
            .collect();
        for (key, since) in closed {
            let age = now.saturating_duration_since(since);
            if driver_domain && age >= CLOSED_PATIENCE {
                self.remove_folder(key, "it is closed");
            } else if !driver_domain && age >= ORPHAN_PATIENCE {
                if self.is_alive(key.guest) {
                    // The toolstack's to remove, whenever it likes.
                    if let Some(device) = self.devices.get_mut(&key) {
                        device.closed_at = None;
                    }
                } else {
                    self.remove_folder(key, "it is closed and its domain does not exist");
                }
            }
        }
    }

    fn remove_folder(&mut self, key: DeviceKey, why: &str) {
        tracing::info!("{key}: folder removed, {why}");
        if let Some(device) = self.devices.get_mut(&key) {
            device.closed_at = None;
        }
        self.told(key, self.store.remove_folder(key));
        self.dirty.insert(key);
    }

    /// Notes on servers of guests that are gone (they died while nobody was the holder), and their devices' records.
    pub(super) fn forget_dead_servers(&mut self) {
        self.records.sweep(|guest| {
            if !self.is_alive(guest) {
                Owner::Gone
            } else {
                self.store.vm(guest).map_or(Owner::Unknown, Owner::Lives)
            }
        });
        let remembered = self.store.remembered().unwrap_or_default();
        for guest in remembered {
            if !self.is_alive(guest)
                && let Err(error) = self.store.forget_server(guest)
            {
                tracing::warn!("guest {guest}: the note on its ioreq server stays: {error}");
            }
        }
    }
}
