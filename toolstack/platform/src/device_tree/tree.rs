//! A tree with its paths and phandles, and the values that nodes have.

use std::collections::BTreeMap;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use super::read::{self, DeviceTreeError};

/// A device tree that was read.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) content: DeviceTree,
    /// Hardware number of the CPU that the firmware says it starts on.
    pub(crate) boot_cpu: u32,
    /// Path of each node that others refer to.
    pub(crate) phandles: BTreeMap<u32, String>,
}

/// A node and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'t, 'w> {
    pub(crate) path: &'w str,
    pub(crate) node: &'t DeviceTreeNode,
    /// The nodes around it, the root first.
    pub(crate) parents: &'w [&'t DeviceTreeNode],
}

impl Tree {
    /// Of no machine.
    pub(crate) fn empty() -> Tree {
        Tree {
            content: DeviceTree::new(),
            boot_cpu: 0,
            phandles: BTreeMap::new(),
        }
    }

    pub(crate) fn parse(dtb: &[u8]) -> Result<Tree, DeviceTreeError> {
        let (content, boot_cpu) = read::read(dtb)?;
        let mut phandles = BTreeMap::new();
        walk(&content.root, &mut |place| {
            if let Some(handle) = phandle(place.node) {
                phandles
                    .entry(handle)
                    .or_insert_with(|| place.path.to_owned());
            }
        });
        Ok(Tree {
            content,
            boot_cpu,
            phandles,
        })
    }

    /// The tree as a blob.
    pub(crate) fn to_dtb(&self) -> Vec<u8> {
        let mut dtb = self.content.to_dtb();
        // dtoolkit always writes 0 there.
        if let Some(field) = dtb.get_mut(28..32) {
            field.copy_from_slice(&self.boot_cpu.to_be_bytes());
        }
        dtb
    }

    /// The node of this exact path.
    pub(crate) fn node(&self, path: &str) -> Option<&DeviceTreeNode> {
        let rest = path.strip_prefix('/')?;
        let mut names = rest.split('/').filter(|name| !name.is_empty());
        names.try_fold(&self.content.root, |node, name| exact_child(node, name))
    }

    /// The node with this phandle.
    pub(crate) fn by_phandle(&self, handle: u32) -> Option<(&str, &DeviceTreeNode)> {
        let path = self.phandles.get(&handle)?;
        Some((path, self.node(path)?))
    }

    /// Visits all nodes, the root first, in the order of the tree.
    pub(crate) fn walk<'t>(&'t self, visit: &mut dyn FnMut(Place<'t, '_>)) {
        walk(&self.content.root, visit);
    }
}

/// The child of this name; dtoolkit's `child` also accepts another unit address when the name has none.
pub(crate) fn exact_child<'t>(node: &'t DeviceTreeNode, name: &str) -> Option<&'t DeviceTreeNode> {
    if name.contains('@') {
        return node.child(name);
    }
    node.children().find(|child| child.name() == name)
}

/// Visits a node and all below it. The reader bounds the depth.
fn walk<'t>(root: &'t DeviceTreeNode, visit: &mut dyn FnMut(Place<'t, '_>)) {
    fn step<'t>(
        node: &'t DeviceTreeNode,
        path: &mut String,
        parents: &mut Vec<&'t DeviceTreeNode>,
        visit: &mut dyn FnMut(Place<'t, '_>),
    ) {
        visit(Place {
            path: if path.is_empty() { "/" } else { path },
            node,
            parents,
        });
        parents.push(node);
        let length = path.len();
        for child in node.children() {
            path.push('/');
            path.push_str(child.name());
            step(child, path, parents, visit);
            path.truncate(length);
        }
        parents.pop();
    }
    step(root, &mut String::new(), &mut Vec::new(), visit);
}

/// A property's value.
pub(crate) fn value<'t>(node: &'t DeviceTreeNode, name: &str) -> Option<&'t [u8]> {
    node.property(name)?.value_as().ok()
}

/// Whether a property is there.
pub(crate) fn has(node: &DeviceTreeNode, name: &str) -> bool {
    value(node, name).is_some()
}

/// A property's value as 32-bit numbers; empty when it is not there or has a remainder.
pub(crate) fn words(node: &DeviceTreeNode, name: &str) -> Vec<u32> {
    let (chunks, rest) = value(node, name).unwrap_or_default().as_chunks::<4>();
    match rest {
        [] => chunks
            .iter()
            .map(|word| u32::from_be_bytes(*word))
            .collect(),
        _ => Vec::new(),
    }
}

/// A property's first 32-bit number.
pub(crate) fn word(node: &DeviceTreeNode, name: &str) -> Option<u32> {
    words(node, name).first().copied()
}

/// A property's value as texts; those that are no UTF-8 are left out.
pub(crate) fn texts<'t>(node: &'t DeviceTreeNode, name: &str) -> Vec<&'t str> {
    let value = value(node, name).unwrap_or_default();
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    let texts = value.split(|byte| *byte == 0);
    texts
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| !text.is_empty())
        .collect()
}

/// Whether a node says that it is compatible with one of these.
pub(crate) fn is_compatible(node: &DeviceTreeNode, with: &[&str]) -> bool {
    texts(node, "compatible")
        .iter()
        .any(|text| with.contains(text))
}

/// Whether a node's own `status` lets it be used.
pub(crate) fn is_okay(node: &DeviceTreeNode) -> bool {
    match texts(node, "status").first() {
        None => true,
        Some(status) => matches!(*status, "okay" | "ok"),
    }
}

/// The number by which others refer to a node.
pub(crate) fn phandle(node: &DeviceTreeNode) -> Option<u32> {
    let handle = word(node, "phandle").or_else(|| word(node, "linux,phandle"))?;
    Some(handle).filter(|handle| !matches!(*handle, 0 | u32::MAX))
}
