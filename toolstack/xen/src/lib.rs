//! Safe handles on Xen's kernel interfaces: event channels, grants, foreign memory, ioreq servers.
//!
//! Each device below `/dev/xen` has one handle type; each thing that must be given back (a mapping,
//! a granted page, an ioeventfd) has an owner that gives it back when dropped. No C library of Xen's
//! is used, only Linux ioctls whose ABI is stable, so that a backend can be one static binary.
//!
//! What this crate must never do: panic, whatever the kernel, Xen or a guest answers; believe a
//! value that another domain can change twice; hide an errno. Memory shared with another domain is
//! handed out as raw pointers on purpose: a reference would promise the compiler that nobody else
//! writes there.
//!
//! Two kinds of page size meet here. Xen's page, the unit of grants and of guest frame numbers, is
//! always [`PAGE_SIZE`]; the kernel's own may be larger on Arm. See [`grants`] for what follows.
//!
//! A process that holds mappings must not fork without exec: grant mappings are inherited, and a
//! grant stays mapped until the child has gone as well.

mod counters;
mod domctl;
mod error;
mod hypercall_buffer;
mod ids;
mod sys;

pub mod device_model;
pub mod domain_info;
pub mod eventfd;
pub mod evtchn;
pub mod flask;
pub mod foreign;
pub mod gntalloc;
pub mod grant_copy;
pub mod grants;
pub mod ioreq;
pub mod monitor;
pub mod privcmd;
pub mod vcpu;
pub mod version;

pub use counters::{Counters, CountersSnapshot};
pub use domain_info::DomainInfo;
pub use error::{Error, Result};
pub use eventfd::{IoEventFd, IrqFd};
pub use evtchn::EventChannels;
pub use flask::Flask;
pub use foreign::{ForeignMapping, Resource, ResourceMapping};
pub use gntalloc::{GrantAllocation, GrantAllocator};
pub use grant_copy::{CopySegment, GrantStatus};
pub use grants::{Access, GrantDevice, GrantMapping, UnmapNotify};
pub use ids::{DomId, EventPort, GrantRef, IoservId, Ipa, ParseDomIdError, Pfn};
pub use ioreq::{Ioreq, IoreqKind, IoreqPage};
pub use monitor::Monitor;
pub use privcmd::PrivCmd;
pub use vcpu::Vcpus;
pub use version::XenVersion;

/// Xen's page in bytes, whatever the kernel's is.
pub const PAGE_SIZE: usize = 4096;
