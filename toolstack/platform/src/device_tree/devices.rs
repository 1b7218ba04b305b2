//! Devices: where they are, what they interrupt, what they can reach and what they depend on.

use std::collections::BTreeSet;

use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node, Property};

use super::address::regions;
use super::interrupts::interrupts;
use super::tree::{Place, Tree, has, is_compatible, is_okay, texts, word, words};
use crate::plan::{Iommu, MachineDevice};

/// Nodes at the top that describe no devices.
const NO_DEVICES: &[&str] = &[
    "/aliases",
    "/chosen",
    "/cpus",
    "/reserved-memory",
    "/__symbols__",
];
/// Arm's SMMUs of version 1 and 2, which Xen drives with one driver (xen/drivers/passthrough/arm/smmu.c).
const SMMU_V2: &[&str] = &[
    "arm,smmu-v1",
    "arm,smmu-v2",
    "arm,mmu-400",
    "arm,mmu-401",
    "arm,mmu-500",
];
/// Beginnings of what bus masters are compatible with that do not show it otherwise.
const MASTERS: &[&str] = &[
    "virtio,mmio",
    "pci-host-",
    "arm,pl330",
    "generic-xhci",
    "generic-ahci",
];
/// Suppliers as a list of phandles with arguments, and the property of the supplier that says how many.
const SUPPLIERS: &[(&str, &str)] = &[
    ("clocks", "#clock-cells"),
    ("resets", "#reset-cells"),
    ("power-domains", "#power-domain-cells"),
];

/// Every node with registers that the CPU can reach, interrupts of its own, or a place behind an IOMMU.
pub(super) fn devices(tree: &Tree) -> Vec<MachineDevice> {
    let mut devices = Vec::new();
    tree.walk(&mut |place| {
        if is_elsewhere(place) {
            return;
        }
        let device = MachineDevice {
            path: place.path.to_owned(),
            compatible: texts(place.node, "compatible")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            regions: regions(place),
            interrupts: interrupts(tree, place),
            behind_iommu: behind_iommu(place.node),
            bus_master: is_bus_master(place.node),
            suppliers: suppliers(tree, place.node),
            disabled: !is_usable(place),
        };
        if !device.regions.is_empty() || !device.interrupts.is_empty() || device.behind_iommu {
            devices.push(device);
        }
    });
    devices
}

fn is_elsewhere(place: Place<'_, '_>) -> bool {
    let is_memory = texts(place.node, "device_type").first() == Some(&"memory");
    let below = |top: &&str| {
        let rest = place.path.strip_prefix(*top);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    place.parents.is_empty() || is_memory || NO_DEVICES.iter().any(below)
}

/// Whether neither a node nor one around it is switched off.
fn is_usable(place: Place<'_, '_>) -> bool {
    is_okay(place.node) && place.parents.iter().all(|node| is_okay(node))
}

fn behind_iommu(node: &DeviceTreeNode) -> bool {
    has(node, "iommus") || has(node, "iommu-map")
}

fn is_bus_master(node: &DeviceTreeNode) -> bool {
    let known = |text: &&str| MASTERS.iter().any(|master| text.starts_with(master));
    behind_iommu(node)
        || has(node, "dma-coherent")
        || has(node, "dmas")
        || texts(node, "device_type").first() == Some(&"pci")
        || texts(node, "compatible").iter().any(known)
}

/// Paths of what a node depends on, each once.
fn suppliers(tree: &Tree, node: &DeviceTreeNode) -> Vec<String> {
    let mut handles = Vec::new();
    for (list, count) in SUPPLIERS {
        let entries = with_arguments(tree, &words(node, list), count);
        handles.extend(entries.into_iter().map(|(handle, _)| handle));
    }
    for property in node.properties() {
        let name = property.name();
        if is_pin_state(name) {
            handles.extend(words(node, name));
        } else if name.ends_with("-supply") {
            handles.extend(word(node, name));
        }
    }
    let mut known = BTreeSet::new();
    handles.retain(|handle| known.insert(*handle));
    let paths = handles
        .iter()
        .filter_map(|handle| tree.phandles.get(handle));
    paths.cloned().collect()
}

/// `pinctrl-0`, `pinctrl-1`, …
fn is_pin_state(name: &str) -> bool {
    let number = name.strip_prefix("pinctrl-");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// A list of phandles, each followed by as many numbers as its node says.
fn with_arguments(tree: &Tree, list: &[u32], count: &str) -> Vec<(u32, Vec<u32>)> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((handle, behind)) = rest.split_first() {
        let supplier = tree.by_phandle(*handle);
        let arguments = supplier.map_or(0, |(_, node)| word(node, count).unwrap_or(0));
        let arguments = usize::try_from(arguments).unwrap_or(usize::MAX);
        let (arguments, next) = behind.split_at_checked(arguments).unwrap_or((behind, &[]));
        found.push((*handle, arguments.to_vec()));
        rest = next;
    }
    found
}

/// A clock that a device names.
pub(crate) struct ClockInput {
    /// Path of its controller; empty when there is none.
    pub(crate) path: String,
    /// Path and number: which of the controller's clocks it is.
    pub(crate) name: String,
    /// Its rate in Hz, where the tree says so.
    pub(crate) rate: Option<u32>,
}

/// The clocks of a device, in the order of its property.
pub(crate) fn clocks(tree: &Tree, node: &DeviceTreeNode) -> Vec<ClockInput> {
    let list = |name| with_arguments(tree, &words(node, name), "#clock-cells");
    let assigned = list("assigned-clocks");
    let rates = words(node, "assigned-clock-rates");
    let inputs = list("clocks").into_iter().map(|input| {
        let (path, own) = match tree.by_phandle(input.0) {
            Some((path, clock)) if is_compatible(clock, &["fixed-clock"]) => {
                (path, word(clock, "clock-frequency"))
            }
            Some((path, _)) => (path, None),
            None => ("", None),
        };
        let index = assigned.iter().position(|other| *other == input);
        let given = index.and_then(|index| rates.get(index).copied());
        ClockInput {
            name: format!("{path} {:?}", input.1),
            path: path.to_owned(),
            rate: own.or(given).filter(|rate| *rate > 0),
        }
    });
    inputs.collect()
}

/// The IOMMU that Xen would use; a tree without one says that there is none.
pub(super) fn iommu(tree: &Tree) -> Option<Iommu> {
    let mut found = None;
    tree.walk(&mut |place| {
        let node = place.node;
        let kind = if is_compatible(node, &["arm,smmu-v3"]) {
            Some(Iommu::SmmuV3)
        } else if is_compatible(node, SMMU_V2) {
            Some(Iommu::SmmuV2)
        } else {
            let compatible = texts(node, "compatible");
            let is_ipmmu = |text: &&str| text.starts_with("renesas,ipmmu-");
            compatible.iter().any(is_ipmmu).then_some(Iommu::Ipmmu)
        };
        if is_usable(place) {
            found = found.or(kind);
        }
    });
    found.or(Some(Iommu::None))
}
