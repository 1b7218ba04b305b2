//! A split virtqueue of 64 in three pages, built by hand.

use std::sync::atomic::{Ordering, fence};

use crate::pages::{Pages, page};

/// Descriptors of the queue.
pub(crate) const SIZE: u16 = 64;

/// Flags of descriptors.
pub(crate) mod flag {
    pub(crate) const NEXT: u16 = 1;
    pub(crate) const WRITE: u16 = 2;
    pub(crate) const INDIRECT: u16 = 4;
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

impl Descriptor {
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// Links buffers (address, length, flags) to a chain whose first entry is `first`.
pub(crate) fn chain(first: u16, buffers: &[(u64, u32, u16)]) -> Vec<Descriptor> {
    let last = buffers.len().saturating_sub(1);
    let numbered = (first..).zip(buffers).enumerate();
    numbered
        .map(|(place, (index, &(addr, len, flags)))| Descriptor {
            addr,
            len,
            flags: flags | if place < last { flag::NEXT } else { 0 },
            next: index.wrapping_add(1),
        })
        .collect()
}

/// Where the driver is in its rings.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    avail: u16,
    used: u16,
}

impl Rings {
    /// Empty rings.
    pub(crate) fn clear(&mut self, pages: &mut dyn Pages) {
        *self = Rings::default();
        for number in [page::DESC, page::AVAIL, page::USED] {
            pages.write(number, 0, &[0; 4096]);
        }
    }

    /// Puts a head into the available ring.
    pub(crate) fn offer(&mut self, pages: &mut dyn Pages, head: u16) {
        let entry = 4 + 2 * usize::from(self.avail % SIZE);
        pages.write(page::AVAIL, entry, &head.to_le_bytes());
        self.publish(pages, self.avail.wrapping_add(1));
    }

    /// Sets the available ring's index, after everything written before.
    pub(crate) fn publish(&mut self, pages: &mut dyn Pages, index: u16) {
        self.avail = index;
        fence(Ordering::SeqCst);
        pages.write(page::AVAIL, 2, &index.to_le_bytes());
        fence(Ordering::SeqCst);
    }

    /// Whether the device has put something new into the used ring; takes one of it.
    pub(crate) fn take_used(&mut self, pages: &dyn Pages) -> bool {
        let mut index = [0; 2];
        pages.read(page::USED, 2, &mut index);
        fence(Ordering::SeqCst);
        let new = u16::from_le_bytes(index) != self.used;
        if new {
            self.used = self.used.wrapping_add(1);
        }
        new
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Pages in this program's memory, the address of each its number.
    pub(crate) struct PlainPages(pub(crate) Vec<[u8; 4096]>);

    impl PlainPages {
        pub(crate) fn new() -> Self {
            PlainPages(vec![[0; 4096]; page::COUNT])
        }
    }

    impl Pages for PlainPages {
        fn addr(&self, number: usize) -> u64 {
            number as u64 * 4096
        }

        fn write(&mut self, number: usize, offset: usize, bytes: &[u8]) {
            self.0[number][offset..offset + bytes.len()].copy_from_slice(bytes);
        }

        fn read(&self, number: usize, offset: usize, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0[number][offset..offset + bytes.len()]);
        }

        fn renew(&mut self, number: usize) {
            self.0[number] = [0; 4096];
        }
    }

    #[test]
    fn a_chain_is_linked_to_its_end() {
        let chain = chain(
            7,
            &[
                (0x1000, 16, 0),
                (0x2000, 512, flag::WRITE),
                (0x3000, 1, flag::WRITE),
            ],
        );
        let links: Vec<_> = chain.iter().map(|one| (one.flags, one.next)).collect();
        assert_eq!(links, [(1, 8), (3, 9), (2, 10)]);
        let bytes = chain[1].bytes();
        assert_eq!(bytes[..8], 0x2000_u64.to_le_bytes());
        assert_eq!(bytes[8..], [0, 2, 0, 0, 3, 0, 9, 0]);
    }

    #[test]
    fn heads_are_offered_where_the_device_looks() {
        let (mut pages, mut rings) = (PlainPages::new(), Rings::default());
        for head in 0..SIZE + 2 {
            rings.offer(&mut pages, head);
        }
        let avail = &pages.0[page::AVAIL];
        assert_eq!(avail[2..4], 66_u16.to_le_bytes());
        // The ring has come round.
        assert_eq!(avail[4..8], [64, 0, 65, 0]);
        assert_eq!(avail[8..10], [2, 0]);
    }

    #[test]
    fn used_elements_are_taken_one_by_one() {
        let (mut pages, mut rings) = (PlainPages::new(), Rings::default());
        assert!(!rings.take_used(&pages));
        pages.write(page::USED, 2, &2_u16.to_le_bytes());
        assert!(rings.take_used(&pages) && rings.take_used(&pages) && !rings.take_used(&pages));
    }
}
