//! Register writes as eventfds, and eventfds as interrupts, done by the kernel's privcmd driver
//! (Linux ≥ 6.7 with `CONFIG_XEN_PRIVCMD_EVENTFD`; elsewhere [`Error::is_unsupported`]).
//!
//! [`IrqFd`] is harmless: the kernel forgets it when the last descriptor of its eventfd closes.
//!
//! [`IoEventFd`] is not. Read in Linux 7.2's `drivers/xen/privcmd.c`:
//!
//! - **It outlives its process.** The kernel's object goes only by a deassign with the same eventfd,
//!   or with the module. After a kill it still holds the event channel ports (a new process cannot
//!   bind them: `EINVAL`, and the guest hangs) and the address of an ioreq page that the kernel may
//!   have freed. Only a process that is not expected to die may own one; without such a process
//!   leave ioeventfds off.
//! - **It goes by user address.** Objects are found by the address of the ioreq page, across
//!   processes. Two pages mapped at the same address in two processes (a fork shares its parent's
//!   layout) are mixed up.
//! - **It does not take the event away.** The owner of the ports still gets each event, finds the
//!   slot answered, and must unmask the port: until then the next request of that vCPU is not seen,
//!   not even by the kernel.
//! - **It races.** For every register *write* that reaches this ioreq server, matching or not, the
//!   kernel sets the slot to INPROCESS, and back to READY where nothing matches. Xen crashes a guest
//!   whose slot it sees go back (`common/ioreq.c`, "Weird HVM ioreq state transition"). Tried on Xen
//!   4.20 with Linux 7.2: a guest that writes other registers as well was crashed after about 11 000
//!   requests. And user space, which is awake by then, can answer between the kernel's two steps and
//!   have its answer overwritten.
//! - **It trusts its caller.** The assign takes whatever mapping lies at the page's address for one of privcmd's and uses
//!   its private data. A process that may be taken over must not have this ioctl.
//!
//! Hence (by reading, not tried yet): QueueNotify (`base + 0x50`, four bytes) needs an ioreq server of
//! its own, so that the kernel never sees a write it does not match, and user space must leave that
//! server's slots alone, but for requests that stay READY (a queue without an ioeventfd) and for reads and
//! IOREQ_TYPE_INVALIDATE, which the kernel never answers. Xen asks servers from the highest id down
//! (`common/ioreq.c`), so one made later gets its four bytes, and disabling it gives them back to the first. Two limits
//! remain: a write that nothing matches still goes back to READY, so a guest can have itself crashed; and the owner of
//! the ports is still woken for each kick, so what is saved is the vCPU's wait, not a wake-up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use xen_sys::dm_op::DmOp;
use xen_sys::privcmd as abi;

use crate::device_model;
use crate::error::{Error, Result};
use crate::foreign::ResourceMapping;
use crate::ids::{DomId, EventPort, Ipa};
use crate::ioreq::IoreqPage;
use crate::privcmd::PrivCmd;
use crate::sys;

/// A guest's write to a virtio-mmio device's QueueNotify register, turned into a signal of an eventfd
/// and answered by the kernel. Undone when dropped; read the module's warnings first.
#[derive(Debug)]
pub struct IoEventFd {
    privcmd: PrivCmd,
    // The kernel reads the page until the deassign, whoever else has dropped it.
    page: Arc<ResourceMapping>,
    eventfd: OwnedFd,
    request: abi::Ioeventfd,
    domid: DomId,
    live: bool,
}

impl IoEventFd {
    /// Ties writes of `width` bytes to the QueueNotify register (0x50) of the device at `base`, whose
    /// lower 16 bits are `queue`, to `eventfd`.
    ///
    /// `ports` are the local ports bound to `page`'s vCPUs, in the order of the vCPUs.
    ///
    /// # Errors
    /// [`Error::Argument`] unless there is one port for each vCPU and `width` is 1, 2, 4 or 8;
    /// [`Error::EventFd`].
    pub fn assign(
        privcmd: &PrivCmd,
        page: &IoreqPage,
        ports: &[EventPort],
        base: Ipa,
        width: u32,
        queue: u16,
        eventfd: BorrowedFd<'_>,
    ) -> Result<Self> {
        if u32::try_from(ports.len()) != Ok(page.vcpus()) {
            return Err(Error::Argument("an ioeventfd needs one port for each vCPU"));
        }
        if !matches!(width, 1 | 2 | 4 | 8) {
            return Err(Error::Argument("a register is 1, 2, 4 or 8 bytes wide"));
        }
        let failed = |source| Error::EventFd {
            what: "tie a register to an eventfd",
            domid: page.domid(),
            source,
        };
        let eventfd = eventfd.try_clone_to_owned().map_err(failed)?;
        let mut request = abi::Ioeventfd {
            ioreq: address(page.mapping().as_ptr()),
            ports: address(ports.as_ptr()),
            addr: base.0,
            addr_len: width,
            event_fd: number(&eventfd),
            vcpus: page.vcpus(),
            vq: u32::from(queue),
            flags: 0,
            dom: page.domid().get(),
            pad: [0; 2],
        };
        // SAFETY: `ioreq` is the start of a privcmd mapping, which this object keeps alive;
        // `ports` has `vcpus` elements, each a transparent `u32`.
        unsafe { sys::ioctl(privcmd.as_fd(), abi::IOEVENTFD, &raw mut request) }.map_err(failed)?;
        // The kernel has copied the ports; do not keep an address that will dangle.
        request.ports = 0;
        request.flags = abi::FLAG_DEASSIGN;
        Ok(Self {
            privcmd: privcmd.clone(),
            page: Arc::clone(page.mapping()),
            eventfd,
            request,
            domid: page.domid(),
            live: true,
        })
    }

    /// Undoes it, and tells how that went. Afterwards look at every slot once: a write that came in
    /// between is now the backend's to answer.
    ///
    /// # Errors
    /// [`Error::EventFd`]. The ioreq page then stays mapped for the rest of the process's life,
    /// because the kernel still reads it.
    pub fn deassign(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.live) {
            return Ok(());
        }
        self.request.event_fd = number(&self.eventfd);
        // SAFETY: a deassign reads the structure alone and compares addresses without using them.
        unsafe { sys::ioctl(self.privcmd.as_fd(), abi::IOEVENTFD, &raw mut self.request) }
            .map(drop)
            .map_err(|source| {
                std::mem::forget(Arc::clone(&self.page));
                Error::EventFd {
                    what: "untie a register from an eventfd",
                    domid: self.domid,
                    source,
                }
            })
    }
}

impl Drop for IoEventFd {
    fn drop(&mut self) {
        // Nobody is left to tell; the page was kept if the kernel still needs it.
        let _ = self.undo();
    }
}

/// An eventfd whose every signal raises one of a guest's interrupts, without a call by the backend.
/// Undone when dropped.
///
/// It only raises the line (virtio-mmio's are edge-triggered). Whatever register tells the guest the
/// reason must be up to date before the signal.
#[derive(Debug)]
pub struct IrqFd {
    privcmd: PrivCmd,
    eventfd: OwnedFd,
    domid: DomId,
    live: bool,
}

impl IrqFd {
    /// Ties `eventfd` to the guest's interrupt `irq` (as in [`device_model::set_irq_level`]). If it
    /// is signalled already, the interrupt is raised at once.
    ///
    /// Xen checks the number only when the interrupt is raised, and a refusal then goes to the
    /// kernel's log alone: raise it once by [`device_model::set_irq_level`] to be sure.
    ///
    /// # Errors
    /// [`Error::EventFd`]; `EBUSY` if this eventfd is tied to an interrupt already.
    pub fn assign(
        privcmd: &PrivCmd,
        domid: DomId,
        irq: u32,
        eventfd: BorrowedFd<'_>,
    ) -> Result<Self> {
        let failed = |source| Error::EventFd {
            what: "tie an eventfd to an interrupt",
            domid,
            source,
        };
        let eventfd = eventfd.try_clone_to_owned().map_err(failed)?;
        let operation = device_model::irq_level(irq, true);
        let mut request = irqfd_request(domid, &eventfd);
        request.dm_op = address(&raw const operation);
        request.size = u32::try_from(size_of::<DmOp>()).unwrap_or(0);
        // SAFETY: the operation is readable for its size; the kernel copies it.
        unsafe { sys::ioctl(privcmd.as_fd(), abi::IRQFD, &raw mut request) }.map_err(failed)?;
        Ok(Self {
            privcmd: privcmd.clone(),
            eventfd,
            domid,
            live: true,
        })
    }

    /// Undoes it, and tells how that went. No interrupt is raised by it afterwards.
    ///
    /// # Errors
    /// [`Error::EventFd`].
    pub fn deassign(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.live) {
            return Ok(());
        }
        let mut request = irqfd_request(self.domid, &self.eventfd);
        request.flags = abi::FLAG_DEASSIGN;
        // SAFETY: a deassign reads the structure alone.
        unsafe { sys::ioctl(self.privcmd.as_fd(), abi::IRQFD, &raw mut request) }
            .map(drop)
            .map_err(|source| Error::EventFd {
                what: "untie an eventfd from an interrupt",
                domid: self.domid,
                source,
            })
    }
}

impl Drop for IrqFd {
    fn drop(&mut self) {
        // Nobody is left to tell; closing the eventfd undoes it as well.
        let _ = self.undo();
    }
}

fn irqfd_request(domid: DomId, eventfd: &OwnedFd) -> abi::Irqfd {
    abi::Irqfd {
        fd: number(eventfd),
        dom: domid.get(),
        ..Default::default()
    }
}

/// A descriptor as these structures hold it.
fn number(fd: &OwnedFd) -> u32 {
    // An open descriptor is never negative.
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.addr()).unwrap_or(0)
}
