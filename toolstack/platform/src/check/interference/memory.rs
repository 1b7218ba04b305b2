//! Memory that two levels can write, or that does not stay what it was.

use crate::check::parties::{backend, level, safety, who, with_others};
use crate::finding::Finding;
use crate::plan::{Asil, DomainPlan, IpcKind, MemoryModel, Plan, SharedMemory, SharedMemoryUser};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for memory in &plan.shared_memory {
        findings.extend(shared(plan, memory));
    }
    for (index, domain) in safety(plan) {
        foreign(plan, domain, findings);
        if domain.balloon {
            let message = format!("the memory of {} may change while it runs", who(domain));
            findings.push(
                Finding::new(&rules::BALLOON, format!("domain[{index}].balloon"), message)
                    .label("the default is true for domains that the toolstack starts")
                    .subject(&domain.name)
                    .for_level(domain.asil),
            );
        }
    }
    scrubbing(plan, findings);
}

/// One finding per region: what is worst about it.
fn shared(plan: &Plan, memory: &SharedMemory) -> Option<Finding> {
    let users: Vec<(&DomainPlan, &SharedMemoryUser)> = memory
        .users
        .iter()
        .filter_map(|user| Some((plan.domain(&user.domain)?, user)))
        .collect();
    let top = users.iter().map(|(domain, _)| domain.asil).max()?;
    let high = users.iter().find(|(domain, _)| domain.asil == top)?;
    let low: Vec<_> = users
        .iter()
        .filter(|(domain, _)| domain.asil < top)
        .collect();
    let first_low = low.first()?;
    let writers: Vec<_> = users.iter().filter(|(_, user)| user.writes).collect();
    let across = writers.iter().any(|(domain, _)| domain.asil != top)
        && writers.iter().any(|(domain, _)| domain.asil == top);
    let rpmsg = plan
        .ipc
        .iter()
        .any(|link| Some(&link.name) == memory.ipc.as_ref() && link.kind == IpcKind::Rpmsg);
    let what = match &memory.ipc {
        Some(name) => format!("link \"{name}\""),
        None => format!("shared memory \"{}\"", memory.id),
    };
    let (one, other) = (who(high.0), who(first_low.0));
    let (rule, at, message) = if rpmsg {
        let message = format!("{what} is RPMsg: {one} and {other} both write to its rings");
        (
            &rules::RPMSG_ACROSS_LEVELS,
            format!("{}.kind", memory.from),
            message,
        )
    } else if across {
        let message = format!("{one} and {other} are both meant to write to {what}");
        (&rules::WRITERS_ACROSS_LEVELS, memory.from.clone(), message)
    } else {
        let xen = plan.xen.version;
        let message = format!(
            "{other} can write to {what} of {one}: Xen {xen} maps it writable for every user"
        );
        (&rules::MEMORY_ACROSS_LEVELS, memory.from.clone(), message)
    };
    let finding = Finding::new(rule, at, message)
        .label(format!(
            "seen by {} and {}",
            level(top),
            level(first_low.0.asil)
        ))
        .subject(&memory.id)
        .for_level(top);
    let others = users.iter().map(|(domain, user)| {
        let does = match user.writes {
            true => "is meant to write",
            false => "is meant to read",
        };
        (
            *domain,
            user.from.clone(),
            format!("{} {does}", who(domain)),
        )
    });
    let mut finding = with_others(finding, others);
    if memory.ipc.is_some() && !rpmsg {
        finding = finding.help(
            "keep the link within one level; or protect the messages end to end (sequence counter, CRC, timeout: AUTOSAR E2E), \
             read each once, bound how often the doorbell is served, and waive this with that as the reason",
        );
    }
    Some(finding)
}

fn foreign(plan: &Plan, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    for device in &domain.virtio {
        if device.memory != MemoryModel::Foreign {
            continue;
        }
        let (served_by, words) = backend(plan, device.backend.as_deref());
        let message = format!(
            "the backend of a disk of {}, in {words}, may map all of that domain's memory",
            who(domain)
        );
        findings.push(
            Finding::new(
                &rules::FOREIGN_MEMORY,
                format!("{}.memory", device.from),
                message,
            )
            .label("all of the guest, writable")
            .subject(&domain.name)
            .subject(served_by.map_or("", |domain| domain.name.as_str()))
            .for_level(domain.asil),
        );
    }
}

/// The boot scrubber as something else than `idle`.
fn scrubbing(plan: &Plan, findings: &mut Vec<Finding>) {
    let words = plan.xen.cmdline.split_ascii_whitespace();
    // Xen reads from left to right: the last word counts.
    let mut last = words.rev().filter(|word| {
        let (name, _) = word.split_once('=').unwrap_or((word, ""));
        matches!(name, "bootscrub" | "no-bootscrub")
    });
    let Some(word) = last.next().filter(|word| *word != "bootscrub=idle") else {
        return;
    };
    let domains = || plan.dom0less().filter(|domain| domain.asil > Asil::Qm);
    let Some(level) = domains().map(|domain| domain.asil).max() else {
        return;
    };
    let message = format!("with \"{word}\" the memory of domains that Xen starts is not cleared");
    let finding = Finding::new(&rules::BOOTSCRUB, "xen.cmdline", message)
        .label(format!("says \"{word}\""))
        .for_level(level);
    findings.push(domains().fold(finding, |finding, domain| finding.subject(&domain.name)));
}
