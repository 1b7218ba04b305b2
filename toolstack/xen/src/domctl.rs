//! Control operations, with the interface version of the running Xen.

use std::io;

use xen_sys::domctl as abi;
use xen_sys::hypercall::DOMCTL;

use crate::error::{Error, Result};
use crate::hypercall_buffer::HypercallBuffer;
use crate::ids::DomId;
use crate::privcmd::PrivCmd;

/// The operation and the only thing that one of ours points to, in one page.
#[repr(C)]
#[derive(Clone, Copy)]
struct Call {
    operation: abi::DomCtl,
    context: abi::VcpuContext,
}

/// A buffer of its own: no allocation per call.
#[derive(Debug)]
pub(crate) struct DomCtl {
    privcmd: PrivCmd,
    version: u32,
    buffer: HypercallBuffer,
}

impl DomCtl {
    /// Asks Xen for its version.
    ///
    /// # Errors
    /// [`Error::ControlVersion`] when Xen has a version whose structures are not known here; [`Error::Hypercall`] with `EPERM` or
    /// `ENOSYS` outside of a privileged domain.
    pub(crate) fn new(privcmd: &PrivCmd) -> Result<Self> {
        let failed = |source| Error::Hypercall {
            what: "find Xen's version of control operations",
            source,
        };
        let mut this = Self {
            privcmd: privcmd.clone(),
            version: 0,
            buffer: HypercallBuffer::new().map_err(failed)?,
        };
        let known = first_accepted(&abi::INTERFACE_VERSIONS, |version| {
            this.version = version;
            this.event_operation(NO_DOMAIN, abi::VM_EVENT_GET_VERSION)
        });
        match known {
            Ok(true) => Ok(this),
            Ok(false) => Err(Error::ControlVersion),
            Err(error) => Err(failed(error)),
        }
    }

    /// An operation on the monitor's ring; gives its number.
    pub(crate) fn event_operation(&mut self, domain: u16, op: u32) -> io::Result<u32> {
        let argument = abi::Argument {
            vm_event: abi::VmEventOp {
                op,
                mode: abi::VM_EVENT_MONITOR,
                answer: 0,
            },
        };
        let answer = self.issue(domain, abi::VM_EVENT_OP, argument)?;
        // SAFETY: a number, valid with any content.
        Ok(unsafe { answer.vm_event.answer })
    }

    /// Whether SMCs are events.
    pub(crate) fn privileged_calls(&mut self, domain: DomId, op: u32) -> io::Result<()> {
        let argument = abi::Argument {
            monitor: abi::MonitorOp {
                op,
                event: abi::MONITOR_PRIVILEGED_CALL,
                options: [0; 2],
            },
        };
        self.issue(domain.get(), abi::MONITOR_OP, argument)
            .map(drop)
    }

    /// [`abi::PAUSE_DOMAIN`] or [`abi::UNPAUSE_DOMAIN`].
    pub(crate) fn plain(&mut self, domain: DomId, cmd: u32) -> io::Result<()> {
        let argument = abi::Argument { room: [0; 16] };
        self.issue(domain.get(), cmd, argument).map(drop)
    }

    /// What Xen knows of a domain.
    pub(crate) fn info(&mut self, domain: DomId) -> io::Result<abi::DomainInfo> {
        let argument = abi::Argument { room: [0; 16] };
        let answer = self.issue(domain.get(), abi::GET_DOMAIN_INFO, argument)?;
        // SAFETY: it consists of numbers, valid with any content.
        Ok(unsafe { answer.info })
    }

    /// Reads registers.
    pub(crate) fn context(&mut self, domain: DomId, vcpu: u32) -> io::Result<abi::VcpuContext> {
        let argument = self.context_argument(vcpu);
        self.issue(domain.get(), abi::GET_VCPU_CONTEXT, argument)?;
        // SAFETY: a `Call` consists of numbers, valid with any content.
        Ok(unsafe { self.buffer.get::<Call>() }?.context)
    }

    /// Writes registers.
    pub(crate) fn set_context(
        &mut self,
        domain: DomId,
        vcpu: u32,
        context: &abi::VcpuContext,
    ) -> io::Result<()> {
        let operation = self.operation(
            domain.get(),
            abi::SET_VCPU_CONTEXT,
            self.context_argument(vcpu),
        );
        self.buffer.put(Call {
            operation,
            context: *context,
        })?;
        self.hypercall()
    }

    fn context_argument(&self, vcpu: u32) -> abi::Argument {
        let behind = u64::try_from(std::mem::offset_of!(Call, context)).unwrap_or(0);
        abi::Argument {
            context: abi::ContextOp {
                vcpu,
                pad: 0,
                context: self.buffer.address().saturating_add(behind),
            },
        }
    }

    fn operation(&self, domain: u16, cmd: u32, u: abi::Argument) -> abi::DomCtl {
        abi::DomCtl {
            cmd,
            interface_version: self.version,
            domain,
            pad: [0; 3],
            u,
        }
    }

    fn issue(&mut self, domain: u16, cmd: u32, u: abi::Argument) -> io::Result<abi::Argument> {
        let operation = self.operation(domain, cmd, u);
        self.buffer.put(operation)?;
        self.hypercall()?;
        // SAFETY: it consists of numbers, valid with any content.
        Ok(unsafe { self.buffer.get::<abi::DomCtl>() }?.u)
    }

    fn hypercall(&self) -> io::Result<()> {
        // SAFETY: domctl reads and writes one `DomCtl`; what one of ours points to is behind it in the same page.
        unsafe {
            self.privcmd
                .hypercall(DOMCTL, [self.buffer.address(), 0, 0, 0, 0])
        }
        .map(drop)
    }
}

/// Tries versions until Xen accepts one; whether it did.
fn first_accepted(
    versions: &[u32],
    mut ask: impl FnMut(u32) -> io::Result<u32>,
) -> io::Result<bool> {
    for version in versions {
        match ask(*version) {
            Ok(_) => return Ok(true),
            // Xen compares the version before it looks at anything else.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Of operations that are about Xen itself.
const NO_DOMAIN: u16 = xen_sys::domain::DOMID_INVALID;

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries against a Xen that has this version, or answers this to all.
    fn tried(xen: std::result::Result<u32, i32>) -> (io::Result<bool>, Vec<u32>) {
        let mut asked = Vec::new();
        let found = first_accepted(&abi::INTERFACE_VERSIONS, |version| {
            asked.push(version);
            match xen {
                Ok(own) if own == version => Ok(0),
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EACCES)),
                Err(code) => Err(io::Error::from_raw_os_error(code)),
            }
        });
        (found, asked)
    }

    #[test]
    fn the_version_of_each_release_from_4_17_to_4_22_is_found() {
        for version in 0x15..=0x18 {
            let (found, asked) = tried(Ok(version));
            assert!(found.unwrap(), "{version:#x}");
            assert_eq!(asked.last(), Some(&version));
        }
    }

    #[test]
    fn another_version_is_told_from_a_domain_without_the_right() {
        let (found, asked) = tried(Ok(0x19));
        assert!(!found.unwrap());
        assert_eq!(asked.len(), abi::INTERFACE_VERSIONS.len());
        let (found, asked) = tried(Err(libc::EPERM));
        assert_eq!(found.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(asked.len(), 1);
        let text = Error::ControlVersion.to_string();
        assert!(text.contains("4.22"), "{text}");
    }
}
