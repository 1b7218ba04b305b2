//! Other domains' granted pages, through `/dev/xen/gntdev`: map them, or copy from and to them.
//!
//! A batch is mapped by one ioctl and one mmap, and fails as a whole if one of its grants is
//! refused. A mapping is undone in the order the kernel asks for: `munmap`, then the ioctl that
//! takes the grants out of the table. When [`GrantMapping::unmap`] returns, Xen has dropped the
//! grants, unless a page was still pinned (direct I/O, registered buffers): then the kernel puts the
//! unmap off without a word. Never let such I/O touch a grant mapping.
//!
//! Keep one handle per queue: the kernel searches a handle's mappings in a list, under one lock.
//!
//! # Kernels with pages of 16 or 64 KiB
//! A grant is 4 KiB; the kernel maps each at the start of a page of its own. A batch is then not
//! contiguous, so [`GrantDevice::map`] refuses batches there ([`Error::PageSize`]) and maps single
//! grants only. [`GrantDevice::copy`] works everywhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use xen_sys::gntdev as abi;

use crate::PAGE_SIZE;
use crate::counters::{Counters, count};
use crate::error::{Error, Result};
use crate::grant_copy::{CopySegment, GrantStatus};
use crate::ids::{DomId, EventPort, GrantRef};
use crate::sys::{self, Mapping};

/// What a mapping may be used for, or what another domain may do with a granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

impl Access {
    pub(crate) fn writable(self) -> bool {
        self == Self::ReadWrite
    }
}

/// What shall happen when a page is unmapped, be it because the process died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnmapNotify {
    /// Set this byte (offset within the mapping) to zero. Needs a writable mapping.
    pub clear_byte: Option<usize>,
    /// Send an event through this local port, which an [`crate::EventChannels`] of this domain holds.
    pub event: Option<EventPort>,
}

impl UnmapNotify {
    /// The ioctl's argument for a mapping of `length` bytes at `index`.
    pub(crate) fn argument(&self, index: u64, length: usize) -> Result<abi::UnmapNotify> {
        let byte = self.clear_byte.unwrap_or(0);
        if byte >= length {
            return Err(Error::Argument(
                "the byte to clear lies outside of the mapping",
            ));
        }
        let mut action = 0;
        if self.clear_byte.is_some() {
            action |= abi::UNMAP_NOTIFY_CLEAR_BYTE;
        }
        if self.event.is_some() {
            action |= abi::UNMAP_NOTIFY_SEND_EVENT;
        }
        Ok(abi::UnmapNotify {
            index: index.saturating_add(u64::try_from(byte).unwrap_or(u64::MAX)),
            action,
            event_channel_port: self.event.map_or(0, EventPort::get),
        })
    }
}

#[derive(Debug)]
struct Device {
    fd: OwnedFd,
    counters: Arc<Counters>,
}

/// An open grant device. Clones share the same file.
#[derive(Clone, Debug)]
pub struct GrantDevice {
    device: Arc<Device>,
}

impl GrantDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Open`] where this is no Xen domain or the device may not be used.
    pub fn open() -> Result<Self> {
        Self::open_counted(Arc::default())
    }

    /// Opens the device, counting in `counters`.
    ///
    /// # Errors
    /// As [`GrantDevice::open`].
    pub fn open_counted(counters: Arc<Counters>) -> Result<Self> {
        Self::from_fd_counted(sys::open(abi::DEVICE, "xen-gntdev")?, counters)
    }

    /// Takes over an open device.
    ///
    /// # Errors
    /// [`Error::NotADevice`] for another kind of file.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::from_fd_counted(fd, Arc::default())
    }

    /// As [`GrantDevice::from_fd`], counting in `counters`.
    ///
    /// # Errors
    /// As [`GrantDevice::from_fd`].
    pub fn from_fd_counted(fd: OwnedFd, counters: Arc<Counters>) -> Result<Self> {
        let fd = sys::adopt(fd, abi::DEVICE)?;
        Ok(Self {
            device: Arc::new(Device { fd, counters }),
        })
    }

    /// The counters this handle counts in.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.device.counters
    }

    /// Maps pages that `domid` has granted, one behind the other in the order given.
    ///
    /// # Errors
    /// [`Error::GrantMap`] if one grant is refused: then none is mapped, and the error names the
    /// first grant that cannot be read, where there is one. A grant that can be read but not
    /// written, mapped for writing, gives no name. [`Error::Argument`] for an empty batch,
    /// [`Error::PageSize`] for a batch on a kernel with larger pages.
    pub fn map(&self, domid: DomId, grants: &[GrantRef], access: Access) -> Result<GrantMapping> {
        let page = sys::kernel_page_size();
        if grants.len() > 1 && page != PAGE_SIZE {
            return Err(Error::PageSize {
                what: "mapping several grants in a row",
                page_size: page,
            });
        }
        let failed = |first_bad, source| Error::GrantMap {
            domid,
            count: grants.len(),
            first_bad,
            source,
        };
        let (Ok(number), Some(size)) = (
            u32::try_from(grants.len()),
            grants.len().checked_mul(page).filter(|&size| size > 0),
        ) else {
            return Err(Error::Argument("a batch of grants must not be empty"));
        };

        let mut request = map_request(domid, number, grants);
        // SAFETY: the request is a header with as many grants behind it as it says; the kernel
        // writes the header back.
        unsafe {
            sys::ioctl(
                self.device.fd.as_fd(),
                abi::MAP_GRANT_REF,
                request.as_mut_ptr(),
            )
        }
        .map_err(|source| failed(None, source))?;
        let entry = TableEntry {
            device: Arc::clone(&self.device),
            domid,
            index: mapped_index(&request),
            count: number,
            live: true,
        };
        let mapping = Mapping::new(self.device.fd.as_fd(), size, entry.index, access.writable())
            .map_err(|source| {
                let first_bad = match source.raw_os_error() {
                    Some(libc::EINVAL) => self.first_unreadable(domid, grants),
                    _ => None,
                };
                failed(first_bad, source)
            })?;
        count(&self.device.counters.maps, 1);
        count(&self.device.counters.mapped_pages, grants.len());
        Ok(GrantMapping {
            mapping,
            entry,
            length: grants.len().saturating_mul(PAGE_SIZE),
            access,
        })
    }

    /// Copies all segments in one ioctl. Each has its own [`CopySegment::status`] afterwards: one
    /// refused grant does not keep the others from being copied.
    ///
    /// The kernel hands them to Xen in hypercalls of 16, in order.
    ///
    /// # Errors
    /// [`Error::GrantCopy`] if the request failed as a whole (`EFAULT`: a local buffer that cannot
    /// be pinned); what was copied is not known then.
    pub fn copy(&self, segments: &mut [CopySegment<'_>]) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let number = segments.len();
        let failed = |source| Error::GrantCopy {
            segments: number,
            source,
        };
        let mut argument = abi::GrantCopy {
            count: u32::try_from(number)
                .map_err(|_| failed(std::io::Error::from_raw_os_error(libc::E2BIG)))?,
            // `CopySegment` is a transparent wrapper.
            segments: segments.as_mut_ptr().cast(),
        };
        // SAFETY: the segments borrow their buffers, so these are valid during the call; the kernel
        // writes only the buffers and each segment's status.
        unsafe { sys::ioctl(self.device.fd.as_fd(), abi::GRANT_COPY, &raw mut argument) }
            .map_err(failed)?;
        count(&self.device.counters.grant_copies, 1);
        count(&self.device.counters.grant_copy_segments, number);
        Ok(())
    }

    /// Finds out which grant of a refused batch is bad, by copying one byte of each. The map request
    /// itself does not tell.
    fn first_unreadable(
        &self,
        domid: DomId,
        grants: &[GrantRef],
    ) -> Option<(usize, GrantRef, GrantStatus)> {
        let mut bytes = vec![0_u8; grants.len()];
        let mut segments = bytes
            .chunks_mut(1)
            .zip(grants)
            .map(|(byte, &grant)| CopySegment::from_grant(domid, grant, 0, byte))
            .collect::<Result<Vec<_>>>()
            .ok()?;
        self.copy(&mut segments).ok()?;
        segments
            .iter()
            .zip(grants)
            .enumerate()
            .find(|(_, (segment, _))| !segment.status().is_okay())
            .map(|(position, (segment, &grant))| (position, grant, segment.status()))
    }
}

impl AsFd for GrantDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.fd.as_fd()
    }
}

/// Words of a map request: `[count and padding, index, (domid, grant)…]`.
fn map_request(domid: DomId, number: u32, grants: &[GrantRef]) -> Vec<u64> {
    let domid = u32::from(domid.get());
    let mut words = Vec::with_capacity(grants.len().saturating_add(2));
    words.push(word(number, 0));
    words.push(0);
    words.extend(grants.iter().map(|grant| word(domid, grant.0)));
    words
}

/// The index that the kernel wrote into a map request.
fn mapped_index(request: &[u64]) -> u64 {
    request.get(1).copied().unwrap_or(0)
}

/// Two consecutive 32-bit fields as they lie in memory.
fn word(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        u64::from(first) | u64::from(second) << 32
    } else {
        u64::from(second) | u64::from(first) << 32
    }
}

/// A batch in the device's table, taken out when dropped.
#[derive(Debug)]
struct TableEntry {
    device: Arc<Device>,
    domid: DomId,
    index: u64,
    count: u32,
    live: bool,
}

impl TableEntry {
    fn remove(mut self) -> Result<()> {
        self.take_out()
    }

    fn take_out(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.live) {
            return Ok(());
        }
        count(&self.device.counters.unmaps, 1);
        let mut argument = abi::UnmapGrantRef {
            index: self.index,
            count: self.count,
            pad: 0,
        };
        // SAFETY: UNMAP_GRANT_REF reads one `UnmapGrantRef`.
        unsafe {
            sys::ioctl(
                self.device.fd.as_fd(),
                abi::UNMAP_GRANT_REF,
                &raw mut argument,
            )
        }
        .map(drop)
        .map_err(|source| Error::GrantUnmap {
            domid: self.domid,
            count: usize::try_from(self.count).unwrap_or(usize::MAX),
            source,
        })
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        // Nobody is left to tell. What could not be taken out goes when the device is closed.
        let _ = self.take_out();
    }
}

/// Granted pages in this process's memory, unmapped when dropped.
///
/// The other domain may write to them at any time: read each byte once, and make no references to
/// them. Dropping ignores errors; [`GrantMapping::unmap`] tells them.
#[derive(Debug)]
pub struct GrantMapping {
    // The order of these two is the order of unmapping that the kernel asks for.
    mapping: Mapping,
    entry: TableEntry,
    length: usize,
    access: Access,
}

impl GrantMapping {
    /// First byte; writable only if mapped [`Access::ReadWrite`] (a write elsewhere is a SIGSEGV).
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Size in bytes: [`PAGE_SIZE`] for each grant.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true: a batch has at least one grant.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What it was mapped for.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Sets, or with the default value takes back, what shall happen on unmap. The kernel keeps one
    /// notification for each mapping.
    ///
    /// # Errors
    /// [`Error::Argument`] for a byte outside, [`Error::UnmapNotify`] with `EINVAL` for a port this
    /// domain does not hold or a byte in a read-only mapping.
    pub fn set_unmap_notify(&self, notify: UnmapNotify) -> Result<()> {
        let mut argument = notify.argument(self.entry.index, self.length)?;
        // SAFETY: SET_UNMAP_NOTIFY reads one `UnmapNotify`.
        unsafe {
            sys::ioctl(
                self.entry.device.fd.as_fd(),
                abi::SET_UNMAP_NOTIFY,
                &raw mut argument,
            )
        }
        .map(drop)
        .map_err(|source| Error::UnmapNotify { source })
    }

    /// Unmaps, and tells how that went.
    ///
    /// # Errors
    /// [`Error::GrantUnmap`]: the grants stay mapped until the device is closed.
    pub fn unmap(self) -> Result<()> {
        let Self { mapping, entry, .. } = self;
        mapping.unmap().map_err(|source| Error::GrantUnmap {
            domid: entry.domid,
            count: usize::try_from(entry.count).unwrap_or(usize::MAX),
            source,
        })?;
        entry.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_request_lies_in_memory_as_the_kernel_reads_it() {
        let domid = DomId::new(3).unwrap();
        let request = map_request(domid, 2, &[GrantRef(0x11), GrantRef(0x22)]);
        assert_eq!(
            size_of_val(request.as_slice()),
            size_of::<abi::MapGrantRefHeader>() + 2 * size_of::<abi::MapRef>()
        );
        let start = request.as_ptr();
        // SAFETY: the words have the size and alignment of these structures, all plain integers.
        let (header, refs) = unsafe {
            (
                *start.cast::<abi::MapGrantRefHeader>(),
                std::slice::from_raw_parts(start.add(2).cast::<abi::MapRef>(), 2),
            )
        };
        assert_eq!((header.count, header.pad, header.index), (2, 0, 0));
        assert_eq!(refs[0].domid, 3);
        assert_eq!(refs[0].reference, 0x11);
        assert_eq!(refs[1].reference, 0x22);
    }

    #[test]
    fn the_index_is_read_where_the_kernel_writes_it() {
        let mut request = map_request(DomId::DOM0, 1, &[GrantRef(9)]);
        let header = request.as_mut_ptr().cast::<abi::MapGrantRefHeader>();
        // SAFETY: the request starts with a header.
        unsafe { (*header).index = 0x5000 };
        assert_eq!(mapped_index(&request), 0x5000);
    }

    #[test]
    fn an_unmap_notification_counts_its_byte_from_the_mapping() {
        let port = EventPort::new(12).unwrap();
        let both = UnmapNotify {
            clear_byte: Some(7),
            event: Some(port),
        };
        let argument = both.argument(0x3000, PAGE_SIZE).unwrap();
        assert_eq!(argument.index, 0x3007);
        assert_eq!(argument.action, 3);
        assert_eq!(argument.event_channel_port, 12);
        let nothing = UnmapNotify::default().argument(0x3000, PAGE_SIZE).unwrap();
        assert_eq!((nothing.index, nothing.action), (0x3000, 0));
        let outside = UnmapNotify {
            clear_byte: Some(PAGE_SIZE),
            event: None,
        };
        assert!(matches!(
            outside.argument(0, PAGE_SIZE),
            Err(Error::Argument(_))
        ));
    }
}
