//! What wakes a queue's thread besides the driver's kicks: ended I/O, and ourselves.
//!
//! `vhost-user-backend` watches one more descriptor per thread, and this is it: an epoll descriptor that becomes
//! readable with any of those put into it. So what is watched can change without reaching into the crate's event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, epoll, eventfd};

/// One thread's.
#[derive(Debug)]
pub(crate) struct Door {
    watched: OwnedFd,
    waker: OwnedFd,
    closing: AtomicBool,
}

impl Door {
    pub(crate) fn new() -> io::Result<Self> {
        let door = Door {
            watched: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            waker: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            closing: AtomicBool::new(false),
        };
        door.watch(door.waker.as_fd())?;
        Ok(door)
    }

    /// Wakes the thread when this can be read.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.watched, fd, data, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// Stops watching it.
    pub(crate) fn forget(&self, fd: BorrowedFd<'_>) {
        // One that was never watched is forgotten already.
        let _ = epoll::delete(&self.watched, fd);
    }

    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Takes all rings so far; false when the thread is to end.
    pub(crate) fn answer(&self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.waker, &mut count);
        !self.closing.load(Ordering::SeqCst)
    }
}

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        self.watched.as_raw_fd()
    }
}
