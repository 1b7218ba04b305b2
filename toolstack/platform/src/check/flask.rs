//! Driver domains, and what their policy covers.

use crate::finding::Finding;
use crate::plan::{DevicePlan, Plan, TeeMode};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    match plan.xen.flask {
        None => without(plan, findings),
        Some(_) => beyond(plan, findings),
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

/// What domains have that the policy says nothing about.
fn beyond(plan: &Plan, findings: &mut Vec<Finding>) {
    for (number, domain) in plan.domains.iter().enumerate() {
        let tee = domain.tee.as_ref();
        if tee.is_none_or(|tee| tee.mode != TeeMode::Mediated) {
            continue;
        }
        let message = format!(
            "domain \"{}\" has a mediator for its calls to the secure world, which the FLASK policy does not cover",
            domain.name
        );
        let at = format!("domain[{number}].tee.mode");
        let finding = Finding::new(&rules::FLASK_BEYOND_POLICY, at, message);
        findings.push(finding.label("no rule for it").subject(&domain.name));
    }
}
