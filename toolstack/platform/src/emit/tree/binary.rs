//! Nodes as part of a blob, and as an overlay.

use std::collections::BTreeMap;

use dtoolkit::Property;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::{Addition, Cell, Node, Value};

/// Words of a value.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Flag => Vec::new(),
        Value::Texts(texts) => {
            let with_end = |text: &String| [text.as_bytes(), &[0]].concat();
            texts.iter().flat_map(with_end).collect()
        }
        Value::Cells(cells) => {
            let words = cells.iter().map(|cell| match cell {
                Cell::Number(number) | Cell::Base(number, _) => *number,
                Cell::Node(handle) => handle.number,
            });
            words.flat_map(u32::to_be_bytes).collect()
        }
    }
}

/// A property. Names are the emitters' own, so they are not checked again.
pub(in crate::emit) fn property(name: &str, value: &Value) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, bytes(value))
}

/// Adds properties and children to a node that is there. What has the same name is replaced.
pub(in crate::emit) fn insert(into: &mut DeviceTreeNode, node: &Node) {
    for (name, value) in &node.properties {
        into.add_property(property(name, value));
    }
    if let Some(handle) = &node.handle {
        into.add_property(DeviceTreeProperty::new_unchecked("phandle", handle.number));
    }
    for child in &node.children {
        let mut new = DeviceTreeNode::new_unchecked(&*child.name);
        insert(&mut new, child);
        into.add_child(new);
    }
}

/// An overlay (`.dtbo`) as U-Boot and libfdt apply it: fragments with their targets, and the places of references between
/// them, because phandles get new numbers when an overlay is applied.
pub(in crate::emit) fn overlay(additions: &[Addition]) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    let mut fixups = DeviceTreeNode::new_unchecked("__local_fixups__");
    for (number, addition) in additions.iter().enumerate() {
        let name = format!("fragment@{number}");
        let mut fragment = DeviceTreeNode::new_unchecked(&*name);
        let target = DeviceTreeProperty::new_unchecked("target-path", &*addition.path);
        fragment.add_property(target);
        let mut content = DeviceTreeNode::new_unchecked("__overlay__");
        insert(&mut content, &addition.node);
        fragment.add_child(content);
        tree.root.add_child(fragment);
        if let Some(inner) = places(&addition.node, "__overlay__") {
            let mut outer = DeviceTreeNode::new_unchecked(&*name);
            outer.add_child(inner);
            fixups.add_child(outer);
        }
    }
    if fixups.children_mut().next().is_some() {
        tree.root.add_child(fixups);
    }
    tree.to_dtb()
}

/// Where a node and those below it refer to nodes of the overlay; none if nowhere.
fn places(node: &Node, name: &str) -> Option<DeviceTreeNode> {
    let mut found = DeviceTreeNode::new_unchecked(name);
    let mut any = false;
    let mut offsets: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (name, value) in &node.properties {
        let Value::Cells(cells) = value else { continue };
        for (offset, cell) in (0_u32..).step_by(4).zip(cells) {
            if matches!(cell, Cell::Node(_)) {
                offsets.entry(name).or_default().push(offset);
            }
        }
    }
    for (name, offsets) in offsets {
        let property = DeviceTreeProperty::new_unchecked(name, offsets);
        any |= !(&property).value().is_empty();
        found.add_property(property);
    }
    for child in &node.children {
        if let Some(inner) = places(child, &child.name) {
            found.add_child(inner);
            any = true;
        }
    }
    any.then_some(found)
}
