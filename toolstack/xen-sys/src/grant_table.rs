//! Grant references, copy flags and status values (`xen/include/public/grant_table.h`).

/// `grant_ref_t`.
pub type GrantRef = u32;

/// The source of a copy is a grant.
pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0;
/// The destination of a copy is a grant.
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

/// Done.
pub const GNTST_OKAY: i16 = 0;
/// Unspecified error.
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// No such domain.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// The reference does not exist or does not permit this.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// No such mapping handle.
pub const GNTST_BAD_HANDLE: i16 = -4;
/// Unsuitable virtual address.
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
/// Unsuitable device address.
pub const GNTST_BAD_DEV_ADDR: i16 = -6;
/// No space left in the I/O MMU.
pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
/// Not privileged.
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// The page does not suit the operation.
pub const GNTST_BAD_PAGE: i16 = -9;
/// The copy crosses a page boundary.
pub const GNTST_BAD_COPY_ARG: i16 = -10;
/// The page's address is too large.
pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
/// Not done, try again.
pub const GNTST_EAGAIN: i16 = -12;
/// Out of handles or grant frames.
pub const GNTST_NO_SPACE: i16 = -13;
