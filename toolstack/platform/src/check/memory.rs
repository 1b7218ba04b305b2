//! Places in memory: RAM, and what lies there before any domain runs.

use super::Index;
use super::modules::MAX_MODULES;
use super::places::{PAGE, Place, Ram, hex, is_whole, overlaps};
use super::proposals::Proposals;
use crate::finding::Finding;
use crate::plan::{Boot, DomainKind, DomainPlan, Plan, Range};
use crate::rules::{self, Rule};
use crate::units::{ByteSize, GIB, KIB, MIB};

/// Xen's heap is given in units of this many bytes (Xen: docs/misc/arm/device-tree/booting.txt, xen,static-heap).
const HEAP_UNIT: u64 = 64 * KIB;
/// Room that is kept for Xen's image, with what it needs behind it (Xen: `XEN_VIRT_SIZE`).
const XEN_ROOM: u64 = 8 * MIB;
/// Room that is kept for Xen's device tree (Xen: the largest one it maps, `BOOT_FDT_VIRT_SIZE` less alignment).
const DEVICE_TREE_ROOM: u64 = 2 * MIB;
/// Ranges in Xen's table of reserved memory (Xen: `NR_MEM_BANKS`), and pieces of RAM in the list that it boots with
/// (Xen: `bootmem_region_list`, a page of 16 bytes each).
const MAX_RANGES: usize = 256;
/// RAM below the hole in a guest's addresses (Xen: `GUEST_RAM0_SIZE`).
const GUEST_LOW_RAM: u64 = 3 * GIB;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    machine(plan, findings);
    let colored = plan.domains.iter().position(|d| !d.colors.is_empty());
    for (number, domain) in plan.domains.iter().enumerate() {
        static_memory(number, domain, colored, findings);
    }
    let places = places(plan, findings);
    range_count(plan, &index.ram, &places, findings);
    // Where a device tree is named, whoever cannot read it says so.
    if plan.machine.banks.is_empty()
        && plan.machine.device_tree.is_none()
        && let Some(place) = places.iter().find(|place| place.what != What::Reserved)
    {
        let message = "addresses are given, and the machine's RAM is not known";
        let finding = Finding::new(&rules::RAM_UNKNOWN, place.at.clone(), message);
        findings.push(finding.label("is RAM here?"));
    }
    let mut proposals = Proposals::new(&index.ram, &places);
    outside_ram(plan, &mut proposals, findings);
    overlapping(plan, &mut proposals, findings);
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Reserved,
    Static(usize),
    Heap,
    Shared(usize),
    Window,
    Xen,
    DeviceTree,
}

impl What {
    fn name(self, plan: &Plan) -> String {
        match self {
            What::Reserved => "reserved memory".to_owned(),
            What::Static(domain) => {
                let domain = plan.domains.get(domain);
                let name = domain.map_or("", |domain| domain.name.as_str());
                format!("static memory of domain \"{name}\"")
            }
            What::Heap => "Xen's heap".to_owned(),
            What::Shared(memory) => {
                let memory = plan.shared_memory.get(memory);
                let id = memory.map_or("", |memory| memory.id.as_str());
                format!("shared memory \"{id}\"")
            }
            What::Window => "the window for modules".to_owned(),
            What::Xen => "Xen's image".to_owned(),
            What::DeviceTree => "Xen's device tree".to_owned(),
        }
    }
}

/// The machine's banks and what is reserved there.
fn machine(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut banks = Vec::new();
    for (number, bank) in plan.machine.banks.iter().enumerate() {
        let at = format!("machine.bank[{number}]");
        if whole(
            &rules::MEMORY_RANGE,
            "a bank of RAM",
            &at,
            bank,
            PAGE,
            findings,
        ) {
            banks.push(Place {
                range: *bank,
                at: format!("{at}.at"),
                what: (),
            });
        }
    }
    for (later, earlier) in overlaps(&banks) {
        let message = "two banks of RAM overlap";
        findings.push(
            Finding::new(&rules::BANK_OVERLAP, banks[later].at.clone(), message)
                .label(extent(&banks[later].range))
                .related(banks[earlier].at.clone(), extent(&banks[earlier].range)),
        );
    }
    // What the machine's device tree reserves is as it is, and Xen runs with it.
    if plan.machine.device_tree.is_some() {
        return;
    }
    let ram = Ram::new(&plan.machine.banks);
    for (number, reserved) in plan.machine.reserved.iter().enumerate() {
        let at = reserved_path(plan, number);
        let what = format!("reserved memory \"{}\"", reserved.name);
        let is_range = whole(
            &rules::MEMORY_RANGE,
            &what,
            &at,
            &reserved.range,
            PAGE,
            findings,
        );
        if is_range && ram.is_known() && !ram.touches(&reserved.range) {
            let message = format!("{what} is where no RAM is");
            let finding = Finding::new(&rules::RESERVED_OUTSIDE, format!("{at}.at"), message);
            findings.push(finding.label(extent(&reserved.range)));
        }
    }
}

/// What the device tree reserves stands before what the document does, and has no place in the document.
fn reserved_path(plan: &Plan, number: usize) -> String {
    match plan.machine.device_tree {
        Some(_) => "machine.reserved".to_owned(),
        None => format!("machine.reserved[{number}]"),
    }
}

/// Reports a range that is empty, not made of whole units, or too long for 64 bits.
fn whole(
    rule: &'static Rule,
    what: &str,
    at: &str,
    range: &Range,
    unit: u64,
    findings: &mut Vec<Finding>,
) -> bool {
    let (key, message, label) = if range.size_bytes == 0 {
        ("size", format!("{what} is empty"), "zero".to_owned())
    } else if !range.size_bytes.is_multiple_of(unit) {
        let unit = ByteSize(unit);
        let label = format!("leaves a remainder of {unit}");
        ("size", format!("{what} is no multiple of {unit}"), label)
    } else if !range.at.is_multiple_of(unit) {
        let message = format!("{what} does not begin on a multiple of {}", ByteSize(unit));
        let down = range.at / unit * unit;
        let label = format!("the next one before is {}", hex(down));
        ("at", message, label)
    } else if range.at.checked_add(range.size_bytes).is_none() {
        let message = format!("{what} ends behind the last address there is");
        ("at", message, "too far up for this size".to_owned())
    } else {
        return true;
    };
    findings.push(Finding::new(rule, format!("{at}.{key}"), message).label(label));
    false
}

pub(super) fn extent(range: &Range) -> String {
    format!("{} to {}", hex(range.at), hex(range.end()))
}

fn static_memory(
    number: usize,
    domain: &DomainPlan,
    colored: Option<usize>,
    findings: &mut Vec<Finding>,
) {
    let at = format!("domain[{number}]");
    let name = &domain.name;
    let by_xen = domain.is_dom0less();
    if !by_xen && (!domain.static_memory.is_empty() || is_mapped_in_vain(domain)) {
        let who = match domain.kind {
            DomainKind::Control => "Xen chooses the control domain's memory itself",
            _ => "the toolstack cannot give places to its memory",
        };
        let key = match domain.static_memory.is_empty() {
            true => "direct_map",
            false => "static_memory",
        };
        findings.push(
            Finding::new(
                &rules::STATIC_NOT_POSSIBLE,
                format!("{at}.{key}"),
                format!("domain \"{name}\" cannot have memory at fixed places"),
            )
            .label(who),
        );
        return;
    }
    if domain.static_memory.is_empty() {
        if domain.direct_map && by_xen {
            let message = format!("domain \"{name}\" has direct_map, but no places in memory");
            findings.push(
                Finding::new(
                    &rules::DIRECT_MAP_WITHOUT_PLACE,
                    format!("{at}.direct_map"),
                    message,
                )
                .label("which addresses?"),
            );
        }
        return;
    }
    if let Some(colored) = colored {
        findings.push(
            Finding::new(
                &rules::STATIC_COLORS,
                format!("{at}.static_memory"),
                format!("domain \"{name}\" has static memory on a machine with cache colours"),
            )
            .label("at fixed places")
            .related(
                format!("domain[{colored}].colors"),
                "this turns colours on for all",
            ),
        );
    }
    let sizes = domain.static_memory.iter().map(|range| range.size_bytes);
    let sum = sizes.fold(0_u64, u64::saturating_add);
    // A domain without memory is reported as such.
    if sum != domain.memory_bytes && domain.memory_bytes != 0 {
        findings.push(
            Finding::new(
                &rules::STATIC_SUM,
                format!("{at}.memory"),
                format!(
                    "domain \"{name}\" has {} of memory, and {} of static memory",
                    ByteSize(domain.memory_bytes),
                    ByteSize(sum)
                ),
            )
            .label(format!("is to be {}", ByteSize(sum))),
        );
    }
    if !domain.direct_map {
        across_hole(&at, domain, findings);
    }
}

/// A domain that the toolstack starts never has the machine's addresses; the control domain always has.
fn is_mapped_in_vain(domain: &DomainPlan) -> bool {
    domain.direct_map && domain.kind != DomainKind::Control
}

fn across_hole(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let mut before = 0_u64;
    for (number, range) in domain.static_memory.iter().enumerate() {
        let behind = before.saturating_add(range.size_bytes);
        if before < GUEST_LOW_RAM && GUEST_LOW_RAM < behind {
            findings.push(
                Finding::new(
                    &rules::STATIC_ACROSS_HOLE,
                    format!("{at}.static_memory[{number}].size"),
                    format!(
                        "static memory of domain \"{}\" lies across the hole in the guest's addresses",
                        domain.name
                    ),
                )
                .label("crosses 3GiB of guest RAM")
                .help(format!(
                    "split it: {} here, and the rest as a range of its own",
                    ByteSize(GUEST_LOW_RAM - before)
                )),
            );
            return;
        }
        before = behind;
    }
}

/// Xen's table of ranges, and its list of the pieces of free RAM between them.
fn range_count(plan: &Plan, ram: &Ram, places: &[Place<What>], findings: &mut Vec<Finding>) {
    let listed =
        |place: &&Place<What>| matches!(place.what, What::Reserved | What::Static(_) | What::Heap);
    let entries = places.iter().filter(listed).count();
    // With a heap of its own, Xen leaves the rest of the RAM alone.
    let pieces = match plan.xen.static_heap.is_empty() && ram.is_known() {
        true => ram
            .pieces(places.iter().filter(|place| place.what != What::Window))
            .saturating_add(plan.boot.modules.len().min(MAX_MODULES)),
        false => 0,
    };
    if entries.max(pieces) <= MAX_RANGES {
        return;
    }
    let last = places.iter().rev().find(listed);
    let at = last.map_or("machine", |place| place.at.as_str());
    let (message, label) = match entries > MAX_RANGES {
        true => (
            format!("there are {entries} ranges of static and reserved memory"),
            format!("Xen has room for {MAX_RANGES}"),
        ),
        false => (
            format!("static and reserved memory cut the RAM into {pieces} pieces"),
            format!("Xen has room for {MAX_RANGES} pieces"),
        ),
    };
    findings.push(Finding::new(&rules::TOO_MANY_RANGES, at, message).label(label));
}

/// Everything that has a place, in the order of the document; what is no range is reported and left out.
pub(super) fn places(plan: &Plan, findings: &mut Vec<Finding>) -> Vec<Place<What>> {
    let mut places = Vec::new();
    let mut add = |range: Range, at: String, what: What| {
        places.push(Place { range, at, what });
    };
    for (number, reserved) in plan.machine.reserved.iter().enumerate() {
        if is_whole(&reserved.range, 1) {
            let at = format!("{}.at", reserved_path(plan, number));
            add(reserved.range, at, What::Reserved);
        }
    }
    let boot = &plan.boot;
    if let Some(window) = boot.window {
        let what = "the window for modules";
        let rule = &rules::MODULE_WINDOW;
        if whole(rule, what, "boot.window", &window, PAGE, findings) {
            add(window, "boot.window.at".to_owned(), What::Window);
        }
    }
    let room = |at: u64, size_bytes: u64| Range { at, size_bytes };
    if let Some(at) = boot.device_tree_at {
        let range = room(at, DEVICE_TREE_ROOM);
        add(range, "boot.device_tree_at".to_owned(), What::DeviceTree);
    }
    if let Some(at) = boot.xen_at {
        add(room(at, XEN_ROOM), "boot.xen_at".to_owned(), What::Xen);
    }
    let rule = &rules::PLACE_RANGE;
    for (number, range) in plan.xen.static_heap.iter().enumerate() {
        let at = format!("xen.static_heap[{number}]");
        if whole(rule, "Xen's heap", &at, range, HEAP_UNIT, findings) {
            add(*range, format!("{at}.at"), What::Heap);
        }
    }
    for (number, domain) in plan.domains.iter().enumerate() {
        if domain.boot != Boot::Dom0less || domain.kind == DomainKind::Control {
            continue;
        }
        let what = What::Static(number);
        for (index, range) in domain.static_memory.iter().enumerate() {
            let at = format!("domain[{number}].static_memory[{index}]");
            if whole(rule, &what.name(plan), &at, range, PAGE, findings) {
                add(*range, format!("{at}.at"), what);
            }
        }
    }
    for (number, memory) in plan.shared_memory.iter().enumerate() {
        let what = What::Shared(number);
        let range = room(memory.at.unwrap_or(0), memory.size_bytes);
        let is_range = whole(rule, &what.name(plan), &memory.from, &range, PAGE, findings);
        if is_range && memory.at.is_some() {
            add(range, format!("{}.at", memory.from), what);
        }
    }
    places
}

fn outside_ram(plan: &Plan, proposals: &mut Proposals<'_>, findings: &mut Vec<Finding>) {
    if !proposals.ram().is_known() {
        return;
    }
    let places = proposals.places();
    for place in places {
        if place.what == What::Reserved || proposals.ram().contains(&place.range) {
            continue;
        }
        let label = match proposals.ram().touches(&place.range) {
            true => format!("RAM ends before {}", hex(place.range.end())),
            false => "no RAM here".to_owned(),
        };
        let rule = &rules::PLACE_OUTSIDE_RAM;
        let message = format!("{} is not in the machine's RAM", place.what.name(plan));
        let help = proposals.help(rule, place.range.size_bytes);
        findings.push(
            Finding::new(rule, place.at.clone(), message)
                .label(label)
                .help(help),
        );
    }
}

fn overlapping(plan: &Plan, proposals: &mut Proposals<'_>, findings: &mut Vec<Finding>) {
    let places = proposals.places();
    for (later, earlier) in overlaps(places) {
        let (later, earlier) = (&places[later], &places[earlier]);
        let by_tree = plan.machine.device_tree.is_some();
        if by_tree && [later.what, earlier.what] == [What::Reserved; 2] {
            continue;
        }
        let rule = &rules::PLACE_OVERLAP;
        let (a, b) = (later.what.name(plan), earlier.what.name(plan));
        let message = match a == b {
            true => format!("two ranges of {a} overlap"),
            false => format!("{a} overlaps {b}"),
        };
        let help = proposals.help(rule, later.range.size_bytes);
        findings.push(
            Finding::new(rule, later.at.clone(), message)
                .label(extent(&later.range))
                .related(earlier.at.clone(), extent(&earlier.range))
                .help(help),
        );
    }
}
