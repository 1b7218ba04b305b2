//! What a guest sees at which address: its RAM, what Xen shows it, shared memory, devices of the machine.

use super::places::{Place, hex, overlaps};
use super::shared_memory::{guest_path, is_direct};
use super::{Index, machine_devices};
use crate::finding::Finding;
use crate::plan::{
    Boot, Console, DomainKind, DomainPlan, Enhanced, Gic, Plan, Range, RegisterWindow,
};
use crate::rules;
use crate::units::{GIB, KIB, MIB};

/// A guest's RAM in its own addresses (Xen: `GUEST_RAM0_BASE` and `_SIZE`, `GUEST_RAM1_BASE`).
const LOW_RAM: Range = range(GIB, 3 * GIB);
const HIGH_RAM: u64 = 8 * GIB;
/// One behind the last address of a guest: its RAM ends there (Xen: `GUEST_RAM1_BASE` and `_SIZE`).
const END: u64 = 1024 * GIB;

const fn range(at: u64, size_bytes: u64) -> Range {
    Range { at, size_bytes }
}

/// What lies at an address of a guest.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Ram,
    /// Shown by Xen.
    Window(&'static str),
    /// The region of this number.
    Shared(usize),
    /// This much behind the address in the machine.
    Device(u64),
}

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut shared: Vec<Vec<Place<What>>> = vec![Vec::new(); plan.domains.len()];
    for (number, memory) in plan.shared_memory.iter().enumerate() {
        for user in &memory.users {
            let Some(domain) = index.domains.get(user.domain.as_str()) else {
                continue;
            };
            shared[*domain].push(Place {
                range: range(user.at, memory.size_bytes),
                at: guest_path(memory, user),
                what: What::Shared(number),
            });
        }
    }
    let known = machine_devices::Known::new(plan);
    for (number, (domain, shared)) in plan.domains.iter().zip(shared).enumerate() {
        // Xen shows the control domain the machine.
        if domain.kind == DomainKind::Control {
            continue;
        }
        let devices = devices(&known, domain);
        // What a toolstack domain or one with the machine's addresses shares has been looked at in the machine.
        if !shared.is_empty() && domain.boot == Boot::Dom0less && !is_direct(domain) {
            shared_memory(plan, number, domain, &shared, findings);
        }
        if !devices.is_empty() {
            let mut places = ram(number, domain);
            places.extend(windows(plan, number, domain));
            places.extend(shared);
            places.extend(devices);
            device_places(plan, domain, &places, findings);
        }
    }
}

fn shared_memory(
    plan: &Plan,
    number: usize,
    domain: &DomainPlan,
    shared: &[Place<What>],
    findings: &mut Vec<Finding>,
) {
    let mut places = ram(number, domain);
    places.extend(windows(plan, number, domain));
    for place in shared {
        if place.range.end() <= END {
            places.push(place.clone());
            continue;
        }
        let message = format!(
            "domain \"{}\" cannot reach {}, where it is to see shared memory",
            domain.name,
            hex(place.range.at)
        );
        findings.push(
            Finding::new(
                &rules::SHARED_MEMORY_BEYOND_GUEST,
                place.at.clone(),
                message,
            )
            .label("more than 40 bits"),
        );
    }
    for (later, earlier) in overlaps(&places) {
        let (later, earlier) = (&places[later], &places[earlier]);
        let What::Shared(memory) = later.what else {
            continue;
        };
        let id = &plan.shared_memory[memory].id;
        let (rule, what) = match earlier.what {
            What::Ram => (&rules::SHARED_MEMORY_IN_RAM, "its RAM".to_owned()),
            What::Window(name) => (&rules::SHARED_MEMORY_ON_MAP, name.to_owned()),
            What::Shared(other) if other != memory => (
                &rules::SHARED_MEMORY_GUEST_OVERLAP,
                format!("shared memory \"{}\"", plan.shared_memory[other].id),
            ),
            What::Shared(_) | What::Device(_) => continue,
        };
        let message = format!(
            "domain \"{}\" has {what} where it is to see shared memory \"{id}\"",
            domain.name
        );
        findings.push(
            Finding::new(rule, later.at.clone(), message)
                .label(format!(
                    "{} to {}",
                    hex(later.range.at),
                    hex(later.range.end())
                ))
                .related(
                    earlier.at.clone(),
                    format!(
                        "{what}: {} to {}",
                        hex(earlier.range.at),
                        hex(earlier.range.end())
                    ),
                ),
        );
    }
}

fn device_places(
    plan: &Plan,
    domain: &DomainPlan,
    places: &[Place<What>],
    findings: &mut Vec<Finding>,
) {
    for (later, earlier) in overlaps(places) {
        let (later, earlier) = (&places[later], &places[earlier]);
        let What::Device(offset) = later.what else {
            continue;
        };
        let what = match earlier.what {
            What::Ram => "its RAM".to_owned(),
            What::Window(name) => name.to_owned(),
            What::Shared(memory) => format!("shared memory \"{}\"", plan.shared_memory[memory].id),
            // Two devices of one owner may well share a page, if they do so in the machine.
            What::Device(other) if other == offset => continue,
            What::Device(_) => "another device".to_owned(),
        };
        let message = format!(
            "domain \"{}\" has {what} where it is to see this device",
            domain.name
        );
        findings.push(
            Finding::new(&rules::DEVICE_GUEST_PLACE, later.at.clone(), message)
                .label(format!(
                    "{} to {}",
                    hex(later.range.at),
                    hex(later.range.end())
                ))
                .related(earlier.at.clone(), what),
        );
    }
}

/// The guest's RAM in its own addresses.
fn ram(number: usize, domain: &DomainPlan) -> Vec<Place<What>> {
    let place = |range, at| Place {
        range,
        at,
        what: What::Ram,
    };
    if is_direct(domain) {
        let ranges = domain.static_memory.iter().enumerate();
        return ranges
            .map(|(index, range)| {
                place(
                    *range,
                    format!("domain[{number}].static_memory[{index}].at"),
                )
            })
            .collect();
    }
    let low = domain.memory_bytes.min(LOW_RAM.size_bytes);
    let high = domain.memory_bytes.saturating_sub(low);
    let at = format!("domain[{number}].memory");
    vec![
        place(range(LOW_RAM.at, low), at.clone()),
        place(range(HIGH_RAM, high), at),
    ]
}

/// What Xen shows the guest (Xen: xen/include/public/arch-arm.h); only what is really there. PCI and ACPI
/// have addresses there as well, but no domain without a hardware domain's PCI gets either.
fn windows(plan: &Plan, number: usize, domain: &DomainPlan) -> Vec<Place<What>> {
    // A guest with the machine's addresses has Xen's devices where the machine has them.
    if is_direct(domain) {
        return Vec::new();
    }
    let interrupts = match plan.machine.gic {
        Some(Gic::V2) => [range(0x0300_1000, 4 * KIB), range(0x0300_2000, 8 * KIB)],
        Some(Gic::V3) | None => [range(0x0300_1000, 64 * KIB), range(0x0302_0000, 16 * MIB)],
    };
    let on_xen = domain.boot == Boot::Toolstack || domain.enhanced != Enhanced::Disabled;
    let windows = [
        (range(0x0200_0000, MIB), "virtio", !domain.virtio.is_empty()),
        (interrupts[0], "its interrupt controller", true),
        (interrupts[1], "its interrupt controller", true),
        (
            range(0x2200_0000, 4 * KIB),
            "its console",
            domain.console == Console::Vpl011,
        ),
        (range(0x3800_0000, 16 * MIB), "its grant table", on_xen),
        (range(0x3900_0000, 16 * MIB), "Xen's own pages", on_xen),
    ];
    let place = |(range, name, _)| Place {
        range,
        at: format!("domain[{number}]"),
        what: What::Window(name),
    };
    let shown = windows.into_iter();
    shown.filter(|(_, _, used)| *used).map(place).collect()
}

fn devices(known: &machine_devices::Known<'_>, domain: &DomainPlan) -> Vec<Place<What>> {
    let place = |window: &RegisterWindow, at: String| Place {
        range: range(window.guest_at, window.size_bytes),
        at,
        what: What::Device(window.guest_at.wrapping_sub(window.at)),
    };
    let mut places = Vec::new();
    for device in &domain.devices {
        for (number, window) in known.regions(device).iter().enumerate() {
            let at = format!("{}.region[{number}].guest_at", device.from);
            places.push(place(window, at));
        }
    }
    places
}
