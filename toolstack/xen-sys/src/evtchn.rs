//! `/dev/xen/evtchn` (Linux `include/uapi/xen/evtchn.h`).
//!
//! Reading the device yields pending ports as `u32`, each masked until it is written back.

use crate::domain::DomId;
use crate::ioctl::{NONE, ioc};

/// Path of the device.
pub const DEVICE: &core::ffi::CStr = c"/dev/xen/evtchn";

/// `evtchn_port_t`; 0 is never a valid port.
pub type Port = u32;

/// Argument of [`BIND_VIRQ`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BindVirq {
    /// Number of the virtual interrupt.
    pub virq: u32,
}
layout!(BindVirq, size 4, align 4, virq @ 0);

/// Argument of [`BIND_INTERDOMAIN`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BindInterdomain {
    /// Domain that holds the unbound port.
    pub remote_domain: u32,
    /// Its port.
    pub remote_port: Port,
}
layout!(BindInterdomain, size 8, align 4, remote_domain @ 0, remote_port @ 4);

/// Argument of [`BIND_UNBOUND_PORT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct BindUnboundPort {
    /// Domain that may bind the other end.
    pub remote_domain: u32,
}
layout!(BindUnboundPort, size 4, align 4, remote_domain @ 0);

/// Argument of [`UNBIND`], [`NOTIFY`] and [`BIND_STATIC`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PortArgument {
    /// Local port.
    pub port: Port,
}
layout!(PortArgument, size 4, align 4, port @ 0);

/// Argument of [`RESTRICT_DOMID`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RestrictDomid {
    /// The only domain that may be bound from now on.
    pub domid: DomId,
}
layout!(RestrictDomid, size 2, align 2, domid @ 0);

/// Binds a fresh port to a virtual interrupt; returns the port.
pub const BIND_VIRQ: u32 = ioc(NONE, b'E', 0, size_of::<BindVirq>());
/// Binds a fresh port to a remote unbound one; returns the port.
pub const BIND_INTERDOMAIN: u32 = ioc(NONE, b'E', 1, size_of::<BindInterdomain>());
/// Allocates a port that the remote domain may bind; returns the port.
pub const BIND_UNBOUND_PORT: u32 = ioc(NONE, b'E', 2, size_of::<BindUnboundPort>());
/// Closes a port.
pub const UNBIND: u32 = ioc(NONE, b'E', 3, size_of::<PortArgument>());
/// Sends an event to the remote end.
pub const NOTIFY: u32 = ioc(NONE, b'E', 4, size_of::<PortArgument>());
/// Empties the ring of pending ports and clears its overflow condition.
pub const RESET: u32 = ioc(NONE, b'E', 5, 0);
/// Restricts the file to one remote domain, for good.
pub const RESTRICT_DOMID: u32 = ioc(NONE, b'E', 6, size_of::<RestrictDomid>());
/// Binds a port that was allocated when the domain was built.
pub const BIND_STATIC: u32 = ioc(NONE, b'E', 7, size_of::<PortArgument>());
number! {
    BIND_VIRQ = 0x0004_4500, BIND_INTERDOMAIN = 0x0008_4501, BIND_UNBOUND_PORT = 0x0004_4502,
    UNBIND = 0x0004_4503, NOTIFY = 0x0004_4504, RESET = 0x0000_4505,
    RESTRICT_DOMID = 0x0002_4506, BIND_STATIC = 0x0004_4507,
}
