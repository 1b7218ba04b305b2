//! Who notices that a safety domain hangs, and what stands behind the features it uses.

use crate::check::parties::{highest, safety, several, who};
use crate::finding::Finding;
use crate::plan::{DomainKind, Plan, WatchdogAction};
use crate::rules;
use crate::support::{Support, features_of};

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for (index, domain) in safety(plan) {
        let (key, message, label) = match &domain.watchdog {
            None => (
                "",
                format!("nobody notices when {} hangs", who(domain)),
                "no watchdog",
            ),
            Some(watchdog) if watchdog.timeout_us == 0 => (
                ".watchdog.timeout",
                format!(
                    "the watchdog of {} has no time that could run out",
                    who(domain)
                ),
                "zero",
            ),
            Some(_) => continue,
        };
        findings.push(
            Finding::new(
                &rules::NO_WATCHDOG,
                format!("domain[{index}]{key}"),
                message,
            )
            .label(label)
            .subject(&domain.name)
            .for_level(domain.asil),
        );
    }
    resets(plan, findings);
    experimental(plan, findings);
}

/// Watchdogs of lower levels that reset the machine. One that Xen itself keeps (without an owner) only ends the domain; that
/// the end of the control domain ends everything is a finding of its own.
fn resets(plan: &Plan, findings: &mut Vec<Finding>) {
    let highest = highest(plan);
    for (index, domain) in plan.domains.iter().enumerate() {
        let Some(watchdog) = &domain.watchdog else {
            continue;
        };
        let resets = watchdog.action == WatchdogAction::Reset && watchdog.owner.is_some();
        if domain.asil >= highest || !resets || domain.kind == DomainKind::Control {
            continue;
        }
        let above = safety(plan).filter(|(_, other)| other.asil > domain.asil);
        let message = format!(
            "when {} hangs, its watchdog resets the machine, and {} with it",
            who(domain),
            several(above.map(|(_, other)| who(other)))
        );
        findings.push(
            Finding::new(
                &rules::RESET_BY_LOWER,
                format!("domain[{index}].watchdog.action"),
                message,
            )
            .label("the default is to reset the machine")
            .subject(&domain.name)
            .for_level(highest),
        );
    }
}

/// One finding per domain, with all that it uses.
fn experimental(plan: &Plan, findings: &mut Vec<Finding>) {
    for (index, domain) in safety(plan) {
        let used: Vec<_> = features_of(plan, domain)
            .into_iter()
            .filter(|feature| feature.support == Support::Experimental)
            .collect();
        let Some(first) = used.first() else {
            continue;
        };
        let message = format!(
            "{} relies on what Xen {} calls experimental: {}",
            who(domain),
            plan.xen.version,
            several(used.iter().map(|feature| feature.name.to_owned()))
        );
        findings.push(
            Finding::new(
                &rules::EXPERIMENTAL,
                format!("domain[{index}]{}", first.key),
                message,
            )
            .label(first.name)
            .help(first.instead)
            .subject(&domain.name)
            .for_level(domain.asil),
        );
    }
}
