//! Waiting for the events of a watch.

use std::time::Duration;

use crate::error::Result;
use crate::verbs::{WatchEvent, WatchHandle};

/// A watch; dropping it ends it at the server.
///
/// See [`WatchEvent`] for what an event means. Events wait in bounded memory until they are taken;
/// requests made in between do not disturb them.
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

    /// Waits for the next event. Dropping the future loses none.
    ///
    /// # Errors
    /// Only when the connection is lost, and no event waits any more.
    pub async fn recv(&self) -> Result<WatchEvent> {
        self.handle.recv().await
    }

    /// Waits for the next event; `None` when none has come in time.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<Option<WatchEvent>> {
        match ::tokio::time::timeout(timeout, self.handle.recv()).await {
            Ok(event) => event.map(Some),
            Err(_) => Ok(None),
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
