//! `/dev/xen/gntalloc`: granting own pages (Linux `include/uapi/xen/gntalloc.h`).

use crate::domain::DomId;
use crate::ioctl::{NONE, ioc};

pub use crate::gntdev::{UNMAP_NOTIFY_CLEAR_BYTE, UNMAP_NOTIFY_SEND_EVENT, UnmapNotify};

/// Path of the device.
pub const DEVICE: &core::ffi::CStr = c"/dev/xen/gntalloc";

/// The other domain may write to the pages.
pub const FLAG_WRITABLE: u16 = 1;

/// Fixed part of [`ALLOC_GREF`]'s argument; the kernel writes `count` grant references (`u32`)
/// directly behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocGrefHeader {
    /// Domain that shall have access.
    pub domid: DomId,
    /// 0 or [`FLAG_WRITABLE`].
    pub flags: u16,
    /// Number of pages.
    pub count: u32,
    /// Out: offset to give to `mmap`.
    pub index: u64,
}
layout!(AllocGrefHeader, size 16, align 8, domid @ 0, flags @ 2, count @ 4, index @ 8);

/// [`ALLOC_GREF`]'s argument with room for one reference, which the ioctl number counts in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocGref {
    /// Fixed part.
    pub header: AllocGrefHeader,
    /// Out: first grant reference.
    pub gref_ids: [u32; 1],
}
layout!(AllocGref, size 24, align 8, header.domid @ 0, header.index @ 8, gref_ids @ 16);

/// Argument of [`DEALLOC_GREF`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DeallocGref {
    /// Offset that the allocation returned.
    pub index: u64,
    /// Number of pages.
    pub count: u32,
}
layout!(DeallocGref, size 16, align 8, index @ 0, count @ 8);

/// Allocates pages and grants them.
pub const ALLOC_GREF: u32 = ioc(NONE, b'G', 5, size_of::<AllocGref>());
/// Gives pages back; they are freed when the other side has unmapped them.
pub const DEALLOC_GREF: u32 = ioc(NONE, b'G', 6, size_of::<DeallocGref>());
/// Sets what shall happen when a page is given back.
pub const SET_UNMAP_NOTIFY: u32 = ioc(NONE, b'G', 7, size_of::<UnmapNotify>());
number! {
    ALLOC_GREF = 0x0018_4705, DEALLOC_GREF = 0x0010_4706, SET_UNMAP_NOTIFY = 0x0010_4707,
}
