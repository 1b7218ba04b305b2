//! The flattened form (Devicetree Specification 0.4, chapter 5), read into dtoolkit's model.
//!
//! dtoolkit's own reader refuses names longer than the 31 characters of the specification, which boards in vehicles have
//! (`nvidia,pad-autocal-pull-up-offset-3v3-timeout`); Xen and Linux read them. It also follows nesting by recursion
//! without a limit. This reader does neither.

use dtoolkit::Node;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::MAX_DEVICE_TREE_BYTES;

/// Deepest nesting that is read. Xen skips what lies deeper than 16 (`DEVICE_TREE_MAX_DEPTH`).
const MAX_DEPTH: usize = 64;
/// First word of every device tree.
const MAGIC: u32 = 0xd00d_feed;
/// The version of the format that this reader is made for; newer ones say from which on they can be read.
const VERSION: u32 = 17;
/// Bytes of the header of version 17.
const HEADER: usize = 40;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why bytes are no device tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceTreeError {
    /// It does not begin like one.
    #[error(
        "it does not begin with the magic number of a device tree blob; is it the source (.dts) instead of the .dtb?"
    )]
    Magic,
    /// A format that is not known.
    #[error("it has version {version} of the format, which cannot be read as version 17")]
    Version {
        /// The version it says.
        version: u32,
    },
    /// Longer than Xen accepts.
    #[error("it has {bytes} bytes; Xen reads at most {MAX_DEVICE_TREE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The file ends before the tree does.
    #[error("it is cut off: its header promises {promised} bytes, and there are {bytes}")]
    CutOff {
        /// Length the header says.
        promised: usize,
        /// Length there is.
        bytes: usize,
    },
    /// A part of it lies outside, or is not what it has to be.
    #[error("{what} at byte {offset} is not valid")]
    Broken {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// Nested without end.
    #[error("nodes are nested more than {MAX_DEPTH} deep at byte {offset}")]
    TooDeep {
        /// Where.
        offset: usize,
    },
    /// Two nodes have the same path, or two properties of a node the same name.
    #[error("\"{name}\" is there twice in \"{parent}\"")]
    Twice {
        /// The name.
        name: String,
        /// The name of the node around it.
        parent: String,
    },
}

fn broken(what: &'static str, offset: usize) -> DeviceTreeError {
    DeviceTreeError::Broken { what, offset }
}

/// The bytes of a tree, bounded by what its header says.
struct Blob<'a> {
    bytes: &'a [u8],
}

impl<'a> Blob<'a> {
    fn word(&self, offset: usize, what: &'static str) -> Result<u32, DeviceTreeError> {
        let bytes = self.get(offset, 4, what)?;
        let bytes = bytes.try_into().map_err(|_| broken(what, offset))?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// An offset or length of the header.
    fn size(&self, offset: usize, what: &'static str) -> Result<usize, DeviceTreeError> {
        usize::try_from(self.word(offset, what)?).map_err(|_| broken(what, offset))
    }

    fn get(
        &self,
        offset: usize,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DeviceTreeError> {
        offset
            .checked_add(length)
            .and_then(|end| self.bytes.get(offset..end))
            .ok_or_else(|| broken(what, offset))
    }

    /// A text that ends with a NUL.
    fn text(&self, offset: usize, what: &'static str) -> Result<&'a str, DeviceTreeError> {
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        let length = bytes.iter().position(|byte| *byte == 0);
        let bytes = length.and_then(|length| bytes.get(..length));
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.ok_or_else(|| broken(what, offset))
    }
}

/// Reads a tree. With it comes the hardware number of the CPU that the firmware says it starts on.
pub(super) fn read(bytes: &[u8]) -> Result<(DeviceTree, u32), DeviceTreeError> {
    let whole = Blob { bytes };
    if bytes.len() < HEADER || whole.word(0, "the header")? != MAGIC {
        return Err(DeviceTreeError::Magic);
    }
    let promised = whole.size(4, "the header")?;
    if promised > MAX_DEVICE_TREE_BYTES {
        return Err(DeviceTreeError::TooLong { bytes: promised });
    }
    let blob = Blob {
        bytes: bytes.get(..promised).ok_or(DeviceTreeError::CutOff {
            promised,
            bytes: bytes.len(),
        })?,
    };
    let version = blob.word(20, "the header")?;
    if version < VERSION || blob.word(24, "the header")? > VERSION {
        return Err(DeviceTreeError::Version { version });
    }
    let mut tree = DeviceTree::new();
    tree.root = root(&blob)?;
    tree.memory_reservations = reservations(&blob)?;
    Ok((tree, blob.word(28, "the header")?))
}

fn reservations(blob: &Blob<'_>) -> Result<Vec<MemoryReservation>, DeviceTreeError> {
    const WHAT: &str = "the memory reservation block";
    let mut offset = blob.size(16, WHAT)?;
    let mut found = Vec::new();
    loop {
        let number = |place: usize| -> Result<u64, DeviceTreeError> {
            let at = offset.saturating_add(place);
            let high = u64::from(blob.word(at, WHAT)?);
            let low = u64::from(blob.word(at.saturating_add(4), WHAT)?);
            Ok(high << 32 | low)
        };
        let (address, size) = (number(0)?, number(8)?);
        if address == 0 && size == 0 {
            return Ok(found);
        }
        found.push(MemoryReservation::new(address, size));
        offset = offset.saturating_add(16);
    }
}

fn root(blob: &Blob<'_>) -> Result<DeviceTreeNode, DeviceTreeError> {
    let strings = blob.size(12, "the header")?;
    let mut offset = blob.size(8, "the header")?;
    // The nodes that have begun and not ended, the root first.
    let mut open: Vec<DeviceTreeNode> = Vec::new();
    // Properties stand in front of child nodes.
    let mut properties_allowed = false;
    loop {
        let at = offset;
        let token = blob.word(at, "a token")?;
        offset = at.saturating_add(4);
        match token {
            NOP => {}
            BEGIN_NODE => {
                let name = blob.text(offset, "the name of a node")?;
                check_name(name, open.is_empty(), offset)?;
                if open.len() >= MAX_DEPTH {
                    return Err(DeviceTreeError::TooDeep { offset: at });
                }
                offset = aligned(offset.saturating_add(name.len()).saturating_add(1));
                open.push(DeviceTreeNode::new_unchecked(name));
                properties_allowed = true;
            }
            PROPERTY => {
                let node = open.last_mut().filter(|_| properties_allowed);
                let node = node.ok_or_else(|| broken("the place of a property", at))?;
                let length = blob.size(offset, "the length of a property")?;
                let name = blob.size(offset.saturating_add(4), "the name of a property")?;
                let name = blob.text(strings.saturating_add(name), "the name of a property")?;
                if name.is_empty() {
                    return Err(broken("the name of a property", at));
                }
                let value = offset.saturating_add(8);
                let content = blob.get(value, length, "the value of a property")?;
                offset = aligned(value.saturating_add(length));
                if (*node).property(name).is_some() {
                    return Err(twice(name, node));
                }
                node.add_property(DeviceTreeProperty::new_unchecked(name, content));
            }
            END_NODE => {
                properties_allowed = false;
                let node = open.pop().ok_or_else(|| broken("the end of a node", at))?;
                let Some(parent) = open.last_mut() else {
                    return match blob.word(skip_nops(blob, offset)?, "the end of the tree")? {
                        END => Ok(node),
                        _ => Err(broken("the end of the tree", offset)),
                    };
                };
                let name = node.name();
                if parent.child_mut(name).is_some() {
                    return Err(twice(name, parent));
                }
                parent.add_child(node);
            }
            _ => return Err(broken("a token", at)),
        }
    }
}

fn twice(name: &str, parent: &DeviceTreeNode) -> DeviceTreeError {
    DeviceTreeError::Twice {
        name: name.to_owned(),
        parent: parent.name().to_owned(),
    }
}

/// The root has no name, all others have one that can be part of a path.
fn check_name(name: &str, is_root: bool, offset: usize) -> Result<(), DeviceTreeError> {
    let printable = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if is_root == name.is_empty() && printable {
        Ok(())
    } else {
        Err(broken("the name of a node", offset))
    }
}

fn skip_nops(blob: &Blob<'_>, mut offset: usize) -> Result<usize, DeviceTreeError> {
    while blob.word(offset, "the end of the tree")? == NOP {
        offset = offset.saturating_add(4);
    }
    Ok(offset)
}

/// Tokens stand at multiples of four bytes.
fn aligned(offset: usize) -> usize {
    offset.saturating_add(3) & !3
}
