//! Commands of the `xen_version` hypercall (`xen/include/public/version.h`).

/// No argument; returns major in the upper and minor in the lower 16 bits.
pub const XENVER_VERSION: u64 = 0;
/// Argument: [`ExtraVersion`].
pub const XENVER_EXTRAVERSION: u64 = 1;
/// No argument; returns Xen's page size in bytes.
pub const XENVER_PAGESIZE: u64 = 7;

/// `xen_extraversion_t`: zero-terminated text such as `.3`.
pub type ExtraVersion = [u8; 16];
