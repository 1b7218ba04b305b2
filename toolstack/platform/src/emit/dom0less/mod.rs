//! The device tree from which Xen itself starts domains (Xen: docs/misc/arm/device-tree/booting.txt).
//!
//! What a plan adds to the machine's tree is worked out once, as a list of additions: `/chosen` with Xen's command line,
//! CPU pools and domains, a mark on each device that is not for the control domain, and a phandle for CPUs that have none.
//! From the same list come source text for people ([`dts`]), the machine's tree with everything in it for Xen ([`dtb`]), and
//! an overlay for U-Boot ([`dtbo`]). The same plan and tree give the same bytes; what one domain gets does not depend on
//! those behind it.

mod chosen;
mod domain;

use crate::device_tree::{self, DeviceTreeError, Tree};
use crate::emit::partial::{self, PartialError};
use crate::emit::tree::{self, Addition, Handles, Names, Node, insert, overlay, overlay_source};
use crate::plan::{DomainKind, Module, ModuleRole, Plan};
use dtoolkit::Node as _;
use dtoolkit::model::DeviceTreeNode;

/// How long a module is, in bytes, where that is known. Without it, Xen is told the whole slot.
pub type Sizes<'a> = &'a dyn Fn(&Module) -> Option<u64>;

/// Why a plan cannot be told to Xen by device tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dom0lessError {
    /// The machine's tree is none.
    #[error("the machine's device tree cannot be used: {0}")]
    Base(#[from] DeviceTreeError),
    /// Nobody said where modules are.
    #[error(
        "the {role} of domain \"{domain}\" has no address; say where modules are loaded: [boot] window = {{ at = …, size = … }}"
    )]
    NoPlace {
        /// The domain.
        domain: String,
        /// What it is to the domain.
        role: &'static str,
    },
    /// CPUs are named by their nodes.
    #[error(
        "CPU pool \"{pool}\" names CPUs by their nodes in the machine's device tree; add [machine] device_tree = \"….dtb\""
    )]
    NoTree {
        /// The pool.
        pool: String,
    },
    /// A CPU that the tree does not have.
    #[error("CPU pool \"{pool}\" wants CPU {cpu}, and the machine's device tree has {cpus}")]
    NoCpu {
        /// The pool.
        pool: String,
        /// The CPU.
        cpu: u32,
        /// How many there are.
        cpus: usize,
    },
    /// A domain's pool that is none of the document's.
    #[error("domain \"{domain}\" runs in CPU pool \"{pool}\", which the document does not have")]
    NoPool {
        /// The domain.
        domain: String,
        /// The pool.
        pool: String,
    },
    /// A device that the tree does not have.
    #[error("domain \"{domain}\" has device {path}, which is not in the machine's device tree")]
    NoDevice {
        /// The domain.
        domain: String,
        /// The device.
        path: String,
    },
    /// Somebody was here before.
    #[error(
        "the machine's device tree has domains or modules already ({path}); name the vendor's tree, not one made for Xen"
    )]
    NotEmpty {
        /// The first such node.
        path: String,
    },
    /// An address that the tree's cells cannot hold.
    #[error(
        "{address:#x} does not fit into the address or size cells of the machine's device tree"
    )]
    Cells {
        /// The number.
        address: u64,
    },
    /// A partial device tree cannot be made.
    #[error(transparent)]
    Partial(#[from] PartialError),
}

/// The additions as source text of an overlay. Without the machine's tree (`base`), a plan with CPU pools is refused.
///
/// # Errors
/// [`Dom0lessError`] when something that the tree has to say is not known.
pub fn dts(plan: &Plan, base: Option<&[u8]>, sizes: Sizes<'_>) -> Result<String, Dom0lessError> {
    let base = base.map(Tree::parse).transpose()?;
    let comment = format!(
        "Domains that Xen {} starts on platform \"{}\", written by avpsctl emit dom0less-dts.\n\
         Compile with dtc -I dts -O dtb and apply to the machine's device tree.",
        plan.xen.version, plan.platform
    );
    let additions = additions(plan, base.as_ref(), sizes)?;
    Ok(overlay_source(&comment, &additions))
}

/// The machine's device tree with the additions in it, ready for Xen.
///
/// # Errors
/// As [`dts`].
pub fn dtb(plan: &Plan, base: &[u8], sizes: Sizes<'_>) -> Result<Vec<u8>, Dom0lessError> {
    let mut base = Tree::parse(base)?;
    let additions = additions(plan, Some(&base), sizes)?;
    for addition in &additions {
        insert(
            node_at(&mut base.content.root, &addition.path),
            &addition.node,
        );
    }
    Ok(base.to_dtb())
}

/// The additions as an overlay that U-Boot applies to the machine's device tree.
///
/// # Errors
/// As [`dts`].
pub fn dtbo(plan: &Plan, base: Option<&[u8]>, sizes: Sizes<'_>) -> Result<Vec<u8>, Dom0lessError> {
    let base = base.map(Tree::parse).transpose()?;
    Ok(overlay(&additions(plan, base.as_ref(), sizes)?))
}

/// The node of a path, made where it is not there.
fn node_at<'t>(root: &'t mut DeviceTreeNode, path: &str) -> &'t mut DeviceTreeNode {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.fold(root, |node, name| {
        node.add_child_mut(DeviceTreeNode::new_unchecked(name))
    })
}

/// What is worked out along the way.
struct Work<'a> {
    plan: &'a Plan,
    base: Option<&'a Tree>,
    sizes: Sizes<'a>,
    handles: Handles,
    names: Names,
    /// CPUs that get a phandle.
    cpus: Vec<Addition>,
    /// Each pool's handle, in the plan's order.
    pools: Vec<(String, tree::Handle)>,
    /// Both ends of each event channel, in the plan's order.
    channels: Vec<[tree::Handle; 2]>,
}

fn additions(
    plan: &Plan,
    base: Option<&Tree>,
    sizes: Sizes<'_>,
) -> Result<Vec<Addition>, Dom0lessError> {
    let chosen = base.and_then(|tree| tree.node("/chosen"));
    if let Some(chosen) = chosen {
        nobody_was_here(chosen)?;
    }
    let taken = chosen.map(DeviceTreeNode::children).into_iter().flatten();
    let taken: Vec<_> = taken.map(|child| child.name().to_owned()).collect();
    let mut work = Work {
        plan,
        base,
        sizes,
        handles: Handles::beside(base.iter().flat_map(|tree| tree.phandles.keys().copied())),
        names: Names::beside(taken),
        cpus: Vec::new(),
        pools: Vec::new(),
        channels: Vec::new(),
    };
    let mut additions = vec![Addition {
        path: "/chosen".to_owned(),
        node: work.chosen()?,
    }];
    additions.append(&mut work.cpus);
    additions.extend(work.marks()?);
    Ok(additions)
}

/// Modules and domains of another boot would be started beside ours.
fn nobody_was_here(chosen: &DeviceTreeNode) -> Result<(), Dom0lessError> {
    const XENS: &[&str] = &[
        "multiboot,module",
        "xen,multiboot-module",
        "xen,domain",
        "xen,cpupool",
        "xen,evtchn-v1",
        "xen,domain-shared-memory-v1",
    ];
    let mut children = chosen.children();
    match children.find(|child| device_tree::is_compatible(child, XENS)) {
        None => Ok(()),
        Some(child) => Err(Dom0lessError::NotEmpty {
            path: format!("/chosen/{}", child.name()),
        }),
    }
}

impl Work<'_> {
    /// A mark on each device that the control domain must leave alone (Xen: docs/misc/arm/passthrough.txt).
    fn marks(&self) -> Result<Vec<Addition>, Dom0lessError> {
        let mut marks = Vec::new();
        let others = self.plan.domains.iter();
        for domain in others.filter(|domain| domain.kind != DomainKind::Control) {
            for device in &domain.devices {
                let path = &device.path;
                if self.base.is_some_and(|tree| tree.node(path).is_none()) {
                    return Err(Dom0lessError::NoDevice {
                        domain: domain.name.clone(),
                        path: path.clone(),
                    });
                }
                let mut node = Node::default();
                node.flag("xen,passthrough");
                marks.push(Addition {
                    path: path.clone(),
                    node,
                });
            }
        }
        Ok(marks)
    }

    /// Where a module is, and how long.
    fn place(&self, module: &Module) -> Result<[u64; 2], Dom0lessError> {
        let at = module.at.ok_or_else(|| Dom0lessError::NoPlace {
            domain: module.domain.clone(),
            role: role(module.role),
        })?;
        let generated = self.generated(module)?;
        let size = generated.or_else(|| (self.sizes)(module));
        Ok([at, size.unwrap_or(self.plan.boot.slot_bytes)])
    }

    /// Length of a partial tree that is not a file yet.
    fn generated(&self, module: &Module) -> Result<Option<u64>, Dom0lessError> {
        let domain = self.plan.domain(&module.domain);
        let domain = domain.filter(|domain| domain.device_tree_generated);
        match (module.role, domain, self.base) {
            (ModuleRole::DeviceTree, Some(domain), Some(base)) => {
                let dtb = partial::build(domain, base)?;
                Ok(u64::try_from(dtb.len()).ok())
            }
            _ => Ok(None),
        }
    }
}

/// What a module is to its domain, for messages.
fn role(role: ModuleRole) -> &'static str {
    match role {
        ModuleRole::Kernel => "kernel",
        ModuleRole::Ramdisk => "ramdisk",
        ModuleRole::DeviceTree => "device tree",
    }
}
