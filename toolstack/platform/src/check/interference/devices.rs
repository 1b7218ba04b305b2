//! The machine's own devices. That two of different owners lie in one page of registers is a mistake at any level, and has
//! a rule among those about devices.

use crate::check::parties::{highest, safety, several, who};
use crate::finding::Finding;
use crate::plan::{DeviceDma, DevicePassthrough, DomainPlan, Plan};
use crate::rules;

/// Bus masters in the hands of a lower level that nothing holds back.
pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    let highest = highest(plan);
    for domain in plan.domains.iter().filter(|domain| domain.asil < highest) {
        for device in &domain.devices {
            if device.dma == DeviceDma::Trusted {
                findings.push(dma(plan, domain, device).for_level(highest));
            }
        }
    }
}

fn dma(plan: &Plan, domain: &DomainPlan, device: &DevicePassthrough) -> Finding {
    let above = || safety(plan).filter(|(_, other)| other.asil > domain.asil);
    let message = format!(
        "{} of {} can write all of the memory, that of {} too",
        device.path,
        who(domain),
        several(above().map(|(_, other)| who(other)))
    );
    Finding::new(
        &rules::DMA_EVERYWHERE,
        format!("{}.dma", device.from),
        message,
    )
    .label("nothing bounds its DMA")
    .subject(&device.path)
    .subject(&domain.name)
}
