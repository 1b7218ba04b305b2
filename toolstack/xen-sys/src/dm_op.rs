//! Device-model operations (`xen/include/public/hvm/dm_op.h`), those an Arm backend uses.
//!
//! Each operation's structure here is the whole `struct xen_dm_op`: number, padding, parameters.
//! Xen reads only as many bytes as the operation needs but insists on a buffer at least that long;
//! all padding must be 0.

/// Creates an ioreq server.
pub const CREATE_IOREQ_SERVER: u32 = 1;
/// Gives an address range to a server.
pub const MAP_IO_RANGE: u32 = 3;
/// Takes a range back.
pub const UNMAP_IO_RANGE: u32 = 4;
/// Enables or disables a server.
pub const SET_IOREQ_SERVER_STATE: u32 = 5;
/// Destroys a server and its ranges.
pub const DESTROY_IOREQ_SERVER: u32 = 6;
/// Sets the level of an interrupt line (Arm, SPIs only).
pub const SET_IRQ_LEVEL: u32 = 19;
/// Asks for the number of vCPUs.
pub const NR_VCPUS: u32 = 20;

/// Synchronous requests only; the one value Arm accepts.
pub const BUFIOREQ_OFF: u8 = 0;
/// The range is memory.
pub const IO_RANGE_MEMORY: u32 = 1;

/// `ioservid_t`.
pub type IoservId = u16;

/// Parameters of [`CREATE_IOREQ_SERVER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CreateIoreqServer {
    /// [`BUFIOREQ_OFF`].
    pub handle_bufioreq: u8,
    /// Must be 0.
    pub pad: [u8; 3],
    /// Out: the new server.
    pub id: IoservId,
}
layout!(CreateIoreqServer, size 6, align 2, handle_bufioreq @ 0, id @ 4);

/// Parameters of [`MAP_IO_RANGE`] and [`UNMAP_IO_RANGE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IoRange {
    /// Server.
    pub id: IoservId,
    /// Must be 0.
    pub pad: u16,
    /// [`IO_RANGE_MEMORY`].
    pub kind: u32,
    /// First address.
    pub start: u64,
    /// Last address (inclusive).
    pub end: u64,
}
layout!(IoRange, size 24, align 8, id @ 0, kind @ 4, start @ 8, end @ 16);

/// Parameters of [`SET_IOREQ_SERVER_STATE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetIoreqServerState {
    /// Server.
    pub id: IoservId,
    /// 1 or 0.
    pub enabled: u8,
    /// Must be 0.
    pub pad: u8,
}
layout!(SetIoreqServerState, size 4, align 2, id @ 0, enabled @ 2);

/// Parameters of [`DESTROY_IOREQ_SERVER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DestroyIoreqServer {
    /// Server.
    pub id: IoservId,
    /// Must be 0.
    pub pad: u16,
}
layout!(DestroyIoreqServer, size 4, align 2, id @ 0);

/// Parameters of [`SET_IRQ_LEVEL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetIrqLevel {
    /// Interrupt number as the GIC counts: SPIs start at 32.
    pub irq: u32,
    /// 1 or 0.
    pub level: u8,
    /// Must be 0.
    pub pad: [u8; 3],
}
layout!(SetIrqLevel, size 8, align 4, irq @ 0, level @ 4);

/// Parameters of [`NR_VCPUS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NrVcpus {
    /// Out: number of vCPUs, fixed when the domain was created.
    pub vcpus: u32,
}
layout!(NrVcpus, size 4, align 4, vcpus @ 0);

/// Parameters of any operation.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Parameters {
    /// [`CREATE_IOREQ_SERVER`].
    pub create_ioreq_server: CreateIoreqServer,
    /// [`MAP_IO_RANGE`] and [`UNMAP_IO_RANGE`].
    pub io_range: IoRange,
    /// [`SET_IOREQ_SERVER_STATE`].
    pub set_ioreq_server_state: SetIoreqServerState,
    /// [`DESTROY_IOREQ_SERVER`].
    pub destroy_ioreq_server: DestroyIoreqServer,
    /// [`SET_IRQ_LEVEL`].
    pub set_irq_level: SetIrqLevel,
    /// [`NR_VCPUS`].
    pub nr_vcpus: NrVcpus,
    /// All bytes; the largest operation (`inject_event`) has 24.
    pub bytes: [u8; 24],
}

/// `struct xen_dm_op`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DmOp {
    /// Number of the operation.
    pub op: u32,
    /// Must be 0.
    pub pad: u32,
    /// Its parameters.
    pub u: Parameters,
}
layout!(DmOp, size 32, align 8, op @ 0, u @ 8);
