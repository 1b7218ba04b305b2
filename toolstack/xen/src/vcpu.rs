//! Registers of a domain's vCPUs. Arm only.
//!
//! A vCPU should be paused while its registers are looked at and changed: while it waits for an answer to an event, it is.

pub use xen_sys::domctl::VcpuContext;

use crate::domctl::DomCtl;
use crate::error::{Error, Result};
use crate::ids::DomId;
use crate::privcmd::PrivCmd;

/// The vCPUs of a domain. It has a buffer of its own: one for each thread.
#[derive(Debug)]
pub struct Vcpus {
    domctl: DomCtl,
    domid: DomId,
}

impl Vcpus {
    /// Those of this domain.
    ///
    /// # Errors
    /// [`Error::Hypercall`] where this domain may not control others, or Xen's version is not known.
    pub fn new(privcmd: &PrivCmd, domid: DomId) -> Result<Self> {
        Ok(Self {
            domctl: DomCtl::new(privcmd)?,
            domid,
        })
    }

    /// A vCPU's registers.
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `ESRCH` when the domain is gone, `EINVAL` when it has no such vCPU.
    pub fn context(&mut self, vcpu: u32) -> Result<VcpuContext> {
        let read = self.domctl.context(self.domid, vcpu);
        read.map_err(|source| Error::Hypercall {
            what: "read a vCPU's registers",
            source,
        })
    }

    /// Gives a vCPU other registers. Xen stops all the domain's vCPUs for the moment this takes.
    ///
    /// # Errors
    /// As [`Vcpus::context`].
    pub fn set_context(&mut self, vcpu: u32, context: &VcpuContext) -> Result<()> {
        let written = self.domctl.set_context(self.domid, vcpu, context);
        written.map_err(|source| Error::Hypercall {
            what: "write a vCPU's registers",
            source,
        })
    }
}
