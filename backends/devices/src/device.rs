//! What every device model is to a transport.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virtio_bindings::virtio_ids;

use crate::chain::Chain;
use crate::counters::Counters;
use crate::memory::PayloadMemory;

/// A virtio device type number (virtio 1.3 chapter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceType(pub u32);

impl DeviceType {
    /// No device: the value a transport shows in an empty slot.
    pub const NONE: DeviceType = DeviceType(0);
    /// Block device (virtio 1.3 §5.2).
    pub const BLOCK: DeviceType = DeviceType(virtio_ids::VIRTIO_ID_BLOCK);
}

/// Why a device could not be brought to work.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Something the device needs from the operating system is missing.
    #[error("the device could not be started: {0}")]
    Os(#[from] std::io::Error),
}

/// A device model: what the transport shows to the driver, and who handles its queues.
///
/// The transport calls everything but [`QueueHandler`]'s methods from the thread that serves registers while a vCPU
/// waits, so nothing here may block.
pub trait Device: Send + Sync {
    /// The device's type.
    fn device_type(&self) -> DeviceType;

    /// Feature bits of the device's own (0–23 and 50–127 of virtio 1.3 §2.2). The transport adds its own bits and
    /// those of the rings.
    fn features(&self) -> u64;

    /// Largest size of each queue; its length is the number of queues. Each is a power of two up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// Reads from the configuration space. Bytes past its end read as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes to the configuration space. What may not be written is ignored.
    fn write_config(&self, offset: u64, data: &[u8]);

    /// Changes whenever the device (not the driver) changes its configuration.
    fn config_generation(&self) -> u32 {
        0
    }

    /// The driver has negotiated `features` and set DRIVER_OK: one handler per queue, in order.
    /// Called again after each [`Device::reset`].
    fn activate(&self, features: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError>;

    /// The driver has reset the device. All handlers are gone by now; configuration returns to its initial values.
    fn reset(&self);

    /// What a driver may change in the configuration space, as it is now, in a word only this device type can read;
    /// 0 if nothing. Kept outside this process, so that a successor can go on where this one was killed.
    fn saved_state(&self) -> u64 {
        0
    }

    /// Takes over what a predecessor's [`Device::saved_state`] said, before [`Device::activate`]. Bits without
    /// meaning to this device are ignored.
    fn restore_state(&self, _state: u64) {}

    /// The device's counters.
    fn counters(&self) -> &Arc<Counters>;
}

/// Handles the requests of one queue, on a thread of its own. It may block on I/O.
pub trait QueueHandler: Send {
    /// Takes over all chains of `batch` (it is empty afterwards). Each ends in `done` exactly once, now or in a later
    /// call, and only after all guest memory it used is released.
    fn submit(
        &mut self,
        batch: &mut Vec<Chain>,
        memory: &mut dyn PayloadMemory,
        done: &mut Completions,
    );

    /// Whether [`QueueHandler::submit`] of these chains may make its thread wait for I/O. To be on the safe side: yes.
    fn may_wait(&self, _batch: &[Chain]) -> bool {
        true
    }

    /// Whether requests are in flight in the background, so that [`QueueHandler::completion_fd`] will become readable.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Becomes readable when requests have completed in the background; `None` for handlers that complete everything
    /// in [`QueueHandler::submit`].
    fn completion_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Collects what has completed in the background.
    fn reap(&mut self, _memory: &mut dyn PayloadMemory, _done: &mut Completions) {}

    /// Waits until nothing is in flight, collecting it: the queue is being stopped.
    fn drain(&mut self, _memory: &mut dyn PayloadMemory, _done: &mut Completions) {}
}

/// A request that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Head of its chain.
    pub head: u16,
    /// Bytes written to guest memory.
    pub written: u32,
}

/// What a handler has finished: to be put into the used ring.
#[derive(Debug, Default)]
pub struct Completions {
    used: Vec<Used>,
    broken: Option<String>,
}

impl Completions {
    /// Nothing finished yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain is done; `written` bytes of it were written. Consumes the chain: nothing can be done twice.
    pub fn complete(&mut self, chain: Chain, written: u32) {
        self.used.push(Used {
            head: chain.head(),
            written,
        });
    }

    /// The chain cannot be answered at all (no room for a status, or its status is out of reach): the device needs a
    /// reset. The first reason is kept.
    pub fn cannot_answer(&mut self, _chain: Chain, reason: impl Into<String>) {
        if self.broken.is_none() {
            self.broken = Some(reason.into());
        }
    }

    /// Takes the finished requests, oldest first.
    pub fn drain_used(&mut self) -> impl Iterator<Item = Used> + '_ {
        self.used.drain(..)
    }

    /// True when no finished request waits.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Why the device needs a reset, if it does.
    pub fn take_broken(&mut self) -> Option<String> {
        self.broken.take()
    }
}
