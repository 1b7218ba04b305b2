//! Memory that is shared with the TEE.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::{Error, Result, Tee, sys};

/// Memory that the kernel has shared with the TEE, for parameters of calls. Given back when dropped.
#[derive(Debug)]
pub struct Buffer {
    id: i32,
    start: NonNull<u8>,
    length: usize,
    /// None of memory that is not shared.
    _fd: Option<OwnedFd>,
}

// SAFETY: a mapping is an address range of the process, not of a thread.
unsafe impl Send for Buffer {}
// SAFETY: reading through a shared reference does not change it.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Shares `size` bytes, zeros.
    ///
    /// # Errors
    /// [`Error::Device`]; `ENOMEM` where the TEE, or what stands before it, takes no more.
    pub fn new(tee: &Tee, size: usize) -> Result<Self> {
        let failed = Error::of("share memory with the TEE");
        let mut data = sys::ShmAlloc {
            size: u64::try_from(size).unwrap_or(u64::MAX),
            flags: 0,
            id: 0,
        };
        // SAFETY: it reads and writes one `ShmAlloc`.
        let fd = unsafe { sys::ioctl(tee.fd.as_fd(), sys::SHM_ALLOC, &raw mut data) }
            .map_err(&failed)?;
        // SAFETY: the kernel has just given this descriptor to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let length = usize::try_from(data.size).unwrap_or(usize::MAX);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(failed(io::Error::last_os_error()));
        }
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::ENOMEM)))?;
        Ok(Self {
            id: data.id,
            start,
            length,
            _fd: Some(fd),
        })
    }

    /// Memory that nobody shares, to try out what works on buffers where there is no TEE. A call refuses it.
    ///
    /// # Errors
    /// [`Error::Device`]: out of memory.
    pub fn unshared(size: usize) -> Result<Self> {
        let length = size.max(1);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let start = NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED);
        let failed = || Error::of("get memory")(io::Error::last_os_error());
        Ok(Self {
            id: -1,
            start: start.ok_or_else(failed)?,
            length,
            _fd: None,
        })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its content. Applications change it only during calls that have it as a parameter, and calls borrow it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has so many bytes and lives as long as this.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// Its content, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// As if the kernel had given it this number.
    #[cfg(test)]
    pub(crate) fn numbered(self, id: i32) -> Self {
        let mut this = self;
        this.id = id;
        this
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and all references to it have ended.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
