//! The worker's engine: serves all virtio devices of one guest.
//!
//! A worker process builds one [`Engine`] from what the holder handed it ([`EngineSetup`]), then calls
//! [`Engine::run`], which serves the guest's register accesses on the calling thread until it is told to stop. Each
//! queue of a running device has a thread of its own, which answers register accesses too while it is awake (`front`).
//! Orders come in through an [`EngineHandle`] from any thread, what happens goes out through an [`EventSink`].
//!
//! The engine never touches XenStore, never opens a path, never creates or destroys an ioreq server and never maps
//! an MMIO range: the holder does. It blocks no vCPU on I/O for longer than two milliseconds: the one access that waits (a
//! reset while requests are in flight) keeps only the vCPU that wrote it.

use std::sync::Arc;

use devices::{CountersSnapshot, Device};
use xen::{DomId, EventChannels, EventPort, GrantDevice, IoservId, PrivCmd};

use crate::record::Record;

mod core;
mod front;
mod gather;
mod lookout;
mod orders;
mod queue_thread;
mod run;
mod slot;
mod spin;
pub(crate) mod wake;

pub use orders::EngineHandle;
pub use run::Engine;
#[cfg(any(test, feature = "fake"))]
pub(crate) use slot::PANICKED;

/// A device's number in its guest: the last component of its XenStore folder.
pub type DevId = u32;

/// What an engine needs, all of it already open: an engine opens nothing by name.
pub struct EngineSetup {
    /// The guest.
    pub domid: DomId,
    /// For the ioreq page, interrupts and foreign mappings; may already be restricted to `domid`.
    pub privcmd: PrivCmd,
    /// For the vCPUs' notifications. The engine uses this handle alone: nobody else may read its pending ports.
    pub event_channels: EventChannels,
    /// The vCPUs' event channels.
    pub ports: VcpuPorts,
    /// The ioreq server that covers the devices' registers; created (and destroyed) by the holder.
    pub ioserv: IoservId,
    /// The guest's number of vCPUs (`XEN_DMOP_nr_vcpus`): slots of the ioreq page.
    pub vcpus: u32,
    /// Gives a grant device for each queue that needs one.
    pub grants: GrantSource,
    /// The guest's memory size in KiB (its maximum): bounds foreign mappings. Zero when no device uses them.
    pub memory_kib: u64,
    /// What is spent on speed.
    pub tuning: Tuning,
}

/// What is spent on speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Threads of busy queues may look for more work before they sleep, at the price of CPU time: at most a few times
    /// what they have just worked.
    pub polling: bool,
    /// Over grants, payload of up to this many bytes is copied, in pieces if need be; what is larger is mapped.
    pub copy_limit: usize,
}

impl Default for Tuning {
    /// Everything is copied. Under emulation of Arm that was 2 to 3 times as fast as mapping at each size from
    /// 16 KiB to 1 MiB: each page that is unmapped flushes the whole translation cache of the backend's domain.
    fn default() -> Self {
        Tuning {
            polling: true,
            copy_limit: usize::MAX,
        }
    }
}

/// How the vCPUs' event channels reach the engine.
pub enum VcpuPorts {
    /// Bound already on [`EngineSetup::event_channels`]; one local port per vCPU, in vCPU order.
    Bound(Vec<EventPort>),
    /// The engine binds the remote ports it finds in the ioreq page. All slots are scanned once afterwards, since a
    /// notification sent while nobody was bound is lost (that is how a restarted worker takes over).
    Bind,
}

/// Makes a grant device (`/dev/xen/gntdev` handle) for a queue. One handle per queue keeps queues from waiting for
/// each other in the kernel.
pub type GrantSource = Arc<dyn Fn() -> xen::Result<GrantDevice> + Send + Sync>;

/// Which memory model a device's guest memory is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryModel {
    /// By grants: the backend reaches only the pages of each request. The driver must negotiate ACCESS_PLATFORM.
    Grant,
    /// By foreign mapping: the backend reaches the whole guest; dom0 only.
    Foreign,
}

impl MemoryModel {
    /// Whether an indirect table costs no more than the ring. Over grants it does: one more page for the guest to
    /// grant, and one more copy per request. The ring is mapped, so there a request's descriptors belong into it.
    pub fn reads_tables_free(self) -> bool {
        self == MemoryModel::Foreign
    }
}

/// Where a device sits in its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotConfig {
    /// The device's number.
    pub devid: DevId,
    /// Guest physical address of its registers (0x200 bytes; libxl: 0x2000000 + 0x200·n).
    pub base: u64,
    /// Its interrupt (a GIC number; libxl gives SPIs from 33).
    pub irq: u32,
}

/// A device model with the memory model it works on.
pub struct Attachment {
    /// The device.
    pub device: Box<dyn Device>,
    /// How it reaches guest memory.
    pub memory: MemoryModel,
    /// Offer indirect descriptors. [`MemoryModel::reads_tables_free`] tells whether that is of use.
    pub indirect: bool,
    /// Where its state outlives this process. If a predecessor left its state there, the device goes on from it: the
    /// guest sees a delay.
    pub record: Record,
}

/// What the engine tells the holder. Sent from several threads; never many at a time per guest action (the sink
/// is called at most once per status change of a device).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver runs the device (XenStore: Connected).
    DriverOk(DevId),
    /// The driver has reset the device, and everything of it is drained and unmapped (XenStore: InitWait).
    Reset(DevId),
    /// The driver broke the protocol; the device waits for its reset.
    NeedsReset(DevId, String),
    /// A [`EngineHandle::detach`] or [`EngineHandle::remove_slot`] is complete: nothing of the device is mapped or in
    /// flight any more, its image is closed.
    Detached(DevId),
    /// The engine cannot go on (its handles fail: the guest is gone or was never ours). [`Engine::run`] returns.
    Fatal(String),
}

/// Receives [`Event`]s. Must not block for long: a vCPU may be waiting.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Counters of one device.
#[derive(Clone, Debug)]
pub struct DeviceStats {
    /// The device.
    pub devid: DevId,
    /// Its virtio device type, 0 for an empty slot.
    pub device_type: u32,
    /// Device status register (virtio 1.3 §2.1).
    pub status: u8,
    /// What it did.
    pub counters: CountersSnapshot,
}

/// Why an engine could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Two slots overlap, or a base is not aligned.
    #[error("device {devid} cannot be at {base:#x}: the address is not 0x200-aligned or is taken")]
    Slot {
        /// The device.
        devid: DevId,
        /// Its address.
        base: u64,
    },
    /// No slot of that number.
    #[error("there is no device slot {0}")]
    NoSlot(DevId),
    /// The slot is in use.
    #[error("device slot {0} already has a device")]
    Occupied(DevId),
    /// A device model states queue sizes that virtio forbids.
    #[error("the device model for slot {0} has an invalid queue size")]
    QueueSize(DevId),
    /// More or larger queues than a [`Record`] has room for.
    #[error("the queues of the device for slot {0} do not fit its record")]
    Record(DevId),
    /// Xen or the kernel refused.
    #[error("cannot {what}: {error}")]
    Xen {
        /// What was wanted.
        what: &'static str,
        /// What came back.
        error: xen::Error,
    },
    /// The operating system refused.
    #[error("cannot {what}: {error}")]
    Os {
        /// What was wanted.
        what: &'static str,
        /// What came back.
        error: std::io::Error,
    },
    /// The engine has stopped; the handle is of no more use.
    #[error("the engine has stopped")]
    Stopped,
}
