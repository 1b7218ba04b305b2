//! `/dev/xen/gntdev`: mapping and copying other domains' grants (Linux `include/uapi/xen/gntdev.h`).

use crate::domain::DomId;
use crate::grant_table::GrantRef;
use crate::ioctl::{NONE, ioc};

/// Path of the device.
pub const DEVICE: &core::ffi::CStr = c"/dev/xen/gntdev";

/// One grant of a map request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapRef {
    /// Domain that granted the page.
    pub domid: u32,
    /// Its grant reference.
    pub reference: GrantRef,
}
layout!(MapRef, size 8, align 4, domid @ 0, reference @ 4);

/// Fixed part of [`MAP_GRANT_REF`]'s argument; `count` [`MapRef`]s follow it directly.
///
/// The kernel's structure ends in an array of one element, which the ioctl number counts in:
/// [`MapGrantRef`] is that whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapGrantRefHeader {
    /// Number of grants.
    pub count: u32,
    /// Must be 0.
    pub pad: u32,
    /// Out: offset to give to `mmap`.
    pub index: u64,
}
layout!(MapGrantRefHeader, size 16, align 8, count @ 0, index @ 8);

/// [`MAP_GRANT_REF`]'s argument with room for one grant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapGrantRef {
    /// Fixed part.
    pub header: MapGrantRefHeader,
    /// First grant.
    pub refs: [MapRef; 1],
}
layout!(MapGrantRef, size 24, align 8, header.count @ 0, header.index @ 8, refs @ 16);

/// Argument of [`UNMAP_GRANT_REF`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmapGrantRef {
    /// Offset that the map request returned.
    pub index: u64,
    /// Number of grants of that request.
    pub count: u32,
    /// Must be 0.
    pub pad: u32,
}
layout!(UnmapGrantRef, size 16, align 8, index @ 0, count @ 8);

/// Argument of [`GET_OFFSET_FOR_VADDR`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOffsetForVaddr {
    /// Address of the first page of a mapping.
    pub vaddr: u64,
    /// Out: its offset.
    pub offset: u64,
    /// Out: its number of grants.
    pub count: u32,
    /// Must be 0.
    pub pad: u32,
}
layout!(GetOffsetForVaddr, size 24, align 8, vaddr @ 0, offset @ 8, count @ 16);

/// Argument of [`SET_MAX_GRANTS`], which newer kernels no longer have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SetMaxGrants {
    /// Most grants that may be mapped at once through this file.
    pub count: u32,
}
layout!(SetMaxGrants, size 4, align 4, count @ 0);

/// Argument of [`SET_UNMAP_NOTIFY`], here and in [`crate::gntalloc`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmapNotify {
    /// Offset of the byte within the device's address space, as for `mmap`.
    pub index: u64,
    /// `UNMAP_NOTIFY_*`, or 0 to take the notification back.
    pub action: u32,
    /// Local event channel port to notify.
    pub event_channel_port: u32,
}
layout!(UnmapNotify, size 16, align 8, index @ 0, action @ 8, event_channel_port @ 12);

/// Set the byte at `index` to zero when the page is unmapped.
pub const UNMAP_NOTIFY_CLEAR_BYTE: u32 = 1;
/// Send an event when the page is unmapped.
pub const UNMAP_NOTIFY_SEND_EVENT: u32 = 2;

/// Foreign side of a copy segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyForeign {
    /// Grant reference.
    pub reference: GrantRef,
    /// First byte within the granted 4-KiB page.
    pub offset: u16,
    /// Domain that granted the page.
    pub domid: DomId,
}
layout!(CopyForeign, size 8, align 4, reference @ 0, offset @ 4, domid @ 6);

/// One side of a copy segment.
#[repr(C)]
#[derive(Clone, Copy)]
pub union CopyPointer {
    /// Local buffer.
    pub virt: *mut u8,
    /// Granted page.
    pub foreign: CopyForeign,
}
layout!(CopyPointer, size 8, align 8, virt @ 0, foreign @ 0);

/// One piece of a [`GRANT_COPY`] request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CopySegment {
    /// Where from.
    pub source: CopyPointer,
    /// Where to.
    pub dest: CopyPointer,
    /// Bytes; may not cross a page on the granted side.
    pub len: u16,
    /// `GNTCOPY_*`: which side is a grant.
    pub flags: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
}
layout!(CopySegment, size 24, align 8, source @ 0, dest @ 8, len @ 16, flags @ 18, status @ 20);

/// Argument of [`GRANT_COPY`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GrantCopy {
    /// Number of segments.
    pub count: u32,
    /// The segments; the kernel writes their `status`.
    pub segments: *mut CopySegment,
}
layout!(GrantCopy, size 16, align 8, count @ 0, segments @ 8);

/// Enters grants into the file's table; `mmap` then maps them.
pub const MAP_GRANT_REF: u32 = ioc(NONE, b'G', 0, size_of::<MapGrantRef>());
/// Takes grants out of the table, after `munmap`.
pub const UNMAP_GRANT_REF: u32 = ioc(NONE, b'G', 1, size_of::<UnmapGrantRef>());
/// Finds the table offset of a mapped address.
pub const GET_OFFSET_FOR_VADDR: u32 = ioc(NONE, b'G', 2, size_of::<GetOffsetForVaddr>());
/// Sets the file's limit (older kernels).
pub const SET_MAX_GRANTS: u32 = ioc(NONE, b'G', 3, size_of::<SetMaxGrants>());
/// Sets what shall happen when a page is unmapped.
pub const SET_UNMAP_NOTIFY: u32 = ioc(NONE, b'G', 7, size_of::<UnmapNotify>());
/// Copies between grants and local buffers.
pub const GRANT_COPY: u32 = ioc(NONE, b'G', 8, size_of::<GrantCopy>());
number! {
    MAP_GRANT_REF = 0x0018_4700, UNMAP_GRANT_REF = 0x0010_4701, GET_OFFSET_FOR_VADDR = 0x0018_4702,
    SET_MAX_GRANTS = 0x0004_4703, SET_UNMAP_NOTIFY = 0x0010_4707, GRANT_COPY = 0x0010_4708,
}
