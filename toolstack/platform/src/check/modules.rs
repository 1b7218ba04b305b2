//! Files that the boot loader puts into memory before Xen starts.

use super::places::PAGE;
use crate::finding::Finding;
use crate::plan::{Boot, DomainPlan, Plan};
use crate::rules;
use crate::units::ByteSize;

/// Modules that Xen has room for, itself and its device tree among them (Xen: `MAX_MODULES`).
pub(super) const MAX_MODULES: usize = 32;
/// Slots for modules that each domain has.
const SLOTS: u64 = 3;
/// Longest command line of a module in bytes (Xen: `BOOTMOD_MAX_CMDLINE`, with the final zero).
const MAX_MODULE_CMDLINE: usize = 1023;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for (number, domain) in plan.domains.iter().enumerate() {
        if domain.is_dom0less() {
            module_command_line(number, domain, findings);
        }
    }
    window(plan, findings);
}

fn module_command_line(number: usize, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let bytes = domain.cmdline.len();
    // Beyond what Linux takes there is a rule of its own.
    if bytes > MAX_MODULE_CMDLINE && bytes <= super::domains::MAX_CMDLINE {
        findings.push(
            Finding::new(
                &rules::MODULE_COMMAND_LINE,
                format!("domain[{number}].cmdline"),
                format!(
                    "the command line of domain \"{}\" is too long for Xen",
                    domain.name
                ),
            )
            .label(format!("{bytes} bytes")),
        );
    }
}

fn window(plan: &Plan, findings: &mut Vec<Finding>) {
    let boot = &plan.boot;
    let loaded = plan.domains.iter().enumerate();
    let loaded: Vec<usize> = loaded
        .filter(|(_, domain)| domain.boot == Boot::Dom0less)
        .map(|(number, _)| number)
        .collect();
    let Some(last) = loaded.last() else { return };
    let modules = boot.modules.len().saturating_add(2);
    if modules > MAX_MODULES {
        findings.push(
            Finding::new(
                &rules::TOO_MANY_MODULES,
                format!("domain[{last}]"),
                format!("there are {modules} modules, and Xen has room for {MAX_MODULES}"),
            )
            .label("Xen, its device tree, and all that the domains are made of"),
        );
    }
    let Some(window) = boot.window else { return };
    if boot.slot_bytes == 0 || !boot.slot_bytes.is_multiple_of(PAGE) {
        findings.push(
            Finding::new(
                &rules::MODULE_WINDOW,
                "boot.slot",
                "the slots for modules are no whole pages",
            )
            .label(ByteSize(boot.slot_bytes).to_string()),
        );
        return;
    }
    let domains = u64::try_from(loaded.len()).unwrap_or(u64::MAX);
    let wanted = domains
        .saturating_mul(SLOTS)
        .saturating_mul(boot.slot_bytes);
    if wanted > window.size_bytes {
        findings.push(
            Finding::new(
                &rules::MODULE_ROOM,
                "boot.window.size",
                format!(
                    "{domains} domains want {} for their modules, and the window has {}",
                    ByteSize(wanted),
                    ByteSize(window.size_bytes)
                ),
            )
            .label(format!("at least {}", ByteSize(wanted))),
        );
    }
}
