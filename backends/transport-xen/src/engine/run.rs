//! The engine's thread: answers the guest's register accesses and carries out orders.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use devices::refusal::refused;
use xen::{Ioreq, IoreqKind, IoreqPage};

use super::orders::{EngineHandle, Order, OrderSender};
use super::slot::{Ending, Reply, Slot};
use super::wake::{Wake, wait};
use super::{
    Attachment, DevId, DeviceStats, EngineError, EngineSetup, Event, EventSink, SlotConfig,
    VcpuPorts,
};
use crate::memory::{DeviceMemory, ForeignMemory};
use crate::mmio::{Interrupt, MAX_QUEUES, Plugged, WINDOW_SIZE};
use crate::xen_side::{Gate, Platform, XenGate, XenPlatform};

/// What a read of nothing gives: all ones, as a bus without a device does.
const NOTHING: u64 = u64::MAX;

/// Serves all virtio devices of one guest.
pub struct Engine {
    gate: Box<dyn Gate>,
    platform: Arc<dyn Platform>,
    foreign: Arc<ForeignMemory>,
    slots: BTreeMap<DevId, Slot>,
    sink: EventSink,
    wake: Arc<Wake>,
    orders: Receiver<Order>,
    sender: OrderSender,
    stopping: bool,
}

impl Engine {
    /// An engine for one guest, with its slots as known so far. Binds the event channels if it is to; answers nothing
    /// before [`Engine::run`].
    ///
    /// # Errors
    /// [`EngineError::Xen`] if the ioreq page or an event channel cannot be had; what [`EngineHandle::add_slot`] and
    /// [`EngineHandle::attach`] may give.
    pub fn new(
        setup: EngineSetup,
        slots: Vec<(SlotConfig, Option<Attachment>)>,
        sink: EventSink,
    ) -> Result<(Self, EngineHandle), EngineError> {
        let EngineSetup {
            domid,
            privcmd,
            event_channels,
            ports,
            ioserv,
            vcpus,
            grants,
            memory_kib,
        } = setup;
        let xen = |what| move |error| EngineError::Xen { what, error };
        let page = IoreqPage::map(&privcmd, domid, ioserv, vcpus)
            .map_err(xen("map the guest's ioreq page"))?;
        let ports = match ports {
            VcpuPorts::Bound(ports) => ports,
            VcpuPorts::Bind => (0..vcpus)
                .map(|vcpu| {
                    let remote = page.port(vcpu).ok_or(xen::Error::Argument(
                        "the ioreq page names no event channel; enable the ioreq server first",
                    ))?;
                    event_channels.bind_interdomain(domid, remote)
                })
                .collect::<xen::Result<_>>()
                .map_err(xen("bind a vCPU's event channel"))?,
        };
        let gate = Box::new(XenGate::new(page, event_channels, ports));
        let platform = Arc::new(XenPlatform {
            domid,
            privcmd,
            source: grants,
        });
        Self::assemble(gate, platform, memory_kib, slots, sink)
    }

    /// An engine on any Xen, a test's own included.
    pub(crate) fn assemble(
        gate: Box<dyn Gate>,
        platform: Arc<dyn Platform>,
        memory_kib: u64,
        slots: Vec<(SlotConfig, Option<Attachment>)>,
        sink: EventSink,
    ) -> Result<(Self, EngineHandle), EngineError> {
        let wake = Wake::new().map_err(|error| EngineError::Os {
            what: "make an eventfd",
            error,
        })?;
        let wake = Arc::new(wake);
        let (sender, orders) = OrderSender::new(Arc::clone(&wake));
        let foreign = Arc::new(ForeignMemory::new(platform.foreign(), memory_kib));
        let handle = EngineHandle::new(sender.clone());
        let mut engine = Engine {
            gate,
            platform,
            foreign,
            slots: BTreeMap::new(),
            sink,
            wake,
            orders,
            sender,
            stopping: false,
        };
        for (config, attachment) in slots {
            engine.add_slot(config)?;
            if let Some(attachment) = attachment {
                engine.attach(config.devid, attachment)?;
            }
        }
        Ok((engine, handle))
    }

    /// Serves the guest until [`EngineHandle::stop`], then drains and unmaps everything.
    ///
    /// # Errors
    /// When its handles fail; [`Event::Fatal`] is sent then too, and everything is drained as well.
    pub fn run(mut self) -> Result<(), EngineError> {
        let outcome = self.serve();
        if let Err(error) = &outcome {
            (self.sink)(Event::Fatal(error.to_string()));
            self.drain();
        }
        outcome
    }

    fn serve(&mut self) -> Result<(), EngineError> {
        self.take_over()?;
        let mut arrived = Vec::new();
        loop {
            let (guest, order) =
                wait(self.gate.fd(), Some(self.wake.as_fd())).map_err(|error| EngineError::Os {
                    what: "wait for the guest",
                    error,
                })?;
            if order {
                self.wake.take();
                if self.carry_out()? {
                    return Ok(());
                }
            }
            if !guest {
                continue;
            }
            arrived.clear();
            self.gate
                .arrivals(&mut arrived)
                .map_err(|error| EngineError::Xen {
                    what: "receive the guest's requests",
                    error,
                })?;
            for &vcpu in &arrived {
                if let Some(request) = self.gate.take(vcpu) {
                    self.handle(vcpu, &request)?;
                }
            }
        }
    }

    /// Does what was left undone: by a process before us, or while nobody listened.
    fn take_over(&mut self) -> Result<(), EngineError> {
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
            Some((offset, slot)) if write => slot.write(vcpu, offset, size, data, &self.sender),
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

    /// Carries out all orders; true when everything has stopped.
    fn carry_out(&mut self) -> Result<bool, EngineError> {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order)?;
        }
        Ok(self.stopping && self.slots.values().all(Slot::is_quiet))
    }

    fn obey(&mut self, order: Order) -> Result<(), EngineError> {
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
                for slot in self.slots.values_mut() {
                    slot.halt();
                }
            }
            Order::QueueEnded(devid, queue) => {
                if let Some(slot) = self.slots.get_mut(&devid) {
                    slot.queue_ended(queue);
                }
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

    fn add_slot(&mut self, config: SlotConfig) -> Result<(), EngineError> {
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

    fn attach(&mut self, devid: DevId, attachment: Attachment) -> Result<(), EngineError> {
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
        let memory = DeviceMemory::new(memory, &self.platform, &self.foreign, &counters);
        let interrupt = Arc::new(Interrupt::new(
            Arc::clone(&self.platform),
            slot.config().irq,
            counters,
        ));
        let plugged = Plugged {
            device: Arc::from(device),
            memory,
            interrupt,
        };
        slot.plug(plugged, record, &self.sender);
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

    /// Ends all queues when the guest cannot be served any more; answers nobody.
    fn drain(&mut self) {
        for slot in self.slots.values_mut() {
            slot.halt();
        }
        while !self.slots.values().all(Slot::is_quiet) {
            match self.orders.recv() {
                Ok(Order::QueueEnded(devid, queue)) => {
                    if let Some(slot) = self.slots.get_mut(&devid) {
                        slot.queue_ended(queue);
                    }
                }
                // Dropping an order's answer tells whoever waits that the engine has stopped.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// The device an access is about.
fn vcpu_device(request: &Ioreq, slots: &BTreeMap<DevId, Slot>) -> Option<DevId> {
    let found = slots
        .values()
        .find(|slot| slot.offset_of(request.addr, request.size).is_some());
    found.map(Slot::devid)
}

#[cfg(test)]
mod tests;
