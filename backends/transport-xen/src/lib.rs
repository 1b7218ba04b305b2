//! Virtio over virtio-mmio registers that Xen forwards (an ioreq server), with grant or foreign memory.
//!
//! This crate is the *transport* and the *memory models* for the device models of crate `devices`:
//! - [`mmio`]: the register file, one for all devices;
//! - [`memory`]: rings and payload by grants or by foreign mapping;
//! - [`engine`]: the threads of one guest: one for registers, one for each queue.
//!
//! Principles:
//! - The guest is hostile: no register write, descriptor or grant ends anything but the guest's own request or device.
//! - Every access is answered. A vCPU waits for us; only the one that resets a busy device waits for its I/O.
//! - Guest memory is unmapped before its request is published as used; only rings stay mapped, until reset.
//! - Nothing is opened by name here: handles come from the holder.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod engine;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod memory;
pub mod mmio;
mod record;
mod xen_side;

pub use engine::{
    Attachment, DevId, DeviceStats, Engine, EngineError, EngineHandle, EngineSetup, Event,
    EventSink, GrantSource, MemoryModel, SlotConfig, Tuning, VcpuPorts,
};
pub use record::{RECORD_BYTES, Record};
