//! Who notices that a safety domain hangs, and what stands behind the features it uses.

use crate::check::parties::{safety, several, who};
use crate::finding::Finding;
use crate::plan::Plan;
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
    experimental(plan, findings);
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
