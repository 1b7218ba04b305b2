//! Partial device trees: what a guest is told about the devices of the machine that are its own
//! (Xen: docs/misc/arm/passthrough.txt).
//!
//! Xen and libxl copy the node `/passthrough` into the tree they make for the guest. A device's node is copied from the
//! machine's tree without what the guest cannot reach: IOMMU, resets, power, pins. Its clocks become fixed clocks, because
//! the guest has no clock controller. A domain that Xen itself starts finds its virtio devices there, too.

mod node;
mod virtio;

use node::Source;
pub(super) use node::pages;

use crate::device_tree::{DeviceTreeError, Tree};
use crate::emit::tree::{Handle, Handles, Names, Node, insert};
use crate::plan::{Boot, DomainPlan, Plan};
use dtoolkit::model::DeviceTree;

/// The phandle of the guest's interrupt controller (Xen: `GUEST_PHANDLE_GIC`, xen/include/public/device_tree_defs.h).
pub const GIC_PHANDLE: u32 = 65000;

/// Why a partial tree cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartialError {
    /// The machine's tree is none.
    #[error("the machine's device tree cannot be used: {0}")]
    Base(#[from] DeviceTreeError),
    /// A device that the tree does not have.
    #[error("domain \"{domain}\" has device {path}, which is not in the machine's device tree")]
    NoDevice {
        /// The domain.
        domain: String,
        /// The device.
        path: String,
    },
    /// A clock whose rate nobody knows.
    #[error(
        "device {path} of domain \"{domain}\" needs clock {clock}, whose rate is not in the machine's device tree; \
         write the domain's partial device tree by hand and name it: device_tree = \"….dtb\""
    )]
    ClockRate {
        /// The domain.
        domain: String,
        /// The device.
        path: String,
        /// The clock's path.
        clock: String,
    },
}

/// A partial device tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialTree {
    /// The domain.
    pub domain: String,
    /// Proposed file name: the one that the plan names.
    pub file_name: String,
    /// The blob.
    pub dtb: Vec<u8>,
}

/// The partial trees of all domains that have devices and no tree of their own, in the plan's order.
///
/// # Errors
/// [`PartialError`] when the machine's tree (`base`) does not say what a guest has to know.
pub fn emit(plan: &Plan, base: &[u8]) -> Result<Vec<PartialTree>, PartialError> {
    let base = Tree::parse(base)?;
    let domains = plan.domains.iter();
    let generated = domains.filter(|domain| domain.device_tree_generated);
    generated
        .map(|domain| {
            let path = domain.device_tree.as_deref().unwrap_or_default();
            let file_name = path.rsplit('/').next().unwrap_or_default();
            Ok(PartialTree {
                domain: domain.name.clone(),
                file_name: file_name.to_owned(),
                dtb: build(domain, &base)?,
            })
        })
        .collect()
}

/// The partial tree of a domain that has none of its own, and needs one only to find the OP-TEE that avps-tee plays for it. It says
/// nothing about the machine. `interrupt`: by which it is told that a call has ended.
pub fn of_mediated(domain: &DomainPlan, interrupt: Option<u32>) -> Option<Vec<u8>> {
    if !domain.is_mediated() || domain.device_tree.is_some() {
        return None;
    }
    with_interrupt(domain, &Tree::empty(), interrupt).ok()
}

/// An OP-TEE that is called by SMC: Xen tells only these to a mediator, not the HVC of a guest's power management
/// (Linux: Documentation/devicetree/bindings/arm/firmware/linaro,optee-tz.yaml).
fn optee(interrupt: Option<u32>) -> Node {
    let mut node = Node::new("optee");
    node.text("compatible", "linaro,optee-tz");
    node.text("method", "smc");
    if let Some(interrupt) = interrupt {
        virtio::interrupt(&mut node, interrupt);
    }
    node
}

/// The partial tree of one domain.
pub(super) fn build(domain: &DomainPlan, base: &Tree) -> Result<Vec<u8>, PartialError> {
    with_interrupt(domain, base, None)
}

fn with_interrupt(
    domain: &DomainPlan,
    base: &Tree,
    interrupt: Option<u32>,
) -> Result<Vec<u8>, PartialError> {
    let taken = base
        .phandles
        .keys()
        .copied()
        .chain([GIC_PHANDLE, virtio::GRANTS_PHANDLE]);
    let mut clocks = Clocks {
        handles: Handles::beside(taken),
        nodes: Vec::new(),
    };
    let virtio = match domain.boot {
        Boot::Dom0less => virtio::nodes(domain),
        Boot::Toolstack => Vec::new(),
    };
    let mut names = Names::beside(virtio.iter().map(|node| node.name.clone()));
    let mut devices = Vec::new();
    for device in &domain.devices {
        let mut source = Source {
            base,
            domain,
            clocks: &mut clocks,
            names: &mut names,
        };
        devices.push(source.device(device)?);
    }
    let mut passthrough = Node::new("passthrough");
    passthrough.text("compatible", "simple-bus");
    passthrough.flag("ranges");
    passthrough.number("#address-cells", 2);
    passthrough.number("#size-cells", 2);
    passthrough.children = clocks.nodes.into_iter().map(|(_, clock)| clock).collect();
    passthrough.children.extend(virtio);
    let tee = domain.is_mediated().then(|| optee(interrupt));
    passthrough.children.extend(tee);
    // A stand-in: Xen makes the real one, with the same phandle.
    let mut gic = Node::new("gic");
    gic.number("#interrupt-cells", 3);
    gic.flag("interrupt-controller");
    gic.handle = Some(Handle {
        label: "gic".to_owned(),
        number: GIC_PHANDLE,
    });
    let mut root = Node::default();
    root.number("#address-cells", 2);
    root.number("#size-cells", 2);
    root.children = vec![gic, passthrough];
    let mut tree = DeviceTree::new();
    insert(&mut tree.root, &root);
    if let Some(parent) = tree.root.child_mut("passthrough") {
        for device in devices {
            parent.add_child(device);
        }
    }
    Ok(tree.to_dtb())
}

/// Fixed clocks, each once.
pub(super) struct Clocks {
    handles: Handles,
    nodes: Vec<(String, Node)>,
}

impl Clocks {
    /// The handle of a clock that always runs at this rate.
    fn fixed(&mut self, source: &str, rate: u32) -> Handle {
        let known = self.nodes.iter().find(|(known, _)| known == source);
        if let Some(handle) = known.and_then(|(_, node)| node.handle.clone()) {
            return handle;
        }
        let handle = self.handles.give("clock", source);
        let mut node = Node::new(format!("clock-{}", self.nodes.len()));
        node.text("compatible", "fixed-clock");
        node.number("#clock-cells", 0);
        node.number("clock-frequency", rate);
        node.handle = Some(handle.clone());
        self.nodes.push((source.to_owned(), node));
        handle
    }
}
