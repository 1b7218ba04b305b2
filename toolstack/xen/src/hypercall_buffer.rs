//! Pages that may be given to a raw hypercall.
//!
//! Xen looks the address up in the caller's page tables and fails if a page is not there at that
//! moment; the kernel must therefore neither swap nor migrate it. `/dev/xen/hypercall` gives such
//! pages; a kernel without it gets locked pages, which are as good in practice.

use std::io;
use std::os::fd::AsFd;

use xen_sys::privcmd as abi;

use crate::sys::{self, Mapping};

/// Zeroed pages of the kernel's size.
#[derive(Debug)]
pub(crate) struct HypercallBuffer {
    mapping: Mapping,
}

impl HypercallBuffer {
    /// One page.
    pub(crate) fn new() -> io::Result<Self> {
        Self::with_len(1)
    }

    /// Room for `len` bytes.
    pub(crate) fn with_len(len: usize) -> io::Result<Self> {
        let page = sys::kernel_page_size();
        let size = len.max(1).checked_next_multiple_of(page);
        let size = size.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mapping = match sys::open(abi::HYPERCALL_BUFFER_DEVICE, "xen-privcmd") {
            Ok(fd) => Mapping::new(fd.as_fd(), size, 0, true)?,
            Err(_) => Mapping::anonymous_locked(size)?,
        };
        // arm64 enters a shared page read-only until something is stored there, and Xen does not
        // fault it in: without this store, Xen's own write fails with EFAULT.
        for offset in (0..size).step_by(page) {
            // SAFETY: the pages were just mapped for writing, and `offset` is within them.
            unsafe { mapping.as_ptr().add(offset).write_volatile(0) };
        }
        Ok(Self { mapping })
    }

    /// Puts bytes at its begin.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.mapping.len() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the pages are mapped for at least so many bytes, and nobody else uses them while
        // the caller holds `&mut self`.
        unsafe { self.mapping.as_ptr().copy_from(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Address to give to Xen.
    pub(crate) fn address(&self) -> u64 {
        u64::try_from(self.mapping.as_ptr().addr()).unwrap_or(0)
    }

    /// Puts a value at its begin.
    pub(crate) fn put<T: Copy>(&mut self, value: T) -> io::Result<()> {
        if size_of::<T>() > self.mapping.len() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the pages are mapped for at least so many bytes and aligned to a page.
        unsafe { self.mapping.as_ptr().cast::<T>().write(value) };
        Ok(())
    }

    /// Reads the value at its begin.
    ///
    /// # Safety
    /// Every content of the bytes must be a valid `T`.
    pub(crate) unsafe fn get<T: Copy>(&self) -> io::Result<T> {
        if size_of::<T>() > self.mapping.len() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the pages are mapped for at least so many bytes and aligned to a page; the caller promises the rest. Xen
        // writes to them only during a hypercall, of which none is under way while the caller holds `&self`.
        Ok(unsafe { self.mapping.as_ptr().cast::<T>().read() })
    }

    /// Copies the first `N` bytes out.
    pub(crate) fn read<const N: usize>(&self) -> io::Result<[u8; N]> {
        // SAFETY: bytes may be anything.
        unsafe { self.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_buffer_takes_what_it_has_room_for() {
        let mut buffer = HypercallBuffer::with_len(5000).unwrap();
        buffer.write(&[7; 5000]).unwrap();
        assert_eq!(buffer.read::<5000>().unwrap(), [7; 5000]);
        assert!(buffer.write(&vec![0; 1 << 20]).is_err());
        assert!(HypercallBuffer::with_len(usize::MAX).is_err());
    }

    #[test]
    fn a_buffer_can_be_had_without_xen_and_starts_as_zeros() {
        let buffer = HypercallBuffer::new().unwrap();
        assert_ne!(buffer.address(), 0);
        assert_eq!(buffer.read::<16>().unwrap(), [0; 16]);
        assert!(buffer.read::<{ 1 << 17 }>().is_err());
    }
}
