//! Orders to a running engine, from any thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::wake::Wake;
use super::{Attachment, DevId, DeviceStats, EngineError, SlotConfig};

/// What the engine's thread is told.
pub(super) enum Order {
    AddSlot(SlotConfig, Answer<()>),
    Attach(DevId, Attachment, Answer<()>),
    Detach(DevId, Answer<()>),
    RemoveSlot(DevId, Answer<()>),
    Stats(Answer<Vec<DeviceStats>>),
    Stop,
    /// A queue thread has ended: nothing of the queue is in flight or mapped.
    QueueEnded(DevId, u16),
    /// A queue thread found the device broken.
    QueueBroken(DevId, String),
}

/// Where an order's outcome goes. Nobody may be waiting any more.
pub(super) type Answer<T> = SyncSender<Result<T, EngineError>>;

/// Sends orders and wakes the engine.
#[derive(Clone)]
pub(super) struct OrderSender {
    orders: Sender<Order>,
    wake: Arc<Wake>,
}

impl OrderSender {
    /// The two ends.
    pub(super) fn new(wake: Arc<Wake>) -> (Self, Receiver<Order>) {
        let (orders, receiver) = channel();
        (OrderSender { orders, wake }, receiver)
    }

    /// Fails if the engine is gone.
    pub(super) fn send(&self, order: Order) -> Result<(), EngineError> {
        self.orders.send(order).map_err(|_| EngineError::Stopped)?;
        self.wake();
        Ok(())
    }

    /// Has the engine's thread look around.
    pub(super) fn wake(&self) {
        self.wake.signal();
    }
}

/// Gives orders to an engine. Calls return when the engine's thread has taken the order, so they must not be made from
/// an [`super::EventSink`].
#[derive(Clone)]
pub struct EngineHandle {
    orders: OrderSender,
}

impl EngineHandle {
    pub(super) fn new(orders: OrderSender) -> Self {
        EngineHandle { orders }
    }

    /// Adds an empty slot. Until it is added, its addresses read as all ones.
    ///
    /// # Errors
    /// [`EngineError::Slot`] if the place is taken or not aligned; [`EngineError::Stopped`].
    pub fn add_slot(&self, slot: SlotConfig) -> Result<(), EngineError> {
        self.ask(|answer| Order::AddSlot(slot, answer))
    }

    /// Puts a device into an empty slot. The guest sees it when it next looks at the slot, so this must be before its
    /// driver probes.
    ///
    /// # Errors
    /// [`EngineError::NoSlot`], [`EngineError::Occupied`], [`EngineError::QueueSize`], [`EngineError::Stopped`].
    pub fn attach(&self, devid: DevId, attachment: Attachment) -> Result<(), EngineError> {
        self.ask(|answer| Order::Attach(devid, attachment, answer))
    }

    /// Takes a slot's device away, whatever its driver does; [`super::Event::Detached`] tells when that is complete.
    /// An empty slot stays empty (and is told as detached too).
    ///
    /// # Errors
    /// [`EngineError::NoSlot`], [`EngineError::Stopped`].
    pub fn detach(&self, devid: DevId) -> Result<(), EngineError> {
        self.ask(|answer| Order::Detach(devid, answer))
    }

    /// As [`EngineHandle::detach`], and then the slot goes too. Take its MMIO range from the ioreq server first.
    ///
    /// # Errors
    /// [`EngineError::NoSlot`], [`EngineError::Stopped`].
    pub fn remove_slot(&self, devid: DevId) -> Result<(), EngineError> {
        self.ask(|answer| Order::RemoveSlot(devid, answer))
    }

    /// Counters of all devices, by device number.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn stats(&self) -> Result<Vec<DeviceStats>, EngineError> {
        self.ask(Order::Stats)
    }

    /// Ends [`super::Engine::run`] once all queues are drained and unmapped. Returns at once; may be called from anywhere.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, EngineError> {
        let (answer, outcome) = sync_channel(1);
        self.orders.send(order(answer))?;
        outcome.recv().map_err(|_| EngineError::Stopped)?
    }
}
