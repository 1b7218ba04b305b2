//! Memory that several domains see: names, users, roles. Where guests see it is in [`super::guest_map`].

use std::collections::{HashMap, HashSet};

use super::places::PAGE;
use super::{Index, roles};
use crate::finding::Finding;
use crate::plan::{Boot, DomainKind, DomainPlan, Plan, SharedMemory, SharedMemoryUser, ShmRole};
use crate::rules;
use crate::units::XenVersion;

/// Longest name in bytes (Xen: `MAX_SHM_ID_LENGTH`, with the final zero).
const MAX_ID: usize = 15;
/// Regions that Xen has room for (Xen: `NR_SHMEM_BANKS`).
const MAX_REGIONS: usize = 32;
/// The first release that finds a place itself.
const PLACE_SINCE: XenVersion = XenVersion::new(4, 19);

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (number, memory) in plan.shared_memory.iter().enumerate() {
        let at = id_path(memory);
        if !is_id(&memory.id) {
            let message = format!("\"{}\" cannot be the name of shared memory", memory.id);
            findings.push(
                Finding::new(&rules::SHARED_MEMORY_ID, at, message)
                    .label(format!("{} bytes", memory.id.len())),
            );
        } else if let Some(earlier) = first.get(memory.id.as_str()) {
            let earlier = &plan.shared_memory[*earlier];
            let message = format!("two regions are named \"{}\"", memory.id);
            findings.push(
                Finding::new(&rules::SHARED_MEMORY_TWICE, at, message)
                    .label("the same name again")
                    .related(id_path(earlier), "first used here"),
            );
        } else {
            first.insert(&memory.id, number);
        }
        place(plan, index, memory, findings);
        users(plan, index, memory, findings);
        let colored = memory.users.iter().find(|user| {
            let domain = index.domain(plan, &user.domain);
            domain.is_some_and(|domain| !domain.colors.is_empty())
        });
        if let Some(user) = colored {
            let message = format!(
                "shared memory \"{}\" has all cache colours, and domain \"{}\" has some",
                memory.id, user.domain
            );
            let at = memory.from.clone();
            findings.push(
                Finding::new(&rules::SHARED_MEMORY_COLORS, at, message).label("of every colour"),
            );
        }
    }
    too_many(plan, findings);
}

/// Xen's table has an entry for each region with a place, and for each piece of one that comes from its heap: there are as
/// many as powers of two make up its size (Xen: xen/arch/arm/static-shmem.c, `save_map_heap_pages`).
fn too_many(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut entries = 0_usize;
    for memory in &plan.shared_memory {
        let pieces = match memory.at {
            Some(_) => 1,
            None => (memory.size_bytes / PAGE).count_ones().max(1) as usize,
        };
        entries = entries.saturating_add(pieces);
        if entries > MAX_REGIONS {
            let message = format!(
                "shared memory takes more than the {MAX_REGIONS} entries that Xen has for it"
            );
            findings.push(
                Finding::new(
                    &rules::TOO_MANY_SHARED_MEMORIES,
                    memory.from.clone(),
                    message,
                )
                .label("the first one too many"),
            );
            return;
        }
    }
}

/// Where its name stands.
fn id_path(memory: &SharedMemory) -> String {
    match memory.ipc {
        Some(_) => format!("{}.name", memory.from),
        None => format!("{}.id", memory.from),
    }
}

/// Where it says where a guest sees it.
pub(super) fn guest_path(memory: &SharedMemory, user: &SharedMemoryUser) -> String {
    match memory.ipc {
        Some(_) => format!("{}.guest_at", memory.from),
        None => format!("{}.at", user.from),
    }
}

/// Where the name of a user stands.
fn user_path(memory: &SharedMemory, user: &SharedMemoryUser) -> String {
    match memory.ipc {
        Some(_) => user.from.clone(),
        None => format!("{}.domain", user.from),
    }
}

fn is_id(id: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= MAX_ID && id.chars().all(is_usual)
}

/// Whether the domain's addresses are the machine's: Xen's first domain always has those.
pub(super) fn is_direct(domain: &DomainPlan) -> bool {
    domain.direct_map || domain.kind == DomainKind::Control
}

fn place(plan: &Plan, index: &Index<'_>, memory: &SharedMemory, findings: &mut Vec<Finding>) {
    if memory.at.is_some() {
        return;
    }
    let mut domains = memory
        .users
        .iter()
        .filter_map(|user| index.domain(plan, &user.domain));
    let at = format!("{}.at", memory.from);
    if let Some(domain) = domains.find(|domain| is_direct(domain)) {
        let message = format!(
            "shared memory \"{}\" has no place in the machine, and domain \"{}\" has the machine's addresses",
            memory.id, domain.name
        );
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_DIRECT, at, message).label("\"at\" is missing here"),
        );
    } else if plan.xen.version < PLACE_SINCE {
        let message = format!(
            "Xen {} does not find a place for shared memory itself",
            plan.xen.version
        );
        findings.push(
            Finding::new(&rules::XEN_TOO_OLD, at, message)
                .label("\"at\" is missing here")
                .help(format!("add at, or use Xen {PLACE_SINCE}")),
        );
    }
}

fn users(plan: &Plan, index: &Index<'_>, memory: &SharedMemory, findings: &mut Vec<Finding>) {
    let id = &memory.id;
    if memory.users.is_empty() {
        let message = format!("no domain sees shared memory \"{id}\"");
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_UNUSED, memory.from.clone(), message)
                .label("has no [[shared_memory.user]]"),
        );
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for user in &memory.users {
        let path = user_path(memory, user);
        if seen.insert(&user.domain) {
            match index.domain(plan, &user.domain) {
                None => findings.push(roles::unknown(path, &user.domain)),
                Some(domain) => known_user(memory, user, domain, path, findings),
            }
        } else if memory.ipc.is_none() {
            // An IPC link with one domain on both ends is reported as such.
            let message = format!(
                "domain \"{}\" is listed twice for shared memory \"{id}\"",
                user.domain
            );
            findings
                .push(Finding::new(&rules::SHARED_MEMORY_USER_TWICE, path, message).label("again"));
        }
    }
    guest_pages(memory, findings);
    if memory.ipc.is_none() {
        owners(memory, findings);
        writers(plan, index, memory, findings);
    }
}

fn known_user(
    memory: &SharedMemory,
    user: &SharedMemoryUser,
    domain: &DomainPlan,
    path: String,
    findings: &mut Vec<Finding>,
) {
    let name = &domain.name;
    if domain.boot == Boot::Toolstack {
        let message =
            format!("domain \"{name}\" cannot have shared memory: the toolstack starts it");
        findings.push(
            Finding::new(&rules::LINK_OF_TOOLSTACK, path, message).label("not started by Xen"),
        );
    } else if let Some(at) = memory.at
        && is_direct(domain)
        && user.at != at
    {
        let message = format!(
            "domain \"{name}\" has the machine's addresses, and is to see \"{}\" elsewhere",
            memory.id
        );
        let path = guest_path(memory, user);
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_DIRECT, path, message)
                .label(format!("not {}", super::places::hex(at)))
                .help("use the region's own address here"),
        );
    }
}

fn guest_pages(memory: &SharedMemory, findings: &mut Vec<Finding>) {
    // Both users of an IPC link see it at one address, which is reported once.
    let users = match memory.ipc {
        Some(_) => memory.users.get(..1).unwrap_or_default(),
        None => &memory.users,
    };
    for user in users {
        // What is put there because the region is there follows from that.
        if user.at.is_multiple_of(PAGE) || memory.at == Some(user.at) {
            continue;
        }
        let message = format!(
            "domain \"{}\" is to see shared memory \"{}\" in the middle of a page",
            user.domain, memory.id
        );
        let at = guest_path(memory, user);
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_GUEST_PAGE, at, message)
                .label("no multiple of 4KiB"),
        );
    }
}

fn owners(memory: &SharedMemory, findings: &mut Vec<Finding>) {
    let mut owners = memory
        .users
        .iter()
        .filter(|user| user.role == ShmRole::Owner);
    let Some(first) = owners.next() else { return };
    for user in owners {
        let message = format!("shared memory \"{}\" has two owners", memory.id);
        let at = format!("{}.role", user.from);
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_OWNERS, at, message)
                .label("a second owner")
                .related(format!("{}.role", first.from), "the first one"),
        );
    }
}

fn writers(plan: &Plan, index: &Index<'_>, memory: &SharedMemory, findings: &mut Vec<Finding>) {
    let level = |user: &SharedMemoryUser| index.domain(plan, &user.domain).map(|d| d.asil);
    let mut writers = memory.users.iter().filter(|user| user.writes);
    let Some(first) = writers.next() else { return };
    // Writers of different levels break a rule of freedom from interference.
    for user in writers.filter(|user| level(user) == level(first)) {
        let message = format!(
            "domains \"{}\" and \"{}\" both write to shared memory \"{}\"",
            first.domain, user.domain, memory.id
        );
        let at = format!("{}.writes", user.from);
        findings.push(
            Finding::new(&rules::SHARED_MEMORY_WRITERS, at, message)
                .label("writes too")
                .related(format!("{}.writes", first.from), "writes"),
        );
    }
}
