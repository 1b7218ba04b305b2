//! Guest memory by grants.
//!
//! The driver's addresses are grants: bit 63, then the grant reference, then 12 bits of offset; a buffer of several
//! pages uses consecutive references (Linux: drivers/xen/grant-dma-ops.c). The page is Xen's 4 KiB, whatever the
//! kernel's is.
//!
//! A grant is mapped only for one request, and unmapped before that request is published: Linux disables a device for
//! good when it frees a grant that is still in use. Hence no cache of mappings here, ever. What the guest granted
//! read-only is mapped read-only. A refused grant fails its own transfer.

use std::sync::Arc;

use devices::memory::Slices;
use devices::refusal::refused;
use devices::{
    Access, CopyIn, CopyOut, Counters, MappedPayload, MemoryError, PayloadMemory, Segment,
};
use smallvec::SmallVec;
use vm_memory::VolatileSlice;
use xen::{GrantRef, PAGE_SIZE};

use super::ring::{Area, RingMemory};
use super::xen_error;
use crate::xen_side::{Grants, HostPages, Local, Piece};

/// The bit that makes a DMA address a grant (`XEN_GRANT_DMA_ADDR_OFF` in Linux).
pub(crate) const GRANT_ADDRESS: u64 = 1 << 63;

/// Most pages mapped for one request (8 MiB): Linux asks for 4 MiB at most, of which each segment may touch a page more.
const MAX_PAGES: usize = 2048;

const PAGE: u64 = PAGE_SIZE as u64;

/// Reference of the page that `addr` lies in.
fn grant_of(addr: u64, len: u64) -> Result<GrantRef, MemoryError> {
    let wrong = MemoryError::Address { addr, len };
    let Some(page) = addr.checked_sub(GRANT_ADDRESS).map(|local| local / PAGE) else {
        return Err(refused("memory: an address that is no grant", wrong));
    };
    u32::try_from(page)
        .map(GrantRef)
        .map_err(|_| refused("memory: a grant reference of more than 32 bits", wrong))
}

/// First and last grant of `len` bytes at `addr`; `len` is not 0.
fn grants_of(addr: u64, len: u64) -> Result<(GrantRef, GrantRef), MemoryError> {
    let last = len.checked_sub(1).and_then(|more| addr.checked_add(more));
    let last = last
        .ok_or(MemoryError::Address { addr, len })
        .map_err(|error| refused("memory: a grant address that wraps around", error))?;
    Ok((grant_of(addr, len)?, grant_of(last, len)?))
}

/// Whether a ring area's address is one of grants.
pub(super) fn check_area(addr: u64, len: u64) -> Result<(), MemoryError> {
    grants_of(addr, len).map(drop)
}

/// Maps a ring area by one batch, or page by page where the kernel's pages are larger than Xen's.
pub(super) fn map_area(
    grants: &dyn Grants,
    area: Area,
    ring: &mut RingMemory,
) -> Result<(), MemoryError> {
    let (base, _) = area.pages()?;
    let (first, last) = grants_of(area.addr, area.len)?;
    let refs: Vec<GrantRef> = (first.0..=last.0).map(GrantRef).collect();
    let access = if area.writable {
        xen::Access::ReadWrite
    } else {
        xen::Access::ReadOnly
    };
    match grants.map(&refs, access) {
        Ok(pages) => ring.add(base, area.writable, pages),
        Err(xen::Error::PageSize { .. }) => {
            for (reference, base) in refs.into_iter().zip((base..).step_by(PAGE_SIZE)) {
                let pages = grants.map(&[reference], access).map_err(|error| {
                    refused_by_xen("memory: a ring's grant refused", base, &error)
                })?;
                ring.add(base, area.writable, pages);
            }
        }
        Err(error) => {
            let name = "memory: a ring's grant refused";
            return Err(refused_by_xen(name, area.addr, &error));
        }
    }
    Ok(())
}

fn refused_by_xen(name: &'static str, addr: u64, error: &xen::Error) -> MemoryError {
    let error = MemoryError::Refused {
        addr,
        reason: error.to_string(),
    };
    refused(name, error)
}

/// Payload of one queue.
pub(crate) struct GrantPayload {
    grants: Arc<dyn Grants>,
    copy_limit: usize,
    counters: Arc<Counters>,
}

impl GrantPayload {
    pub(crate) fn new(grants: Arc<dyn Grants>, copy_limit: usize, counters: Arc<Counters>) -> Self {
        GrantPayload {
            grants,
            copy_limit,
            counters,
        }
    }

    /// Copies by one ioctl; gives each job's verdict. `owners` names the job (and address) of each piece.
    fn copy(
        &self,
        pieces: Vec<Piece<'_>>,
        owners: &[(usize, u64)],
        verdict: &mut dyn FnMut(usize, MemoryError),
    ) {
        if pieces.is_empty() {
            return;
        }
        self.counters.copies.inc();
        match self.grants.copy(pieces) {
            Ok(verdicts) => {
                for (&(job, addr), reason) in owners.iter().zip(verdicts) {
                    if let Some(reason) = reason {
                        let error = MemoryError::Refused { addr, reason };
                        verdict(job, refused("memory: a grant refused in a copy", error));
                    }
                }
            }
            Err(error) => {
                for &(job, addr) in owners {
                    verdict(job, refused_by_xen("memory: a copy failed", addr, &error));
                }
            }
        }
    }
}

/// The part of a transfer that lies in one page.
struct PagePart {
    grant: GrantRef,
    offset: u16,
    addr: u64,
    len: usize,
}

/// Cuts the first `need` bytes of `segments` at page boundaries.
fn page_parts(segments: &[Segment], need: usize) -> Result<SmallVec<[PagePart; 8]>, MemoryError> {
    let mut parts = SmallVec::new();
    let mut left = need as u64;
    for segment in segments {
        let (mut addr, mut here) = (segment.addr, u64::from(segment.len).min(left));
        left = left.saturating_sub(here);
        while here > 0 {
            let offset = addr % PAGE;
            let len = here.min(PAGE.saturating_sub(offset));
            parts.push(PagePart {
                grant: grant_of(addr, len)?,
                // Less than a page, so neither conversion can fail.
                offset: u16::try_from(offset).unwrap_or_default(),
                addr,
                len: usize::try_from(len).unwrap_or_default(),
            });
            addr = addr
                .checked_add(len)
                .ok_or(MemoryError::Address { addr, len })?;
            here = here.saturating_sub(len);
        }
    }
    match left {
        0 => Ok(parts),
        _ => {
            let need = need as u64;
            let have = need.saturating_sub(left);
            let error = MemoryError::TooShort { have, need };
            Err(refused(
                "memory: fewer bytes than the transfer needs",
                error,
            ))
        }
    }
}

impl PayloadMemory for GrantPayload {
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]) {
        let mut pieces = Vec::with_capacity(batch.len().saturating_mul(2));
        let mut owners = Vec::with_capacity(pieces.capacity());
        let mut results = Vec::with_capacity(batch.len());
        for (
            job,
            CopyIn {
                segments, buffer, ..
            },
        ) in batch.iter_mut().enumerate()
        {
            let parts = page_parts(segments, buffer.len());
            let mut rest: &mut [u8] = buffer;
            results.push(parts.map(|parts| {
                for PagePart {
                    grant,
                    offset,
                    addr,
                    len,
                } in parts
                {
                    let (now, later) = std::mem::take(&mut rest)
                        .split_at_mut_checked(len)
                        .unwrap_or_default();
                    rest = later;
                    pieces.push(Piece {
                        grant,
                        offset,
                        local: Local::In(now),
                    });
                    owners.push((job, addr));
                }
            }));
        }
        self.copy(pieces, &owners, &mut |job, error| {
            if let Some(result) = results.get_mut(job) {
                *result = Err(error);
            }
        });
        for (job, result) in batch.iter_mut().zip(results) {
            job.result = result;
        }
    }

    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]) {
        let mut pieces = Vec::with_capacity(batch.len().saturating_mul(2));
        let mut owners = Vec::with_capacity(pieces.capacity());
        let mut results = Vec::with_capacity(batch.len());
        for (
            job,
            CopyOut {
                segments, buffer, ..
            },
        ) in batch.iter().enumerate()
        {
            let parts = page_parts(segments, buffer.len());
            let mut rest: &[u8] = buffer;
            results.push(parts.map(|parts| {
                for PagePart {
                    grant,
                    offset,
                    addr,
                    len,
                } in parts
                {
                    let (now, later) = rest.split_at_checked(len).unwrap_or_default();
                    rest = later;
                    pieces.push(Piece {
                        grant,
                        offset,
                        local: Local::Out(now),
                    });
                    owners.push((job, addr));
                }
            }));
        }
        self.copy(pieces, &owners, &mut |job, error| {
            if let Some(result) = results.get_mut(job) {
                *result = Err(error);
            }
        });
        for (job, result) in batch.iter_mut().zip(results) {
            job.result = result;
        }
    }

    fn copy_limit(&self) -> usize {
        self.copy_limit
    }

    fn map(
        &mut self,
        segments: &[Segment],
        access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError> {
        let mut refs: Vec<GrantRef> = Vec::new();
        let mut spans = SmallVec::new();
        for segment in segments {
            let (first, last) = grants_of(segment.addr, u64::from(segment.len))?;
            // Small numbers: a segment has fewer than 2^32 bytes, and refs are bounded below.
            let offset = refs
                .len()
                .saturating_mul(PAGE_SIZE)
                .saturating_add((segment.addr % PAGE) as usize);
            spans.push(Span {
                offset,
                len: segment.len as usize,
            });
            let pages = (last.0.saturating_sub(first.0) as usize)
                .saturating_add(refs.len())
                .saturating_add(1);
            if pages > MAX_PAGES {
                let limit = MAX_PAGES;
                let error = MemoryError::TooMany { pages, limit };
                return Err(refused("memory: too many grants in a mapping", error));
            }
            refs.extend((first.0..=last.0).map(GrantRef));
        }
        let access = match access {
            Access::Read => xen::Access::ReadOnly,
            Access::Write => xen::Access::ReadWrite,
        };
        let addr = segments.first().map_or(0, |segment| segment.addr);
        let pages = match self.grants.map(&refs, access) {
            Ok(pages) => pages,
            // Such a kernel maps no batch: the data goes by copies.
            Err(xen::Error::PageSize { .. }) => {
                let pages = refs.len();
                let error = MemoryError::TooMany { pages, limit: 1 };
                return Err(refused("memory: a kernel that maps no batches", error));
            }
            Err(error) => {
                let name = "memory: a grant refused in a mapping";
                return Err(refused_by_xen(name, addr, &error));
            }
        };
        self.counters.maps.inc();
        self.counters.mapped_pages.add(refs.len() as u64);
        Ok(Box::new(GrantPayloadMap {
            pages,
            spans,
            counters: Arc::clone(&self.counters),
        }))
    }
}

/// A segment within the mapping.
struct Span {
    offset: usize,
    len: usize,
}

/// One request's grants, mapped.
struct GrantPayloadMap {
    pages: Box<dyn HostPages>,
    spans: SmallVec<[Span; 18]>,
    counters: Arc<Counters>,
}

impl MappedPayload for GrantPayloadMap {
    fn slices(&self) -> Slices<'_> {
        self.spans
            .iter()
            .filter(|span| {
                span.offset
                    .checked_add(span.len)
                    .is_some_and(|end| end <= self.pages.len())
            })
            .map(|span| {
                // SAFETY: the span lies within the mapping (just checked), which lives as long as `self`.
                let start = unsafe { self.pages.as_ptr().add(span.offset) };
                // SAFETY: as above; the guest may change the bytes any time, which volatile access allows for. A
                // read-only mapping is only ever read: users give it to `pwritev` alone.
                unsafe { VolatileSlice::new(start, span.len) }
            })
            .collect()
    }

    fn unmap(self: Box<Self>) -> Result<(), MemoryError> {
        self.counters.unmaps.inc();
        self.pages.unmap().map_err(xen_error)
    }
}

#[cfg(test)]
mod tests;
