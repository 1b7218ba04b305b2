//! Another domain's memory, and the pages Xen keeps for it, mapped into this process.
//!
//! Foreign mappings reach the whole guest and are therefore for dom0 alone. They cannot be pinned:
//! direct I/O, io_uring's registered buffers and grant copies from or to them fail with `EFAULT`.
//!
//! A page that could not be mapped leaves a hole; touching a hole is a SIGBUS. Look at
//! [`ForeignMapping::errors`] first, or ask for [`ForeignMapping::complete`].
//!
//! Both mapping ioctls are issued once on each fresh mapping and never again on the same: the kernel
//! keeps its page list in the mapping and stops with a `BUG` (resource) or maps the wrong page
//! (batch, on all but PV domains) when it is asked twice. What must be tried again is mapped again.

use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use xen_sys::memory;
use xen_sys::privcmd as abi;

use crate::PAGE_SIZE;
use crate::counters::count;
use crate::error::{Error, Result};
use crate::grants::Access;
use crate::ids::{DomId, IoservId, Pfn};
use crate::privcmd::PrivCmd;
use crate::sys::{self, Mapping};

/// How often a batch with paged-out pages (x86 only) is tried, a millisecond apart.
const PAGED_OUT_TRIES: u32 = 100;

/// A domain's resource that Xen lets its device model map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// The pages of an ioreq server: frame 0 is the buffered ring (x86), frame 1 the vCPUs' slots.
    IoreqServer(IoservId),
}

impl Resource {
    fn kind(self) -> u32 {
        match self {
            Self::IoreqServer(_) => memory::RESOURCE_IOREQ_SERVER,
        }
    }

    fn id(self) -> IoservId {
        match self {
            Self::IoreqServer(id) => id,
        }
    }
}

impl PrivCmd {
    /// Maps pages of `domid` by guest frame number, one behind the other in the order given.
    ///
    /// The mapping is contiguous also on kernels with larger pages.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] if no page could be mapped; [`Error::Argument`] for an empty list. If
    /// only some failed, the mapping tells which.
    pub fn map_foreign(
        &self,
        domid: DomId,
        frames: &[Pfn],
        access: Access,
    ) -> Result<ForeignMapping> {
        let pages = frames.len();
        let failed = |source| Error::ForeignMap {
            domid,
            pages,
            source,
        };
        let (Ok(number), Some(size)) = (
            u32::try_from(pages),
            pages
                .checked_mul(PAGE_SIZE)
                .and_then(sys::round_to_kernel_pages)
                .filter(|&size| size > 0),
        ) else {
            return Err(Error::Argument(
                "a foreign mapping must have at least one page, and fewer than 2^32",
            ));
        };
        let frames: Vec<u64> = frames.iter().map(|frame| frame.0).collect();

        let mut tries = 1;
        loop {
            let mapping = Mapping::new(self.as_fd(), size, 0, access.writable()).map_err(failed)?;
            let mut errors = vec![0_i32; pages];
            let mut argument = abi::MmapBatchV2 {
                num: number,
                dom: domid.get(),
                addr: address(&mapping),
                arr: frames.as_ptr(),
                err: errors.as_mut_ptr(),
            };
            // SAFETY: both arrays have `num` elements; the mapping is fresh and of this size.
            let result =
                unsafe { sys::ioctl_once(self.as_fd(), abi::MMAPBATCH_V2, &raw mut argument) };
            let paged_out = match result {
                Ok(_) => false,
                Err(error) => match error.raw_os_error() {
                    // The kernel's way to say that at least one page is paged out; the array holds.
                    Some(libc::ENOENT) => true,
                    Some(libc::EINTR) => continue,
                    _ => return Err(failed(error)),
                },
            };
            if paged_out && tries < PAGED_OUT_TRIES {
                tries += 1;
                sleep(Duration::from_millis(1));
                continue;
            }
            count(&self.counters().foreign_maps, 1);
            count(&self.counters().foreign_pages, pages);
            return ForeignMapping::new(mapping, domid, access, errors);
        }
    }

    /// Maps `pages` pages of a resource, from `frame` on, for reading and writing.
    ///
    /// # Errors
    /// [`Error::ResourceMap`]; `EPERM` without privilege over the domain. [`Error::PageSize`] for
    /// several pages on a kernel with larger pages, which maps them wrongly.
    pub fn map_resource(
        &self,
        domid: DomId,
        resource: Resource,
        frame: u64,
        pages: usize,
    ) -> Result<ResourceMapping> {
        let page = sys::kernel_page_size();
        if pages > 1 && page != PAGE_SIZE {
            return Err(Error::PageSize {
                what: "mapping several pages of a resource",
                page_size: page,
            });
        }
        let (Ok(number), Some(size), Ok(idx)) = (
            u64::try_from(pages),
            pages.checked_mul(page).filter(|&size| size > 0),
            u32::try_from(frame),
        ) else {
            return Err(Error::Argument(
                "a resource mapping must have at least one page, and a frame below 2^32",
            ));
        };
        let failed = |source| Error::ResourceMap {
            domid,
            server: resource.id(),
            source,
        };
        let mapping = Mapping::new(self.as_fd(), size, 0, true).map_err(failed)?;
        let mut argument = abi::MmapResource {
            dom: domid.get(),
            kind: resource.kind(),
            id: u32::from(resource.id().0),
            idx,
            num: number,
            addr: address(&mapping),
        };
        // SAFETY: the mapping is fresh and has room for `num` pages.
        unsafe { sys::ioctl_once(self.as_fd(), abi::MMAP_RESOURCE, &raw mut argument) }
            .map_err(failed)?;
        count(&self.counters().foreign_maps, 1);
        count(&self.counters().foreign_pages, pages);
        Ok(ResourceMapping {
            mapping,
            length: pages.saturating_mul(PAGE_SIZE),
        })
    }
}

fn address(mapping: &Mapping) -> u64 {
    u64::try_from(mapping.as_ptr().addr()).unwrap_or(0)
}

/// Pages of another domain, unmapped when dropped.
#[derive(Debug)]
pub struct ForeignMapping {
    mapping: Mapping,
    domid: DomId,
    access: Access,
    /// One for each page: 0 or a negative errno.
    errors: Vec<i32>,
}

impl ForeignMapping {
    fn new(mapping: Mapping, domid: DomId, access: Access, errors: Vec<i32>) -> Result<Self> {
        let this = Self {
            mapping,
            domid,
            access,
            errors,
        };
        let pages = this.pages();
        if this.failed() == pages {
            return Err(Error::ForeignMap {
                domid,
                pages,
                source: this.first_error(),
            });
        }
        Ok(this)
    }

    /// First byte. Pages whose error is not 0 must not be touched.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Copies bytes out. The domain may change them meanwhile: what was copied is what was there at some moment, byte for byte.
    ///
    /// # Errors
    /// [`Error::ForeignCopy`], and nothing copied: the bytes are beyond the mapping's end, or it has holes.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.place("read", offset, bytes.len())?;
        // SAFETY: the bytes are within the mapping, all of whose pages are there; the destination is ours, so they do not overlap.
        // That another domain writes there is outside of what the compiler knows of; no reference to these bytes exists.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// As [`ForeignMapping::read`], and for a mapping that was made read-only.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.place("write", offset, bytes.len())?;
        if !self.access.writable() {
            let why = "the pages are mapped read-only; map them with Access::ReadWrite";
            return Err(self.no_copy("write", offset, bytes.len(), why));
        }
        // SAFETY: as above, the other way round; the pages may be written.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn place(&self, verb: &'static str, offset: usize, length: usize) -> Result<*mut u8> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.len()) {
            let why = "the mapping ends before that";
            return Err(self.no_copy(verb, offset, length, why));
        }
        if self.failed() > 0 {
            let why = "some of its pages could not be mapped";
            return Err(self.no_copy(verb, offset, length, why));
        }
        // SAFETY: within the mapping.
        Ok(unsafe { self.mapping.as_ptr().add(offset) })
    }

    fn no_copy(
        &self,
        verb: &'static str,
        offset: usize,
        length: usize,
        why: &'static str,
    ) -> Error {
        Error::ForeignCopy {
            verb,
            domid: self.domid,
            offset,
            length,
            why,
        }
    }

    fn pages(&self) -> usize {
        self.errors.len()
    }

    /// Size in bytes: [`PAGE_SIZE`] for each page asked for, mapped or not.
    pub fn len(&self) -> usize {
        self.pages().saturating_mul(PAGE_SIZE)
    }

    /// Never true: a mapping has at least one page.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// For each page 0 or a negative errno.
    pub fn errors(&self) -> &[i32] {
        &self.errors
    }

    /// The mapping, if it has no hole.
    ///
    /// # Errors
    /// [`Error::ForeignMapIncomplete`].
    pub fn complete(self) -> Result<Self> {
        match self.failed() {
            0 => Ok(self),
            failed => Err(Error::ForeignMapIncomplete {
                domid: self.domid,
                pages: self.pages(),
                failed,
                source: self.first_error(),
            }),
        }
    }

    fn failed(&self) -> usize {
        self.errors.iter().filter(|&&error| error != 0).count()
    }

    fn first_error(&self) -> io::Error {
        let errno = self.errors.iter().find(|&&error| error != 0);
        io::Error::from_raw_os_error(errno.map_or(0, |errno| errno.saturating_neg()))
    }
}

/// Pages that Xen keeps for a domain, unmapped when dropped.
///
/// The page stays referenced while it is mapped, also after the domain has died.
#[derive(Debug)]
pub struct ResourceMapping {
    mapping: Mapping,
    length: usize,
}

impl ResourceMapping {
    /// First byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Size in bytes: [`PAGE_SIZE`] for each page.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true: a mapping has at least one page.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(errors: &[i32]) -> Result<ForeignMapping> {
        let memory = Mapping::anonymous_locked(sys::kernel_page_size()).unwrap();
        ForeignMapping::new(memory, DomId::DOM0, Access::ReadWrite, errors.to_vec())
    }

    #[test]
    fn a_mapping_without_any_page_is_an_error_with_the_first_pages_reason() {
        let error = mapping(&[-libc::ESRCH, -libc::EINVAL]).unwrap_err();
        assert!(matches!(error, Error::ForeignMap { pages: 2, .. }));
        assert!(error.is_no_such_domain());
    }

    #[test]
    fn holes_are_listed_and_a_complete_mapping_can_be_asked_for() {
        let partial = mapping(&[0, -libc::EINVAL, 0]).unwrap();
        assert_eq!(partial.errors(), [0, -libc::EINVAL, 0]);
        assert_eq!(partial.len(), 3 * PAGE_SIZE);
        let error = partial.complete().unwrap_err();
        assert!(matches!(
            error,
            Error::ForeignMapIncomplete {
                failed: 1,
                pages: 3,
                ..
            }
        ));
        assert_eq!(error.errno(), Some(libc::EINVAL));
        assert!(mapping(&[0, 0]).unwrap().complete().is_ok());
    }

    #[test]
    fn bytes_are_copied_within_a_mapping_without_holes_and_nowhere_else() {
        let whole = mapping(&[0]).unwrap();
        whole.write(PAGE_SIZE - 3, b"abc").unwrap();
        let mut bytes = [0; 3];
        whole.read(PAGE_SIZE - 3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"abc");
        for offset in [PAGE_SIZE - 2, usize::MAX] {
            let error = whole.write(offset, b"abc").unwrap_err();
            assert!(error.to_string().contains("ends before that"), "{error}");
            assert!(whole.read(offset, &mut bytes).is_err());
        }
        let holed = mapping(&[0, -libc::EINVAL]).unwrap();
        let error = holed.read(0, &mut bytes).unwrap_err();
        assert!(error.to_string().contains("could not be mapped"), "{error}");
    }

    #[test]
    fn writing_to_pages_that_are_mapped_read_only_is_an_error() {
        // Without write permission as the kernel maps them: a write that is tried would end the process.
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let memory = Mapping::new(zeros.as_fd(), sys::kernel_page_size(), 0, false).unwrap();
        let mapping = ForeignMapping::new(memory, DomId::DOM0, Access::ReadOnly, vec![0]).unwrap();
        let error = mapping.write(0, b"abc").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write 3 byte(s) at 0x0 of a mapping of domain 0: the pages are mapped read-only; map them with Access::ReadWrite"
        );
        let mut bytes = [1; 3];
        mapping.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 3]);
    }
}
