//! What the document says and nobody carries out.

use super::Index;
use crate::finding::Finding;
use crate::plan::{Action, Boot, DomainPlan, Enhanced, Plan, Watchdog};
use crate::rules;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    for network in &plan.networks {
        let message = format!("nothing makes network \"{}\"", network.name);
        findings.push(
            Finding::new(&rules::NETWORK_PENDING, network.from.clone(), message)
                .label("not carried out yet")
                .subject(&network.name),
        );
    }
    for (number, domain) in plan.domains.iter().enumerate() {
        let Some(watchdog) = &domain.watchdog else {
            continue;
        };
        if is_own_device(domain, watchdog) {
            continue;
        }
        let (key, what) = match watchdog.owner.as_deref() {
            None => ("", "nothing arms Xen's watchdog".to_owned()),
            Some(owner) => (".owner", format!("nothing makes \"{owner}\" watch it")),
        };
        findings.push(
            Finding::new(
                &rules::WATCHDOG_PENDING,
                format!("domain[{number}].watchdog{key}"),
                format!(
                    "the watchdog of domain \"{}\" does nothing: {what}",
                    domain.name
                ),
            )
            .label("not carried out yet")
            .subject(&domain.name)
            .for_level(domain.asil),
        );
    }
    for (number, domain) in plan.domains.iter().enumerate() {
        let (keys, starter) = without_effect(domain);
        for (key, _) in keys.into_iter().filter(|(_, given)| *given) {
            findings.push(
                Finding::new(
                    &rules::KEY_WITHOUT_EFFECT,
                    format!("domain[{number}].{key}"),
                    format!(
                        "{key} of domain \"{}\" has no effect: {starter} starts it",
                        domain.name
                    ),
                )
                .label("no effect")
                .subject(&domain.name),
            );
        }
    }
    for link in &plan.ipc {
        let ends = [&link.sender, &link.receiver];
        let started_by_xen = |name: &&String| {
            let domain = index.domain(plan, name);
            domain.is_some_and(|domain| domain.boot == Boot::Dom0less)
        };
        // Otherwise the link itself is refused.
        if link.sender == link.receiver || !ends.iter().all(started_by_xen) {
            continue;
        }
        let message = format!(
            "link \"{}\" is memory and an event channel: nothing speaks {} over it",
            link.name,
            link.kind.word()
        );
        findings.push(
            Finding::new(&rules::IPC_PENDING, link.from.clone(), message)
                .label("not carried out yet")
                .subject(&link.name),
        );
    }
}

/// Keys that mean nothing for a domain that is started this way, whether they were given, and who starts it.
fn without_effect(domain: &DomainPlan) -> (Vec<(&'static str, bool)>, &'static str) {
    match domain.boot {
        Boot::Toolstack => {
            let enhanced = domain.enhanced != Enhanced::Disabled;
            let interrupts = domain.interrupts.is_some();
            let keys = vec![("enhanced", enhanced), ("interrupts", interrupts)];
            (keys, "the toolstack")
        }
        Boot::Dom0less => {
            let keys = vec![
                ("after", !domain.after.is_empty()),
                ("on_poweroff", domain.on_poweroff != Action::Destroy),
                ("on_reboot", domain.on_reboot != Action::Restart),
                ("on_crash", domain.on_crash != Action::Destroy),
            ];
            (keys, "Xen")
        }
    }
}

/// Whether the watchdog is a device that the domain has: then the guest keeps it, and nobody else has to do anything.
pub(crate) fn is_own_device(domain: &DomainPlan, watchdog: &Watchdog) -> bool {
    let owner = watchdog.owner.as_deref();
    let mut devices = domain.devices.iter();
    owner.is_some_and(|owner| devices.any(|device| device.path == owner))
}
