//! Interrupts, as the interrupt controller counts them, and the timer.

use std::collections::BTreeSet;

use dtoolkit::model::DeviceTreeNode;

use super::tree::{Place, Tree, has, is_compatible, phandle, word, words};
use crate::plan::Gic;

/// What GICv2 and its relatives are compatible with (Linux: drivers/irqchip/irq-gic.c).
const GIC_V2: &[&str] = &[
    "arm,gic-400",
    "arm,arm11mp-gic",
    "arm,arm1176jzf-devchip-gic",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "qcom,msm-8660-qgic",
    "qcom,msm-qgic2",
    "arm,pl390",
];
/// The same for GICv3 and v4 (Linux: drivers/irqchip/irq-gic-v3.c).
const GIC_V3: &[&str] = &["arm,gic-v3"];
/// Generic timers (Linux: drivers/clocksource/arm_arch_timer.c).
const TIMER: &[&str] = &["arm,armv8-timer", "arm,armv7-timer"];

/// The interrupt controller that Xen drives.
pub(super) fn gic(tree: &Tree) -> Option<Gic> {
    let mut gic = None;
    tree.walk(&mut |place| {
        let found = version(place.node);
        gic = gic.or(found);
    });
    gic
}

fn version(node: &DeviceTreeNode) -> Option<Gic> {
    if !has(node, "interrupt-controller") {
        None
    } else if is_compatible(node, GIC_V3) {
        Some(Gic::V3)
    } else if is_compatible(node, GIC_V2) {
        Some(Gic::V2)
    } else {
        None
    }
}

/// Frequency of the generic timer, where the firmware does not set it.
pub(super) fn timer_hz(tree: &Tree) -> Option<u64> {
    let mut frequency = None;
    tree.walk(&mut |place| {
        if is_compatible(place.node, TIMER) && frequency.is_none() {
            frequency = word(place.node, "clock-frequency").map(u64::from);
        }
    });
    frequency
}

/// A node's interrupts, with the cells that describe each, that arrive at the GIC directly.
fn specifiers(tree: &Tree, place: Place<'_, '_>) -> Vec<Vec<u32>> {
    let extended = words(place.node, "interrupts-extended");
    if !extended.is_empty() {
        return from_extended(tree, &extended);
    }
    let parent = parent(tree, place);
    let Some(gic) = parent.filter(|node| version(node).is_some()) else {
        return Vec::new();
    };
    let length = interrupt_cells(gic);
    let own = words(place.node, "interrupts");
    own.chunks_exact(length).map(<[u32]>::to_vec).collect()
}

/// A node's interrupts, as the GIC counts them, each once.
pub(super) fn interrupts(tree: &Tree, place: Place<'_, '_>) -> Vec<u32> {
    let mut known = BTreeSet::new();
    let specifiers = specifiers(tree, place);
    let numbers = specifiers.iter().filter_map(|cells| gic_number(cells));
    numbers.filter(|number| known.insert(*number)).collect()
}

/// The cells behind the number of each interrupt of a node that the GIC gets: how it is triggered.
pub(crate) fn triggers(tree: &Tree, path: &str) -> Vec<(u32, u32)> {
    let mut triggers = Vec::new();
    tree.walk(&mut |place| {
        if place.path == path {
            let own = specifiers(tree, place).into_iter();
            triggers = own
                .filter_map(|cells| Some((gic_number(&cells)?, *cells.get(2)?)))
                .collect();
        }
    });
    triggers
}

fn from_extended(tree: &Tree, words: &[u32]) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    let mut rest = words;
    while let Some((handle, behind)) = rest.split_first() {
        let Some((_, controller)) = tree.by_phandle(*handle) else {
            break;
        };
        let length = interrupt_cells(controller);
        let Some((specifier, next)) = behind.split_at_checked(length) else {
            break;
        };
        if version(controller).is_some() {
            found.push(specifier.to_vec());
        }
        rest = next;
    }
    found
}

fn interrupt_cells(controller: &DeviceTreeNode) -> usize {
    let cells = word(controller, "#interrupt-cells").unwrap_or(1);
    usize::try_from(cells).unwrap_or(usize::MAX).max(1)
}

/// The controller that a node's `interrupts` are for: the nearest `interrupt-parent` of it and the nodes around it
/// (Devicetree Specification 0.4, 2.4.1).
fn parent<'t>(tree: &'t Tree, place: Place<'t, '_>) -> Option<&'t DeviceTreeNode> {
    let around = place.parents.iter().rev().copied();
    for (distance, node) in std::iter::once(place.node).chain(around).enumerate() {
        if let Some(handle) = word(node, "interrupt-parent") {
            return tree.by_phandle(handle).map(|(_, node)| node);
        }
        if distance > 0 && has(node, "#interrupt-cells") && phandle(node).is_some() {
            return Some(node);
        }
    }
    None
}

/// The number of an interrupt (Linux: Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml).
fn gic_number(specifier: &[u32]) -> Option<u32> {
    let first = match specifier.first()? {
        0 => 32,
        1 => 16,
        2 => 4096,
        3 => 1056,
        _ => return None,
    };
    specifier.get(1)?.checked_add(first)
}
