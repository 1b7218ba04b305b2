//! The device models behind vhost-user: the same devices for QEMU and any other front end, without Xen.
//!
//! The front end (a virtual machine monitor) speaks vhost-user over a Unix socket: it hands over its guest's memory,
//! where the rings are, and an eventfd for each direction. `vhost-user-backend` speaks that protocol and wakes one
//! thread per queue; here a queue is started, served and stopped ([`queue`]), and front ends come and go ([`server`]).
//!
//! Principles:
//! - The guest is hostile here too. Rings are served by [`devices::DeviceQueue`], which reads each descriptor chain
//!   once; `vhost-user-backend`'s own view of a ring gives only addresses and indices.
//! - The front end is believed no more than needed: whatever it says ends at most its own connection. It can still
//!   make memory vanish that it shares (by truncating its file), which no process can survive: one process serves one
//!   front end's device, so nobody else suffers.
//! - A front end may die at any moment. The next one finds a device at rest, and nothing of the other's memory.
//!
//! Protocol: <https://qemu-project.gitlab.io/qemu/interop/vhost-user.html>.
#![forbid(unsafe_code)]
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

mod backend;
mod door;
mod queue;
mod server;
mod vring;

pub use server::{ServeError, Server};

use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// One state of a guest's memory, as a table from the front end described it.
type Snapshot = GuestMemoryMmap<()>;
/// A guest's memory, which the front end may replace.
type Memory = GuestMemoryAtomic<Snapshot>;
