//! Virtio devices of domains that Xen itself starts: what has to hold so that a backend can serve them later.

use super::parties::{self, who};
use super::shared_memory::is_direct;
use crate::finding::Finding;
use crate::plan::{Asil, DomainPlan, Enhanced, FIRST_SPI, Plan};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for (number, domain) in plan.domains.iter().enumerate() {
        if domain.is_dom0less() && !domain.virtio.is_empty() {
            findings.extend(domain_of_xen(plan, number, domain));
        }
    }
}

/// The first thing that a domain lacks.
fn domain_of_xen(plan: &Plan, number: usize, domain: &DomainPlan) -> Option<Finding> {
    let first = domain.virtio.first()?;
    let name = &domain.name;
    let finding = |at: String, message: String, label: String| {
        Finding::new(&rules::DOM0LESS_VIRTIO, at, message).label(label)
    };
    let key = |key: &str| format!("domain[{number}].{key}");
    if domain.enhanced != Enhanced::Enabled {
        let message =
            format!("domain \"{name}\" has virtio devices, and cannot learn when they are served");
        let label = "it needs XenStore: \"enabled\", or leave it out".to_owned();
        return Some(finding(key("enhanced"), message, label));
    }
    if domain.vcpus > 1 {
        let message = format!(
            "domain \"{name}\" has virtio devices, and Xen's init-dom0less connects it with XenStore only if it has one vCPU"
        );
        return Some(finding(key("vcpus"), message, "1 is possible".to_owned()));
    }
    if let Some(device) = domain.virtio.iter().find(|device| device.backend.is_some()) {
        let backend = device.backend.as_deref().unwrap_or_default();
        let message = format!(
            "domain \"{name}\" is started by Xen, and \"{backend}\" cannot serve its virtio devices"
        );
        let label = "only the control domain can".to_owned();
        return Some(finding(format!("{}.backend", device.from), message, label));
    }
    if domain.device_tree.is_some() && !domain.device_tree_generated {
        let message = format!(
            "domain \"{name}\" has a device tree of its own, and its virtio devices are not in it"
        );
        let label = "leave it out: avpsctl writes one".to_owned();
        return Some(finding(key("device_tree"), message, label));
    }
    if is_direct(domain) {
        let message = format!(
            "domain \"{name}\" sees the machine's addresses, and its virtio devices have places of their own"
        );
        let label = format!("{:#x} may be a device of the machine", first.mmio_base);
        return Some(finding(key("direct_map"), message, label));
    }
    let last = domain.virtio.iter().map(|device| device.irq).max();
    let last = last.unwrap_or(first.irq);
    if let Some(interrupts) = domain.interrupts
        && interrupts.saturating_add(FIRST_SPI) <= last
    {
        let message = format!("domain \"{name}\" has no interrupt {last} for its virtio devices");
        let label = format!("at least {}", last.saturating_sub(FIRST_SPI - 1));
        return Some(finding(key("interrupts"), message, label));
    }
    let control = parties::control(plan)?;
    if domain.asil > Asil::Qm.max(control.level) {
        let message = format!(
            "{} waits for {} at each access to its disk",
            who(domain),
            control.who()
        );
        let label = "stands still when the control domain does".to_owned();
        let finding = finding(first.from.clone(), message, label);
        return Some(finding.subject(name).subject(control.name()));
    }
    None
}
