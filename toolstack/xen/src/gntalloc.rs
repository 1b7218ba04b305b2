//! Own pages granted to another domain, through `/dev/xen/gntalloc`.
//!
//! The kernel allocates the pages (zeroed), grants them, and lets this process map them. When an
//! allocation is dropped while the other side still has a page mapped, the kernel keeps the page
//! until that is over; until then it counts against the device's limit (1024 pages by default).
//!
//! As with [`crate::grants`], a kernel with larger pages grants one 4-KiB piece of each of its
//! pages, so that only single pages can be had there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use xen_sys::gntalloc as abi;

use crate::PAGE_SIZE;
use crate::error::{Error, Result};
use crate::grants::{Access, UnmapNotify};
use crate::ids::{DomId, GrantRef};
use crate::sys::{self, Mapping};

/// An open grant allocation device. Clones share the same file.
#[derive(Clone, Debug)]
pub struct GrantAllocator {
    fd: Arc<OwnedFd>,
}

impl GrantAllocator {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Open`] where this is no Xen domain or the device may not be used.
    pub fn open() -> Result<Self> {
        Self::from_fd(sys::open(abi::DEVICE, "xen-gntalloc")?)
    }

    /// Takes over an open device.
    ///
    /// # Errors
    /// [`Error::NotADevice`] for another kind of file.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Ok(Self {
            fd: Arc::new(sys::adopt(fd, abi::DEVICE)?),
        })
    }

    /// Allocates `pages` zeroed pages of [`PAGE_SIZE`] and grants each to `domid`, which may use
    /// them as `access` says. This process can always write to them.
    ///
    /// # Errors
    /// [`Error::GrantAlloc`]; `ENOSPC` at the device's limit. [`Error::Argument`] for no page,
    /// [`Error::PageSize`] for several on a kernel with larger pages.
    pub fn alloc(&self, domid: DomId, pages: usize, access: Access) -> Result<GrantAllocation> {
        let page = sys::kernel_page_size();
        if pages > 1 && page != PAGE_SIZE {
            return Err(Error::PageSize {
                what: "granting several pages in a row",
                page_size: page,
            });
        }
        let (Ok(number), Some(size)) = (
            u32::try_from(pages),
            pages.checked_mul(page).filter(|&size| size > 0),
        ) else {
            return Err(Error::Argument("an allocation must have at least one page"));
        };
        let failed = |source| Error::GrantAlloc {
            domid,
            pages,
            source,
        };

        let mut request = Request::new(domid, number, access);
        // SAFETY: the request has room for as many references as it asks for.
        unsafe { sys::ioctl(self.fd.as_fd(), abi::ALLOC_GREF, request.words.as_mut_ptr()) }
            .map_err(failed)?;
        let entry = Entry {
            fd: Arc::clone(&self.fd),
            index: request.index(),
            count: number,
        };
        let mapping = Mapping::new(self.fd.as_fd(), size, entry.index, true).map_err(failed)?;
        Ok(GrantAllocation {
            mapping,
            entry,
            refs: request.refs(pages),
        })
    }
}

impl AsFd for GrantAllocator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An allocation request: the header, and room for the references behind it.
struct Request {
    words: Vec<u64>,
}

impl Request {
    fn new(domid: DomId, count: u32, access: Access) -> Self {
        let flags = if access.writable() {
            abi::FLAG_WRITABLE
        } else {
            0
        };
        let references = usize::try_from(count).unwrap_or(usize::MAX).div_ceil(2);
        let mut words = vec![0_u64; references.saturating_add(2)];
        let header = abi::AllocGrefHeader {
            domid: domid.get(),
            flags,
            count,
            index: 0,
        };
        // SAFETY: there are at least two words, which have the header's size and alignment.
        unsafe {
            words
                .as_mut_ptr()
                .cast::<abi::AllocGrefHeader>()
                .write(header)
        };
        Self { words }
    }

    fn index(&self) -> u64 {
        self.words.get(1).copied().unwrap_or(0)
    }

    fn refs(&self, count: usize) -> Vec<GrantRef> {
        self.words
            .iter()
            .skip(2)
            .flat_map(|word| word.to_ne_bytes().as_chunks::<4>().0.to_vec())
            .map(|bytes| GrantRef(u32::from_ne_bytes(bytes)))
            .take(count)
            .collect()
    }
}

/// Pages in the device's list, given back when dropped.
#[derive(Debug)]
struct Entry {
    fd: Arc<OwnedFd>,
    index: u64,
    count: u32,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut argument = abi::DeallocGref {
            index: self.index,
            count: self.count,
        };
        // What cannot be given back goes when the device is closed.
        // SAFETY: DEALLOC_GREF reads one `DeallocGref`.
        let _ = unsafe { sys::ioctl(self.fd.as_fd(), abi::DEALLOC_GREF, &raw mut argument) };
    }
}

/// Granted pages of this domain, mapped here, given back when dropped.
#[derive(Debug)]
pub struct GrantAllocation {
    // Unmapped first, then given back.
    mapping: Mapping,
    entry: Entry,
    refs: Vec<GrantRef>,
}

impl GrantAllocation {
    /// The references to tell the other domain, one for each page.
    pub fn refs(&self) -> &[GrantRef] {
        &self.refs
    }

    /// First byte. The other domain may write at any time if it was given write access.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Size in bytes: [`PAGE_SIZE`] for each page.
    pub fn len(&self) -> usize {
        self.refs.len().saturating_mul(PAGE_SIZE)
    }

    /// Never true: an allocation has at least one page.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// Sets, or with the default value takes back, what shall happen when the page that holds the
    /// byte (without one: the first page) is given back. One notification for each page.
    ///
    /// # Errors
    /// As [`crate::GrantMapping::set_unmap_notify`].
    pub fn set_unmap_notify(&self, notify: UnmapNotify) -> Result<()> {
        let mut argument = notify.argument(self.entry.index, self.len())?;
        // SAFETY: SET_UNMAP_NOTIFY reads one `UnmapNotify`.
        unsafe {
            sys::ioctl(
                self.entry.fd.as_fd(),
                abi::SET_UNMAP_NOTIFY,
                &raw mut argument,
            )
        }
        .map(drop)
        .map_err(|source| Error::UnmapNotify { source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_room_for_every_reference_and_for_the_kernels_structure() {
        for count in 1..=9_u32 {
            let request = Request::new(DomId::DOM0, count, Access::ReadOnly);
            let bytes = size_of_val(request.words.as_slice());
            assert!(bytes >= size_of::<abi::AllocGref>());
            assert!(bytes >= 16 + 4 * usize::try_from(count).unwrap());
        }
    }

    #[test]
    fn references_are_read_where_the_kernel_writes_them() {
        let mut request = Request::new(DomId::new(2).unwrap(), 3, Access::ReadWrite);
        let start = request.words.as_mut_ptr();
        // SAFETY: the request starts with a header and has room for three references behind it.
        let header = unsafe {
            let header = start.cast::<abi::AllocGrefHeader>();
            (*header).index = 0x7000;
            let refs = start.add(2).cast::<u32>();
            for (position, reference) in [100, 101, 102].into_iter().enumerate() {
                refs.add(position).write(reference);
            }
            *header
        };
        assert_eq!((header.domid, header.flags, header.count), (2, 1, 3));
        assert_eq!(request.index(), 0x7000);
        assert_eq!(
            request.refs(3),
            [GrantRef(100), GrantRef(101), GrantRef(102)]
        );
    }
}
