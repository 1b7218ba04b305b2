//! Event channels and IPC links between domains of Xen's own boot, and what they need of Xen.

use std::collections::HashMap;

use super::{Index, roles};
use crate::finding::Finding;
use crate::plan::{
    Boot, Console, DomainKind, DomainPlan, Enhanced, EventChannel, EventChannelEnd, Plan,
};
use crate::rules;

/// Last port of a domain of Xen's own boot (Xen: `create_domUs`, `max_evtchn_port`).
const MAX_PORT: u32 = 1023;
/// Last port of the control domain before it asks for more (Xen: `EVTCHN_2L_NR_CHANNELS` for 64 bits).
const MAX_PORT_CONTROL: u32 = 4095;
/// The port that Xen gives XenStore in a domain that is fully enhanced: the first free one.
const XENSTORE_PORT: u32 = 1;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut ports: HashMap<(&str, u32), String> = HashMap::new();
    let mut blind: HashMap<&str, ()> = HashMap::new();
    let mut channels = HashMap::new();
    for channel in &plan.event_channels {
        let [a, b] = &channel.ends;
        if a.domain == b.domain && !a.domain.is_empty() {
            let key = if channel.ipc.is_some() {
                "to"
            } else {
                "between"
            };
            let message = format!(
                "both ends of \"{}\" are domain \"{}\"",
                channel.name, a.domain
            );
            let at = format!("{}.{key}", channel.from);
            findings.push(Finding::new(&rules::LINK_ENDS, at, message).label("the same domain"));
            continue;
        }
        let mut ends = [(&a.domain, a.port), (&b.domain, b.port)];
        ends.sort_unstable();
        if !a.domain.is_empty()
            && !b.domain.is_empty()
            && let Some(earlier) = channels.insert(ends, channel)
        {
            let message = format!(
                "the event channel from port {} of \"{}\" to port {} of \"{}\" is stated twice",
                a.port, a.domain, b.port, b.domain
            );
            findings.push(
                Finding::new(&rules::EVENT_CHANNEL_TWICE, port_path(channel), message)
                    .label("the same channel again")
                    .related(port_path(earlier), "first stated here"),
            );
            continue;
        }
        for (number, end) in channel.ends.iter().enumerate() {
            if end.domain.is_empty() {
                continue;
            }
            let Some(domain) = index.domain(plan, &end.domain) else {
                // For an IPC link, its shared memory has said so.
                if channel.ipc.is_none() {
                    findings.push(roles::unknown(end_path(channel, number), &end.domain));
                }
                continue;
            };
            if domain.boot == Boot::Toolstack {
                if channel.ipc.is_none() {
                    let message = format!(
                        "domain \"{}\" cannot have this event channel: the toolstack starts it",
                        domain.name
                    );
                    findings.push(
                        Finding::new(
                            &rules::LINK_OF_TOOLSTACK,
                            end_path(channel, number),
                            message,
                        )
                        .label("not started by Xen"),
                    );
                }
                continue;
            }
            let at = port_path(channel);
            if let Some(finding) = port(domain, end, &at) {
                findings.push(finding);
            } else if let Some(earlier) = ports.get(&(end.domain.as_str(), end.port)) {
                let message = format!("port {} of domain \"{}\" is taken", end.port, end.domain);
                findings.push(
                    Finding::new(&rules::EVENT_PORT_TWICE, at, message)
                        .label(format!("port {} again", end.port))
                        .related(earlier.clone(), "first used here"),
                );
            } else {
                ports.insert((&end.domain, end.port), at);
            }
            let is_blind =
                domain.enhanced == Enhanced::Disabled && domain.kind != DomainKind::Control;
            if is_blind && blind.insert(&end.domain, ()).is_none() {
                let number = index.domains.get(end.domain.as_str()).copied();
                let at = format!("domain[{}].enhanced", number.unwrap_or_default());
                let message = format!(
                    "domain \"{}\" has an event channel, and sees none of Xen's interfaces",
                    domain.name
                );
                findings.push(
                    Finding::new(&rules::EVENT_WITHOUT_INTERFACE, at, message)
                        .label("no hypervisor node")
                        .related(channel.from.clone(), "this channel"),
                );
            }
        }
    }
    interfaces(plan, findings);
}

fn end_path(channel: &EventChannel, number: usize) -> String {
    match channel.ipc {
        Some(_) => channel.from.clone(),
        None => format!("{}.between[{number}]", channel.from),
    }
}

fn port_path(channel: &EventChannel) -> String {
    match channel.ipc {
        Some(_) => channel.from.clone(),
        None => format!("{}.ports", channel.from),
    }
}

fn port(domain: &DomainPlan, end: &EventChannelEnd, at: &str) -> Option<Finding> {
    let last = match domain.kind {
        DomainKind::Control => MAX_PORT_CONTROL,
        _ => MAX_PORT,
    };
    let has_store = domain.enhanced == Enhanced::Enabled && domain.kind != DomainKind::Control;
    let (message, label) = if end.port == 0 {
        let message = format!("port 0 of domain \"{}\" means any port", domain.name);
        (message, "0 is no port".to_owned())
    } else if end.port > last {
        let message = format!("domain \"{}\" has no port {}", domain.name, end.port);
        (message, format!("at most {last}"))
    } else if has_store && end.port == XENSTORE_PORT {
        let message = format!("port 1 of domain \"{}\" is XenStore's", domain.name);
        (message, "use another one".to_owned())
    } else {
        return None;
    };
    Some(Finding::new(&rules::EVENT_PORT, at, message).label(label))
}

/// What domains of Xen's own boot want of Xen.
fn interfaces(plan: &Plan, findings: &mut Vec<Finding>) {
    let has_control = plan.control().is_some();
    for (number, domain) in plan.domains.iter().enumerate() {
        if domain.boot != Boot::Dom0less || domain.kind == DomainKind::Control {
            continue;
        }
        let wants_store = domain.enhanced == Enhanced::Enabled || domain.console == Console::Pv;
        if wants_store && !has_control {
            let (key, label) = match domain.console {
                Console::Pv => ("console", "the paravirtual console needs XenStore"),
                _ => ("enhanced", "needs XenStore"),
            };
            let message = format!(
                "domain \"{}\" needs XenStore, and no domain serves it",
                domain.name
            );
            let at = format!("domain[{number}].{key}");
            findings.push(Finding::new(&rules::XENSTORE_WITHOUT_CONTROL, at, message).label(label));
        }
    }
}
