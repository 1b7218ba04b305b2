//! What the holder keeps about a guest and about each of its devices.

use std::fs::File;
use std::time::Instant;

use xen::DomId;

use super::Holder;
use super::process::Worker;
use super::records::RecordFile;
use super::restart::Restarts;
use super::server::Server;
use crate::ipc::message;
use crate::lifecycle::Lifecycle;
use crate::parameters::Memory;
use crate::store::Facts;
use crate::store::folder::Window;
use backend_stats::Counters;

/// One guest that has a device here.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) domid: DomId,
    pub(super) facts: Facts,
    pub(super) server: Server,
    pub(super) worker: Option<Worker>,
    /// When to start the next worker, while there is none.
    pub(super) start_at: Option<Instant>,
    pub(super) restarts: Restarts,
    /// Counted by workers that are dead.
    pub(super) counted_before: Counters,
    /// Last told by the living one.
    pub(super) counted_now: Counters,
    /// Every device is to go, and the guest's record with the last one.
    pub(super) ending: bool,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) life: Lifecycle,
    /// The number a worker knows it by, while its window is ours.
    pub(super) slot: Option<u32>,
    pub(super) window: Window,
    /// Memory model the guest's device tree was made for.
    pub(super) wired_for: Memory,
    /// Open, while it is served.
    pub(super) block: Option<OpenBlock>,
    /// Counted by workers that are dead.
    pub(super) counted_before: Counters,
    /// Last told by the living one.
    pub(super) counted_now: Counters,
    /// When it was closed; its folder may have to be removed later.
    pub(super) closed_at: Option<Instant>,
}

impl Device {
    pub(super) fn new(window: Window, wired_for: Memory) -> Self {
        Self {
            life: Lifecycle::new(),
            slot: None,
            window,
            wired_for,
            block: None,
            counted_before: Counters::new(),
            counted_now: Counters::new(),
            closed_at: None,
        }
    }

    /// Lets go of the image, and of what a next worker would have had to know.
    pub(super) fn close(&mut self) {
        if let Some(OpenBlock {
            record: Some(record),
            ..
        }) = self.block.take()
        {
            record.remove();
        }
    }

    /// The device's place, for a worker.
    pub(super) fn place(&self) -> Option<message::Slot> {
        self.slot.map(|slot| message::Slot {
            slot,
            base: self.window.base,
            irq: self.window.irq,
        })
    }
}

impl Holder {
    /// Reads again who a guest is, where that could not be read. A driver domain finds a device's folder before the toolstack
    /// lets it read the guest's keys, and what to serve afterwards; without the `vm` key no later holder would know the guest again.
    pub(super) fn learn(&mut self, domid: DomId) {
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        if guest.facts.vm.is_some() {
            return;
        }
        let Ok(facts) = self.store.facts(domid) else {
            return;
        };
        if facts.vm.is_none() {
            tracing::warn!(
                "guest {domid}: its key \"vm\" may not be read here: a holder that is started again will not know its devices' states"
            );
            return;
        }
        let vm = facts.vm.as_deref();
        if let Err(error) = self.store.remember_server(domid, guest.server.id(), vm) {
            tracing::warn!("guest {domid}: its ioreq server cannot be remembered: {error}");
        }
        guest.facts = facts;
    }
}

/// A block device whose image is open.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) description: message::Block,
    /// Locked as long as this or a worker's copy lives.
    pub(super) image: File,
    /// What the next worker must know; without it, a worker's death costs the guest its device until a reset.
    pub(super) record: Option<RecordFile>,
}
