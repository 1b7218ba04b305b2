//! The few system calls everything else is made of: open, ioctl, mmap.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Opens a device for reading and writing.
pub(crate) fn open(device: &'static CStr, module: &'static str) -> Result<OwnedFd> {
    loop {
        // SAFETY: the path is a valid C string.
        let fd = unsafe { libc::open(device.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd >= 0 {
            // SAFETY: the descriptor was just opened and belongs to nobody else.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let source = io::Error::last_os_error();
        if source.kind() != io::ErrorKind::Interrupted {
            return Err(Error::Open {
                device: name(device),
                module,
                source,
            });
        }
    }
}

/// Takes over a descriptor from elsewhere, if it is that of a device at all.
pub(crate) fn adopt(fd: OwnedFd, device: &'static CStr) -> Result<OwnedFd> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` is writable.
    let known = unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) } == 0;
    if known && stat.st_mode & libc::S_IFMT == libc::S_IFCHR {
        Ok(fd)
    } else {
        Err(Error::NotADevice {
            device: name(device),
        })
    }
}

/// Path of a device as text.
pub(crate) fn name(device: &'static CStr) -> &'static str {
    device.to_str().unwrap_or("/dev/xen")
}

/// Issues an ioctl once.
///
/// # Safety
/// `argument` must be what `request` expects of this device, including everything it points to.
pub(crate) unsafe fn ioctl_once<T>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: *mut T,
) -> io::Result<i32> {
    // The type of the request number differs between C libraries; its bits are what counts.
    #[allow(clippy::cast_possible_wrap, clippy::cast_lossless)]
    let request = request as libc::Ioctl;
    // SAFETY: promised by the caller.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Issues an ioctl, again when a signal interrupted it.
///
/// For calls that do nothing before they can be interrupted. Never for `MMAPBATCH_V2` and
/// `MMAP_RESOURCE`: a second call on the same mapping is a bug the kernel punishes (`BUG_ON`).
///
/// # Safety
/// As for [`ioctl_once`].
pub(crate) unsafe fn ioctl<T>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: *mut T,
) -> io::Result<i32> {
    // SAFETY: promised by the caller.
    retry(|| unsafe { ioctl_once(fd, request, argument) })
}

/// Repeats a call as long as signals interrupt it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The kernel's page in bytes.
pub(crate) fn kernel_page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: takes and returns plain values.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two())
            .unwrap_or(crate::PAGE_SIZE)
    })
}

/// `bytes` rounded up to whole pages of the kernel.
pub(crate) fn round_to_kernel_pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(kernel_page_size())
}

/// A mapping that is undone when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is an address range of the process, not of a thread; what lies there is only
// reached through raw pointers, whose users answer for it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of a device, shared.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        length: usize,
        offset: u64,
        writable: bool,
    ) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset)
            .map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        Self::map(length, writable, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    }

    /// Maps `length` bytes of fresh memory that stays resident.
    pub(crate) fn anonymous_locked(length: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED | libc::MAP_POPULATE;
        Self::map(length, true, flags, -1, 0)
    }

    fn map(
        length: usize,
        writable: bool,
        flags: i32,
        fd: i32,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: without MAP_FIXED the kernel chooses a range that nobody uses.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, length })
    }

    /// First byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Size in bytes, whole pages of the kernel.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Undoes the mapping and tells how that went.
    pub(crate) fn unmap(self) -> io::Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        this.munmap()
    }

    fn munmap(&self) -> io::Result<()> {
        // SAFETY: the range was mapped by `map` and this is its only owner.
        if unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Nobody is left to tell; a range that was mapped can always be unmapped.
        let _ = self.munmap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_repeated_and_other_errors_are_not() {
        let mut calls = 0;
        let result = retry(|| {
            calls += 1;
            if calls < 3 {
                Err(io::Error::from_raw_os_error(libc::EINTR))
            } else {
                Ok(calls)
            }
        });
        assert_eq!(result.ok(), Some(3));

        let mut calls = 0;
        let result: io::Result<()> = retry(|| {
            calls += 1;
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_descriptor_that_is_no_device_is_refused() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = adopt(file.into(), c"/dev/xen/privcmd").unwrap_err();
        assert!(matches!(error, Error::NotADevice { .. }));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(adopt(null.into(), c"/dev/xen/privcmd").is_ok());
    }

    #[test]
    fn sizes_are_rounded_to_whole_pages_and_never_wrap() {
        let page = kernel_page_size();
        assert_eq!(round_to_kernel_pages(1), Some(page));
        assert_eq!(round_to_kernel_pages(page), Some(page));
        assert_eq!(round_to_kernel_pages(usize::MAX), None);
    }
}
