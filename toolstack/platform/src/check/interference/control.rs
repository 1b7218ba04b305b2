//! The control domain: what it can do to others, and what they need it for.

use crate::check::parties::{control, place, safety, several, who};
use crate::finding::Finding;
use crate::plan::{Asil, Boot, Console, DomainKind, Enhanced, Plan, Scheduler, TeeMode};
use crate::rules;

/// Safety domains named as subjects of the one finding about the control domain.
const MAX_SUBJECTS: usize = 64;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    power(plan, findings);
    start(plan, findings);
    services(plan, findings);
}

/// It can stop the machine and every domain.
fn power(plan: &Plan, findings: &mut Vec<Finding>) {
    let Some(control) = control(plan) else {
        return;
    };
    let above = || safety(plan).filter(|(_, domain)| domain.asil > control.level);
    let Some(level) = above().map(|(_, domain)| domain.asil).max() else {
        return;
    };
    let message = format!(
        "when {} shuts down or crashes, Xen {} halts or restarts the machine, and {} with it",
        control.who(),
        plan.xen.version,
        several(above().map(|(_, domain)| who(domain)))
    );
    let label = match control.domain {
        Some(_) => "may stop the machine, and map and destroy every domain",
        None => "what the toolstack starts needs a control domain",
    };
    let finding = Finding::new(&rules::CONTROL_DOMAIN, control.at.clone(), message)
        .label(label)
        .subject(control.name())
        .for_level(level);
    findings.push(
        above()
            .take(MAX_SUBJECTS)
            .fold(finding, |finding, (_, domain)| {
                finding.subject(&domain.name)
            }),
    );
}

/// Who starts a safety domain.
fn start(plan: &Plan, findings: &mut Vec<Finding>) {
    let has_control = control(plan).is_some();
    for (index, domain) in safety(plan) {
        if domain.boot == Boot::Toolstack && domain.asil >= Asil::B {
            let message = format!("{} does not start without the toolstack", who(domain));
            findings.push(
                Finding::new(
                    &rules::BOOT_BY_TOOLSTACK,
                    format!("domain[{index}].boot"),
                    message,
                )
                .label("started once the control domain runs")
                .subject(&domain.name)
                .for_level(domain.asil),
            );
        }
        let of_xen = domain.is_dom0less();
        // Without a control domain nobody ever sets the table: a mistake at any level, and a rule of its own.
        if of_xen && has_control && place(plan, domain).scheduler == Scheduler::Arinc653 {
            let at = match domain.cpupool {
                Some(_) => format!("domain[{index}].cpupool"),
                None => "xen.scheduler".to_owned(),
            };
            let message = format!(
                "{} gets no time from ARINC653 until a toolstack sets its time table",
                who(domain)
            );
            findings.push(
                Finding::new(&rules::ARINC653_AT_BOOT, at, message)
                    .label("at boot only domain 0 has slots")
                    .subject(&domain.name)
                    .for_level(domain.asil),
            );
        }
    }
}

/// What a control domain of a lower level does for a safety domain while that runs.
fn services(plan: &Plan, findings: &mut Vec<Finding>) {
    let Some(control) = control(plan) else {
        return;
    };
    for (index, domain) in safety(plan) {
        if domain.kind == DomainKind::Control || domain.asil <= control.level {
            continue;
        }
        let mut report = |rule, key: &str, message: String, label: &str| {
            findings.push(
                Finding::new(rule, format!("domain[{index}].{key}"), message)
                    .label(label)
                    .subject(&domain.name)
                    .subject(control.name())
                    .for_level(domain.asil),
            );
        };
        let (domain_words, control_words) = (who(domain), control.who());
        let pv = domain.console == Console::Pv;
        if pv {
            let message = format!("the console of {domain_words} is served by {control_words}");
            let label = "the default is pv for domains that the toolstack starts";
            report(&rules::CONSOLE_PV, "console", message, label);
        }
        let tee = domain.tee.as_ref().map(|tee| tee.mode);
        if tee == Some(TeeMode::Mediated) {
            let message = format!(
                "{domain_words} stands still until {control_words} answers its calls to the secure world"
            );
            report(
                &rules::TEE_MEDIATED,
                "tee.mode",
                message,
                "answered by avps-tee",
            );
        }
        let of_xen = domain.boot == Boot::Dom0less;
        let needed = pv || !domain.virtio.is_empty();
        if of_xen && domain.enhanced == Enhanced::Enabled && !needed {
            let message = format!(
                "{domain_words} uses XenStore of {control_words}, and has nothing to look up there"
            );
            report(
                &rules::XENSTORE,
                "enhanced",
                message,
                "XenStore is a process of the control domain",
            );
        }
    }
}
