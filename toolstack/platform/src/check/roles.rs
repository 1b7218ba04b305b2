//! What domains are for, what they wait for, and whom they name.

use super::Index;
use crate::finding::Finding;
use crate::plan::{DomainKind, Plan};
use crate::rules;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    control(plan, findings);
    names(plan, index, findings);
    start_order(plan, index, findings);
}

/// A finding that names a domain which is not there.
pub(super) fn unknown(at: impl Into<String>, name: &str) -> Finding {
    let message = format!("there is no domain \"{name}\"");
    Finding::new(&rules::UNKNOWN_DOMAIN, at, message).label("not in this document")
}

fn control(plan: &Plan, findings: &mut Vec<Finding>) {
    let domains = plan.domains.iter().enumerate();
    let mut controls = domains.filter(|(_, domain)| domain.kind == DomainKind::Control);
    let Some((first, domain)) = controls.next() else {
        return;
    };
    if first != 0 {
        findings.push(
            Finding::new(
                &rules::CONTROL_NOT_FIRST,
                format!("domain[{first}].kind"),
                format!("control domain \"{}\" stands behind others", domain.name),
            )
            .label("started before all others"),
        );
    }
    for (number, domain) in controls {
        findings.push(
            Finding::new(
                &rules::SEVERAL_CONTROLS,
                format!("domain[{number}].kind"),
                format!("domain \"{}\" is a second control domain", domain.name),
            )
            .label("one too many")
            .related(format!("domain[{first}].kind"), "the first one"),
        );
    }
}

fn names(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let known = |name: &str| index.domains.contains_key(name);
    for (number, domain) in plan.domains.iter().enumerate() {
        for (place, name) in domain.after.iter().enumerate() {
            if !known(name) {
                findings.push(unknown(format!("domain[{number}].after[{place}]"), name));
            }
        }
        for device in &domain.virtio {
            if let Some(backend) = device.backend.as_deref().filter(|name| !known(name)) {
                findings.push(unknown(format!("{}.backend", device.from), backend));
            }
        }
        let owner = domain.watchdog.as_ref().and_then(|w| w.owner.as_deref());
        // An owner with a slash is a device of the machine.
        if let Some(owner) = owner.filter(|owner| !owner.starts_with('/') && !known(owner)) {
            findings.push(unknown(format!("domain[{number}].watchdog.owner"), owner));
        }
    }
}

/// Walks along `after` and reports each reference that leads back to where the walk came from.
fn start_order(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        OnTheWay,
        Done,
    }
    let mut states = vec![State::New; plan.domains.len()];
    for start in 0..plan.domains.len() {
        // Each step: a domain, and how many of its references have been followed. No recursion: a document may have a
        // chain of thousands.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if states[start] == State::New {
            states[start] = State::OnTheWay;
            way.push((start, 0));
        }
        while let Some((number, place)) = way.last_mut() {
            let (from, reference) = (*number, *place);
            let Some(name) = plan.domains[from].after.get(reference) else {
                states[from] = State::Done;
                way.pop();
                continue;
            };
            *place = reference.saturating_add(1);
            let Some(&next) = index.domains.get(name.as_str()) else {
                continue;
            };
            match states[next] {
                State::Done => {}
                State::New => {
                    states[next] = State::OnTheWay;
                    way.push((next, 0));
                }
                State::OnTheWay => {
                    let at = format!("domain[{from}].after[{reference}]");
                    findings.push(cycle(plan, &way, next, at));
                }
            }
        }
    }
}

fn cycle(plan: &Plan, way: &[(usize, usize)], back_to: usize, at: String) -> Finding {
    /// Domains of a cycle that are named in the message.
    const NAMED: usize = 5;
    let steps = way.iter().map(|(number, _)| *number);
    let members: Vec<usize> = steps.skip_while(|number| *number != back_to).collect();
    let name = |number: &usize| plan.domains.get(*number).map_or("", |d| d.name.as_str());
    let message = match members.as_slice() {
        [only] => format!("domain \"{}\" waits for itself", name(only)),
        [first, ..] => {
            let names: Vec<_> = members.iter().take(NAMED).map(name).collect();
            let more = if members.len() > NAMED {
                " → …"
            } else {
                ""
            };
            format!(
                "domains wait for each other: {}{more} → {}",
                names.join(" → "),
                name(first)
            )
        }
        [] => "domains wait for each other".to_owned(),
    };
    Finding::new(&rules::START_CYCLE, at, message).label("leads back")
}
