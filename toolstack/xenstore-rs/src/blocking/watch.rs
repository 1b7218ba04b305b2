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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::Watch;
    use crate::session::Session;
    use crate::transport::Transport;
    use crate::verbs::{Connection, WatchHandle};
    use crate::wire::{MessageType, encode};

    /// A watch of a session whose events a test makes, and the way to make them.
    fn watch() -> (Watch, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let session = Session::new(Transport::from_socket(ours.into()).unwrap());
        super::super::driver::start(&session).unwrap();
        let token = session.add_watch("/w", None);
        let handle = WatchHandle::for_test(Connection::new(Arc::clone(&session)), "/w", token);
        (Watch::new(handle), theirs)
    }

    #[test]
    fn a_wait_that_ends_without_an_event_leaves_no_waker_behind() {
        let (watch, _server) = watch();
        for _ in 0..100 {
            let nothing = watch.recv_timeout(Duration::from_millis(1)).unwrap();
            assert_eq!(nothing, None);
        }
        assert_eq!(watch.handle.waiters(), 0);
    }

    #[test]
    fn a_wait_that_ends_early_takes_no_event_from_another() {
        let (watch, mut server) = watch();
        thread::scope(|scope| {
            let long = scope.spawn(|| watch.recv_timeout(Duration::from_secs(20)).unwrap());
            let start = std::time::Instant::now();
            while watch.handle.waiters() == 0 {
                assert!(start.elapsed() < Duration::from_secs(10), "it never waits");
                thread::sleep(Duration::from_millis(1));
            }
            let short = watch.recv_timeout(Duration::from_millis(1)).unwrap();
            assert_eq!(short, None);
            assert_eq!(watch.handle.waiters(), 1, "the long wait's");
            let event = encode(MessageType::WATCH_EVENT, 0, 0, b"/w/x\0w1\0").unwrap();
            std::io::Write::write_all(&mut server, &event).unwrap();
            let event = long.join().unwrap().expect("before the limit");
            assert_eq!(event.path, "/w/x");
        });
    }
}
