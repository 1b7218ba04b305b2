//! What was found, what was accepted, what stands behind Xen, and what this report does not show.

use std::collections::BTreeMap;

use super::{Markdown, code, text};
use crate::check::parties::place;
use crate::finding::{Finding, Severity};
use crate::plan::{Console, DomainPlan, Plan, Scheduler};
use crate::support::{Feature, QUOTED, Support, features_of, features_of_platform};
use crate::waive::Waived;

pub(super) fn findings(out: &mut Markdown, findings: &[Finding]) {
    out.heading("Findings");
    for (severity, words) in [(Severity::Error, "Errors"), (Severity::Warning, "Warnings")] {
        let with: Vec<_> = findings
            .iter()
            .filter(|finding| finding.severity() == severity)
            .collect();
        out.line(&format!("\n### {words}"));
        out.table(
            &["Rule", "What", "Where", "Why it matters", "Source"],
            with.into_iter().map(row),
        );
    }
}

fn row(finding: &Finding) -> [String; 5] {
    [
        format!("{} {}", finding.rule.id, finding.rule.name),
        text(&finding.message),
        code(&finding.at),
        text(finding.rule.rationale),
        text(finding.rule.source),
    ]
}

pub(super) fn waived(out: &mut Markdown, waived: &[Waived]) {
    out.heading("Accepted findings");
    out.paragraph("Somebody answers for each of these until a day; then it is a finding again.");
    let rows = waived.iter().map(|Waived { finding, waiver }| {
        let expires = waiver.expires.map(|day| day.to_string());
        [
            format!("{} {}", finding.rule.id, finding.rule.name),
            text(&finding.message),
            text(&waiver.reason),
            text(&waiver.owner),
            expires.unwrap_or_default(),
        ]
    });
    out.table(&["Rule", "What", "Reason", "Owner", "Until"], rows);
}

pub(super) fn features(out: &mut Markdown, plan: &Plan) {
    out.heading("Features of Xen, and who stands behind them");
    let asked = plan.xen.version;
    let other = match asked == QUOTED {
        true => String::new(),
        false => format!(" The platform runs Xen {asked}; compare its own SUPPORT.md."),
    };
    out.paragraph(&format!("As SUPPORT.md of Xen {QUOTED} says.{other}"));
    let mut users: BTreeMap<(Support, &str), (Feature, Vec<String>)> = BTreeMap::new();
    for feature in features_of_platform(plan) {
        users.insert(
            (feature.support, feature.name),
            (feature, vec!["the platform".to_owned()]),
        );
    }
    for domain in &plan.domains {
        for feature in features_of(plan, domain) {
            let entry = users
                .entry((feature.support, feature.name))
                .or_insert((feature, Vec::new()));
            entry.1.push(text(&domain.name));
        }
    }
    let rows = users.into_values().rev().map(|(feature, users)| {
        [
            feature.name.to_owned(),
            feature.support.words().to_owned(),
            feature.section.to_owned(),
            users.join(", "),
        ]
    });
    out.table(&["Feature", "Support", "Section", "Used by"], rows);
}

/// Requirements of Xen's own functional-safety documents (docs/fusa/reqs of Xen 4.20) that a domain of Xen's own boot
/// rests on.
fn requirements_of(plan: &Plan, domain: &DomainPlan) -> Vec<(&'static str, &'static str)> {
    let scheduler = place(plan, domain).scheduler;
    let interrupts = domain
        .devices
        .iter()
        .any(|device| !device.interrupts.is_empty());
    let all = [
        (true, "XenMkt~run_arm64_domains~1", "Xen runs Arm64 domains"),
        (
            true,
            "XenMkt~provide_timer_domains~1",
            "a domain has a timer",
        ),
        (
            true,
            "XenProd~arm64_emulated_timer~1",
            "the timer is an Arm generic timer",
        ),
        (
            true,
            "XenProd~memory~1",
            "a domain has the memory that was asked for",
        ),
        (true, "XenProd~vcpus~1", "a domain has 1 to 128 vCPUs"),
        (
            !domain.cmdline.is_empty(),
            "XenProd~kernel_cmd_line_args~1",
            "a domain gets its command line",
        ),
        (
            domain.ramdisk.is_some(),
            "XenProd~ramdisk~1",
            "a domain gets its ramdisk",
        ),
        (
            true,
            "XenMkt~multiple_schedulers~1",
            "Xen has several schedulers",
        ),
        (
            scheduler == Scheduler::Credit2,
            "XenProd~credit2_cpu_pool_scheduler~1",
            "credit2 in a pool: vCPUs share CPUs",
        ),
        (
            scheduler == Scheduler::Null,
            "XenProd~nul_cpu_pool_scheduler~1",
            "null in a pool: a CPU for each vCPU",
        ),
        (
            !domain.devices.is_empty(),
            "XenMkt~static_vm_definition~1",
            "peripherals are assigned to a domain",
        ),
        (
            !domain.devices.is_empty(),
            "XenProd~assign_iomem~1",
            "pages of registers are assigned to a domain",
        ),
        (
            interrupts,
            "XenProd~forward_irqs~1",
            "interrupts of the hardware reach a domain",
        ),
        (
            interrupts,
            "XenProd~arm64_spis~1",
            "the number of shared interrupts of a domain is configured",
        ),
        (
            domain.console == Console::Vpl011,
            "XenMkt~provide_console_domains~1",
            "a domain has a console",
        ),
        (
            domain.console == Console::Vpl011,
            "XenProd~arm64_virtual_pl011~1",
            "the console is an emulated PL011",
        ),
    ];
    let used = all.into_iter().filter(|(used, ..)| *used);
    used.map(|(_, id, what)| (id, what)).collect()
}

pub(super) fn requirements(out: &mut Markdown, plan: &Plan) {
    out.heading("Requirements of Xen that the platform rests on");
    out.paragraph(
        "Ids from docs/fusa/reqs of Xen 4.20, for the domains that Xen starts itself; Xen has none about domains that a toolstack starts. \
         That a requirement is written down there does not say that it was verified.",
    );
    let mut users: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    for domain in plan.dom0less() {
        for (id, what) in requirements_of(plan, domain) {
            let entry = users.entry(id).or_insert((what, Vec::new()));
            entry.1.push(text(&domain.name));
        }
    }
    let rows = users
        .into_iter()
        .map(|(id, (what, users))| [code(id), what.to_owned(), users.join(", ")]);
    out.table(&["Requirement", "In words", "Domains"], rows);
    let mut without: Vec<&str> = Vec::new();
    for feature in plan
        .domains
        .iter()
        .flat_map(|domain| features_of(plan, domain))
        .chain(features_of_platform(plan))
    {
        let written = matches!(
            feature.name,
            "dom0less"
                | "CPU pools"
                | "the credit2 scheduler"
                | "the null scheduler"
                | "device passthrough"
        );
        if !written && !without.contains(&feature.name) {
            without.push(feature.name);
        }
    }
    if !without.is_empty() {
        without.sort_unstable();
        out.paragraph(&format!(
            "Features in use for which Xen has no such requirement: {}.",
            without.join(", ")
        ));
    }
}

pub(super) fn limits(out: &mut Markdown) {
    out.heading("What this report does not show");
    out.items(
        [
            "That Xen, the firmware, the secure world and the hardware do what their documents say.",
            "That the software in a domain meets the level that is written beside its name.",
            "Interference over memory bandwidth, interconnects, shared power and temperature, and over Xen's own locks and heap.",
            "Hidden channels: the rules are about faults that reach another domain, not about secrets that leak.",
            "That the running system is the one described here; compare it with `avpsctl diff`.",
        ]
        .map(str::to_owned),
    );
}
