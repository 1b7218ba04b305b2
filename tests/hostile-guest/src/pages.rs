//! Pages for rings and requests, and what the backend may do with each.

use xen::{Access, DomId, GrantAllocation, GrantAllocator, PAGE_SIZE};

/// Bit of a DMA address that names a grant (Linux: drivers/xen/grant-dma-ops.c).
const GRANT: u64 = 1 << 63;

/// Numbers of pages. References of neighbouring pages need not follow each other, so nothing spans two.
pub(crate) mod page {
    use std::ops::Range;

    pub(crate) const DESC: usize = 0;
    pub(crate) const AVAIL: usize = 1;
    pub(crate) const USED: usize = 2;
    pub(crate) const TABLES: usize = 3;
    pub(crate) const HEADERS: Range<usize> = 4..8;
    pub(crate) const DATA: Range<usize> = 8..40;
    /// Granted for reading.
    pub(crate) const READ_ONLY: Range<usize> = 40..44;
    /// Granted to another domain.
    pub(crate) const ELSEWHERE: Range<usize> = 44..46;
    /// Granted once, and no more.
    pub(crate) const REVOKED: Range<usize> = 46..48;
    pub(crate) const COUNT: usize = 48;
}

/// Memory the device may be told of.
pub(crate) trait Pages {
    /// What the device is told of page `number`.
    fn addr(&self, number: usize) -> u64;
    /// Writes into a page; nothing happens to one that is not there any more.
    fn write(&mut self, number: usize, offset: usize, bytes: &[u8]);
    /// Reads from a page.
    fn read(&self, number: usize, offset: usize, bytes: &mut [u8]);
    /// Ends a page's grant, and grants another page in its place.
    fn renew(&mut self, number: usize);
}

/// Pages of this guest's kernel, granted.
pub(crate) struct GrantedPages {
    allocator: GrantAllocator,
    backend: DomId,
    pages: Vec<Page>,
}

struct Page {
    reference: u32,
    /// `None`: not granted any more.
    memory: Option<GrantAllocation>,
}

impl GrantedPages {
    pub(crate) fn new(backend: DomId) -> Result<Self, String> {
        let allocator = GrantAllocator::open().map_err(|error| error.to_string())?;
        let mut granted = GrantedPages {
            allocator,
            backend,
            pages: Vec::new(),
        };
        for number in 0..page::COUNT {
            let page = granted.grant(number)?;
            granted.pages.push(page);
        }
        for number in page::REVOKED {
            granted.pages[number].memory = None;
        }
        Ok(granted)
    }

    fn grant(&self, number: usize) -> Result<Page, String> {
        // Nobody has this number; granting to who is not there is allowed.
        let nobody = DomId::new(0x7fe0).ok_or("no such domain number")?;
        let (domain, access) = if page::ELSEWHERE.contains(&number) {
            (nobody, Access::ReadWrite)
        } else if page::READ_ONLY.contains(&number) {
            (self.backend, Access::ReadOnly)
        } else {
            (self.backend, Access::ReadWrite)
        };
        let memory = self.allocator.alloc(domain, 1, access);
        let memory = memory.map_err(|error| error.to_string())?;
        let reference = memory.refs().first().map_or(0, |reference| reference.0);
        Ok(Page {
            reference,
            memory: Some(memory),
        })
    }

    fn place(&self, number: usize, offset: usize, len: usize) -> Option<*mut u8> {
        assert!(offset + len <= PAGE_SIZE);
        let memory = self.pages[number].memory.as_ref()?;
        Some(memory.as_mut_ptr().wrapping_add(offset))
    }
}

impl Pages for GrantedPages {
    fn addr(&self, number: usize) -> u64 {
        GRANT + u64::from(self.pages[number].reference) * PAGE_SIZE as u64
    }

    fn write(&mut self, number: usize, offset: usize, bytes: &[u8]) {
        let Some(place) = self.place(number, offset, bytes.len()) else {
            return;
        };
        for (index, &byte) in bytes.iter().enumerate() {
            // SAFETY: the bytes lie in the page, as `place` asserts; the device may use it at the same time, which
            // volatile access allows for.
            unsafe { place.add(index).write_volatile(byte) };
        }
    }

    fn read(&self, number: usize, offset: usize, bytes: &mut [u8]) {
        let Some(place) = self.place(number, offset, bytes.len()) else {
            return;
        };
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: as above.
            *byte = unsafe { place.add(index).read_volatile() };
        }
    }

    fn renew(&mut self, number: usize) {
        // Given back first: the kernel has a limit. What the backend still maps goes when it lets go.
        self.pages[number].memory = None;
        if let Ok(page) = self.grant(number) {
            self.pages[number] = page;
        }
    }
}
