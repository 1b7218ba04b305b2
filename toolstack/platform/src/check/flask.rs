//! Driver domains, and the policy that they need.

use crate::finding::Finding;
use crate::plan::{DevicePlan, Plan};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    if plan.xen.flask.is_none() {
        without(plan, findings);
    }
}

/// A finding for each driver domain, at the first device that it serves.
fn without(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut told = Vec::new();
    for domain in &plan.domains {
        for device in &domain.virtio {
            let Some(name) = &device.backend else {
                continue;
            };
            // A name that is unknown has a finding of its own.
            if plan.domain(name).is_none() || told.contains(&name) {
                continue;
            }
            told.push(name);
            let DevicePlan::Block(_) = &device.device;
            let message = format!(
                "domain \"{name}\" serves a disk of \"{}\", and Xen does not let it without a FLASK policy",
                domain.name
            );
            let finding = Finding::new(
                &rules::DRIVER_WITHOUT_FLASK,
                format!("{}.backend", device.from),
                message,
            );
            let label = "not the control domain";
            findings.push(finding.label(label).subject(name).subject(&domain.name));
        }
    }
}
