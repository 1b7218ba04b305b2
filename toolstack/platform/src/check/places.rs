//! Ranges of addresses with their place in the document, and which of them overlap.
//!
//! One sweep over the sorted ranges, so that a document with thousands of them is checked as fast as one with few.

use std::collections::BTreeMap;

use crate::plan::Range;

/// Size of a page: Xen on Arm has no other.
pub(super) const PAGE: u64 = 4096;

/// A range of addresses that something in the document asks for.
#[derive(Debug, Clone)]
pub(super) struct Place<T> {
    pub(super) range: Range,
    /// Document path, of the address.
    pub(super) at: String,
    /// What lies there.
    pub(super) what: T,
}

/// Pairs of places that overlap, as indices: the one that stands later in the list first, with the one it runs into.
///
/// There is a pair if and only if two places overlap. A place that runs into several is paired with one of them.
pub(super) fn overlaps<T>(places: &[Place<T>]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..places.len())
        .filter(|index| places[*index].range.size_bytes != 0)
        .collect();
    order.sort_by_key(|index| (places[*index].range.at, *index));
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    // The place that reaches farthest of all that begin no later than the current one.
    let mut farthest: Option<usize> = None;
    for index in order {
        if let Some(other) = farthest
            && places[index].range.at < places[other].range.end()
        {
            found
                .entry(index.max(other))
                .or_insert_with(|| index.min(other));
        }
        if farthest.is_none_or(|other| places[other].range.end() < places[index].range.end()) {
            farthest = Some(index);
        }
    }
    found.into_iter().collect()
}

/// The machine's RAM, for questions.
#[derive(Debug)]
pub(super) struct Ram(Vec<Range>);

impl Ram {
    /// Banks that touch are one: Xen, too, allows what lies across their border.
    pub(super) fn new(banks: &[Range]) -> Self {
        let mut sorted = banks.to_vec();
        sorted.sort_by_key(|bank| bank.at);
        let mut merged: Vec<Range> = Vec::new();
        for bank in sorted {
            match merged.last_mut() {
                Some(last) if bank.at <= last.end() => {
                    last.size_bytes = last.size_bytes.max(bank.end().saturating_sub(last.at));
                }
                _ => merged.push(bank),
            }
        }
        Ram(merged)
    }

    pub(super) fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether all of the range is RAM.
    pub(super) fn contains(&self, range: &Range) -> bool {
        self.bank_before(range)
            .is_some_and(|bank| bank.contains(range))
    }

    /// Whether a byte of the range is RAM.
    pub(super) fn touches(&self, range: &Range) -> bool {
        let next = self.0.partition_point(|bank| bank.at < range.end());
        let last = next.checked_sub(1).and_then(|index| self.0.get(index));
        range.size_bytes != 0 && last.is_some_and(|bank| range.at < bank.end())
    }

    /// Bytes of RAM.
    pub(super) fn bytes(&self) -> u64 {
        let sizes = self.0.iter().map(|bank| bank.size_bytes);
        sizes.fold(0, u64::saturating_add)
    }

    fn bank_before(&self, range: &Range) -> Option<&Range> {
        let next = self.0.partition_point(|bank| bank.at <= range.at);
        self.0.get(next.checked_sub(1)?)
    }

    /// Into how many pieces these places cut what they leave of the RAM.
    pub(super) fn pieces<'a, T: 'a>(&self, places: impl Iterator<Item = &'a Place<T>>) -> usize {
        let mut ranges: Vec<Range> = places.map(|place| place.range).collect();
        ranges.sort_by_key(|range| range.at);
        let mut ranges = ranges.into_iter().peekable();
        let mut pieces = 0_usize;
        let mut free_from = 0;
        for bank in &self.0 {
            free_from = bank.at.max(free_from);
            while let Some(range) = ranges.next_if(|range| range.at < bank.end()) {
                if range.at > free_from {
                    pieces = pieces.saturating_add(1);
                }
                free_from = free_from.max(range.end());
            }
            if free_from < bank.end() {
                pieces = pieces.saturating_add(1);
            }
        }
        pieces
    }

    /// A place for this many bytes that nothing in the list has, on a border of 2 MiB.
    pub(super) fn free<T>(&self, size: u64, taken: &[Place<T>]) -> Option<u64> {
        const BORDER: u64 = 2 * crate::units::MIB;
        let mut ranges: Vec<Range> = taken.iter().map(|place| place.range).collect();
        ranges.sort_by_key(|range| range.at);
        for bank in &self.0 {
            let mut at = bank.at.checked_next_multiple_of(BORDER)?;
            for range in &ranges {
                if range.at >= at.saturating_add(size) {
                    break;
                }
                if range.end() > at {
                    at = range.end().checked_next_multiple_of(BORDER)?;
                }
            }
            if bank.contains(&Range {
                at,
                size_bytes: size,
            }) {
                return Some(at);
            }
        }
        None
    }
}

/// Whether a range is made of whole units and does not run over the end of all addresses.
pub(super) fn is_whole(range: &Range, unit: u64) -> bool {
    range.at.is_multiple_of(unit)
        && range.size_bytes.is_multiple_of(unit)
        && range.at.checked_add(range.size_bytes).is_some()
}

/// An address as people write it: `0x4000_0000`.
pub(super) fn hex(address: u64) -> String {
    let digits = format!("{address:x}");
    let mut out = String::from("0x");
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(4) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(ranges: &[(u64, u64)]) -> Vec<Place<()>> {
        let place = |(at, size_bytes): &(u64, u64)| Place {
            range: Range {
                at: *at,
                size_bytes: *size_bytes,
            },
            at: String::new(),
            what: (),
        };
        ranges.iter().map(place).collect()
    }

    /// Which bytes of a small memory a range has.
    fn bytes(range: &Range) -> impl Iterator<Item = u64> {
        range.at..range.at + range.size_bytes
    }

    #[test]
    fn addresses_are_written_in_groups_of_four() {
        assert_eq!(hex(0x4000_0000), "0x4000_0000");
        assert_eq!(hex(0x901_0000), "0x901_0000");
        assert_eq!(hex(0), "0x0");
    }

    #[test]
    fn the_end_of_all_addresses_is_no_overlap() {
        let pairs = overlaps(&places(&[(u64::MAX - 1, 99), (0, 4096)]));
        assert!(pairs.is_empty());
        assert!(!is_whole(
            &places(&[(u64::MAX - 4095, 4096)])[0].range,
            4096
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn overlaps_are_found_exactly_where_a_byte_has_two_owners(
            ranges in proptest::collection::vec((0_u64..40, 0_u64..9), 0..12)
        ) {
            let places = places(&ranges);
            let mut owners: [Vec<usize>; 64] = std::array::from_fn(|_| Vec::new());
            for (index, place) in places.iter().enumerate() {
                for byte in bytes(&place.range) {
                    owners[byte as usize].push(index);
                }
            }
            let pairs = overlaps(&places);
            for (later, earlier) in &pairs {
                prop_assert!(earlier < later);
                let both = |owners: &Vec<usize>| owners.contains(later) && owners.contains(earlier);
                prop_assert!(owners.iter().any(both));
            }
            let conflict = owners.iter().any(|owners| owners.len() > 1);
            prop_assert_eq!(conflict, !pairs.is_empty());
            // Whoever takes the places of the findings away is left with none that overlap, after at most as many rounds
            // as there are places.
            let mut rest = places;
            for _ in 0..ranges.len() {
                let found: Vec<usize> = overlaps(&rest).into_iter().map(|(later, _)| later).collect();
                let mut index = 0;
                rest.retain(|_| { index += 1; !found.contains(&(index - 1)) });
            }
            prop_assert!(overlaps(&rest).is_empty());
        }

        #[test]
        fn ram_is_asked_byte_by_byte(
            banks in proptest::collection::vec((0_u64..40, 1_u64..9), 0..5),
            at in 0_u64..48, size in 1_u64..9,
        ) {
            let banks: Vec<Range> = places(&banks).iter().map(|place| place.range).collect();
            let is_ram = |byte: u64| banks.iter().any(|bank| bytes(bank).any(|other| other == byte));
            let range = Range { at, size_bytes: size };
            let ram = Ram::new(&banks);
            prop_assert_eq!(ram.contains(&range), bytes(&range).all(is_ram));
            prop_assert_eq!(ram.touches(&range), bytes(&range).any(is_ram));
            let taken = places(&[(at, size)]);
            let free = |byte: u64| is_ram(byte) && !bytes(&range).any(|other| other == byte);
            let pieces = (0..64).filter(|byte| free(*byte) && !(*byte > 0 && free(byte - 1))).count();
            prop_assert_eq!(ram.pieces(taken.iter()), pieces);
            prop_assert_eq!(ram.bytes(), (0..64).filter(|byte| is_ram(*byte)).count() as u64);
        }

        #[test]
        fn a_proposed_place_is_ram_that_nothing_has(
            taken in proptest::collection::vec((0_u64..40, 1_u64..9), 0..8), size in 1_u64..9,
        ) {
            let unit = 1 << 20;
            let taken: Vec<_> = taken.iter().map(|(at, size)| (at * unit, size * unit)).collect();
            let taken = places(&taken);
            let bank = Range { at: 3 * unit, size_bytes: 40 * unit };
            let ram = Ram::new(&[bank]);
            if let Some(at) = ram.free(size * unit, &taken) {
                let range = Range { at, size_bytes: size * unit };
                prop_assert!(ram.contains(&range));
                prop_assert!(taken.iter().all(|place| !place.range.overlaps(&range)));
            }
        }
    }
}
