//! Waiting for the events of a watch.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::verbs::{WatchEvent, WatchHandle};

use super::finish;
use super::park::block_on_until;

/// A watch; dropping it ends it at the server.
///
/// See [`WatchEvent`] for what an event means. Events wait in bounded memory until they are taken;
/// requests made in between do not disturb them. Several threads may wait: one gets each event.
pub struct Watch {
    handle: WatchHandle,
}

impl Watch {
    pub(super) fn new(handle: WatchHandle) -> Self {
        Self { handle }
    }

    /// The path being watched.
    pub fn path(&self) -> &str {
        self.handle.path()
    }

    /// Waits for the next event, without a time limit.
    ///
    /// # Errors
    /// Only when the connection is lost, and no event waits any more.
    pub fn recv(&self) -> Result<WatchEvent> {
        finish!(self.handle.recv())
    }

    /// Waits for the next event; `None` when none has come in time.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<WatchEvent>> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => block_on_until(self.handle.recv(), deadline).transpose(),
            None => self.recv().map(Some),
        }
    }

    /// The next event if one is there.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    pub fn try_recv(&self) -> Result<Option<WatchEvent>> {
        self.handle.next(None)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.path()).finish()
    }
}
