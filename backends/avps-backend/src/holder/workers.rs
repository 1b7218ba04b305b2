//! Workers: given what they need, listened to, started again.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use xen::{DomId, GrantDevice};

use super::Holder;
use super::guest::{Device, Guest};
use super::process::Worker;
use crate::ipc::message::clean;
use crate::ipc::{Notice, Order};
use crate::lifecycle::Input;
use crate::store::folder::DeviceKey;
use backend_stats as stats;
use daemon::rate::not_shown;

/// Parts of a sandbox that a worker may name as missing; it has fewer.
const MAX_MISSING: usize = 16;

/// Sends an order to a guest's worker, if there is one. One that does not read is ended: it gets all it
/// needs again when it is started anew.
pub(super) fn send(guest: &Guest, order: &Order, fds: &[BorrowedFd<'_>]) {
    let Some(worker) = &guest.worker else {
        return;
    };
    if let Err(error) = worker.channel.send(order, fds) {
        tracing::warn!(
            "guest {}: worker {} is ended: {error}",
            guest.domid,
            worker.pid
        );
        worker.kill();
    }
}

/// Hands an opened device to a guest's worker, if there is one.
///
/// The grant device is opened here for this one worker, and the holder keeps no reference on it: the kernel
/// unmaps a dead worker's grants only when the last reference is closed. Were they left mapped, the guest's
/// Linux would disable the device for good ("Grant still in use by backend domain").
pub(super) fn attach(guest: &Guest, device: &Device) -> Result<(), String> {
    let (Some(slot), Some(block), Some(_)) = (device.slot, &device.block, &guest.worker) else {
        return Ok(());
    };
    let order = Order::Attach {
        slot,
        block: block.description.clone(),
    };
    let grants = GrantDevice::open().map_err(|error| error.to_string())?;
    let mut handles = vec![block.image.as_fd(), grants.as_fd()];
    handles.extend(block.record.as_ref().map(|record| record.file.as_fd()));
    send(guest, &order, &handles);
    Ok(())
}

/// Tells a guest's worker to finish. It is ended when it has not by `by`.
pub(super) fn stop(guest: &mut Guest, by: Option<Instant>) {
    if guest
        .worker
        .as_ref()
        .is_none_or(|worker| worker.stop_by.is_some())
    {
        return;
    }
    send(guest, &Order::Stop, &[]);
    if let Some(worker) = &mut guest.worker {
        worker.stop_by = by;
    }
}

impl Holder {
    /// Starts a guest's worker and hands it all there is to serve.
    pub(super) fn start_worker(&mut self, domid: DomId) {
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        guest.start_at = None;
        self.generation = self.generation.saturating_add(1);
        let worker = match Worker::start(
            domid,
            self.generation,
            self.log_level,
            self.sandbox,
            &self.events,
        ) {
            Ok(worker) => worker,
            Err(error) => {
                self.no_worker(domid, &error.to_string(), None);
                return;
            }
        };
        tracing::debug!("guest {domid}: worker {} started", worker.pid);
        guest.worker = Some(worker);

        let devices: Vec<(DeviceKey, &Device)> = self
            .devices
            .iter()
            .filter(|(key, _)| key.guest == domid)
            .map(|(key, device)| (*key, device))
            .collect();
        let order = Order::Start {
            guest: guest.server.describe(guest.facts.memory_kib),
            slots: devices
                .iter()
                .filter_map(|(_, device)| device.place())
                .collect(),
            tuning: self.tuning,
        };
        let handles = [
            guest.server.privcmd.as_fd(),
            guest.server.event_channels.as_fd(),
        ];
        send(guest, &order, &handles);
        let mut failed = Vec::new();
        for (key, device) in devices {
            if device.life.is_served()
                && let Err(reason) = attach(guest, device)
            {
                failed.push((key, reason));
            }
        }
        send(guest, &Order::Serve, &[]);
        for (key, reason) in failed {
            self.feed(key, Input::Failed(reason));
        }
    }

    /// A worker says something.
    pub(super) fn heard(&mut self, generation: u64, notice: Notice) {
        let Some(domid) = self.guest_of(generation) else {
            return;
        };
        match notice {
            Notice::Confined { missing } => self.confined(domid, &missing),
            Notice::Ready => {
                if let Some(worker) = self
                    .guests
                    .get_mut(&domid)
                    .and_then(|guest| guest.worker.as_mut())
                {
                    worker.ready_since = Some(Instant::now());
                    tracing::info!("guest {domid}: worker {} serves", worker.pid);
                }
            }
            Notice::Attached { slot, driver_ok } => {
                self.feed_slot(domid, slot, Input::Attached { driver_ok });
            }
            Notice::Refused { slot, reason } => {
                self.feed_slot(domid, slot, Input::Failed(clean(&reason)));
            }
            Notice::Driver { slot, ok } => self.feed_slot(domid, slot, Input::Driver { ok }),
            Notice::NeedsReset { slot, reason } => {
                if let Some(key) = self.key_of(domid, slot)
                    && let Some(withheld) = self.chatter.pass(Instant::now())
                {
                    tracing::warn!(
                        "{key}: the guest's driver broke the protocol ({}); the device waits for a reset{}",
                        clean(&reason),
                        not_shown(withheld)
                    );
                }
            }
            Notice::Removed { slot } => self.removed(domid, slot),
            Notice::Counters {
                question,
                guest: counted,
                devices,
            } => {
                if let Some(guest) = self.guests.get_mut(&domid) {
                    guest.counted_now = counted;
                }
                for (slot, counters) in devices {
                    if let Some(key) = self.key_of(domid, slot)
                        && let Some(device) = self.devices.get_mut(&key)
                    {
                        device.counted_now = counters;
                    }
                }
                self.counted(question, generation);
            }
            #[cfg(feature = "probe")]
            Notice::Attacked { .. } => {}
            Notice::Fatal { reason } => {
                tracing::error!("guest {domid}: its worker gives up: {}", clean(&reason));
            }
        }
    }

    /// A worker has shut its sandbox. What it says first counts: later it may be somebody else who talks.
    fn confined(&mut self, domid: DomId, missing: &[String]) {
        let worker = self
            .guests
            .get_mut(&domid)
            .and_then(|guest| guest.worker.as_mut());
        let Some(worker) = worker.filter(|worker| worker.missing.is_none()) else {
            return;
        };
        let missing: Vec<String> = missing
            .iter()
            .take(MAX_MISSING)
            .map(|text| clean(text))
            .collect();
        if !missing.is_empty() && self.sandbox_told.as_ref() != Some(&missing) {
            tracing::warn!(
                "guest {domid}: the sandbox of worker {} lacks: {}",
                worker.pid,
                missing.join(", ")
            );
            self.sandbox_told = Some(missing.clone());
        }
        worker.missing = Some(missing);
    }

    /// A worker has let go of a slot. With the last one the worker ends too, and only its end, when
    /// the kernel has taken back everything, is told to the toolstack.
    fn removed(&mut self, domid: DomId, slot: u32) {
        let Some(key) = self.key_of(domid, slot) else {
            return;
        };
        let last = self
            .devices
            .iter()
            .filter(|(other, _)| other.guest == domid && **other != key)
            .all(|(_, device)| !device.life.has_window());
        let closing = self
            .devices
            .get(&key)
            .is_some_and(|device| device.life.is_closing());
        if !(last && closing) {
            self.feed(key, Input::TornDown);
        } else if let Some(guest) = self.guests.get_mut(&domid) {
            guest.ending = true;
            stop(guest, Instant::now().checked_add(super::STOP_PATIENCE));
        }
    }

    /// A worker is dead and reaped.
    pub(super) fn worker_gone(&mut self, generation: u64, how: &str) {
        let Some(domid) = self.guest_of(generation) else {
            return;
        };
        let Some(worker) = self
            .guests
            .get_mut(&domid)
            .and_then(|guest| guest.worker.take())
        else {
            return;
        };
        self.counted(0, generation);
        let keys = self.keep_counters(domid);
        if self.stopping {
            return;
        }
        for key in &keys {
            if self
                .devices
                .get(key)
                .is_some_and(|device| device.life.is_closing())
            {
                self.feed(*key, Input::TornDown);
            }
        }
        self.end_guest_if_idle(domid);
        if !self.guests.contains_key(&domid) {
            return;
        }
        if !self.is_alive(domid) {
            self.bury(domid);
            return;
        }
        let how = format!("worker {} ended unasked ({how})", worker.pid);
        self.no_worker(domid, &how, worker.ready_since);
    }

    /// A guest that should have a worker has none: when to try again, and whether to tell.
    fn no_worker(&mut self, domid: DomId, how: &str, served_since: Option<Instant>) {
        let now = Instant::now();
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        guest.ending = false;
        let verdict = guest.restarts.died(now, served_since);
        guest.start_at = now.checked_add(verdict.pause);
        if let Some(withheld) = self.chatter.pass(now) {
            tracing::warn!(
                "guest {domid}: {how}; next start in {} ms, {} deaths so far{}",
                verdict.pause.as_millis(),
                guest.restarts.total(),
                not_shown(withheld)
            );
        }
        if verdict.trouble {
            let text = format!(
                "the worker process of this guest does not stay alive ({how}); it is tried again every {} s, see the log of avps-backend",
                verdict.pause.as_secs()
            );
            let keys: Vec<DeviceKey> = self
                .devices
                .iter()
                .filter(|(key, device)| key.guest == domid && device.life.is_served())
                .map(|(key, _)| *key)
                .collect();
            for key in keys {
                self.feed(key, Input::Trouble(text.clone()));
            }
        }
    }

    /// Starts what is due, ends what is overdue.
    pub(super) fn tend_workers(&mut self, now: Instant) {
        let mut due = Vec::new();
        for guest in self.guests.values_mut() {
            if guest.start_at.is_some_and(|at| at <= now) && guest.worker.is_none() {
                due.push(guest.domid);
            }
            if let Some(worker) = &mut guest.worker
                && worker.stop_by.is_some_and(|by| by <= now)
            {
                tracing::warn!(
                    "guest {}: worker {} does not finish and is ended",
                    guest.domid,
                    worker.pid
                );
                worker.kill();
                // Once more later, should the kernel be slow; never in a busy loop.
                worker.stop_by = now.checked_add(Duration::from_secs(5));
            }
        }
        if !self.stopping {
            for domid in due {
                self.start_worker(domid);
            }
        }
    }

    /// Adds what a dead worker counted to what its predecessors did. Returns the guest's devices.
    fn keep_counters(&mut self, domid: DomId) -> Vec<DeviceKey> {
        if let Some(guest) = self.guests.get_mut(&domid) {
            let now = std::mem::take(&mut guest.counted_now);
            stats::add(&mut guest.counted_before, &now);
        }
        let mut keys = Vec::new();
        for (key, device) in &mut self.devices {
            if key.guest == domid {
                let now = std::mem::take(&mut device.counted_now);
                stats::add(&mut device.counted_before, &now);
                keys.push(*key);
            }
        }
        keys
    }

    fn guest_of(&self, generation: u64) -> Option<DomId> {
        self.guests
            .values()
            .find(|guest| {
                guest
                    .worker
                    .as_ref()
                    .is_some_and(|worker| worker.generation == generation)
            })
            .map(|guest| guest.domid)
    }

    fn key_of(&self, domid: DomId, slot: u32) -> Option<DeviceKey> {
        self.devices
            .iter()
            .find(|(key, device)| key.guest == domid && device.slot == Some(slot))
            .map(|(key, _)| *key)
    }

    fn feed_slot(&mut self, domid: DomId, slot: u32, input: Input<'_>) {
        if let Some(key) = self.key_of(domid, slot) {
            self.feed(key, input);
        }
    }
}
