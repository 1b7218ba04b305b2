//! One slot of the guest: its registers, its running queues, and the vCPUs that wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use devices::{DeviceQueue, InFlight, QueueConfig};

use super::front::Front;
use super::orders::OrderSender;
use super::queue_thread::{QueueSetup, QueueThread};
use super::{DevId, Event, SlotConfig};
use crate::mmio::{Effect, Plugged, Registers, Saved, WINDOW_SIZE, registers};
use crate::record::Record;

const DRIVER_OK: u8 = virtio_bindings::virtio_config::VIRTIO_CONFIG_S_DRIVER_OK as u8;

/// What a guest's driver can never bring about; see [`super::Event::NeedsReset`].
pub(crate) const PANICKED: &str = "its thread panicked";

/// What a vCPU that is not answered yet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// The device's reset.
    Reset,
    /// The end of one queue.
    Queue(u16),
}

/// How a register access is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// At once, with this value.
    Now(u64),
    /// When [`Slot::released`] names the vCPU.
    Later,
}

/// What is left of the device when its queues have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// All of it: nothing but single queues ends.
    Keeps,
    /// The device, reset.
    Reset,
    /// An empty slot.
    Detach,
    /// Nothing.
    Remove,
}

/// What queues' threads need of the rest of the engine.
pub(super) struct Links {
    pub(super) orders: OrderSender,
    pub(super) front: Weak<Front>,
}

/// A slot.
pub(super) struct Slot {
    config: SlotConfig,
    registers: Registers,
    /// Where the device's state outlives this process, and what of the registers is there already.
    record: Option<(Record, Option<Saved>)>,
    queues: BTreeMap<u16, QueueThread>,
    waiting: Vec<(u32, WaitsFor)>,
    ending: Ending,
    /// No queue is started any more: the engine stops.
    halted: bool,
    /// What happened, oldest first. At most a few: each register write adds one at most, and they are collected after it.
    events: Vec<Event>,
}

impl Slot {
    /// An empty slot.
    pub(super) fn new(config: SlotConfig) -> Self {
        Slot {
            config,
            registers: Registers::empty(),
            record: None,
            queues: BTreeMap::new(),
            waiting: Vec::new(),
            ending: Ending::Keeps,
            halted: false,
            events: Vec::new(),
        }
    }

    pub(super) fn devid(&self) -> DevId {
        self.config.devid
    }

    pub(super) fn config(&self) -> &SlotConfig {
        &self.config
    }

    pub(super) fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Offset in the window of an access of `size` bytes at `addr`, if all of it lies there.
    pub(super) fn offset_of(&self, addr: u64, size: u32) -> Option<u64> {
        let offset = addr.checked_sub(self.config.base)?;
        (offset.checked_add(u64::from(size))? <= WINDOW_SIZE).then_some(offset)
    }

    /// True if a device can be put in.
    pub(super) fn is_vacant(&self) -> bool {
        self.registers.plugged().is_none() && self.ending == Ending::Keeps
    }

    /// Puts a device in. Where a predecessor of this process left its state, it goes on from there.
    pub(super) fn plug(&mut self, plugged: Plugged, record: Record, links: &Links) {
        let saved = record.saved().and_then(|words| Saved::decode(&words));
        self.registers = Registers::with_device(plugged);
        self.record = Some((record, None));
        if let Some(saved) = saved {
            match self.registers.restore(&saved) {
                Ok(()) if self.registers.is_running() => self.start(links),
                Ok(()) => {}
                Err(reason) => self.broken(reason),
            }
        }
        self.save();
    }

    /// Interrupts a running driver without a reason of its own: one that a predecessor owed it may have been lost.
    pub(super) fn remind(&self) {
        if self.registers.status() & DRIVER_OK != 0
            && let Some(plugged) = self.registers.plugged()
        {
            plugged.interrupt.remind();
        }
    }

    /// Writes the registers down, if they have changed.
    fn save(&mut self) {
        let Some((record, known)) = &mut self.record else {
            return;
        };
        let now = self.registers.snapshot();
        if known.as_ref() != Some(&now) {
            record.save(&now.encode());
            *known = Some(now);
        }
    }

    /// The driver starts afresh: no queue has anything in flight.
    fn clear_queues(&self) {
        for (index, config) in self.registers.ready_queues() {
            if let Some(mut in_flight) = self.in_flight(index, &config) {
                in_flight.clear();
            }
        }
    }

    fn in_flight(&self, index: u16, config: &QueueConfig) -> Option<InFlight> {
        let (record, _) = self.record.as_ref()?;
        let sizes = self.registers.plugged()?.device.queue_sizes();
        record.queue(sizes, index, config.size)
    }

    /// Takes what happened.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Serves a read.
    pub(super) fn read(&self, offset: u64, size: u32) -> u64 {
        if let Some(plugged) = self.registers.plugged() {
            plugged.device.counters().ioreqs.inc();
        }
        self.registers.read(offset, size)
    }

    /// Serves a write by `vcpu`.
    pub(super) fn write(
        &mut self,
        vcpu: u32,
        offset: u64,
        size: u32,
        value: u64,
        links: &Links,
    ) -> Reply {
        if let Some(plugged) = self.registers.plugged() {
            plugged.device.counters().ioreqs.inc();
        }
        let effect = self.registers.write(offset, size, value);
        if effect == Effect::Start {
            // Before the record says that the device runs: a successor must not redo what an earlier run left.
            self.clear_queues();
        }
        if !matches!(offset, registers::QUEUE_NOTIFY | registers::INTERRUPT_ACK) {
            self.save();
        }
        match effect {
            Effect::None => {}
            Effect::Notify(queue) => self.notify(queue),
            Effect::Start => self.start(links),
            Effect::Broken(reason) => self.broken(reason),
            Effect::Reset => {
                self.waiting.push((vcpu, WaitsFor::Reset));
                self.end(Ending::Reset);
                return Reply::Later;
            }
            Effect::StopQueue(queue) => match self.queues.get(&queue) {
                Some(thread) => {
                    thread.stop();
                    self.waiting.push((vcpu, WaitsFor::Queue(queue)));
                    return Reply::Later;
                }
                None => {
                    self.registers.finish_stop(queue);
                    self.save();
                }
            },
        }
        Reply::Now(0)
    }

    fn notify(&self, queue: u16) {
        if let (Some(thread), Some(plugged)) = (self.queues.get(&queue), self.registers.plugged()) {
            plugged.device.counters().kicks.inc();
            thread.kick();
        }
    }

    /// The driver broke the protocol.
    pub(super) fn broken(&mut self, reason: String) {
        let tell = self.registers.status() & DRIVER_OK != 0;
        if let Some(plugged) = self.registers.plugged()
            && plugged.interrupt.break_device(tell)
        {
            self.events
                .push(Event::NeedsReset(self.config.devid, reason));
        }
        self.save();
    }

    /// DRIVER_OK: starts a thread for each ready queue.
    fn start(&mut self, links: &Links) {
        if self.halted {
            return;
        }
        match self.start_queues(links) {
            Ok(()) => self.events.push(Event::DriverOk(self.config.devid)),
            Err(reason) => {
                for thread in self.queues.values() {
                    thread.stop();
                }
                self.broken(reason);
            }
        }
    }

    fn start_queues(&mut self, links: &Links) -> Result<(), String> {
        let (Some(plugged), Some(front)) = (self.registers.plugged(), links.front.upgrade()) else {
            return Ok(());
        };
        let features = self.registers.negotiated();
        let handlers = plugged
            .device
            .activate(features)
            .map_err(|error| error.to_string())?;
        let mut handlers: BTreeMap<u16, _> = (0..).zip(handlers).collect();
        for (index, config) in self.registers.ready_queues() {
            let Some(handler) = handlers.remove(&index) else {
                continue;
            };
            let because =
                |error: &dyn std::fmt::Display| format!("queue {index} cannot be started: {error}");
            let (ring, memory) = plugged
                .memory
                .open(&config)
                .map_err(|error| because(&error))?;
            let in_flight = self
                .in_flight(index, &config)
                .ok_or_else(|| because(&"it has no record"))?;
            // The record of a driver that starts afresh says so: there is no other way to begin.
            let queue =
                DeviceQueue::resume(&config, in_flight, &ring).map_err(|error| because(&error))?;
            let thread = QueueThread::start(QueueSetup {
                devid: self.config.devid,
                index,
                queue,
                ring,
                memory,
                handler,
                interrupt: Arc::clone(&plugged.interrupt),
                orders: links.orders.clone(),
                front: Arc::clone(&front),
            })
            .map_err(|error| because(&error))?;
            self.queues.insert(index, thread);
        }
        Ok(())
    }

    /// Ends all queues; what `ending` says happens when they have ended, which may be now.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = self.ending.max(ending);
        for thread in self.queues.values() {
            thread.stop();
        }
        self.settle();
        self.save();
    }

    /// Ends all queues for good, and leaves everything else to who comes after this engine.
    pub(super) fn halt(&mut self) {
        self.halted = true;
        for thread in self.queues.values() {
            thread.stop();
        }
    }

    /// A queue's thread has ended.
    pub(super) fn queue_ended(&mut self, queue: u16) {
        if let Some(thread) = self.queues.remove(&queue) {
            if !thread.join() {
                // A defect of ours: the guest gets a reset out of it, the holder hears of it.
                tracing::error!(
                    devid = self.config.devid,
                    queue,
                    "a queue's thread panicked"
                );
                self.broken(format!("queue {queue}: {PANICKED}"));
            }
            // For the driver, a queue that stops with the engine goes on: with whoever comes after it.
            if !self.halted {
                self.registers.finish_stop(queue);
            }
        }
        self.settle();
        self.save();
    }

    /// Carries out the ending if nothing runs any more.
    fn settle(&mut self) {
        if !self.queues.is_empty() || self.ending == Ending::Keeps {
            return;
        }
        match self.ending {
            Ending::Keeps | Ending::Detach | Ending::Remove => {}
            Ending::Reset => {
                if let Some(plugged) = self.registers.plugged() {
                    plugged.device.counters().resets.inc();
                    self.events.push(Event::Reset(self.config.devid));
                }
                self.registers.finish_reset();
            }
        }
        if self.ending >= Ending::Detach {
            self.registers = Registers::empty();
            self.record = None;
            self.events.push(Event::Detached(self.config.devid));
        }
        if self.ending != Ending::Remove {
            self.ending = Ending::Keeps;
        }
    }

    /// The slot is to be forgotten.
    pub(super) fn is_removed(&self) -> bool {
        self.ending == Ending::Remove && self.queues.is_empty()
    }

    /// Nothing runs.
    pub(super) fn is_quiet(&self) -> bool {
        self.queues.is_empty()
    }

    /// Takes the vCPUs whose wait is over; their accesses were writes.
    pub(super) fn released(&mut self) -> Vec<u32> {
        let resetting = !self.queues.is_empty() && self.ending != Ending::Keeps;
        let queues = &self.queues;
        let mut released = Vec::new();
        self.waiting.retain(|&(vcpu, waits_for)| {
            let waits = match waits_for {
                WaitsFor::Reset => resetting,
                WaitsFor::Queue(queue) => queues.contains_key(&queue),
            };
            if !waits {
                released.push(vcpu);
            }
            waits
        });
        released
    }
}
