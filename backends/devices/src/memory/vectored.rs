//! Positioned vectored I/O between a file and guest memory.
//!
//! The kernel copies straight between the page cache and guest memory, so no Rust reference to memory that the guest
//! may change at any time ever exists.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use smallvec::SmallVec;

use super::Slices;

/// Linux' limit of buffers in one call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const MAX_BUFFERS: usize = 1024;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// `preadv`: from the file to the guest.
    FromFile,
    /// `pwritev`: from the guest to the file.
    ToFile,
}

/// Moves all bytes of `slices`, however often the kernel stops half-way.
pub(super) fn transfer(
    file: BorrowedFd<'_>,
    mut slices: Slices<'_>,
    offset: u64,
    direction: Direction,
) -> io::Result<()> {
    let mut position = offset;
    loop {
        slices.retain(|slice| !slice.is_empty());
        if slices.is_empty() {
            return Ok(());
        }
        // The guards keep the mappings alive for as long as the kernel uses the addresses.
        let guards: SmallVec<[_; 18]> = slices
            .iter()
            .take(MAX_BUFFERS)
            .map(|slice| slice.ptr_guard_mut())
            .collect();
        let vectors: SmallVec<[libc::iovec; 18]> = guards
            .iter()
            .map(|guard| libc::iovec {
                iov_base: guard.as_ptr().cast(),
                iov_len: guard.len(),
            })
            .collect();
        let count =
            libc::c_int::try_from(vectors.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let at = libc::off_t::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: each vector names memory that a `VolatileSlice` vouches for and that its guard keeps mapped until
        // after the call. The kernel alone touches it; a write-protected mapping is only ever given to `pwritev`,
        // and were it not, the call would fail with EFAULT.
        let moved = unsafe {
            match direction {
                Direction::FromFile => libc::preadv(file.as_raw_fd(), vectors.as_ptr(), count, at),
                Direction::ToFile => libc::pwritev(file.as_raw_fd(), vectors.as_ptr(), count, at),
            }
        };
        let moved = match usize::try_from(moved) {
            Ok(0) if direction == Direction::FromFile => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(moved) => moved,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
        };
        position = position
            .checked_add(moved as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        drop(guards);
        advance(&mut slices, moved)?;
    }
}

/// Drops the first `moved` bytes of `slices`.
fn advance(slices: &mut Slices<'_>, moved: usize) -> io::Result<()> {
    let mut left = moved;
    for slice in slices.iter_mut() {
        let step = left.min(slice.len());
        *slice = slice.offset(step).map_err(|_| io::ErrorKind::InvalidData)?;
        left = left.saturating_sub(step);
        if left == 0 {
            break;
        }
    }
    Ok(())
}
