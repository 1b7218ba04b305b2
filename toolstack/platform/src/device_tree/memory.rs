//! RAM, and what of it is reserved.

use dtoolkit::Node;

use super::address::regions;
use super::tree::{Tree, exact_child, texts};
use crate::plan::{NamedRange, Range};

/// RAM, by address.
pub(super) fn banks(tree: &Tree) -> Vec<Range> {
    let mut banks = Vec::new();
    tree.walk(&mut |place| {
        let is_memory = texts(place.node, "device_type").first() == Some(&"memory");
        if is_memory && place.parents.len() == 1 {
            banks.extend(regions(place));
        }
    });
    banks.sort_by_key(|bank| bank.at);
    banks
}

/// What firmware and vendor keep for themselves: memory reservations and the children of `/reserved-memory` that have a
/// fixed place.
pub(super) fn reserved(tree: &Tree) -> Vec<NamedRange> {
    let reservations = tree.content.memory_reservations.iter().enumerate();
    let mut reserved: Vec<_> = reservations
        .map(|(number, reservation)| NamedRange {
            name: format!("memreserve{number}"),
            range: Range {
                at: reservation.address(),
                size_bytes: reservation.size(),
            },
        })
        .collect();
    if exact_child(&tree.content.root, "reserved-memory").is_none() {
        return reserved;
    }
    tree.walk(&mut |place| {
        let parent = place.path.rsplit_once('/').map(|(parent, _)| parent);
        if parent == Some("/reserved-memory") {
            reserved.extend(regions(place).into_iter().map(|range| NamedRange {
                name: place.node.name().to_owned(),
                range,
            }));
        }
    });
    reserved
}
