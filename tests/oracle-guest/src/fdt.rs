//! Reads a flattened device tree, as far as the guest needs it. Damaged trees end the walk early; nothing panics.

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
/// Levels of nodes that are told apart.
const DEPTH: usize = 16;

/// A device tree in memory.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

/// A property, with the place of its node.
#[derive(Clone, Copy, Debug)]
pub struct Property<'a> {
    /// Names of the nodes from the root's children down.
    names: [&'a str; DEPTH],
    depth: usize,
    /// Cells of an address and of a size in this node's own `reg`.
    pub cells: (u32, u32),
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Property<'a> {
    /// The node's name; empty for the root.
    #[must_use]
    pub fn node(&self) -> &'a str {
        self.names
            .get(self.depth.wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// The name of the node's ancestor below the root, or the node itself if it is there.
    #[must_use]
    pub fn top(&self) -> &'a str {
        match self.depth {
            0 => "",
            _ => self.names.first().copied().unwrap_or_default(),
        }
    }

    /// Levels below the root.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Its first string.
    #[must_use]
    pub fn text(&self) -> &'a str {
        text(self.value)
    }

    /// Whether one of its strings is this one.
    #[must_use]
    pub fn lists(&self, wanted: &str) -> bool {
        self.value
            .split(|byte| *byte == 0)
            .any(|text| text == wanted.as_bytes())
    }

    /// Its address and size pairs.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let (address, size) = self.cells;
        let mut rest = self.value;
        core::iter::from_fn(move || {
            if address + size == 0 {
                return None;
            }
            Some((number(&mut rest, address)?, number(&mut rest, size)?))
        })
    }
}

impl<'a> Tree<'a> {
    /// The size that a tree's header tells, when it is one. Sixteen bytes suffice.
    #[must_use]
    pub fn size(header: &[u8]) -> Option<usize> {
        (word(header, 0)? == MAGIC).then_some(())?;
        usize::try_from(word(header, 4)?).ok()
    }

    /// The tree in these bytes, if it is one.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::size(bytes)?)?;
        let part = |offset: usize, size: usize| {
            let start = usize::try_from(word(bytes, offset)?).ok()?;
            let size = usize::try_from(word(bytes, size)?).ok()?;
            bytes.get(start..start.checked_add(size)?)
        };
        Some(Self {
            structure: part(8, 36)?,
            strings: part(12, 32)?,
        })
    }

    /// All properties, in the tree's order.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut walk = Walk {
            tree: *self,
            at: 0,
            names: [""; DEPTH],
            cells: [(2, 1); DEPTH + 1],
            depth: None,
        };
        core::iter::from_fn(move || walk.next())
    }
}

struct Walk<'a> {
    tree: Tree<'a>,
    at: usize,
    names: [&'a str; DEPTH],
    /// What each level's node says about its children.
    cells: [(u32, u32); DEPTH + 1],
    /// `None` before the root.
    depth: Option<usize>,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            match self.word()? {
                BEGIN_NODE => {
                    let name = text(self.tree.structure.get(self.at..)?);
                    self.at = (self.at + name.len() + 1).next_multiple_of(4);
                    let depth = self.depth.map_or(0, |depth| depth + 1);
                    self.depth = Some(depth);
                    *self.cells.get_mut(depth)? = (2, 1);
                    if depth > 0 {
                        *self.names.get_mut(depth - 1)? = name;
                    }
                }
                END_NODE => self.depth = self.depth.and_then(|depth| depth.checked_sub(1)),
                PROPERTY => return self.property(),
                NOTHING => {}
                _ => return None,
            }
        }
    }

    fn property(&mut self) -> Option<Property<'a>> {
        let length = usize::try_from(self.word()?).ok()?;
        let offset = usize::try_from(self.word()?).ok()?;
        let value = self
            .tree
            .structure
            .get(self.at..self.at.checked_add(length)?)?;
        self.at = (self.at + length).next_multiple_of(4);
        let name = text(self.tree.strings.get(offset..)?);
        let depth = self.depth?;
        let cells = self.cells.get_mut(depth)?;
        match name {
            "#address-cells" => cells.0 = word(value, 0)?,
            "#size-cells" => cells.1 = word(value, 0)?,
            _ => {}
        }
        let parent = depth.saturating_sub(1);
        Some(Property {
            names: self.names,
            depth,
            cells: *self.cells.get(parent)?,
            name,
            value,
        })
    }

    fn word(&mut self) -> Option<u32> {
        let word = word(self.tree.structure, self.at)?;
        self.at += 4;
        Some(word)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// A number of this many cells, taken off the front.
fn number(bytes: &mut &[u8], cells: u32) -> Option<u64> {
    let mut value = 0;
    for _ in 0..cells {
        value = (value << 32) | u64::from(word(bytes, 0)?);
        *bytes = bytes.get(4..)?;
    }
    Some(value)
}

fn text(bytes: &[u8]) -> &str {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    core::str::from_utf8(bytes.get(..end).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// A tree of `(name, properties, children)`, written by hand.
    struct Builder {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        fn word(&mut self, word: u32) -> &mut Self {
            self.structure.extend(word.to_be_bytes());
            self
        }

        fn padded(&mut self, bytes: &[u8]) -> &mut Self {
            self.structure.extend(bytes);
            while !self.structure.len().is_multiple_of(4) {
                self.structure.push(0);
            }
            self
        }

        fn begin(&mut self, name: &str) -> &mut Self {
            self.word(BEGIN_NODE)
                .padded(std::format!("{name}\0").as_bytes())
        }

        fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(std::format!("{name}\0").bytes());
            let length = u32::try_from(value.len()).unwrap();
            self.word(PROPERTY).word(length).word(at).padded(value)
        }

        fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
            let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
            self.property(name, &value)
        }

        fn finish(&mut self) -> Vec<u8> {
            self.word(END_NODE).word(9);
            let structure = u32::try_from(self.structure.len()).unwrap();
            let strings = u32::try_from(self.strings.len()).unwrap();
            let total = 40 + structure + strings;
            let header = [
                MAGIC,
                total,
                40,
                40 + structure,
                40,
                17,
                16,
                0,
                strings,
                structure,
            ];
            let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
            bytes.extend(&self.structure);
            bytes.extend(&self.strings);
            bytes
        }
    }

    fn example() -> Vec<u8> {
        let mut builder = Builder {
            structure: Vec::new(),
            strings: Vec::new(),
        };
        builder
            .begin("")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
            .begin("memory@40000000")
            .property("device_type", b"memory\0")
            .cells("reg", &[0, 0x4000_0000, 0, 0x1000_0000, 2, 0, 0, 0x1000])
            .word(END_NODE)
            .begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0])
            .begin("cpu@1")
            .cells("reg", &[1])
            .property("compatible", b"arm,armv8\0other\0")
            .word(END_NODE)
            .word(END_NODE);
        builder.finish()
    }

    #[test]
    fn a_nodes_ranges_are_read_with_its_parents_cells() {
        let bytes = example();
        let tree = Tree::new(&bytes).unwrap();
        let regs: Vec<(String, Vec<(u64, u64)>)> = tree
            .properties()
            .filter(|property| property.name == "reg")
            .map(|property| (property.node().to_string(), property.ranges().collect()))
            .collect();
        let memory = [(0x4000_0000, 0x1000_0000), (0x2_0000_0000, 0x1000)];
        assert_eq!(regs[0], ("memory@40000000".into(), memory.into()));
        assert_eq!(regs[1], ("cpu@1".into(), [(1, 0)].into()));
    }

    #[test]
    fn a_property_knows_its_node_and_its_strings() {
        let bytes = example();
        let tree = Tree::new(&bytes).unwrap();
        let compatible = tree
            .properties()
            .find(|property| property.name == "compatible");
        let compatible = compatible.unwrap();
        assert_eq!((compatible.top(), compatible.depth()), ("cpus", 2));
        assert_eq!(compatible.text(), "arm,armv8");
        assert!(compatible.lists("other") && !compatible.lists("oth"));
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_survived() {
        let whole = example();
        for length in 0..whole.len() {
            assert!(Tree::new(&whole[..length]).is_none());
        }
        for at in 0..whole.len() {
            for flip in [1_u8, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Some(tree) = Tree::new(&bytes) {
                    tree.properties().for_each(|property| {
                        property.ranges().for_each(drop);
                    });
                }
            }
        }
    }
}
