//! A way to wake a thread that waits in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use smallvec::SmallVec;

/// An eventfd. Signals add up to one wake-up.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Wake(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Wakes the waiting thread, or the next wait. Never blocks: a full counter wakes as well.
    pub(crate) fn signal(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes all signals so far.
    pub(crate) fn take(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of both can be read, and tells which. The second is optional.
pub(crate) fn wait(
    first: BorrowedFd<'_>,
    second: Option<BorrowedFd<'_>>,
) -> io::Result<(bool, bool)> {
    wait_for(first, second, None)
}

/// As [`wait`], but not longer than `limit`: then neither can be read.
pub(crate) fn wait_for(
    first: BorrowedFd<'_>,
    second: Option<BorrowedFd<'_>>,
    limit: Option<Duration>,
) -> io::Result<(bool, bool)> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let mut fds: SmallVec<[PollFd<'_>; 2]> = SmallVec::new();
    fds.push(PollFd::from_borrowed_fd(first, PollFlags::IN));
    fds.extend(second.map(|second| PollFd::from_borrowed_fd(second, PollFlags::IN)));
    loop {
        match poll(&mut fds, limit.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    // An error shows when the descriptor is read.
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok((ready.next().unwrap_or(false), ready.next().unwrap_or(false)))
}
