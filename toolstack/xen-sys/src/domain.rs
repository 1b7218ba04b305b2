//! Domain identifiers (`xen/include/public/xen.h`).

/// `domid_t`.
pub type DomId = u16;

/// First identifier that no ordinary domain can have.
pub const DOMID_FIRST_RESERVED: DomId = 0x7ff0;
/// The calling domain, in calls that accept it.
pub const DOMID_SELF: DomId = 0x7ff0;
/// Owner of memory-mapped I/O pages.
pub const DOMID_IO: DomId = 0x7ff1;
/// Owner of Xen's own shared pages.
pub const DOMID_XEN: DomId = 0x7ff2;
/// No domain. Linux's privcmd uses it for "not restricted".
pub const DOMID_INVALID: DomId = 0x7ff4;
/// The idle domain; Linux's privcmd uses it for "restricted to nobody".
pub const DOMID_IDLE: DomId = 0x7fff;
