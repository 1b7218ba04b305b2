//! Virtio device models that know nothing of Xen.
//!
//! A device here is what the virtio specification calls one: features, a configuration space, queues, and what a
//! request on a queue does. It is served by a *transport* (how registers and notifications reach it) and reads the
//! guest through a *memory model* (what of the guest can be reached, and at what price). Both are traits here and
//! live elsewhere, so each device works over each transport with each memory model.
//!
//! Principles:
//! - The guest is hostile. A descriptor chain is read once, into owned memory, and validated ([`chain`]); a device
//!   never sees a descriptor, only a [`Chain`], and decides only on private copies of what a request says.
//! - Nothing a guest does panics, and nothing grows with what a guest does.
//! - A request's guest memory is released before the request is published as used ([`memory`]).
//! - Everything that costs something is counted ([`Counters`]).
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

pub mod block;
pub mod buffer;
pub mod chain;
pub mod counters;
pub mod device;
pub mod inflight;
pub mod memory;
pub mod queue;
pub mod refusal;

pub use chain::{Chain, ChainError, Segment};
pub use counters::{Counters, CountersSnapshot};
pub use device::{Completions, Device, DeviceError, DeviceType, QueueHandler};
pub use inflight::{InFlight, SharedWords};
pub use memory::{Access, CopyIn, CopyOut, MappedPayload, MemoryError, PayloadMemory};
pub use queue::{DeviceQueue, QueueConfig, QueueError};
