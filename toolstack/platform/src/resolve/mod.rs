//! From document to plan: defaults, absolute paths, addresses, interrupts, identities.
//!
//! Resolving never fails: what is missing was reported by the reader, what makes no sense is
//! reported by the checks, and both look at the plan made here. A number never depends on what stands behind its place in
//! the document: who adds at the end renumbers nothing.

mod domain;
mod links;
mod machine;
mod names;

pub(crate) use domain::NO_RAMDISK;

use crate::document::Document;
use crate::plan::{self, MachinePlan, Plan, Waiver};
use crate::units::ByteSize;

/// Decides every number of a document. `base` is the document's folder, `facts` what the machine's device tree says.
pub fn resolve(document: &Document, base: &str, facts: MachinePlan) -> Plan {
    let content = &document.content;
    let platform = content.platform.clone().unwrap_or_default();
    let machine_table = content.machine.clone().unwrap_or_default();
    let name = platform.name.unwrap_or_default();
    let mut domains = domain::domains(content, &name, base);
    domain::devices_from_facts(content, &mut domains, &facts.devices);
    let links = links::links(content, &name, &domains);
    domain::interfaces(content, &mut domains, &links);
    Plan {
        schema: plan::SCHEMA.to_owned(),
        description: platform.description,
        machine_memory_bytes: machine_table.memory.map(|ByteSize(bytes)| bytes),
        machine: machine::machine(&machine_table, base, facts),
        xen: machine::xen(content),
        tee: machine::tee(content),
        boot: machine::boot(content, base, &domains),
        platform: name,
        domains,
        shared_memory: links.shared_memory,
        event_channels: links.event_channels,
        ipc: links.ipc,
        networks: links.networks,
        waivers: waivers(document),
    }
}

fn waivers(document: &Document) -> Vec<Waiver> {
    let tables = document.content.waive.iter().enumerate();
    tables
        .map(|(index, table)| Waiver {
            rule: table.rule.clone().unwrap_or_default(),
            subject: table.subject.clone(),
            reason: table.reason.clone().unwrap_or_default(),
            owner: table.owner.clone().unwrap_or_default(),
            expires: table.expires,
            from: format!("waive[{index}]"),
        })
        .collect()
}

/// A path of the document, seen from the document's folder.
pub(crate) fn absolute(base: &str, path: &str) -> String {
    names::path(base, Some(path))
}

/// The identity of a CPU pool. No domain has it: a domain's name has no slash.
pub(crate) fn pool_uuid(platform: &str, pool: &str) -> String {
    names::uuid(platform, &format!("cpupool/{pool}"))
}

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
