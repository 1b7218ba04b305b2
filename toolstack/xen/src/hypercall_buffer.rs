//! One page that may be given to a raw hypercall.
//!
//! Xen looks the address up in the caller's page tables and fails if the page is not there at that
//! moment; the kernel must therefore neither swap nor migrate it. `/dev/xen/hypercall` gives such
//! pages; a kernel without it gets a locked page, which is as good in practice.

use std::io;
use std::os::fd::AsFd;

use xen_sys::privcmd as abi;

use crate::sys::{self, Mapping};

/// A zeroed page of the kernel's size.
#[derive(Debug)]
pub(crate) struct HypercallBuffer {
    mapping: Mapping,
}

impl HypercallBuffer {
    pub(crate) fn new() -> io::Result<Self> {
        let size = sys::kernel_page_size();
        let mapping = match sys::open(abi::HYPERCALL_BUFFER_DEVICE, "xen-privcmd") {
            Ok(fd) => Mapping::new(fd.as_fd(), size, 0, true)?,
            Err(_) => Mapping::anonymous_locked(size)?,
        };
        // arm64 enters a shared page read-only until something is stored there, and Xen does not
        // fault it in: without this store, Xen's own write fails with EFAULT.
        // SAFETY: the page was just mapped for writing.
        unsafe { mapping.as_ptr().write_volatile(0) };
        Ok(Self { mapping })
    }

    /// Address to give to Xen.
    pub(crate) fn address(&self) -> u64 {
        u64::try_from(self.mapping.as_ptr().addr()).unwrap_or(0)
    }

    /// Copies the first `N` bytes out.
    pub(crate) fn read<const N: usize>(&self) -> io::Result<[u8; N]> {
        if N > self.mapping.len() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the page is mapped for at least N bytes, and Xen writes to it only during a
        // hypercall, of which none is under way while the caller holds `&self`.
        Ok(unsafe { self.mapping.as_ptr().cast::<[u8; N]>().read() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_can_be_had_without_xen_and_starts_as_zeros() {
        let buffer = HypercallBuffer::new().unwrap();
        assert_ne!(buffer.address(), 0);
        assert_eq!(buffer.read::<16>().unwrap(), [0; 16]);
        assert!(buffer.read::<{ 1 << 17 }>().is_err());
    }
}
