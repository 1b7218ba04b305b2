//! Addresses: `reg` and `ranges` (Devicetree Specification 0.4, 2.3).

use dtoolkit::model::DeviceTreeNode;

use super::tree::{Place, has, word, words};
use crate::plan::Range;

/// Cells of an address and of a size below a node (Devicetree Specification 0.4, 2.3.5: 2 and 1 where it does not say).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cells {
    pub(crate) address: usize,
    pub(crate) size: usize,
}

pub(crate) fn cells(node: &DeviceTreeNode) -> Cells {
    let cells = |name, default: u32| {
        let cells = word(node, name).unwrap_or(default);
        // A number that makes no sense fits no property, so that nothing is read.
        usize::try_from(cells).unwrap_or(usize::MAX)
    };
    Cells {
        address: cells("#address-cells", 2),
        size: cells("#size-cells", 1),
    }
}

/// A number of one or two cells.
fn number(cells: &[u32]) -> Option<u64> {
    match cells {
        [] => Some(0),
        [low] => Some(u64::from(*low)),
        [high, low] => Some(u64::from(*high) << 32 | u64::from(*low)),
        _ => None,
    }
}

/// Pairs of address and size as a property has them, in the address space of the node around it.
pub(crate) fn pairs(values: &[u32], cells: Cells) -> Vec<Range> {
    let Some(length) = cells.address.checked_add(cells.size).filter(|n| *n > 0) else {
        return Vec::new();
    };
    let pairs = values.chunks_exact(length).filter_map(|pair| {
        let (address, size) = pair.split_at_checked(cells.address)?;
        Some(Range {
            at: number(address)?,
            size_bytes: number(size)?,
        })
    });
    pairs.collect()
}

/// Where a node's registers are, as the CPU sees them. Those that no bus maps, and those without a size, are left out.
pub(crate) fn regions(place: Place<'_, '_>) -> Vec<Range> {
    let Some(bus) = place.parents.last() else {
        return Vec::new();
    };
    let cells = cells(bus);
    if cells.size == 0 {
        return Vec::new();
    }
    let own = pairs(&words(place.node, "reg"), cells);
    own.into_iter()
        .filter(|range| range.size_bytes > 0)
        .filter_map(|range| to_cpu(range, place.parents))
        .collect()
}

/// From the address space below the innermost of `buses` up to the root's.
fn to_cpu(range: Range, buses: &[&DeviceTreeNode]) -> Option<Range> {
    let mut range = range;
    let mut inner = buses.split_last();
    while let Some((bus, outer)) = inner {
        let Some(parent) = outer.last() else {
            return Some(range);
        };
        range = through(range, bus, parent)?;
        inner = outer.split_last();
    }
    None
}

/// From the address space below a bus to that around it.
fn through(range: Range, bus: &DeviceTreeNode, parent: &DeviceTreeNode) -> Option<Range> {
    // Without the property, nothing behind the bus can be reached by address.
    if !has(bus, "ranges") {
        return None;
    }
    let map = words(bus, "ranges");
    if map.is_empty() {
        return Some(range);
    }
    let (below, above) = (cells(bus), cells(parent));
    let length = below
        .address
        .checked_add(above.address)?
        .checked_add(below.size)?;
    map.chunks_exact(length.max(1)).find_map(|entry| {
        let (child, rest) = entry.split_at_checked(below.address)?;
        let (parent, size) = rest.split_at_checked(above.address)?;
        let window = Range {
            at: number(child)?,
            size_bytes: number(size)?,
        };
        if !window.contains(&range) {
            return None;
        }
        let offset = range.at.checked_sub(window.at)?;
        Some(Range {
            at: number(parent)?.checked_add(offset)?,
            size_bytes: range.size_bytes,
        })
    })
}
