//! A way to wake a thread that waits in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

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

/// Waits until one of `fds` can be read, and tells which; no longer than `limit`: then none can.
pub(crate) fn wait_for<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        match poll(&mut fds, limit.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            // An error shows when the descriptor is read.
            Ok(_) => return Ok(fds.map(|fd| !fd.revents().is_empty())),
        }
    }
}

/// As [`wait_for`], where there is only perhaps a second.
pub(crate) fn wait(
    first: BorrowedFd<'_>,
    second: Option<BorrowedFd<'_>>,
    limit: Option<Duration>,
) -> io::Result<(bool, bool)> {
    Ok(match second {
        Some(second) => wait_for([first, second], limit)?.into(),
        None => {
            let [first] = wait_for([first], limit)?;
            (first, false)
        }
    })
}
