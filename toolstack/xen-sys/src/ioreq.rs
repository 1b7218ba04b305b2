//! The shared I/O request slot (`xen/include/public/hvm/ioreq.h`).
//!
//! One slot of 32 bytes per vCPU. Byte 30 is a bit field that Xen and the device model both write,
//! in turns: bits 0–3 the state, bit 4 `data_is_ptr`, bit 5 the direction, bit 6 `df`.

/// One slot, as plain data. Shared memory must be read through atomics, never as this type.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ioreq {
    /// Guest physical address (for [`TYPE_PCI_CONFIG`]: segment, bus, device, function, offset).
    pub addr: u64,
    /// Value written, or value to be returned.
    pub data: u64,
    /// Repetitions; always 1 on Arm.
    pub count: u32,
    /// Width of the access in bytes.
    pub size: u32,
    /// Xen's port of the event channel for this vCPU: the remote port to bind.
    pub vp_eport: u32,
    /// Unused.
    pub pad0: u16,
    /// State and flags, see `STATE_MASK` and `FLAG_*`.
    pub bits: u8,
    /// `TYPE_*`.
    pub kind: u8,
}
layout!(Ioreq, size 32, align 8, addr @ 0, data @ 8, count @ 16, size @ 20, vp_eport @ 24, bits @ 30, kind @ 31);

/// Bits of [`Ioreq::bits`] that hold the state.
pub const STATE_MASK: u8 = 0x0f;
/// No request.
pub const STATE_NONE: u8 = 0;
/// Xen has put a request here.
pub const STATE_READY: u8 = 1;
/// The device model works on it.
pub const STATE_INPROCESS: u8 = 2;
/// The device model has answered.
pub const STATE_RESP_READY: u8 = 3;

/// `data` is the guest physical address of the data.
pub const FLAG_DATA_IS_PTR: u8 = 1 << 4;
/// The guest reads (else it writes).
pub const FLAG_READ: u8 = 1 << 5;
/// Repetitions go downwards.
pub const FLAG_DF: u8 = 1 << 6;

/// Port I/O.
pub const TYPE_PIO: u8 = 0;
/// Memory-mapped I/O.
pub const TYPE_COPY: u8 = 1;
/// PCI configuration space.
pub const TYPE_PCI_CONFIG: u8 = 2;
/// The guest has moved its clock.
pub const TYPE_TIMEOFFSET: u8 = 7;
/// Mappings of guest memory may be stale; must be answered like any other request.
pub const TYPE_INVALIDATE: u8 = 8;

/// Slots in one 4-KiB page; Xen offers one page of them per server.
pub const SLOTS_PER_PAGE: usize = 4096 / size_of::<Ioreq>();
const _: () = assert!(SLOTS_PER_PAGE == 128);
