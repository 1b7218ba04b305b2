//! Resources that `XENMEM_acquire_resource` can map (`xen/include/public/memory.h`).

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
