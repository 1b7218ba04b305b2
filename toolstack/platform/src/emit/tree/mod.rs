//! Device tree nodes as emitters write them: once, and out of that come text for people, additions to a blob, and an
//! overlay.
//!
//! References between nodes are [`Handle`]s, which are labels in text and phandles in blobs. A handle's number is made from
//! a name, so that it does not depend on what else is in the tree.

mod binary;
mod text;

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

pub(super) use binary::{insert, overlay, property};
pub(super) use text::overlay_source;

/// Longest name of a node (Devicetree Specification 0.4, 2.2.1; Xen keeps 40: `DT_MAX_NAME`).
const MAX_NAME: usize = 31;

/// How others refer to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    /// In text.
    pub(super) label: String,
    /// In a blob.
    pub(super) number: u32,
}

/// One cell of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// A number.
    Number(u32),
    /// A node that is written here.
    Node(Handle),
    /// A node of the tree that this is added to, by its phandle there. With its path, for people.
    Base(u32, String),
}

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// None: that it is there says it all.
    Flag,
    /// Texts.
    Texts(Vec<String>),
    /// 32-bit numbers.
    Cells(Vec<Cell>),
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) handle: Option<Handle>,
    pub(super) properties: Vec<(&'static str, Value)>,
    pub(super) children: Vec<Node>,
}

/// What is added to one node of another tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addition {
    /// Path of that node.
    pub(super) path: String,
    /// What it gets. The name does not matter.
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Node {
            name: name.into(),
            ..Node::default()
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) {
        self.properties.push((name, Value::Flag));
    }

    pub(super) fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.texts(name, [text.into()]);
    }

    pub(super) fn texts(
        &mut self,
        name: &'static str,
        texts: impl IntoIterator<Item = impl Into<String>>,
    ) {
        let texts = texts.into_iter().map(Into::into).collect();
        self.properties.push((name, Value::Texts(texts)));
    }

    pub(super) fn number(&mut self, name: &'static str, number: u32) {
        self.cells(name, [Cell::Number(number)]);
    }

    pub(super) fn cells(&mut self, name: &'static str, cells: impl IntoIterator<Item = Cell>) {
        let cells = cells.into_iter().collect();
        self.properties.push((name, Value::Cells(cells)));
    }

    /// Numbers of two cells each.
    pub(super) fn wide(&mut self, name: &'static str, numbers: impl IntoIterator<Item = u64>) {
        self.cells(name, numbers.into_iter().flat_map(wide));
    }
}

/// A number as two cells.
pub(super) fn wide(number: u64) -> [Cell; 2] {
    [number >> 32, number & 0xffff_ffff]
        .map(|half| Cell::Number(u32::try_from(half).unwrap_or(u32::MAX)))
}

/// Gives handles that nobody else has.
#[derive(Debug, Default)]
pub(super) struct Handles {
    numbers: BTreeSet<u32>,
    labels: BTreeSet<String>,
}

impl Handles {
    /// Those of another tree are taken.
    pub(super) fn beside(taken: impl IntoIterator<Item = u32>) -> Self {
        Handles {
            numbers: taken.into_iter().collect(),
            labels: BTreeSet::new(),
        }
    }

    /// The handle of what has this name. Only if somebody else has its number already it is another one.
    pub(super) fn give(&mut self, kind: &str, name: &str) -> Handle {
        let label = label(kind, name);
        let mut number = hash(&[kind, name]) & 0x3fff_ffff | 0x4000_0000;
        while !self.numbers.insert(number) {
            number = number.wrapping_add(1) & 0x3fff_ffff | 0x4000_0000;
        }
        let label = if self.labels.contains(&label) {
            format!("{label}_{number:x}")
        } else {
            label
        };
        self.labels.insert(label.clone());
        Handle { label, number }
    }
}

/// A text in the form of a label.
fn label(kind: &str, name: &str) -> String {
    let letters = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    format!("{kind}_{}", letters.collect::<String>())
}

/// Gives names to the children of a node.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// Those of children that are there already are taken.
    pub(super) fn beside(taken: impl IntoIterator<Item = String>) -> Self {
        Names {
            taken: taken.into_iter().collect(),
        }
    }

    /// The wanted name; where it cannot be one, or is somebody else's, its beginning and a number made from it.
    pub(super) fn give(&mut self, wanted: &str) -> String {
        let is_usable = |c: char| c.is_ascii_alphanumeric() || ",._+-@".contains(c);
        let fits = !wanted.is_empty() && wanted.len() <= MAX_NAME && wanted.chars().all(is_usable);
        if fits && self.taken.insert(wanted.to_owned()) {
            return wanted.to_owned();
        }
        let letters = wanted
            .chars()
            .map(|c| if is_usable(c) && c != '@' { c } else { '-' });
        let begin: String = letters.take(MAX_NAME - 9).collect();
        let mut number = hash(&[wanted]);
        loop {
            let name = format!("{begin}-{number:08x}");
            if self.taken.insert(name.clone()) {
                return name;
            }
            number = number.wrapping_add(1);
        }
    }
}

/// The first word of the names' SHA-256.
fn hash(names: &[&str]) -> u32 {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let first = std::array::from_fn(|index| digest.get(index).copied().unwrap_or_default());
    u32::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_of_a_name_does_not_depend_on_others() {
        let alone = Handles::default().give("pool", "realtime");
        let mut handles = Handles::default();
        handles.give("pool", "other");
        assert_eq!(handles.give("pool", "realtime"), alone);
        let beside = Handles::beside([alone.number]).give("pool", "realtime");
        assert_ne!(beside.number, alone.number, "the base tree's stay its own");
    }

    #[test]
    fn names_that_cannot_be_a_nodes_are_replaced_and_stay_apart() {
        let mut names = Names::beside(["chosen-one".to_owned()]);
        assert_eq!(names.give("cluster"), "cluster");
        for wanted in ["cluster", "chosen-one", "a b", &"x".repeat(40)] {
            let name = names.give(wanted);
            assert!(name != wanted && name.len() <= MAX_NAME, "{name}");
        }
        assert_ne!(names.give("a b"), names.give("a b"));
    }
}
