//! One device's node, as the guest gets it.

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node as _, Property};

use super::{Clocks, GIC_PHANDLE, PartialError};
use crate::device_tree::{self, Tree};
use crate::emit::tree::{Cell, Handle, Names, Value, property, wide};
use crate::plan::{Boot, DeviceDma, DevicePassthrough, DomainPlan, RegisterWindow};

/// Properties that are written again, or that name what the guest cannot reach.
const LEFT_OUT: &[&str] = &[
    "assigned-clock-parents",
    "assigned-clock-rates",
    "assigned-clocks",
    "clocks",
    "dma-names",
    "dmas",
    "interconnect-names",
    "interconnects",
    "interrupt-map",
    "interrupt-map-mask",
    "interrupt-parent",
    "interrupts",
    "interrupts-extended",
    "iommu-map",
    "iommu-map-mask",
    "iommus",
    "linux,phandle",
    "mboxes",
    "memory-region",
    "msi-map",
    "msi-parent",
    "nvmem-cell-names",
    "nvmem-cells",
    "operating-points-v2",
    "phandle",
    "phy-names",
    "phys",
    "pinctrl-names",
    "power-domain-names",
    "power-domains",
    "reg",
    "reset-names",
    "resets",
    "status",
    "xen,passthrough",
];
/// How an interrupt is triggered where nobody says: level, active high.
const LEVEL_HIGH: u32 = 4;
/// Bytes of a page: the unit of what a guest can be given.
const PAGE: u64 = 4096;

/// What nodes are copied from, and what they share.
pub(super) struct Source<'a> {
    pub(super) base: &'a Tree,
    pub(super) domain: &'a DomainPlan,
    pub(super) clocks: &'a mut Clocks,
    pub(super) names: &'a mut Names,
}

impl Source<'_> {
    /// A device's node for its guest.
    pub(super) fn device(
        &mut self,
        device: &DevicePassthrough,
    ) -> Result<DeviceTreeNode, PartialError> {
        let found = self.base.node(&device.path);
        let found = found.ok_or_else(|| PartialError::NoDevice {
            domain: self.domain.name.clone(),
            path: device.path.clone(),
        })?;
        let mut node = DeviceTreeNode::new_unchecked(self.name(device, found));
        copy(found, &mut node);
        if !device.regions.is_empty() {
            let reg = device
                .regions
                .iter()
                .flat_map(|region| [region.guest_at, region.size_bytes]);
            node.add_property(property("reg", &numbers(reg)));
        }
        if !device.interrupts.is_empty() {
            self.interrupts(device, &mut node);
        }
        self.clocks(device, found, &mut node)?;
        if self.domain.boot == Boot::Dom0less {
            for_xen(device, &mut node);
        }
        Ok(node)
    }

    /// The node's name with the address that the guest sees.
    fn name(&mut self, device: &DevicePassthrough, found: &DeviceTreeNode) -> String {
        let name = found.name_without_address();
        let wanted = match device.regions.first() {
            Some(region) => format!("{name}@{:x}", region.guest_at),
            None => name.to_owned(),
        };
        self.names.give(&wanted)
    }

    /// Interrupts keep their numbers in the guest.
    fn interrupts(&self, device: &DevicePassthrough, node: &mut DeviceTreeNode) {
        let triggers = device_tree::triggers(self.base, &device.path);
        let cells = device.interrupts.iter().flat_map(|number| {
            let known = triggers.iter().find(|(known, _)| known == number);
            let trigger = known.map_or(LEVEL_HIGH, |(_, trigger)| *trigger);
            let (kind, number) = match number.checked_sub(32) {
                Some(shared) => (0, shared),
                None => (1, number.saturating_sub(16)),
            };
            [kind, number, trigger].map(Cell::Number)
        });
        let parent = Value::Cells(vec![Cell::Number(GIC_PHANDLE)]);
        node.add_property(property("interrupt-parent", &parent));
        node.add_property(property("interrupts", &Value::Cells(cells.collect())));
    }

    fn clocks(
        &mut self,
        device: &DevicePassthrough,
        found: &DeviceTreeNode,
        node: &mut DeviceTreeNode,
    ) -> Result<(), PartialError> {
        let mut handles: Vec<Handle> = Vec::new();
        for input in device_tree::clocks(self.base, found) {
            let rate = input.rate.ok_or_else(|| PartialError::ClockRate {
                domain: self.domain.name.clone(),
                path: device.path.clone(),
                clock: input.path.clone(),
            })?;
            handles.push(self.clocks.fixed(&input.name, rate));
        }
        if !handles.is_empty() {
            let cells = handles.into_iter().map(Cell::Node).collect();
            node.add_property(property("clocks", &Value::Cells(cells)));
        }
        Ok(())
    }
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Value {
    Value::Cells(numbers.into_iter().flat_map(wide).collect())
}

/// What Xen reads and leaves out of the guest's tree: what to map where, whose interrupts to pass on, and whether the device
/// may do without an IOMMU.
fn for_xen(device: &DevicePassthrough, node: &mut DeviceTreeNode) {
    // As they are: Xen refuses a part of a page. Rounded, the guest would reach what the document does not give it.
    let windows = device.regions.iter();
    let cells = numbers(windows.flat_map(|window| [window.at, window.size_bytes, window.guest_at]));
    node.add_property(property("xen,reg", &cells));
    let path = Value::Texts(vec![device.path.clone()]);
    node.add_property(property("xen,path", &path));
    if device.dma != DeviceDma::Iommu {
        node.add_property(property("xen,force-assign-without-iommu", &Value::Flag));
    }
}

/// The whole pages around registers.
pub(in crate::emit) fn pages(region: &RegisterWindow) -> RegisterWindow {
    let down = |address: u64| address / PAGE * PAGE;
    let at = down(region.at);
    let end = region.at.saturating_add(region.size_bytes);
    let end = end.checked_next_multiple_of(PAGE).unwrap_or(down(u64::MAX));
    RegisterWindow {
        at,
        size_bytes: end.saturating_sub(at),
        guest_at: down(region.guest_at),
    }
}

/// Properties that mean the same in the guest, and the nodes below.
fn copy(from: &DeviceTreeNode, into: &mut DeviceTreeNode) {
    for property in from.properties() {
        if is_for_guests(property.name()) {
            into.add_property(DeviceTreeProperty::from_property(&property));
        }
    }
    for child in from.children() {
        let mut node = DeviceTreeNode::new_unchecked(child.name());
        copy(child, &mut node);
        // Addresses below the device are its own affair, and others below it may refer to the node.
        for name in ["reg", "phandle", "status"] {
            if let Some(property) = child.property(name) {
                node.add_property(DeviceTreeProperty::from_property(&property));
            }
        }
        into.add_child(node);
    }
}

fn is_for_guests(name: &str) -> bool {
    let names_others = name.ends_with("-supply")
        || name.ends_with("-gpios")
        || name.ends_with("-gpio")
        || (name.starts_with("pinctrl-") && name != "pinctrl-names");
    !names_others && !LEFT_OUT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_whole_pages() {
        let window = |at, size_bytes, guest_at| RegisterWindow {
            at,
            size_bytes,
            guest_at,
        };
        let registers = window(0x1_0ff0, 0x20, 0x5_0ff0);
        assert_eq!(pages(&registers), window(0x1_0000, 0x2000, 0x5_0000));
        let whole = window(0x1000, 0x1000, 0x1000);
        assert_eq!(pages(&whole), whole);
        let last = pages(&window(u64::MAX - 1, 2, 0));
        assert_eq!(last.at % PAGE, 0, "no overflow");
    }
}
