//! Pages given to a domain and taken from it, and resources that can be mapped (`xen/include/public/memory.h`).

use crate::domain::DomId;

/// `XENMEM_decrease_reservation`: frames cease to be the domain's.
pub const DECREASE_RESERVATION: u64 = 1;
/// `XENMEM_populate_physmap`: fresh pages at these frames.
pub const POPULATE_PHYSMAP: u64 = 6;

/// `xen_memory_reservation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Address of the list of frame numbers.
    pub extent_start: u64,
    /// How many.
    pub nr_extents: u64,
    /// Each of 2^order pages.
    pub extent_order: u32,
    /// `XENMEMF_*`.
    pub mem_flags: u32,
    /// The domain.
    pub domid: DomId,
    /// Zero.
    pub pad: [u16; 3],
}

layout!(Reservation, size 32, align 8, nr_extents @ 8, extent_order @ 16, domid @ 24);

/// Pages of an ioreq server; the id is the server's.
pub const RESOURCE_IOREQ_SERVER: u32 = 0;
/// Frames of a domain's grant table; the id is `RESOURCE_GRANT_TABLE_ID_*`.
pub const RESOURCE_GRANT_TABLE: u32 = 1;
/// Buffers of vmtrace; the id is the vCPU.
pub const RESOURCE_VMTRACE_BUF: u32 = 2;

/// The shared grant entries.
pub const RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
/// The status entries of grant table version 2.
pub const RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;

/// Frame of the buffered-ioreq ring (x86 only).
pub const RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u32 = 0;
/// First frame of synchronous ioreq slots.
pub const RESOURCE_IOREQ_SERVER_FRAME_IOREQ: u32 = 1;
