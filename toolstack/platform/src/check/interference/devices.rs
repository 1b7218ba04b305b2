//! The machine's own devices: DMA without an IOMMU, and registers in one page.

use std::collections::BTreeMap;

use crate::check::parties::{highest, safety, several, who};
use crate::finding::Finding;
use crate::plan::{DeviceDma, DevicePassthrough, DomainPlan, Plan, Range};
use crate::rules;

/// What the MMU gives away at once, in bytes.
const PAGE: u64 = 4096;
/// Pages of one register window that are looked at; larger ones are memory, not registers.
const MAX_PAGES: u64 = 4096;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for domain in plan
        .domains
        .iter()
        .filter(|domain| domain.asil < highest(plan))
    {
        for device in &domain.devices {
            if device.dma == DeviceDma::Trusted {
                findings.push(dma(plan, domain, device));
            }
        }
    }
    pages(plan, findings);
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
    .for_level(highest(plan))
}

/// The registers of a device: as the document gives them, else as the machine's device tree does.
fn registers(plan: &Plan, device: &DevicePassthrough) -> Vec<Range> {
    if !device.regions.is_empty() {
        let regions = device.regions.iter();
        return regions
            .map(|window| Range {
                at: window.at,
                size_bytes: window.size_bytes,
            })
            .collect();
    }
    let mut devices = plan.machine.devices.iter();
    let known = devices.find(|known| known.path == device.path);
    known.map_or_else(Vec::new, |known| known.regions.clone())
}

/// Pages that hold registers of devices of two levels. Registers that two devices have in common are another mistake.
fn pages(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<u64, (&DomainPlan, &DevicePassthrough, Range)> = BTreeMap::new();
    for domain in &plan.domains {
        for device in &domain.devices {
            let mut said = false;
            for range in registers(plan, device) {
                let last = range.end().saturating_sub(1) / PAGE;
                let pages = (range.at / PAGE..=last).take(usize::try_from(MAX_PAGES).unwrap_or(0));
                for page in pages {
                    let Some((other, neighbour, taken)) = first.get(&page) else {
                        first.insert(page, (domain, device, range));
                        continue;
                    };
                    if said || other.asil == domain.asil || taken.overlaps(&range) {
                        continue;
                    }
                    said = true;
                    let message = format!(
                        "{} of {} and {} of {} have registers in one page, {:#x}",
                        device.path,
                        who(domain),
                        neighbour.path,
                        who(other),
                        page.saturating_mul(PAGE)
                    );
                    findings.push(
                        Finding::new(
                            &rules::REGISTER_PAGE,
                            format!("{}.path", device.from),
                            message,
                        )
                        .label("shares a page")
                        .related(format!("{}.path", neighbour.from), "with this one")
                        .subject(&device.path)
                        .subject(&neighbour.path)
                        .subject(&domain.name)
                        .subject(&other.name)
                        .for_level(domain.asil.max(other.asil)),
                    );
                }
            }
        }
    }
}
