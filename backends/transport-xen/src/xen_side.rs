//! What this crate needs of Xen, as small traits: the real thing, and room for a test to play Xen.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use xen::{
    Access, CopySegment, DomId, EventChannels, EventPort, ForeignMapping, GrantDevice,
    GrantMapping, GrantRef, Ioreq, IoreqPage, Pfn, PrivCmd, device_model,
};

/// Pages of a guest in this process's memory, one behind the other, unmapped when dropped.
pub(crate) trait HostPages: Send + Sync {
    /// First byte. Valid until `self` is dropped or unmapped.
    fn as_ptr(&self) -> *mut u8;
    /// Size in bytes.
    fn len(&self) -> usize;
    /// Per page 0 or an errno; pages with an errno must not be touched. Empty: all are fine.
    fn errors(&self) -> &[i32] {
        &[]
    }
    /// Unmaps, and tells how that went.
    fn unmap(self: Box<Self>) -> xen::Result<()>;
}

impl HostPages for GrantMapping {
    fn as_ptr(&self) -> *mut u8 {
        GrantMapping::as_ptr(self)
    }

    fn len(&self) -> usize {
        GrantMapping::len(self)
    }

    fn unmap(self: Box<Self>) -> xen::Result<()> {
        GrantMapping::unmap(*self)
    }
}

impl HostPages for ForeignMapping {
    fn as_ptr(&self) -> *mut u8 {
        ForeignMapping::as_ptr(self)
    }

    fn len(&self) -> usize {
        ForeignMapping::len(self)
    }

    fn errors(&self) -> &[i32] {
        ForeignMapping::errors(self)
    }

    fn unmap(self: Box<Self>) -> xen::Result<()> {
        drop(self);
        Ok(())
    }
}

/// Local side of a grant copy.
pub(crate) enum Local<'a> {
    /// From the guest into this buffer.
    In(&'a mut [u8]),
    /// From this buffer into the guest.
    Out(&'a [u8]),
}

/// One piece of a grant copy; it does not leave its page.
pub(crate) struct Piece<'a> {
    pub(crate) grant: GrantRef,
    /// Byte within the page.
    pub(crate) offset: u16,
    pub(crate) local: Local<'a>,
}

/// One grant device, good for one guest.
pub(crate) trait Grants: Send + Sync {
    /// Maps all grants, or none.
    fn map(&self, grants: &[GrantRef], access: Access) -> xen::Result<Box<dyn HostPages>>;
    /// Copies all pieces by one ioctl. The answer has a verdict for each: `None`, or why not.
    fn copy(&self, pieces: Vec<Piece<'_>>) -> xen::Result<Vec<Option<String>>>;
}

/// A guest's memory as a whole.
pub(crate) trait Foreign: Send + Sync {
    /// Maps pages; single ones may be missing.
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn HostPages>>;
}

/// What the guest's devices need of Xen.
pub(crate) trait Platform: Send + Sync {
    /// A grant device of its own for a queue.
    fn grants(&self) -> xen::Result<Arc<dyn Grants>>;
    /// The guest's memory.
    fn foreign(&self) -> Arc<dyn Foreign>;
    /// Raises an (edge-triggered) interrupt.
    fn raise(&self, irq: u32) -> xen::Result<()>;
}

/// Where vCPUs wait for their register accesses to be answered.
pub(crate) trait Gate: Send {
    /// Readable when a vCPU may have come.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Number of vCPUs.
    fn vcpus(&self) -> u32;
    /// Appends the vCPUs that may have come. No more events of theirs come until [`Gate::unmask`].
    fn arrivals(&mut self, vcpus: &mut Vec<u32>) -> xen::Result<()>;
    /// Appends the vCPUs that wait now, whether an event told of them or not.
    fn waiting(&self, vcpus: &mut Vec<u32>);
    /// Lets events come again; those that came meanwhile come now.
    fn unmask(&mut self) -> xen::Result<()>;
    /// A request that somebody before us took and never answered.
    fn stranded(&self, vcpu: u32) -> Option<Ioreq>;
    /// Takes a vCPU's request.
    fn take(&self, vcpu: u32) -> Option<Ioreq>;
    /// Answers it.
    fn answer(&self, vcpu: u32, data: u64) -> xen::Result<()>;
    /// Has a vCPU look whether it was answered.
    fn nudge(&self, vcpu: u32) -> xen::Result<()>;
}

/// A real grant device.
pub(crate) struct XenGrants {
    pub(crate) domid: DomId,
    pub(crate) device: GrantDevice,
}

impl Grants for XenGrants {
    fn map(&self, grants: &[GrantRef], access: Access) -> xen::Result<Box<dyn HostPages>> {
        Ok(Box::new(self.device.map(self.domid, grants, access)?))
    }

    fn copy(&self, pieces: Vec<Piece<'_>>) -> xen::Result<Vec<Option<String>>> {
        let mut segments = pieces
            .into_iter()
            .map(
                |Piece {
                     grant,
                     offset,
                     local,
                 }| match local {
                    Local::In(buffer) => CopySegment::from_grant(self.domid, grant, offset, buffer),
                    Local::Out(buffer) => CopySegment::to_grant(self.domid, grant, offset, buffer),
                },
            )
            .collect::<xen::Result<Vec<_>>>()?;
        self.device.copy(&mut segments)?;
        Ok(segments
            .iter()
            .map(|segment| segment.status())
            .map(|status| (!status.is_okay()).then(|| status.to_string()))
            .collect())
    }
}

/// A real guest's memory.
struct XenForeign {
    domid: DomId,
    privcmd: PrivCmd,
}

impl Foreign for XenForeign {
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn HostPages>> {
        Ok(Box::new(self.privcmd.map_foreign(
            self.domid,
            frames,
            Access::ReadWrite,
        )?))
    }
}

/// The real Xen, for one guest.
pub(crate) struct XenPlatform {
    pub(crate) domid: DomId,
    pub(crate) privcmd: PrivCmd,
    pub(crate) source: crate::GrantSource,
}

impl Platform for XenPlatform {
    fn grants(&self) -> xen::Result<Arc<dyn Grants>> {
        Ok(Arc::new(XenGrants {
            domid: self.domid,
            device: (self.source)()?,
        }))
    }

    fn foreign(&self) -> Arc<dyn Foreign> {
        Arc::new(XenForeign {
            domid: self.domid,
            privcmd: self.privcmd.clone(),
        })
    }

    fn raise(&self, irq: u32) -> xen::Result<()> {
        // Xen's virtual GIC ignores the falling edge of an edge-triggered line (vgic_inject_irq in xen/arch/arm), so
        // one call is the whole pulse.
        device_model::set_irq_level(&self.privcmd, self.domid, irq, true)
    }
}

/// The real ioreq page with its event channels.
pub(crate) struct XenGate {
    page: IoreqPage,
    channels: EventChannels,
    /// Local port of each vCPU.
    ports: Vec<EventPort>,
    /// Ports whose events were taken and that were not unmasked yet: one for each vCPU at most.
    masked: Vec<EventPort>,
}

impl XenGate {
    /// A gate of `page`, whose vCPUs' local ports are `ports`.
    pub(crate) fn new(page: IoreqPage, channels: EventChannels, ports: Vec<EventPort>) -> Self {
        XenGate {
            page,
            channels,
            ports,
            masked: Vec::new(),
        }
    }

    fn vcpu_of(&self, port: EventPort) -> Option<u32> {
        self.ports
            .iter()
            .position(|&ours| ours == port)
            .and_then(|vcpu| u32::try_from(vcpu).ok())
    }
}

impl Gate for XenGate {
    fn fd(&self) -> BorrowedFd<'_> {
        self.channels.as_fd()
    }

    fn vcpus(&self) -> u32 {
        self.page.vcpus()
    }

    fn arrivals(&mut self, vcpus: &mut Vec<u32>) -> xen::Result<()> {
        let before = self.masked.len();
        match self.channels.pending(&mut self.masked) {
            Ok(_) => {
                let new = self.masked.get(before..).unwrap_or_default();
                vcpus.extend(new.iter().filter_map(|&port| self.vcpu_of(port)));
                Ok(())
            }
            Err(error) if error.errno() == Some(rustix::io::Errno::FBIG.raw_os_error()) => {
                self.channels.reset()?;
                self.masked.clone_from(&self.ports);
                vcpus.extend(0..self.page.vcpus());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn waiting(&self, vcpus: &mut Vec<u32>) {
        vcpus.extend((0..self.page.vcpus()).filter(|&vcpu| self.page.peek(vcpu).is_some()));
    }

    fn unmask(&mut self) -> xen::Result<()> {
        if self.masked.is_empty() {
            return Ok(());
        }
        self.channels.unmask(&self.masked)?;
        self.masked.clear();
        Ok(())
    }

    fn stranded(&self, vcpu: u32) -> Option<Ioreq> {
        self.page.stranded(vcpu)
    }

    fn take(&self, vcpu: u32) -> Option<Ioreq> {
        self.page.take(vcpu)
    }

    fn answer(&self, vcpu: u32, data: u64) -> xen::Result<()> {
        match self.page.respond(vcpu, data) {
            Ok(()) => {}
            // Xen has taken the slot back (the domain is dying): nobody waits.
            Err(xen::Error::NoRequest { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.nudge(vcpu)
    }

    fn nudge(&self, vcpu: u32) -> xen::Result<()> {
        let port = usize::try_from(vcpu)
            .ok()
            .and_then(|vcpu| self.ports.get(vcpu));
        port.map_or(Ok(()), |&port| self.channels.notify(port))
    }
}
