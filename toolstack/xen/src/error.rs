//! What can go wrong between a program and Xen, told from the program's side.

use std::io;

use crate::grant_copy::GrantStatus;
use crate::ids::{DomId, EventPort, GrantRef, IoservId};

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device below `/dev/xen` could not be opened.
    #[error("cannot open {device}: {source}{}", device_hint(source, module))]
    Open {
        /// Path of the device.
        device: &'static str,
        /// Kernel module that provides it.
        module: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file descriptor that was handed over is not a device.
    #[error("the file descriptor given for {device} is not that of a character device")]
    NotADevice {
        /// Path of the device that was expected.
        device: &'static str,
    },
    /// An event channel call failed.
    #[error("cannot {action}: {source}{}", event_hint(source))]
    EventChannel {
        /// What was wanted, with its domain and port.
        action: EventAction,
        /// What the kernel said.
        source: io::Error,
    },
    /// A batch of grants could not be mapped; none of it is.
    #[error(
        "cannot map {count} page(s) granted by domain {domid}: {source}{}",
        map_hint(first_bad)
    )]
    GrantMap {
        /// Granting domain.
        domid: DomId,
        /// Grants in the batch.
        count: usize,
        /// Position and reference of the first grant that cannot even be read, with Xen's verdict,
        /// where that could be found out.
        first_bad: Option<(usize, GrantRef, GrantStatus)>,
        /// What the kernel said (`EINVAL` for every refused grant).
        source: io::Error,
    },
    /// A mapping could not be given back; it stays until the device is closed.
    #[error("cannot unmap {count} page(s) granted by domain {domid}: {source}")]
    GrantUnmap {
        /// Granting domain.
        domid: DomId,
        /// Grants in the mapping.
        count: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// A copy request failed as a whole; which segments were copied is not known.
    #[error("cannot copy {segments} segment(s) from or to grants: {source}")]
    GrantCopy {
        /// Segments in the request.
        segments: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// An unmap notification could not be set.
    #[error("cannot set what shall happen on unmap: {source}")]
    UnmapNotify {
        /// What the kernel said.
        source: io::Error,
    },
    /// Pages could not be allocated and granted.
    #[error(
        "cannot grant {pages} page(s) to domain {domid}: {source}{}",
        alloc_hint(source)
    )]
    GrantAlloc {
        /// Domain that should have had access.
        domid: DomId,
        /// Number of pages.
        pages: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// No page of a foreign mapping could be mapped, or the call itself failed.
    #[error(
        "cannot map {pages} page(s) of domain {domid}: {source}{}",
        privilege_hint(source)
    )]
    ForeignMap {
        /// Domain that owns the pages.
        domid: DomId,
        /// Number of pages.
        pages: usize,
        /// What the kernel said, or the first page's error.
        source: io::Error,
    },
    /// Only some pages of a foreign mapping could be mapped.
    #[error("{failed} of {pages} page(s) of domain {domid} cannot be mapped: {source}")]
    ForeignMapIncomplete {
        /// Domain that owns the pages.
        domid: DomId,
        /// Pages asked for.
        pages: usize,
        /// Pages that failed.
        failed: usize,
        /// The first failure.
        source: io::Error,
    },
    /// Bytes of a foreign mapping could not be copied.
    #[error("cannot {verb} {length} byte(s) at {offset:#x} of a mapping of domain {domid}: {why}")]
    ForeignCopy {
        /// "read" or "write".
        verb: &'static str,
        /// Domain that owns the pages.
        domid: DomId,
        /// First byte, from the mapping's begin.
        offset: usize,
        /// Number of bytes.
        length: usize,
        /// What stands in the way.
        why: &'static str,
    },
    /// A resource of a domain could not be mapped.
    #[error(
        "cannot map the ioreq page of server {server} of domain {domid}: {source}{}",
        privilege_hint(source)
    )]
    ResourceMap {
        /// Domain.
        domid: DomId,
        /// Ioreq server.
        server: IoservId,
        /// What the kernel said.
        source: io::Error,
    },
    /// A device-model operation failed.
    #[error(
        "cannot {operation} (domain {domid}): {source}{}",
        device_model_hint(source)
    )]
    DeviceModel {
        /// What was wanted.
        operation: &'static str,
        /// Target domain.
        domid: DomId,
        /// What Xen or the kernel said.
        source: io::Error,
    },
    /// A hypercall failed.
    #[error("cannot {what}: {source}{}", privilege_hint(source))]
    Hypercall {
        /// What was wanted.
        what: &'static str,
        /// What Xen or the kernel said.
        source: io::Error,
    },
    /// Xen refuses every version of its control operations that is known here.
    #[error(
        "cannot control domains: this Xen's control operations are of a release that this program does not know; it knows those of \
         Xen 4.17 to 4.22. Use a release of this program that was made for this Xen"
    )]
    ControlVersion,
    /// A handle could not be restricted to one domain.
    #[error("cannot restrict {device} to domain {domid}: {source}")]
    Restrict {
        /// Path of the device.
        device: &'static str,
        /// Domain.
        domid: DomId,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel would not tie an eventfd to a register or an interrupt.
    #[error("cannot {what} for domain {domid}: {source}{}", eventfd_hint(source))]
    EventFd {
        /// What was wanted.
        what: &'static str,
        /// Domain.
        domid: DomId,
        /// What the kernel said.
        source: io::Error,
    },
    /// A vCPU's slot was answered without a request being in process.
    #[error("vCPU {vcpu} has no request in process (state {state})")]
    NoRequest {
        /// vCPU.
        vcpu: u32,
        /// State found (`xen_sys::ioreq::STATE_*`).
        state: u8,
    },
    /// An argument that could never work was given.
    #[error("{0}")]
    Argument(&'static str),
    /// This kernel's page size does not allow it.
    #[error("{what} needs a kernel with 4-KiB pages; this one has {page_size} bytes")]
    PageSize {
        /// What was wanted.
        what: &'static str,
        /// The kernel's page in bytes.
        page_size: usize,
    },
}

impl Error {
    /// The errno behind it, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. }
            | Self::EventChannel { source, .. }
            | Self::GrantMap { source, .. }
            | Self::GrantUnmap { source, .. }
            | Self::GrantCopy { source, .. }
            | Self::UnmapNotify { source }
            | Self::GrantAlloc { source, .. }
            | Self::ForeignMap { source, .. }
            | Self::ForeignMapIncomplete { source, .. }
            | Self::ResourceMap { source, .. }
            | Self::DeviceModel { source, .. }
            | Self::Hypercall { source, .. }
            | Self::Restrict { source, .. }
            | Self::EventFd { source, .. } => source.raw_os_error(),
            Self::NotADevice { .. }
            | Self::ForeignCopy { .. }
            | Self::NoRequest { .. }
            | Self::Argument(_)
            | Self::ControlVersion
            | Self::PageSize { .. } => None,
        }
    }

    /// True if Xen knows no such domain (any more).
    pub fn is_no_such_domain(&self) -> bool {
        self.errno() == Some(libc::ESRCH)
    }

    /// True if this kernel or hypervisor was built without the feature.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOTTY)
        )
    }
}

/// What was wanted of an event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventAction {
    /// Bind to a port of another domain.
    BindInterdomain(DomId, EventPort),
    /// Allocate a port for another domain to bind.
    BindUnbound(DomId),
    /// Close a port.
    Unbind(EventPort),
    /// Send an event.
    Notify(EventPort),
    /// Read pending ports.
    Read,
    /// Unmask ports.
    Unmask,
    /// Empty the ring of pending ports.
    Reset,
    /// Prepare the file.
    Prepare,
}

impl std::fmt::Display for EventAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BindInterdomain(domid, port) => {
                write!(f, "bind event channel port {port} of domain {domid}")
            }
            Self::BindUnbound(domid) => {
                write!(f, "allocate an event channel port for domain {domid}")
            }
            Self::Unbind(port) => write!(f, "close event channel port {port}"),
            Self::Notify(port) => write!(f, "notify through event channel port {port}"),
            Self::Read => f.write_str("read pending event channel ports"),
            Self::Unmask => f.write_str("unmask event channel ports"),
            Self::Reset => f.write_str("reset the event channel device"),
            Self::Prepare => f.write_str("make the event channel device non-blocking"),
        }
    }
}

fn device_hint(source: &io::Error, module: &str) -> String {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => format!(
            "; is this a Xen dom0 or driver domain? If it is, load the kernel module {module}"
        ),
        Some(libc::EACCES | libc::EPERM) => {
            "; run as root, or give this user access to the device".into()
        }
        _ => String::new(),
    }
}

fn event_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EINVAL) => {
            "; the other end's port is not offered to this domain, or is bound already"
        }
        Some(libc::ENOTCONN) => "; this handle has not bound that port",
        Some(libc::EACCES) => "; this handle is restricted to another domain",
        Some(libc::EFBIG) => "; more events came than there are ports, reset the device",
        Some(libc::ESRCH) => "; there is no such domain",
        _ => "",
    }
}

fn map_hint(first_bad: &Option<(usize, GrantRef, GrantStatus)>) -> String {
    match first_bad {
        Some((position, reference, status)) => {
            format!("; grant {reference} (number {position} of the batch): {status}")
        }
        None => String::new(),
    }
}

fn alloc_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOSPC) => {
            "; the limit of xen-gntalloc (module parameter \"limit\") or of the grant table is reached"
        }
        _ => "",
    }
}

fn privilege_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; this domain may not do that to the other, or the handle is restricted to another domain"
        }
        Some(libc::ESRCH) => "; there is no such domain",
        _ => "",
    }
}

fn device_model_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP) => {
            "; this Xen was built without IOREQ_SERVER, or the kernel is too old"
        }
        _ => privilege_hint(source),
    }
}

fn eventfd_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS) => {
            "; this kernel has no CONFIG_XEN_PRIVCMD_EVENTFD (Linux 6.7 or newer)"
        }
        Some(libc::EBUSY) => "; the eventfd is in use for this already",
        _ => privilege_hint(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_error(errno: i32) -> Error {
        Error::Open {
            device: "/dev/xen/privcmd",
            module: "xen-privcmd",
            source: io::Error::from_raw_os_error(errno),
        }
    }

    #[test]
    fn a_missing_device_asks_whether_this_is_dom0_and_names_the_module() {
        let text = open_error(libc::ENOENT).to_string();
        assert!(text.contains("/dev/xen/privcmd"), "{text}");
        assert!(text.contains("dom0"), "{text}");
        assert!(text.contains("xen-privcmd"), "{text}");
    }

    #[test]
    fn a_forbidden_device_says_who_may_use_it() {
        for errno in [libc::EACCES, libc::EPERM] {
            assert!(open_error(errno).to_string().contains("root"));
        }
    }

    #[test]
    fn the_errno_survives() {
        assert_eq!(open_error(libc::EMFILE).errno(), Some(libc::EMFILE));
        let gone = Error::DeviceModel {
            operation: "count vCPUs",
            domid: DomId::DOM0,
            source: io::Error::from_raw_os_error(libc::ESRCH),
        };
        assert!(gone.is_no_such_domain());
        assert_eq!(Error::Argument("no").errno(), None);
    }

    #[test]
    fn a_failed_batch_names_the_grant_that_spoilt_it() {
        let error = Error::GrantMap {
            domid: DomId::DOM0,
            count: 3,
            first_bad: Some((1, GrantRef(77), GrantStatus::BAD_GRANT_REF)),
            source: io::Error::from_raw_os_error(libc::EINVAL),
        };
        let text = error.to_string();
        assert!(text.contains("grant 77"), "{text}");
    }
}
