//! How much memory there is, and how much is wanted at the least.

use super::Index;
use super::places::{PAGE, Ram};
use crate::finding::Finding;
use crate::plan::{Boot, DomainKind, DomainPlan, MAX_VCPUS, Plan, SharedMemory};
use crate::rules;
use crate::units::{ByteSize, MIB};

/// Least that Xen keeps on each page of RAM, in bytes (Xen: `struct page_info`, 48 to 56).
const PAGE_RECORD: u64 = 48;
/// Least that Xen's image and what it starts with take.
const XEN_LEAST: u64 = 2 * MIB;
/// What a Xen with cache colours keeps without colours (Xen: xen/common/Kconfig, `BUDDY_ALLOCATOR_SIZE`).
const BUDDY: u64 = 64 * MIB;
/// Kernel, device tree and ramdisk of a guest each begin on a multiple of this (Xen: `place_modules`).
const MODULE_BORDER: u64 = 2 * MIB;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    for (number, domain) in plan.domains.iter().enumerate() {
        if domain.is_dom0less() {
            first_memory(number, domain, findings);
        }
    }
    if index.ram.is_known() && !colored(plan, &index.ram, findings) {
        total(plan, &index.ram, findings);
    }
}

/// A sum that stays at the largest number there is.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The least that the domains of Xen's own boot and Xen itself take, against what there is.
fn total(plan: &Plan, ram: &Ram, findings: &mut Vec<Finding>) {
    let by_xen = |domain: &&DomainPlan| domain.boot == Boot::Dom0less;
    let by_xen = || plan.domains.iter().filter(by_xen);
    let shared = |placed: bool| {
        let of = move |memory: &&SharedMemory| memory.at.is_some() == placed;
        sum(plan
            .shared_memory
            .iter()
            .filter(of)
            .map(|memory| memory.size_bytes))
    };
    let anywhere = by_xen().filter(|domain| domain.static_memory.is_empty());
    let wanted = [
        sum(anywhere.map(|domain| domain.memory_bytes)),
        sum(by_xen().map(page_tables)),
        shared(false),
        (ram.bytes() / PAGE).saturating_mul(PAGE_RECORD),
    ];
    let wanted = sum(wanted.into_iter());
    let heap = &plan.xen.static_heap;
    let (room, what) = if heap.is_empty() {
        let placed = by_xen().flat_map(|domain| &domain.static_memory);
        let reserved = plan.machine.reserved.iter().map(|reserved| &reserved.range);
        let taken = placed.chain(reserved.filter(|range| ram.contains(range)));
        let taken = sum(taken.map(|range| range.size_bytes))
            .saturating_add(shared(true))
            .saturating_add(XEN_LEAST);
        (ram.bytes().saturating_sub(taken), "the RAM that is left")
    } else {
        (sum(heap.iter().map(|range| range.size_bytes)), "Xen's heap")
    };
    if wanted <= room {
        return;
    }
    let largest = plan.domains.iter().enumerate();
    let largest = largest
        .filter(|(_, domain)| by_xen_anywhere(domain))
        .max_by_key(|(_, domain)| domain.memory_bytes);
    let (at, label) = match largest {
        Some((number, _)) => (format!("domain[{number}].memory"), "the largest of them"),
        None if !heap.is_empty() => ("xen.static_heap[0].size".to_owned(), "too small"),
        // With a place for everything, what does not fit has been reported where it stands.
        None => return,
    };
    let message = format!(
        "the domains of Xen's own boot and Xen itself want {}MiB, and {what} is {}MiB",
        wanted.div_ceil(MIB),
        room / MIB
    );
    findings.push(Finding::new(&rules::MEMORY_BEYOND_RAM, at, message).label(label));
}

/// Whether a domain wants more than there is of its colours, which is reported.
fn colored(plan: &Plan, ram: &Ram, findings: &mut Vec<Finding>) -> bool {
    let colors = plan.machine.llc.map_or(0, |llc| u64::from(llc.colors()));
    // Every colour has the same share of what Xen does not keep for itself.
    let own = sum([
        BUDDY,
        XEN_LEAST,
        (ram.bytes() / PAGE).saturating_mul(PAGE_RECORD),
    ]
    .into_iter());
    let Some(per_color) = ram.bytes().saturating_sub(own).checked_div(colors) else {
        return false;
    };
    let mut found = false;
    for (number, domain) in plan.domains.iter().enumerate() {
        let count = u64::try_from(domain.colors.len()).unwrap_or(u64::MAX);
        let room = per_color.saturating_mul(count);
        if count == 0 || !by_xen_anywhere(domain) || domain.memory_bytes <= room {
            continue;
        }
        let message = format!(
            "domain \"{}\" has {count} of {colors} colours, which are {} of the RAM",
            domain.name,
            ByteSize(room / MIB * MIB)
        );
        let at = format!("domain[{number}].memory");
        let label = format!("at most {}", ByteSize(room / MIB * MIB));
        findings.push(Finding::new(&rules::MEMORY_BEYOND_RAM, at, message).label(label));
        found = true;
    }
    found
}

fn by_xen_anywhere(domain: &DomainPlan) -> bool {
    domain.boot == Boot::Dom0less && domain.static_memory.is_empty()
}

/// What Xen sets aside for the page tables of a domain that it starts (Xen: `domain_p2m_pages`).
fn page_tables(domain: &DomainPlan) -> u64 {
    if domain.kind == DomainKind::Control {
        return 0;
    }
    let pages = u64::from(domain.vcpus.min(MAX_VCPUS))
        .saturating_mul(256)
        .saturating_add(domain.memory_bytes / MIB)
        .saturating_add(128);
    pages
        .saturating_mul(PAGE)
        .checked_next_multiple_of(MIB)
        .unwrap_or(u64::MAX)
}

/// Kernel, device tree and ramdisk each begin on a border of 2 MiB, and Xen wants something to be left.
fn first_memory(number: usize, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let (key, bytes) = match domain.static_memory.first() {
        Some(first) if domain.direct_map => ("static_memory[0].size", first.size_bytes),
        _ => ("memory", domain.memory_bytes),
    };
    let parts: u64 = if domain.ramdisk.is_some() { 3 } else { 2 };
    let least = parts.saturating_mul(MODULE_BORDER);
    // None at all has been reported.
    if bytes == 0 || bytes > least {
        return;
    }
    let message = format!(
        "the RAM of domain \"{}\" is too small to load it",
        domain.name
    );
    let at = format!("domain[{number}].{key}");
    findings.push(
        Finding::new(&rules::FIRST_MEMORY_SMALL, at, message)
            .label(format!("more than {}", ByteSize(least))),
    );
}
