//! A guest's devices behind the gate its vCPUs come to: what each register access and each order does.

use std::collections::BTreeMap;
use std::sync::Arc;

use devices::refusal::refused;
use xen::{Ioreq, IoreqKind};

use super::orders::Order;
use super::slot::{Ending, Links, Reply, Slot};
use super::{
    Attachment, DevId, DeviceStats, EngineError, Event, EventSink, MemoryModel, SlotConfig,
};
use crate::memory::{DeviceMemory, ForeignMemory};
use crate::mmio::{Interrupt, MAX_QUEUES, Plugged, WINDOW_SIZE};
use crate::xen_side::{Gate, Platform};

/// What a read of nothing gives: all ones, as a bus without a device does.
const NOTHING: u64 = u64::MAX;

/// All of a guest's devices. One thread at a time works on it ([`super::front`]).
pub(super) struct Core {
    gate: Box<dyn Gate>,
    platform: Arc<dyn Platform>,
    foreign: Arc<ForeignMemory>,
    copy_limit: usize,
    slots: BTreeMap<DevId, Slot>,
    sink: EventSink,
    links: Links,
    stopping: bool,
    arrived: Vec<u32>,
}

impl Core {
    /// No device yet.
    pub(super) fn new(
        gate: Box<dyn Gate>,
        platform: Arc<dyn Platform>,
        foreign: Arc<ForeignMemory>,
        copy_limit: usize,
        sink: EventSink,
        links: Links,
    ) -> Self {
        Core {
            gate,
            platform,
            foreign,
            copy_limit,
            slots: BTreeMap::new(),
            sink,
            links,
            stopping: false,
            arrived: Vec::new(),
        }
    }

    /// Has the engine's thread look around.
    pub(super) fn wake_engine(&self) {
        self.links.orders.wake();
    }

    /// Serves the vCPUs whose events have come; the events stay masked if somebody else looks after the gate.
    pub(super) fn serve_events(&mut self, looked_after: bool) -> Result<(), EngineError> {
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.clear();
        let received = self.gate.arrivals(&mut arrived);
        received.map_err(|error| EngineError::Xen {
            what: "receive the guest's requests",
            error,
        })?;
        if !looked_after {
            // Before the slots are looked at: a request that comes after that look has an event of its own.
            self.unmask()?;
        }
        self.serve(arrived)
    }

    /// Serves every vCPU that waits, whether an event told of it or not.
    pub(super) fn serve_all(&mut self) -> Result<(), EngineError> {
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.clear();
        // Who comes meanwhile is served next time: nobody overtakes those who came earlier.
        self.gate.waiting(&mut arrived);
        self.serve(arrived)
    }

    fn serve(&mut self, arrived: Vec<u32>) -> Result<(), EngineError> {
        for &vcpu in &arrived {
            if let Some(request) = self.gate.take(vcpu) {
                self.handle(vcpu, &request)?;
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    /// Lets events come again.
    pub(super) fn unmask(&mut self) -> Result<(), EngineError> {
        self.gate.unmask().map_err(|error| EngineError::Xen {
            what: "wait for the guest's next request",
            error,
        })
    }

    /// Does what was left undone: by a process before us, or while nobody listened.
    pub(super) fn take_over(&mut self) -> Result<(), EngineError> {
        for vcpu in 0..self.gate.vcpus() {
            if let Some(request) = self.gate.stranded(vcpu) {
                self.handle(vcpu, &request)?;
            } else if let Some(request) = self.gate.take(vcpu) {
                self.handle(vcpu, &request)?;
            } else {
                // It may have been answered by a process that died before it could say so.
                self.gate.nudge(vcpu).map_err(|error| EngineError::Xen {
                    what: "wake a vCPU that may have been answered",
                    error,
                })?;
            }
        }
        // Last: an acknowledgement done again must not swallow these.
        for slot in self.slots.values() {
            slot.remind();
        }
        Ok(())
    }

    /// Handles one request, and answers it unless its vCPU has to wait for a queue to drain.
    fn handle(&mut self, vcpu: u32, request: &Ioreq) -> Result<(), EngineError> {
        let reply = match request.kind {
            IoreqKind::Invalidate => {
                self.foreign.forget();
                Reply::Now(0)
            }
            IoreqKind::Mmio => self.access(vcpu, request),
            _ => refused("engine: a request of another kind", Reply::Now(NOTHING)),
        };
        if let Reply::Now(data) = reply {
            self.answer(vcpu, data)?;
        }
        self.after(vcpu_device(request, &self.slots))
    }

    fn access(&mut self, vcpu: u32, request: &Ioreq) -> Reply {
        let &Ioreq {
            addr,
            data,
            count,
            size,
            write,
            data_is_ptr,
            ..
        } = request;
        if count != 1 || data_is_ptr || !matches!(size, 1 | 2 | 4 | 8) {
            return refused("engine: an access that is none", Reply::Now(NOTHING));
        }
        let found = self
            .slots
            .values_mut()
            .find_map(|slot| Some((slot.offset_of(addr, size)?, slot)));
        match found {
            Some((offset, slot)) if write => slot.write(vcpu, offset, size, data, &self.links),
            Some((offset, slot)) => Reply::Now(slot.read(offset, size)),
            None => refused("engine: an access to no device", Reply::Now(NOTHING)),
        }
    }

    fn answer(&self, vcpu: u32, data: u64) -> Result<(), EngineError> {
        self.gate
            .answer(vcpu, data)
            .map_err(|error| EngineError::Xen {
                what: "answer the guest",
                error,
            })
    }

    /// Answers whom a slot has released, tells what happened, forgets the slot if it is to be.
    fn after(&mut self, devid: Option<DevId>) -> Result<(), EngineError> {
        let Some((devid, slot)) =
            devid.and_then(|devid| self.slots.get_mut(&devid).map(|slot| (devid, slot)))
        else {
            return Ok(());
        };
        let released = slot.released();
        let events = slot.take_events();
        if slot.is_removed() {
            self.slots.remove(&devid);
        }
        for vcpu in released {
            self.answer(vcpu, 0)?;
        }
        for event in events {
            if let Event::NeedsReset(devid, reason) = &event {
                tracing::info!(
                    devid,
                    reason,
                    "a guest's driver broke the protocol; its device needs a reset"
                );
            }
            (self.sink)(event);
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, order: Order) -> Result<(), EngineError> {
        // Whoever asked may have gone: then the outcome interests nobody.
        match order {
            Order::AddSlot(config, answer) => {
                let _ = answer.send(self.add_slot(config));
            }
            Order::Attach(devid, attachment, answer) => {
                let outcome = self.attach(devid, attachment);
                if outcome.is_ok()
                    && let Some(slot) = self.slots.get(&devid)
                {
                    slot.remind();
                }
                let _ = answer.send(outcome);
            }
            Order::Detach(devid, answer) => {
                let _ = answer.send(self.end(devid, Ending::Detach));
                return self.after(Some(devid));
            }
            Order::RemoveSlot(devid, answer) => {
                let _ = answer.send(self.end(devid, Ending::Remove));
                return self.after(Some(devid));
            }
            Order::Stats(answer) => {
                let _ = answer.send(Ok(self.stats()));
            }
            Order::Stop => {
                self.stopping = true;
                self.halt();
            }
            Order::QueueEnded(devid, queue) => {
                self.queue_ended(devid, queue);
                return self.after(Some(devid));
            }
            Order::QueueBroken(devid, reason) => {
                if let Some(slot) = self.slots.get_mut(&devid) {
                    slot.broken(reason);
                }
                return self.after(Some(devid));
            }
        }
        Ok(())
    }

    pub(super) fn add_slot(&mut self, config: SlotConfig) -> Result<(), EngineError> {
        let SlotConfig { devid, base, .. } = config;
        let overlaps = |slot: &Slot| slot.config().base.abs_diff(base) < WINDOW_SIZE;
        if !base.is_multiple_of(WINDOW_SIZE)
            || base.checked_add(WINDOW_SIZE).is_none()
            || self.slots.contains_key(&devid)
            || self.slots.values().any(overlaps)
        {
            return Err(EngineError::Slot { devid, base });
        }
        self.slots.insert(devid, Slot::new(config));
        Ok(())
    }

    pub(super) fn attach(
        &mut self,
        devid: DevId,
        attachment: Attachment,
    ) -> Result<(), EngineError> {
        let slot = self
            .slots
            .get_mut(&devid)
            .ok_or(EngineError::NoSlot(devid))?;
        if !slot.is_vacant() {
            return Err(EngineError::Occupied(devid));
        }
        let Attachment {
            device,
            memory,
            indirect,
            record,
        } = attachment;
        let sizes = device.queue_sizes();
        // The largest queue of virtio 1.3 §2.7.
        if sizes
            .iter()
            .any(|&size| !size.is_power_of_two() || size > 32768)
        {
            return Err(EngineError::QueueSize(devid));
        }
        if sizes.len() > MAX_QUEUES || !record.has_room_for(sizes) {
            return Err(EngineError::Record(devid));
        }
        let counters = Arc::clone(device.counters());
        let memory = match memory {
            MemoryModel::Grant => {
                DeviceMemory::by_grants(&self.platform, self.copy_limit, &counters)
            }
            MemoryModel::Foreign => DeviceMemory::by_foreign_mapping(&self.foreign, &counters),
        };
        let interrupt = Arc::new(Interrupt::new(
            Arc::clone(&self.platform),
            slot.config().irq,
            counters,
        ));
        let plugged = Plugged {
            device: Arc::from(device),
            memory,
            indirect,
            interrupt,
        };
        slot.plug(plugged, record, &self.links);
        self.after(Some(devid))
    }

    fn end(&mut self, devid: DevId, ending: Ending) -> Result<(), EngineError> {
        self.slots
            .get_mut(&devid)
            .ok_or(EngineError::NoSlot(devid))?
            .end(ending);
        Ok(())
    }

    fn stats(&self) -> Vec<DeviceStats> {
        self.slots
            .values()
            .map(|slot| {
                let plugged = slot.registers().plugged();
                DeviceStats {
                    devid: slot.devid(),
                    device_type: plugged.map_or(0, |plugged| plugged.device.device_type().0),
                    status: slot.registers().status(),
                    counters: plugged
                        .map(|plugged| plugged.device.counters().snapshot())
                        .unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Ends all queues for good.
    pub(super) fn halt(&mut self) {
        for slot in self.slots.values_mut() {
            slot.halt();
        }
    }

    /// A queue's thread has ended, and nothing else matters any more.
    pub(super) fn queue_ended(&mut self, devid: DevId, queue: u16) {
        if let Some(slot) = self.slots.get_mut(&devid) {
            slot.queue_ended(queue);
        }
    }

    /// No queue runs.
    pub(super) fn is_quiet(&self) -> bool {
        self.slots.values().all(Slot::is_quiet)
    }

    /// It was told to stop, and has.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopping && self.is_quiet()
    }
}

/// The device an access is about.
fn vcpu_device(request: &Ioreq, slots: &BTreeMap<DevId, Slot>) -> Option<DevId> {
    let found = slots
        .values()
        .find(|slot| slot.offset_of(request.addr, request.size).is_some());
    found.map(Slot::devid)
}
