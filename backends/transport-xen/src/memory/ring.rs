//! The memory a queue's rings lie in, mapped for as long as the queue runs.
//!
//! Implements vm-memory's `GuestMemory`, so that virtio-queue works on it: addresses stay the driver's own (with
//! grants: bit 63 set), nothing but the mapped ring areas can be reached, and what was mapped for reading cannot be
//! written.

use std::iter::FusedIterator;

use devices::MemoryError;
use devices::refusal::refused;
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};
use xen::PAGE_SIZE;

use crate::xen_side::HostPages;

/// Bytes of a page as guest addresses count.
const PAGE: u64 = PAGE_SIZE as u64;

/// A ring area as the driver stated it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) addr: u64,
    pub(super) len: u64,
    pub(super) writable: bool,
}

impl Area {
    /// Address of the first page and number of pages.
    pub(super) fn pages(&self) -> std::result::Result<(u64, u64), MemoryError> {
        let wrong = || MemoryError::Address {
            addr: self.addr,
            len: self.len,
        };
        let last = self
            .len
            .checked_sub(1)
            .and_then(|more| self.addr.checked_add(more))
            .ok_or_else(wrong)?;
        let base = self.addr & !(PAGE - 1);
        let pages = (last / PAGE)
            .checked_sub(base / PAGE)
            .and_then(|more| more.checked_add(1))
            .ok_or_else(wrong)?;
        Ok((base, pages))
    }
}

/// Consecutive guest pages, mapped.
struct Window {
    /// Guest address of the first byte.
    base: u64,
    writable: bool,
    pages: Box<dyn HostPages>,
}

/// Rings of one queue. Dropping unmaps; [`RingMemory::unmap`] tells how that went.
#[derive(Default)]
pub struct RingMemory {
    windows: Vec<Window>,
}

impl std::fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingMemory")
            .field("windows", &self.windows.len())
            .finish()
    }
}

impl RingMemory {
    /// Adds pages that are mapped one behind the other from guest address `base` (page-aligned) on.
    pub(crate) fn add(&mut self, base: u64, writable: bool, pages: Box<dyn HostPages>) {
        self.windows.push(Window {
            base,
            writable,
            pages,
        });
    }

    /// Gives all pages back.
    pub(crate) fn unmap(self) -> xen::Result<()> {
        let mut outcome = Ok(());
        for window in self.windows {
            outcome = outcome.and(window.pages.unmap());
        }
        outcome
    }

    /// The longest mapped piece that starts at `addr`, at most `count` bytes.
    fn piece(&self, addr: u64, count: usize, access: Permissions) -> Result<VolatileSlice<'_>> {
        let unmapped = || Error::InvalidGuestAddress(GuestAddress(addr));
        for window in &self.windows {
            let Some(offset) = addr
                .checked_sub(window.base)
                .and_then(|offset| usize::try_from(offset).ok())
            else {
                continue;
            };
            let Some(left) = window
                .pages
                .len()
                .checked_sub(offset)
                .filter(|&left| left > 0)
            else {
                continue;
            };
            if access.has_write() && !window.writable {
                refused("memory: a write to a ring mapped for reading", ());
                continue;
            }
            // SAFETY: `offset` is less than the window's length.
            let start = unsafe { window.pages.as_ptr().add(offset) };
            // SAFETY: at least `left` bytes from `start` on are mapped for as long as `self` is borrowed, for writing
            // too if the access says so. The guest may change them any time, which volatile access allows for.
            return Ok(unsafe { VolatileSlice::new(start, left.min(count)) });
        }
        Err(unmapped())
    }
}

impl GuestMemory for RingMemory {
    // Never given out: there is no memory of this kind underneath.
    type PhysicalMemory = GuestMemoryMmap<()>;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        self.get_slices(addr, count, access)
            .is_ok_and(|mut slices| slices.all(|slice| slice.is_ok()))
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, ()>> {
        Ok(RingSlices {
            ring: self,
            addr: addr.0,
            left: count,
            access,
        })
    }
}

struct RingSlices<'a> {
    ring: &'a RingMemory,
    addr: u64,
    left: usize,
    access: Permissions,
}

impl<'a> Iterator for RingSlices<'a> {
    type Item = Result<VolatileSlice<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let piece = self.ring.piece(self.addr, self.left, self.access);
        match &piece {
            Ok(slice) => {
                self.left = self.left.saturating_sub(slice.len());
                match self.addr.checked_add(slice.len() as u64) {
                    Some(addr) => self.addr = addr,
                    None if self.left > 0 => {
                        self.left = 0;
                        return Some(Err(Error::GuestAddressOverflow));
                    }
                    None => {}
                }
            }
            Err(_) => self.left = 0,
        }
        Some(piece)
    }
}

impl FusedIterator for RingSlices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for RingSlices<'a> {}
