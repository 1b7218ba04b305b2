//! Who waits for whom: the order in which domains are started, and what a domain lost with the one that served it.
//!
//! To Xen and to its guests a driver domain is its number: their ioreq servers and grants name it. When it is gone, its
//! domain ID is not reused while its guests are alive; a new one has another number. What it served is lost to the guests, who have to
//! be started again. As long as one of them exists, Xen keeps the number of the old one taken (a zombie: `s->emulator` in xen/common/ioreq.c).

use platform::plan::DomainPlan;

use crate::bound::started_by_us;
use crate::error::Result;
use crate::keys;
use crate::machine::{DomainInfo, DomainState, Machine, Store, by_uuid};

/// The domains of these that serve a domain's devices.
pub fn backends_of<'a>(domain: &'a DomainPlan, domains: &'a [DomainPlan]) -> Vec<&'a DomainPlan> {
    let mut found: Vec<&DomainPlan> = Vec::new();
    for device in &domain.virtio {
        let backend = started_by_us(device, domains);
        found.extend(backend.filter(|backend| !found.iter().any(|f| f.name == backend.name)));
    }
    found
}

/// The domains of these for which a domain waits: those that serve its devices, and those that its document names in `after`.
pub fn waits_for<'a>(domain: &DomainPlan, domains: &'a [DomainPlan]) -> Vec<&'a DomainPlan> {
    let serves = |name: &str| serves(name, std::slice::from_ref(domain));
    let first = |other: &&DomainPlan| serves(&other.name) || domain.after.contains(&other.name);
    domains.iter().filter(first).collect()
}

/// Whether one of these has a device that this one serves.
pub fn serves(backend: &str, domains: &[DomainPlan]) -> bool {
    let mut devices = domains.iter().flat_map(|domain| &domain.virtio);
    devices.any(|device| device.backend.as_deref() == Some(backend))
}

/// The domains in an order in which they can be started: those that serve others, and those that others wait for (`after`), first; else
/// as they were.
pub fn in_order(domains: &[DomainPlan]) -> Vec<DomainPlan> {
    let mut rest: Vec<&DomainPlan> = domains.iter().collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let waits = |domain: &&DomainPlan| {
            let serve = domain.virtio.iter().filter_map(|d| d.backend.as_deref());
            let mut first = serve.chain(domain.after.iter().map(String::as_str));
            first.any(|first| first != domain.name && rest.iter().any(|other| other.name == first))
        };
        // Those that wait for each other are started as they stand, and tell what is missing.
        let next = rest.iter().position(|domain| !waits(domain)).unwrap_or(0);
        ordered.push(rest.remove(next).clone());
    }
    ordered
}

/// The domains of the plan that served a running one and do so no more, by name: gone, ended, being removed, or running again under
/// another number.
///
/// # Errors
/// XenStore's.
pub fn lost(
    store: &dyn Store,
    list: &[DomainInfo],
    domain: &DomainPlan,
    domid: u32,
    domains: &[DomainPlan],
) -> Result<Vec<String>> {
    let backends = backends_of(domain, domains);
    if backends.is_empty() {
        return Ok(Vec::new());
    }
    let given = keys::served_by(store, domid)?;
    let mut lost = Vec::new();
    for backend in backends {
        let serves_now = by_uuid(list, &backend.uuid).filter(|info| info.is_alive());
        let mut devices = domain.virtio.iter();
        let gone = devices.any(|device| {
            let ours = device.backend.as_deref() == Some(backend.name.as_str());
            let index = device.index.to_string();
            let then = given.iter().find(|(known, _)| *known == index);
            ours && then.is_some_and(|(_, then)| serves_now.is_none_or(|now| now.domid != *then))
        });
        if gone {
            lost.push(backend.name.clone());
        }
    }
    Ok(lost)
}

/// Domains on this machine whose devices a domain serves, of whatever platform.
///
/// # Errors
/// XenStore's or libxl's.
pub fn users(machine: &Machine, backend: u32) -> Result<Vec<DomainInfo>> {
    let mut users = Vec::new();
    for info in machine.domains.list()? {
        let there = info.state != DomainState::Dying;
        let served = keys::served_by(machine.store.as_ref(), info.domid)?;
        if there && served.iter().any(|(_, by)| *by == backend) {
            users.push(info);
        }
    }
    Ok(users)
}

/// Whether a domain is there and neither has ended nor is being removed.
///
/// # Errors
/// libxl's.
pub fn is_alive(machine: &Machine, domid: u32) -> Result<bool> {
    let list = machine.domains.list()?;
    Ok(list
        .iter()
        .any(|info| info.domid == domid && info.is_alive()))
}
