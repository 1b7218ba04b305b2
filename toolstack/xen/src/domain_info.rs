//! What Xen knows of a domain. For domains that may control others.

use xen_sys::domctl as abi;

use crate::domctl::DomCtl;
use crate::error::{Error, Result};
use crate::ids::DomId;
use crate::privcmd::PrivCmd;

/// A domain at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// How many vCPUs it has, online or not.
    pub vcpus: u32,
    /// It has ended, and is there only because somebody holds a page of it.
    pub ended: bool,
}

impl DomainInfo {
    /// Asks Xen (`XEN_DOMCTL_getdomaininfo`). With FLASK that is the right `getdomaininfo`, and no more
    /// (xen/xsm/flask/hooks.c): being a device model is not needed, unlike for [`crate::device_model::domain_exists`].
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `ESRCH` when there is no such domain, `EACCES` when Xen's policy refuses. [`Error::ControlVersion`] when Xen
    /// has a version whose structures are not known here.
    pub fn of(privcmd: &PrivCmd, domid: DomId) -> Result<Self> {
        let asked = DomCtl::new(privcmd)?.info(domid);
        let info = asked.map_err(|source| Error::Hypercall {
            what: "ask about a domain",
            source,
        })?;
        Ok(Self::read(&info))
    }

    fn read(info: &abi::DomainInfo) -> Self {
        let vcpus = match info.last_vcpu {
            abi::NO_VCPU => 0,
            last => last.saturating_add(1),
        };
        Self {
            vcpus,
            ended: info.flags & abi::DOMAIN_DYING != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_are_counted_from_the_last_ones_number() {
        let info = |last_vcpu, flags| abi::DomainInfo {
            domain: 1,
            pad: 0,
            flags,
            memory: [0; 6],
            cpu_time: 0,
            online_vcpus: 0,
            last_vcpu,
        };
        let read = |last, flags| DomainInfo::read(&info(last, flags));
        assert_eq!(read(3, 0x20).vcpus, 4);
        assert_eq!(read(abi::NO_VCPU, 0).vcpus, 0);
        assert!(!read(0, 0x22).ended);
        assert!(read(0, 0x23).ended);
    }
}
