//! Virtio devices of a domain that Xen itself starts.
//!
//! libxl writes the same nodes for the domains that it starts, but for their `compatible`: here it is a word that no driver
//! answers to. Xen starts the domain before anybody serves its devices, and an access that nobody answers ends its kernel.
//! The guest gives the device to its driver once `device/virtio/…` appears in its XenStore
//! (Linux: `driver_override`, Documentation/ABI/testing/sysfs-bus-platform).

use crate::emit::tree::{Cell, Handle, Node};
use crate::plan::{
    DomainPlan, FIRST_SPI, MemoryModel, VIRTIO_IRQ_FIRST, VIRTIO_MMIO_STRIDE, VirtioPlan,
};

use super::GIC_PHANDLE;

/// The phandle of the node that stands for grants, as libxl gives it (Xen: `GUEST_PHANDLE_IOMMU`).
pub(super) const GRANTS_PHANDLE: u32 = GIC_PHANDLE + 1;
/// What a device is called that waits for its backend.
const COMPATIBLE: &str = "avps,virtio-mmio-late";
/// A shared interrupt (Linux: include/dt-bindings/interrupt-controller/arm-gic.h, `GIC_SPI`).
const SPI: u32 = 0;
/// All CPUs may get it, at its rising edge: as libxl writes it.
const EDGE_RISING: u32 = 0xf01;

/// A device raises this interrupt, counted as the controller counts.
pub(super) fn interrupt(node: &mut Node, interrupt: u32) {
    node.number("interrupt-parent", GIC_PHANDLE);
    let spi = interrupt.max(FIRST_SPI) - FIRST_SPI;
    node.cells("interrupts", [SPI, spi, EDGE_RISING].map(Cell::Number));
}

/// The nodes of a domain's virtio devices, and one that they refer to when the backend uses grants.
pub(super) fn nodes(domain: &DomainPlan) -> Vec<Node> {
    let grants = Handle {
        label: "xen_grants".to_owned(),
        number: GRANTS_PHANDLE,
    };
    let with_grants = |device: &VirtioPlan| device.memory == MemoryModel::Grant;
    let mut nodes = Vec::new();
    if domain.virtio.iter().any(with_grants) {
        let mut node = Node::new("xen_iommu");
        node.text("compatible", "xen,grant-dma");
        node.number("#iommu-cells", 1);
        node.handle = Some(grants.clone());
        nodes.push(node);
    }
    for device in &domain.virtio {
        let mut node = Node::new(format!("virtio@{:x}", device.mmio_base));
        node.text("compatible", COMPATIBLE);
        node.wide("reg", [device.mmio_base, VIRTIO_MMIO_STRIDE]);
        interrupt(&mut node, device.irq.max(VIRTIO_IRQ_FIRST));
        node.flag("dma-coherent");
        if with_grants(device) {
            let backend = Cell::Number(device.backend_domid.into());
            node.cells("iommus", [Cell::Node(grants.clone()), backend]);
        }
        nodes.push(node);
    }
    nodes
}
