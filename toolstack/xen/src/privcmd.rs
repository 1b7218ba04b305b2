//! `/dev/xen/privcmd`: the door to hypercalls, foreign memory and device-model calls.
//!
//! What it may do depends on the domain: everything in dom0; in a driver domain what Xen's policy
//! and the kernel's own restriction allow. [`PrivCmd::restrict`] narrows it to one target domain.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use xen_sys::dm_op::DmOp;
use xen_sys::privcmd as abi;

use crate::counters::{Counters, count};
use crate::error::{Error, Result};
use crate::ids::DomId;
use crate::sys;

#[derive(Debug)]
struct Device {
    fd: OwnedFd,
    counters: Arc<Counters>,
}

/// An open privileged command device. Clones share the same file, and its restriction.
#[derive(Clone, Debug)]
pub struct PrivCmd {
    device: Arc<Device>,
}

impl PrivCmd {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Open`] where this is no Xen domain or the device may not be used.
    pub fn open() -> Result<Self> {
        Self::open_counted(Arc::default())
    }

    /// Opens the device, counting in `counters`.
    ///
    /// # Errors
    /// As [`PrivCmd::open`].
    pub fn open_counted(counters: Arc<Counters>) -> Result<Self> {
        Self::from_fd_counted(sys::open(abi::DEVICE, "xen-privcmd")?, counters)
    }

    /// Takes over an open device, for example one that another process has restricted.
    ///
    /// # Errors
    /// [`Error::NotADevice`] for another kind of file.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::from_fd_counted(fd, Arc::default())
    }

    /// As [`PrivCmd::from_fd`], counting in `counters`.
    ///
    /// # Errors
    /// As [`PrivCmd::from_fd`].
    pub fn from_fd_counted(fd: OwnedFd, counters: Arc<Counters>) -> Result<Self> {
        let fd = sys::adopt(fd, abi::DEVICE)?;
        Ok(Self {
            device: Arc::new(Device { fd, counters }),
        })
    }

    /// The counters this handle counts in.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.device.counters
    }

    /// Restricts this file, for good and for everyone who shares it, to `domid`: device-model calls,
    /// foreign memory and resources of that domain only, and no raw hypercalls at all
    /// ([`PrivCmd::xen_version`] is one).
    ///
    /// # Errors
    /// [`Error::Restrict`]; `EINVAL` if it is restricted to another domain already.
    pub fn restrict(&self, domid: DomId) -> Result<()> {
        let mut argument = domid.get();
        // SAFETY: RESTRICT reads one domain identifier.
        unsafe { sys::ioctl(self.as_fd(), abi::RESTRICT, &raw mut argument) }
            .map(drop)
            .map_err(|source| Error::Restrict {
                device: sys::name(abi::DEVICE),
                domid,
                source,
            })
    }

    /// Issues one device-model operation; its results are written into `operation`.
    pub(crate) fn dm_op(
        &self,
        domid: DomId,
        operation: &mut DmOp,
        what: &'static str,
    ) -> Result<()> {
        count(&self.device.counters.dm_ops, 1);
        let buffer = abi::DmOpBuf {
            uptr: std::ptr::from_mut(operation).cast(),
            size: size_of::<DmOp>(),
        };
        let mut argument = abi::DmOp {
            dom: domid.get(),
            num: 1,
            ubufs: &raw const buffer,
        };
        // SAFETY: the one buffer is a whole `DmOp`, writable during the call.
        unsafe { sys::ioctl(self.as_fd(), abi::DM_OP, &raw mut argument) }
            .map(drop)
            .map_err(|source| Error::DeviceModel {
                operation: what,
                domid,
                source,
            })
    }

    /// Issues a raw hypercall and returns what Xen returned.
    ///
    /// # Safety
    /// The arguments must be right for the hypercall, and what they point to as well.
    pub(crate) unsafe fn hypercall(&self, number: u64, arguments: [u64; 5]) -> io::Result<i32> {
        count(&self.device.counters.hypercalls, 1);
        let mut argument = abi::Hypercall {
            op: number,
            arg: arguments,
        };
        // SAFETY: HYPERCALL reads one `Hypercall`; the rest is promised by the caller.
        unsafe { sys::ioctl_once(self.as_fd(), abi::HYPERCALL, &raw mut argument) }
    }
}

impl AsFd for PrivCmd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.fd.as_fd()
    }
}
