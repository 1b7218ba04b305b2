//! `vhost-user-backend`'s state of a ring, with the front end's descriptors made harmless.
//!
//! A front end may give a descriptor that blocks, and may replace one while its event is on the way. The crate's own
//! ring would then block its thread while it holds the ring's lock, or end the thread for good.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error;

use crate::Memory;

/// A ring.
#[derive(Clone)]
pub(crate) struct Vring {
    inner: VringMutex<Memory>,
    /// Where the front end wants to hear that the ring is broken. The crate keeps its own to itself.
    err: Arc<Mutex<Option<File>>>,
}

impl Vring {
    /// Tells the front end that the ring is of no more use.
    pub(crate) fn report_broken(&self) {
        if let Some(err) = &*lock(&self.err) {
            // A front end that does not listen has chosen so.
            let _ = rustix::io::write(err, &1_u64.to_ne_bytes());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could panic runs under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads and writes of it never wait. The flag belongs to the open file, so the front end has it too; it and the
/// kernel only ever add to an eventfd.
fn unblocked(file: Option<File>) -> Option<File> {
    if let Some(file) = &file {
        let flags = fcntl_getfl(file.as_fd()).unwrap_or(OFlags::empty());
        let _ = fcntl_setfl(file.as_fd(), flags | OFlags::NONBLOCK);
    }
    file
}

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl VringT<Memory> for Vring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        Ok(Vring {
            inner: VringMutex::new(memory, max_queue_size)?,
            err: Arc::default(),
        })
    }

    fn get_ref(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.inner.get_ref()
    }

    fn get_mut(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.inner.get_mut()
    }

    fn add_used(&self, desc_index: u16, len: u32) -> Result<(), Error> {
        self.inner.add_used(desc_index, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.inner.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.inner.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.inner.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.inner.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.inner.set_enabled(enabled);
    }

    fn set_queue_info(&self, desc: u64, avail: u64, used: u64) -> Result<(), Error> {
        self.inner.set_queue_info(desc, avail, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.inner.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.inner.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.inner.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.inner.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.inner.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.inner.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.inner.set_queue_ready(ready);
    }

    fn set_kick(&self, file: Option<File>) {
        self.inner.set_kick(unblocked(file));
    }

    fn read_kick(&self) -> io::Result<bool> {
        match self.inner.read_kick() {
            // The event was an earlier descriptor's.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(self.get_ref().is_enabled())
            }
            result => result,
        }
    }

    fn set_call(&self, file: Option<File>) {
        self.inner.set_call(unblocked(file));
    }

    fn set_err(&self, file: Option<File>) {
        *lock(&self.err) = unblocked(file);
    }
}
