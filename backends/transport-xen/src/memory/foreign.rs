//! Guest memory by foreign mapping: dom0 reaches all of the guest.
//!
//! Memory is mapped in windows of 1 MiB when it is first used, and at most 64 of them are kept (the least recently
//! used goes). When the guest gives pages back to Xen (ballooning), Xen asks every ioreq server to forget its
//! mappings, with the guest's vCPU waiting: [`ForeignMemory::forget`] drops all windows then, since the page now
//! mapped would not be the guest's page any more. Pages that are not there fail their own transfer, and are
//! looked up again at the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::chain::{slice_segments, total_len};
use devices::memory::Slices;
use devices::refusal::refused;
use devices::{
    Access, CopyIn, CopyOut, Counters, MappedPayload, MemoryError, PayloadMemory, Segment,
};
use smallvec::SmallVec;
use vm_memory::VolatileSlice;
use xen::{PAGE_SIZE, Pfn};

use super::ring::{Area, RingMemory};
use crate::xen_side::{Foreign, HostPages};

const PAGE: u64 = PAGE_SIZE as u64;

/// Size of a window in bytes.
const WINDOW: u64 = 1 << 20;

/// Most windows kept.
const MAX_WINDOWS: usize = 64;

/// Most bytes mapped for one request: its windows stay mapped even when the cache has dropped them.
const MAX_MAP: u64 = 16 << 20;

/// A guest's RAM banks on Arm: start and largest size (`GUEST_RAM_BANK_BASES`, `GUEST_RAM_BANK_SIZES` in
/// xen/include/public/arch-arm.h). libxl fills the first before the second.
const BANKS: [(u64, u64); 2] = [(0x4000_0000, 0xc000_0000), (0x2_0000_0000, 0xfe_0000_0000)];

/// Guest memory, shared by all devices of the guest that use it.
pub(crate) struct ForeignMemory {
    source: Arc<dyn Foreign>,
    /// Start and size in bytes of each RAM bank of this guest.
    banks: [(u64, u64); 2],
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    windows: HashMap<u64, (Arc<Window>, u64)>,
    /// Counts uses, to find the least recently used.
    clock: u64,
}

/// A mapped piece of guest memory.
struct Window {
    pages: Box<dyn HostPages>,
}

impl Window {
    /// Whether all pages of `offset..offset + len` are there.
    fn covers(&self, offset: usize, len: usize) -> bool {
        let Some(end) = offset
            .checked_add(len)
            .filter(|&end| end <= self.pages.len())
        else {
            return false;
        };
        let errors = self.pages.errors();
        if errors.is_empty() {
            return true;
        }
        let touched = errors.get(offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE));
        touched.is_some_and(|errors| errors.iter().all(|&error| error == 0))
    }
}

/// A piece of a transfer: within one window, all pages there.
struct Part {
    window: Arc<Window>,
    offset: usize,
    len: usize,
}

impl Part {
    fn slice(&self) -> VolatileSlice<'_> {
        // SAFETY: parts are only made of ranges that their window covers.
        let start = unsafe { self.window.pages.as_ptr().add(self.offset) };
        // SAFETY: as above; the window stays mapped for as long as `self` lives. The guest may change the bytes any
        // time, which volatile access allows for.
        unsafe { VolatileSlice::new(start, self.len) }
    }
}

type Parts = SmallVec<[Part; 8]>;

impl ForeignMemory {
    /// Memory of a guest of `memory_kib` KiB.
    pub(crate) fn new(source: Arc<dyn Foreign>, memory_kib: u64) -> Self {
        let mut left = memory_kib.saturating_mul(1024);
        let banks = BANKS.map(|(start, most)| {
            let size = left.min(most);
            left = left.saturating_sub(size);
            (start, size)
        });
        ForeignMemory {
            source,
            banks,
            cache: Mutex::default(),
        }
    }

    /// Forgets all windows: the guest's memory map has changed. What is in flight keeps its mapping until it is done.
    pub(crate) fn forget(&self) {
        let dropped = std::mem::take(&mut self.cache().windows);
        // Unmapped here, after the lock is released.
        drop(dropped);
    }

    /// Windows mapped now.
    #[cfg(test)]
    pub(crate) fn windows(&self) -> usize {
        self.cache().windows.len()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// End of the RAM bank that holds all of `addr..addr + len`.
    fn bank_end(&self, addr: u64, len: u64) -> Result<u64, MemoryError> {
        self.banks
            .iter()
            .find_map(|&(start, size)| {
                let offset = addr.checked_sub(start)?;
                let end = offset.checked_add(len)?;
                (end <= size).then(|| start.saturating_add(size))
            })
            .ok_or(MemoryError::Address { addr, len })
            .map_err(|error| refused("memory: outside of the guest's banks", error))
    }

    pub(super) fn check_area(&self, addr: u64, len: u64) -> Result<(), MemoryError> {
        self.bank_end(addr, len).map(drop)
    }

    /// Maps a ring area for itself, apart from the windows: it stays as long as the queue runs.
    pub(super) fn map_area(&self, area: Area, ring: &mut RingMemory) -> Result<(), MemoryError> {
        self.check_area(area.addr, area.len)?;
        let (base, pages) = area.pages()?;
        let first = base / PAGE;
        let frames: Vec<Pfn> = (first..first.saturating_add(pages)).map(Pfn).collect();
        let pages = self
            .source
            .map(&frames)
            .map_err(|error| refused_by_xen("memory: a ring's pages refused", area.addr, &error))?;
        if pages.errors().iter().any(|&error| error != 0) {
            return Err(missing("memory: a ring's page is missing", area.addr));
        }
        ring.add(base, area.writable, pages);
        Ok(())
    }

    /// The window at `start`, which ends at `end` at the latest; freshly mapped if `fresh`.
    fn window(
        &self,
        start: u64,
        end: u64,
        fresh: bool,
        counters: &Counters,
    ) -> Result<Arc<Window>, MemoryError> {
        let mut guard = self.cache();
        let cache = &mut *guard;
        cache.clock = cache.clock.wrapping_add(1);
        let now = cache.clock;
        if let Some((window, used)) = cache.windows.get_mut(&start).filter(|_| !fresh) {
            *used = now;
            return Ok(Arc::clone(window));
        }
        let end = start.saturating_add(WINDOW).min(end);
        let frames: Vec<Pfn> = (start / PAGE..end / PAGE).map(Pfn).collect();
        counters.maps.inc();
        counters.mapped_pages.add(frames.len() as u64);
        let pages = self
            .source
            .map(&frames)
            .map_err(|error| refused_by_xen("memory: a window's pages refused", start, &error))?;
        let window = Arc::new(Window { pages });
        if cache
            .windows
            .insert(start, (Arc::clone(&window), now))
            .is_some()
        {
            counters.unmaps.inc();
        }
        if cache.windows.len() > MAX_WINDOWS {
            let oldest = cache
                .windows
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(&start, _)| start);
            if let Some(oldest) = oldest {
                cache.windows.remove(&oldest);
                counters.unmaps.inc();
            }
        }
        Ok(window)
    }

    /// All parts of `segments`.
    fn parts(&self, segments: &[Segment], counters: &Counters) -> Result<Parts, MemoryError> {
        let mut parts = Parts::new();
        for segment in segments {
            let (mut addr, mut left) = (segment.addr, u64::from(segment.len));
            let bank_end = self.bank_end(addr, left)?;
            while left > 0 {
                let start = addr & !(WINDOW - 1);
                let offset = addr & (WINDOW - 1);
                let len = left.min(WINDOW.saturating_sub(offset));
                // Both are at most a window's size.
                let (at, size) = (offset as usize, len as usize);
                let mut window = self.window(start, bank_end, false, counters)?;
                if !window.covers(at, size) {
                    window = self.window(start, bank_end, true, counters)?;
                }
                if !window.covers(at, size) {
                    return Err(missing("memory: a page is missing", addr));
                }
                parts.push(Part {
                    window,
                    offset: at,
                    len: size,
                });
                addr = addr.saturating_add(len);
                left = left.saturating_sub(len);
            }
        }
        Ok(parts)
    }
}

fn refused_by_xen(name: &'static str, addr: u64, error: &xen::Error) -> MemoryError {
    let error = MemoryError::Refused {
        addr,
        reason: error.to_string(),
    };
    refused(name, error)
}

fn missing(name: &'static str, addr: u64) -> MemoryError {
    let error = MemoryError::Refused {
        addr,
        reason: "the guest has no page there".into(),
    };
    refused(name, error)
}

/// Payload of one queue.
pub(super) struct ForeignPayload {
    memory: Arc<ForeignMemory>,
    counters: Arc<Counters>,
}

impl ForeignPayload {
    pub(super) fn new(memory: Arc<ForeignMemory>, counters: Arc<Counters>) -> Self {
        ForeignPayload { memory, counters }
    }

    fn parts(&self, segments: &[Segment], need: usize) -> Result<Parts, MemoryError> {
        let wanted = slice_segments(segments, 0, need as u64);
        let have = total_len(&wanted);
        if have < need as u64 {
            let need = need as u64;
            let error = MemoryError::TooShort { have, need };
            return Err(refused(
                "memory: fewer bytes than the transfer needs",
                error,
            ));
        }
        self.memory.parts(&wanted, &self.counters)
    }
}

impl PayloadMemory for ForeignPayload {
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]) {
        self.counters.copies.inc();
        for job in batch {
            job.result = self.parts(job.segments, job.buffer.len()).map(|parts| {
                let mut rest: &mut [u8] = job.buffer;
                for part in parts {
                    let (now, later) = std::mem::take(&mut rest)
                        .split_at_mut_checked(part.len)
                        .unwrap_or_default();
                    rest = later;
                    part.slice().copy_to(now);
                }
            });
        }
    }

    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]) {
        self.counters.copies.inc();
        for job in batch {
            job.result = self.parts(job.segments, job.buffer.len()).map(|parts| {
                let mut rest: &[u8] = job.buffer;
                for part in parts {
                    let (now, later) = rest.split_at_checked(part.len).unwrap_or_default();
                    rest = later;
                    part.slice().copy_from(now);
                }
            });
        }
    }

    fn copy_limit(&self) -> usize {
        // The windows are mapped anyway.
        0
    }

    fn map(
        &mut self,
        segments: &[Segment],
        _access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError> {
        let len = total_len(segments);
        if len > MAX_MAP {
            let pages = usize::try_from(len / PAGE).unwrap_or(usize::MAX);
            let limit = (MAX_MAP / PAGE) as usize;
            let error = MemoryError::TooMany { pages, limit };
            return Err(refused("memory: too many pages in a mapping", error));
        }
        let parts = self.memory.parts(segments, &self.counters)?;
        Ok(Box::new(ForeignPayloadMap { parts }))
    }
}

/// One request's guest memory. Holding it keeps its windows mapped.
struct ForeignPayloadMap {
    parts: Parts,
}

impl MappedPayload for ForeignPayloadMap {
    fn slices(&self) -> Slices<'_> {
        self.parts.iter().map(Part::slice).collect()
    }

    fn unmap(self: Box<Self>) -> Result<(), MemoryError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
