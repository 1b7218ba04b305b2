//! A device's interrupt line and status, shared between the register thread and the queue threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use devices::Counters;
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};

use crate::xen_side::Platform;

/// One device's interrupt. The status bit is always set before the interrupt is raised, or the driver would find
/// nothing and the event would be lost.
pub(crate) struct Interrupt {
    platform: Arc<dyn Platform>,
    irq: u32,
    status: AtomicU32,
    needs_reset: AtomicBool,
    /// A failure to raise it was logged: once says it all, and a guest could cause any number.
    complained: AtomicBool,
    counters: Arc<Counters>,
}

impl Interrupt {
    pub(crate) fn new(platform: Arc<dyn Platform>, irq: u32, counters: Arc<Counters>) -> Self {
        Interrupt {
            platform,
            irq,
            status: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            complained: AtomicBool::new(false),
            counters,
        }
    }

    /// Tells the driver that requests are done.
    pub(crate) fn used(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Tells the driver whatever there may be to tell.
    pub(crate) fn remind(&self) {
        let config = if self.needs_reset() {
            VIRTIO_MMIO_INT_CONFIG
        } else {
            0
        };
        self.raise(VIRTIO_MMIO_INT_VRING | config);
    }

    /// Marks the device as in need of a reset and, if `tell`, sends the configuration interrupt that goes with it
    /// (§2.1.2). True the first time.
    pub(crate) fn break_device(&self, tell: bool) -> bool {
        let first = !self.needs_reset.swap(true, Ordering::SeqCst);
        if first {
            self.counters.needs_resets.inc();
            if tell {
                self.raise(VIRTIO_MMIO_INT_CONFIG);
            }
        }
        first
    }

    pub(crate) fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// InterruptStatus.
    pub(crate) fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// InterruptACK.
    pub(crate) fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }

    /// As after power-on.
    pub(crate) fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
        self.needs_reset.store(false, Ordering::SeqCst);
    }

    fn raise(&self, reason: u32) {
        self.status.fetch_or(reason, Ordering::SeqCst);
        self.counters.interrupts.inc();
        if let Err(error) = self.platform.raise(self.irq)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            // The guest is going away, or was given a line that Xen does not let us raise.
            tracing::warn!(irq = self.irq, %error, "an interrupt could not be raised");
        }
    }
}
