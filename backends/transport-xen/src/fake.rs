//! A guest, its memory and its Xen, played by tests and by programs that attack the engine.
//!
//! - [`FakeGuest`]: memory that can be granted and mapped for real (pages of a memfd), with every mapping on record and
//!   every access beyond what was granted noted as an [escape](FakeGuest::escapes);
//! - [`FakeGate`]: vCPUs that wait for their accesses to be answered;
//! - [`Driver`]: a virtio driver that speaks to registers and rings as Linux does.
//!
//! It panics where the test that uses it is wrong, never because of what the engine does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::sync::Arc;

use crate::engine::{Attachment, Engine, EngineError, EngineHandle, EventSink, SlotConfig, Tuning};

mod driver;
mod gate;
mod grants;
mod guest;
mod pages;

pub use driver::{Buffer, Driver, Queue, features};
pub use gate::{FakeGate, Vcpus, mmio};
pub use grants::FakePlatform;
pub use guest::{Addressing, FakeGuest, holds_secret};

pub use crate::mmio::registers;

/// An engine that serves `guest`, whose vCPUs come to `gate`.
///
/// # Errors
/// As [`Engine::new`].
pub fn engine(
    gate: FakeGate,
    guest: &Arc<FakeGuest>,
    tuning: Tuning,
    slots: Vec<(SlotConfig, Option<Attachment>)>,
    sink: EventSink,
) -> Result<(Engine, EngineHandle), EngineError> {
    let platform = Arc::new(FakePlatform(Arc::clone(guest)));
    let gate = Box::new(gate);
    Engine::assemble(gate, platform, FakeGuest::MEMORY_KIB, tuning, slots, sink)
}

/// Whether the reason of an [`crate::Event::NeedsReset`] is a panic of the engine's own.
pub fn tells_of_a_panic(reason: &str) -> bool {
    reason.contains(crate::engine::PANICKED)
}
