//! Segments of a grant copy and their outcome.
//!
//! A copy needs no mapping: Xen reads or writes the granted page on the caller's behalf. That makes
//! it the cheapest way for small transfers, above all on Arm, where every unmap flushes the TLB.
//! See [`crate::GrantDevice::copy`].

use std::fmt;
use std::marker::PhantomData;

use xen_sys::gntdev as abi;
use xen_sys::grant_table as status;

use crate::PAGE_SIZE;
use crate::error::{Error, Result};
use crate::ids::{DomId, GrantRef};

/// Xen's verdict on one grant (`GNTST_*` in `xen/include/public/grant_table.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantStatus(i16);

impl GrantStatus {
    /// Done.
    pub const OKAY: Self = Self(status::GNTST_OKAY);
    /// The reference does not exist, belongs to another pair of domains, or forbids this access.
    pub const BAD_GRANT_REF: Self = Self(status::GNTST_BAD_GNTREF);
    /// No such domain.
    pub const BAD_DOMAIN: Self = Self(status::GNTST_BAD_DOMAIN);

    /// Wraps Xen's number.
    pub const fn from_raw(status: i16) -> Self {
        Self(status)
    }

    /// Xen's number: 0 or negative.
    pub const fn raw(self) -> i16 {
        self.0
    }

    /// True if the operation was done.
    pub const fn is_okay(self) -> bool {
        self.0 == status::GNTST_OKAY
    }
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            status::GNTST_OKAY => "okay",
            status::GNTST_GENERAL_ERROR => "general error",
            status::GNTST_BAD_DOMAIN => "no such domain",
            status::GNTST_BAD_GNTREF => "no such grant, or it does not permit this access",
            status::GNTST_BAD_HANDLE => "no such mapping",
            status::GNTST_BAD_VIRT_ADDR => "unsuitable virtual address",
            status::GNTST_BAD_DEV_ADDR => "unsuitable device address",
            status::GNTST_NO_DEVICE_SPACE => "no space left in the I/O MMU",
            status::GNTST_PERMISSION_DENIED => "permission denied",
            status::GNTST_BAD_PAGE => "unsuitable page",
            status::GNTST_BAD_COPY_ARG => "the copy crosses a page boundary",
            status::GNTST_ADDRESS_TOO_BIG => "page address too large",
            status::GNTST_EAGAIN => "not done, try again",
            status::GNTST_NO_SPACE => "out of grant handles or frames",
            other => return write!(f, "unknown status {other}"),
        };
        f.write_str(text)
    }
}

/// One piece of a copy between a granted page and a local buffer, which it borrows.
///
/// The local buffer may cross pages, the granted side may not. Prefer ordinary private memory for
/// local buffers: when one request mixes both directions, the kernel may forget to mark file-backed
/// pages dirty.
#[repr(transparent)]
pub struct CopySegment<'a> {
    raw: abi::CopySegment,
    buffer: PhantomData<&'a mut [u8]>,
}

// SAFETY: the pointer inside stands for a borrowed slice, which may move to another thread.
unsafe impl Send for CopySegment<'_> {}

impl<'a> CopySegment<'a> {
    /// Copies from byte `offset` of a granted page into `destination`.
    ///
    /// # Errors
    /// [`Error::Argument`] if that would leave the page (the kernel would refuse the whole request).
    pub fn from_grant(
        domid: DomId,
        grant: GrantRef,
        offset: u16,
        destination: &'a mut [u8],
    ) -> Result<Self> {
        let length = checked_length(offset, destination.len())?;
        // SAFETY: the slice is borrowed mutably for 'a.
        Ok(unsafe {
            Self::from_grant_unchecked(domid, grant, offset, destination.as_mut_ptr(), length)
        })
    }

    /// Copies `source` to byte `offset` of a granted page.
    ///
    /// # Errors
    /// As [`CopySegment::from_grant`].
    pub fn to_grant(domid: DomId, grant: GrantRef, offset: u16, source: &'a [u8]) -> Result<Self> {
        let length = checked_length(offset, source.len())?;
        // SAFETY: the slice is borrowed for 'a.
        Ok(unsafe { Self::to_grant_unchecked(domid, grant, offset, source.as_ptr(), length) })
    }

    /// As [`CopySegment::from_grant`], for memory that is no slice.
    ///
    /// # Errors
    /// As [`CopySegment::from_grant`].
    ///
    /// # Safety
    /// `destination` must be writable for `length` bytes as long as the segment is used.
    pub unsafe fn from_grant_raw(
        domid: DomId,
        grant: GrantRef,
        offset: u16,
        destination: *mut u8,
        length: u16,
    ) -> Result<Self> {
        let length = checked_length(offset, usize::from(length))?;
        // SAFETY: promised by the caller.
        Ok(unsafe { Self::from_grant_unchecked(domid, grant, offset, destination, length) })
    }

    /// As [`CopySegment::to_grant`], for memory that is no slice.
    ///
    /// # Errors
    /// As [`CopySegment::from_grant`].
    ///
    /// # Safety
    /// `source` must be readable for `length` bytes as long as the segment is used.
    pub unsafe fn to_grant_raw(
        domid: DomId,
        grant: GrantRef,
        offset: u16,
        source: *const u8,
        length: u16,
    ) -> Result<Self> {
        let length = checked_length(offset, usize::from(length))?;
        // SAFETY: promised by the caller.
        Ok(unsafe { Self::to_grant_unchecked(domid, grant, offset, source, length) })
    }

    /// What became of this segment. Means something only after a copy that returned `Ok`.
    pub fn status(&self) -> GrantStatus {
        GrantStatus(self.raw.status)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        usize::from(self.raw.len)
    }

    /// True for a segment of no bytes, which always succeeds, whatever the grant.
    pub fn is_empty(&self) -> bool {
        self.raw.len == 0
    }

    unsafe fn from_grant_unchecked(
        domid: DomId,
        grant: GrantRef,
        offset: u16,
        destination: *mut u8,
        length: u16,
    ) -> Self {
        Self::new(
            foreign(domid, grant, offset),
            abi::CopyPointer { virt: destination },
            length,
            status::GNTCOPY_SOURCE_GREF,
        )
    }

    unsafe fn to_grant_unchecked(
        domid: DomId,
        grant: GrantRef,
        offset: u16,
        source: *const u8,
        length: u16,
    ) -> Self {
        Self::new(
            abi::CopyPointer {
                virt: source.cast_mut(),
            },
            foreign(domid, grant, offset),
            length,
            status::GNTCOPY_DEST_GREF,
        )
    }

    fn new(source: abi::CopyPointer, dest: abi::CopyPointer, len: u16, flags: u16) -> Self {
        Self {
            raw: abi::CopySegment {
                source,
                dest,
                len,
                flags,
                // Whoever looks before the copy sees a failure, not a success.
                status: status::GNTST_GENERAL_ERROR,
            },
            buffer: PhantomData,
        }
    }
}

impl fmt::Debug for CopySegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopySegment")
            .field("len", &self.raw.len)
            .field(
                "from_grant",
                &(self.raw.flags == status::GNTCOPY_SOURCE_GREF),
            )
            .field("status", &self.status())
            .finish()
    }
}

fn foreign(domid: DomId, grant: GrantRef, offset: u16) -> abi::CopyPointer {
    abi::CopyPointer {
        foreign: abi::CopyForeign {
            reference: grant.0,
            offset,
            domid: domid.get(),
        },
    }
}

fn checked_length(offset: u16, length: usize) -> Result<u16> {
    let fits = usize::from(offset)
        .checked_add(length)
        .is_some_and(|end| end <= PAGE_SIZE);
    match u16::try_from(length) {
        Ok(length) if fits => Ok(length),
        _ => Err(Error::Argument(
            "a grant copy segment must not leave the granted 4-KiB page",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOM: DomId = DomId::DOM0;

    #[test]
    fn a_segment_never_leaves_the_granted_page() {
        let mut buffer = vec![0_u8; 2 * PAGE_SIZE];
        for (offset, length, fits) in [
            (0, PAGE_SIZE, true),
            (0, PAGE_SIZE + 1, false),
            (4095, 1, true),
            (4095, 2, false),
            (4096, 0, true),
            (4096, 1, false),
            (u16::MAX, 1, false),
            (0, 2 * PAGE_SIZE, false),
        ] {
            let to = CopySegment::to_grant(DOM, GrantRef(8), offset, &buffer[..length]).is_ok();
            assert_eq!(to, fits, "to a grant: offset {offset}, length {length}");
            let from =
                CopySegment::from_grant(DOM, GrantRef(8), offset, &mut buffer[..length]).is_ok();
            assert_eq!(from, fits, "from a grant: offset {offset}, length {length}");
        }
    }

    #[test]
    fn the_direction_flag_names_the_side_that_is_a_grant() {
        let mut buffer = [0_u8; 16];
        let address = buffer.as_mut_ptr();
        let domid = DomId::new(5).unwrap();
        let from = CopySegment::from_grant(domid, GrantRef(0x1234), 100, &mut buffer).unwrap();
        assert_eq!(from.raw.flags, status::GNTCOPY_SOURCE_GREF);
        assert_eq!(from.raw.len, 16);
        let expected = abi::CopyForeign {
            reference: 0x1234,
            offset: 100,
            domid: 5,
        };
        // SAFETY: the flag says which member was written.
        unsafe {
            assert_eq!(from.raw.source.foreign, expected);
            assert_eq!(from.raw.dest.virt, address);
        }
        let to = CopySegment::to_grant(domid, GrantRef(0x1234), 100, &buffer).unwrap();
        assert_eq!(to.raw.flags, status::GNTCOPY_DEST_GREF);
        // SAFETY: the flag says which member was written.
        unsafe {
            assert_eq!(to.raw.dest.foreign, expected);
            assert_eq!(to.raw.source.virt, address);
        }
    }

    #[test]
    fn a_segment_that_was_never_copied_does_not_look_done() {
        let segment = CopySegment::to_grant(DOM, GrantRef(8), 0, &[1]).unwrap();
        assert!(!segment.status().is_okay());
    }

    #[test]
    fn every_status_of_xen_has_words() {
        for raw in status::GNTST_NO_SPACE..=status::GNTST_OKAY {
            let text = GrantStatus::from_raw(raw).to_string();
            assert!(!text.contains("unknown"), "{raw}: {text}");
        }
        assert!(GrantStatus::from_raw(-14).to_string().contains("-14"));
    }
}
