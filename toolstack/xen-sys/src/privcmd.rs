//! `/dev/xen/privcmd`: hypercalls, foreign memory, device-model calls (Linux
//! `include/uapi/xen/privcmd.h`).

use crate::domain::DomId;
use crate::ioctl::{NONE, WRITE, ioc};

/// Path of the device.
pub const DEVICE: &core::ffi::CStr = c"/dev/xen/privcmd";
/// Path of the device that hands out pages fit for hypercall arguments.
pub const HYPERCALL_BUFFER_DEVICE: &core::ffi::CStr = c"/dev/xen/hypercall";

/// Argument of [`HYPERCALL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Hypercall {
    /// [`crate::hypercall`] number.
    pub op: u64,
    /// Arguments.
    pub arg: [u64; 5],
}
layout!(Hypercall, size 48, align 8, op @ 0, arg @ 8);

/// Argument of [`MMAPBATCH_V2`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MmapBatchV2 {
    /// Number of 4-KiB pages.
    pub num: u32,
    /// Domain that owns them.
    pub dom: DomId,
    /// Where in this process: a fresh mapping of the device, of exactly this size.
    pub addr: u64,
    /// Guest frame numbers (`xen_pfn_t`).
    pub arr: *const u64,
    /// Out: 0 or a negative errno for each page.
    pub err: *mut i32,
}
layout!(MmapBatchV2, size 32, align 8, num @ 0, dom @ 4, addr @ 8, arr @ 16, err @ 24);

/// One buffer of a [`DmOp`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DmOpBuf {
    /// Address; the kernel pins it for writing.
    pub uptr: *mut u8,
    /// Size in bytes.
    pub size: usize,
}
layout!(DmOpBuf, size 16, align 8, uptr @ 0, size @ 8);

/// Argument of [`DM_OP`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DmOp {
    /// Target domain.
    pub dom: DomId,
    /// Number of buffers; the first is a [`crate::dm_op::DmOp`].
    pub num: u16,
    /// The buffers.
    pub ubufs: *const DmOpBuf,
}
layout!(DmOp, size 16, align 8, dom @ 0, num @ 2, ubufs @ 8);

/// Argument of [`MMAP_RESOURCE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MmapResource {
    /// Domain whose resource it is.
    pub dom: DomId,
    /// [`crate::memory`] `RESOURCE_*`.
    pub kind: u32,
    /// Identifier of that kind.
    pub id: u32,
    /// First frame.
    pub idx: u32,
    /// Number of frames; with `addr` 0, out: the size of the resource.
    pub num: u64,
    /// Where in this process: a fresh mapping of the device.
    pub addr: u64,
}
layout!(MmapResource, size 32, align 8, dom @ 0, kind @ 4, id @ 8, idx @ 12, num @ 16, addr @ 24);

/// Argument of [`IRQFD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Irqfd {
    /// Address of a [`crate::dm_op::DmOp`] to issue on each signal; the kernel copies it.
    pub dm_op: u64,
    /// Its size.
    pub size: u32,
    /// The eventfd.
    pub fd: u32,
    /// 0 or [`FLAG_DEASSIGN`].
    pub flags: u32,
    /// Target domain.
    pub dom: DomId,
    /// Must be 0.
    pub pad: [u8; 2],
}
layout!(Irqfd, size 24, align 8, dm_op @ 0, size @ 8, fd @ 12, flags @ 16, dom @ 20, pad @ 22);

/// Argument of [`IOEVENTFD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ioeventfd {
    /// Address of the mapped ioreq page in this process.
    pub ioreq: u64,
    /// Address of `vcpus` local event channel ports (`u32`).
    pub ports: u64,
    /// Base of the device's register window in the guest.
    pub addr: u64,
    /// Width of the access to match, in bytes.
    pub addr_len: u32,
    /// The eventfd.
    pub event_fd: u32,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Queue number to match.
    pub vq: u32,
    /// 0 or [`FLAG_DEASSIGN`].
    pub flags: u32,
    /// Target domain.
    pub dom: DomId,
    /// Must be 0.
    pub pad: [u8; 2],
}
layout!(
    Ioeventfd, size 48, align 8, ioreq @ 0, ports @ 8, addr @ 16, addr_len @ 24, event_fd @ 28,
    vcpus @ 32, vq @ 36, flags @ 40, dom @ 44, pad @ 46,
);

/// Removes instead of adds, for [`IRQFD`] and [`IOEVENTFD`].
pub const FLAG_DEASSIGN: u32 = 1;

/// Issues any hypercall.
pub const HYPERCALL: u32 = ioc(NONE, b'P', 0, size_of::<Hypercall>());
/// Maps another domain's pages.
pub const MMAPBATCH_V2: u32 = ioc(NONE, b'P', 4, size_of::<MmapBatchV2>());
/// Issues a device-model operation.
pub const DM_OP: u32 = ioc(NONE, b'P', 5, size_of::<DmOp>());
/// Restricts the file to one domain and to the calls that name it, for good.
pub const RESTRICT: u32 = ioc(NONE, b'P', 6, size_of::<DomId>());
/// Maps pages that Xen keeps for a domain.
pub const MMAP_RESOURCE: u32 = ioc(NONE, b'P', 7, size_of::<MmapResource>());
/// Ties an eventfd to an interrupt (Linux ≥ 6.6, `CONFIG_XEN_PRIVCMD_EVENTFD`).
pub const IRQFD: u32 = ioc(WRITE, b'P', 8, size_of::<Irqfd>());
/// Ties a register write to an eventfd (Linux ≥ 6.7, `CONFIG_XEN_PRIVCMD_EVENTFD`).
pub const IOEVENTFD: u32 = ioc(WRITE, b'P', 9, size_of::<Ioeventfd>());
number! {
    HYPERCALL = 0x0030_5000, MMAPBATCH_V2 = 0x0020_5004, DM_OP = 0x0010_5005, RESTRICT = 0x0002_5006,
    MMAP_RESOURCE = 0x0020_5007, IRQFD = 0x4018_5008, IOEVENTFD = 0x4030_5009,
}
