//! Hypercalls and ioctls that no crate of the workspace offers, because nobody but an attacker wants them.
//!
//! All goes through `/dev/xen/privcmd`. The kernel passes raw hypercalls on as they are, unless it restricts a guest's
//! privcmd to one domain (`xen_privcmd.unrestricted=1` lifts that).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

use xen_sys::dm_op::DmOp;
use xen_sys::privcmd as abi;

/// Size of Xen's page in bytes.
pub(crate) const PAGE: usize = xen::PAGE_SIZE;

/// An open `/dev/xen/privcmd`.
pub(crate) struct Raw {
    file: File,
}

impl Raw {
    /// Opens the device.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open() -> io::Result<Self> {
        let path = abi::DEVICE.to_str().map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    /// Issues a hypercall; what Xen returns, negative numbers as errors.
    ///
    /// The arguments are numbers, and addresses of [`Page`]s that live meanwhile.
    pub(crate) fn hypercall(&self, number: u64, arguments: &[u64]) -> io::Result<i32> {
        let mut argument = abi::Hypercall {
            op: number,
            arg: [0; 5],
        };
        for (slot, value) in argument.arg.iter_mut().zip(arguments) {
            *slot = *value;
        }
        // SAFETY: HYPERCALL reads one `Hypercall`. Xen itself writes only to the addresses inside, which callers take from
        // pages of their own that hold nothing else.
        unsafe { self.ioctl(abi::HYPERCALL, &raw mut argument) }
    }

    /// Issues a device-model operation on `domain`; answers are written into `operation`.
    pub(crate) fn dm_op(&self, domain: u16, operation: &mut DmOp) -> io::Result<()> {
        let buffer = abi::DmOpBuf {
            uptr: std::ptr::from_mut(operation).cast(),
            size: size_of::<DmOp>(),
        };
        let mut argument = abi::DmOp {
            dom: domain,
            num: 1,
            ubufs: &raw const buffer,
        };
        // SAFETY: the one buffer is a whole `DmOp`, writable during the call.
        unsafe { self.ioctl(abi::DM_OP, &raw mut argument) }.map(drop)
    }

    /// Maps one frame of a domain's resource (`xen_sys::memory`) for reading and writing.
    pub(crate) fn map_resource(
        &self,
        domain: u16,
        kind: u32,
        id: u32,
        frame: u32,
    ) -> io::Result<Page> {
        let page = Page::of(self.file.as_raw_fd(), libc::MAP_SHARED)?;
        let mut argument = abi::MmapResource {
            dom: domain,
            kind,
            id,
            idx: frame,
            num: 1,
            addr: page.address(0),
        };
        // SAFETY: the mapping is fresh and has room for the one page.
        unsafe { self.ioctl(abi::MMAP_RESOURCE, &raw mut argument) }?;
        Ok(page)
    }

    /// Number of frames of a domain's resource.
    pub(crate) fn resource_frames(&self, domain: u16, kind: u32, id: u32) -> io::Result<u64> {
        let mut argument = abi::MmapResource {
            dom: domain,
            kind,
            id,
            ..abi::MmapResource::default()
        };
        // SAFETY: with address and number 0, only the number is written, into the argument.
        unsafe { self.ioctl(abi::MMAP_RESOURCE, &raw mut argument) }?;
        Ok(argument.num)
    }

    /// Issues an ioctl once.
    ///
    /// # Safety
    /// `argument` must be what `request` expects, with all it points to.
    unsafe fn ioctl<T>(&self, request: u32, argument: *mut T) -> io::Result<i32> {
        #[allow(clippy::cast_possible_wrap, clippy::cast_lossless)]
        let request = request as libc::Ioctl;
        // SAFETY: promised by the caller.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, argument) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    }
}

/// One page of this process: for a hypercall's arguments, or another domain's.
///
/// Fields are put at and taken from byte offsets, as the comment at each use tells them from Xen's header. An access outside
/// the page is a mistake of this program: what is put there is dropped, what is taken is 0, and tests look at the offsets.
pub(crate) struct Page {
    start: NonNull<u8>,
}

impl Page {
    /// A page fit for hypercall arguments: the kernel neither swaps nor moves it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> io::Result<Self> {
        let path = abi::HYPERCALL_BUFFER_DEVICE
            .to_str()
            .map_err(io::Error::other)?;
        let page = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Self::of(file.as_raw_fd(), libc::MAP_SHARED)?,
            Err(_) => Self::of(
                -1,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED | libc::MAP_POPULATE,
            )?,
        };
        // arm64 enters a page read-only until something is stored, and Xen does not fault it in.
        page.put(0, &[0; PAGE]);
        Ok(page)
    }

    fn of(fd: i32, flags: i32) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses a range that nobody uses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast::<u8>())
            .map(|start| Self { start })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// Address of byte `offset`, as Xen and the kernel take it.
    pub(crate) fn address(&self, offset: u64) -> u64 {
        u64::try_from(self.start.as_ptr().addr()).unwrap_or(0) + offset
    }

    /// Stores bytes at `offset`.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            if offset + index < PAGE {
                // SAFETY: within the page, which is mapped for writing as long as this lives.
                unsafe {
                    self.start
                        .as_ptr()
                        .add(offset + index)
                        .write_volatile(*byte)
                };
            }
        }
    }

    /// Stores a `u16`.
    pub(crate) fn put16(&self, offset: usize, value: u16) {
        self.put(offset, &value.to_ne_bytes());
    }

    /// Stores a `u32`.
    pub(crate) fn put32(&self, offset: usize, value: u32) {
        self.put(offset, &value.to_ne_bytes());
    }

    /// Stores a `u64`.
    pub(crate) fn put64(&self, offset: usize, value: u64) {
        self.put(offset, &value.to_ne_bytes());
    }

    /// Takes the bytes from `offset` on.
    pub(crate) fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            if offset + index < PAGE {
                // SAFETY: within the page, which is mapped for reading as long as this lives.
                *byte = unsafe { self.start.as_ptr().add(offset + index).read_volatile() };
            }
        }
        bytes
    }

    /// Takes a `u16`.
    pub(crate) fn get16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.get(offset))
    }

    /// Takes a `u32`.
    pub(crate) fn get32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.get(offset))
    }

    /// Takes a `u64`.
    pub(crate) fn get64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.get(offset))
    }

    /// A `u16` that another domain changes meanwhile; one outside the page becomes the first.
    pub(crate) fn atomic16(&self, offset: usize) -> &AtomicU16 {
        let within = if offset < PAGE { offset & !1 } else { 0 };
        // SAFETY: even, hence aligned, and within the page, which is mapped for writing as long as this lives.
        unsafe { AtomicU16::from_ptr(self.start.as_ptr().add(within).cast::<u16>()) }
    }

    /// Takes an `i16`, as grant operations have for their status.
    pub(crate) fn status(&self, offset: usize) -> i16 {
        i16::from_ne_bytes(self.get(offset))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `of`, and this is its only owner.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_is_put_there_and_nothing_beyond_its_end() {
        let page = Page::new().unwrap();
        page.put16(8, 0x1234);
        page.put64(16, u64::MAX - 1);
        assert_eq!(page.get16(8), 0x1234);
        assert_eq!(page.get::<2>(8), 0x1234_u16.to_ne_bytes());
        assert_eq!(page.get64(16), u64::MAX - 1);
        page.put32(PAGE - 2, u32::MAX);
        assert_eq!(page.get32(PAGE - 2), 0xffff);
        assert_eq!(page.get32(PAGE), 0);
    }
}
