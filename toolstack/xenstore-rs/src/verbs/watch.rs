//! Watches: starting one, waiting for its events, ending it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result, describe};
use crate::path;
use crate::request::Request;
use crate::session::{Waiter, token_text};
use crate::wire::MessageType;

use super::Connection;

impl Connection {
    /// Starts a watch, limited to `depth` levels by the server where it can, else by the session.
    pub(crate) async fn watch(&self, path: &str, depth: Option<u32>) -> Result<WatchHandle> {
        path::validate(path)?;
        let by_server = match depth {
            None => false,
            Some(_) => {
                !self.session().transport().is_device() && self.features().await?.watch_depth()
            }
        };
        if depth.is_some() && !by_server && path.starts_with('@') {
            return Err(Error::Unsupported {
                request: describe(MessageType::WATCH, path),
                reason: "a depth for a special watch needs the socket of a server of Xen 4.22 \
                         or later",
            });
        }
        let own_depth = depth.filter(|_| !by_server);
        let token = self.session().add_watch(path, own_depth);
        // From here on a drop undoes it, also when this future is cancelled half-way.
        let handle = WatchHandle {
            connection: self.clone(),
            path: path.to_owned(),
            token,
        };
        let request = Request::watch(path, &token_text(token), depth.filter(|_| by_server))?;
        match self.ask(request).await {
            Ok(reply) => {
                reply.acknowledged();
                Ok(handle)
            }
            Err(error) => {
                // It was never there, so there is nothing to undo at the server.
                self.session().remove_watch(token);
                handle.forget();
                Err(error)
            }
        }
    }
}

/// A watch at the server; dropping it ends it there.
pub(crate) struct WatchHandle {
    connection: Connection,
    path: String,
    token: u64,
}

impl WatchHandle {
    /// A watch that the session knows and no server was told of.
    #[cfg(test)]
    pub(crate) fn for_test(connection: Connection, path: &str, token: u64) -> Self {
        Self {
            connection,
            path: path.to_owned(),
            token,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// See [`Session::next_event`].
    pub(crate) fn next(&self, wake: Option<(&mut Waiter, &Waker)>) -> Result<Option<WatchEvent>> {
        let event = self
            .connection
            .session()
            .next_event(self.token, &self.path, wake)?;
        Ok(event.map(|path| WatchEvent { path }))
    }

    pub(crate) fn recv(&self) -> Recv<'_> {
        Recv {
            handle: self,
            waiter: Waiter::default(),
        }
    }

    /// How many wait for its events.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.connection.session().waiters(self.token)
    }

    /// Drops the handle without a word to the server.
    fn forget(mut self) {
        self.token = 0;
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        if self.token == 0 {
            return;
        }
        let session = self.connection.session();
        session.remove_watch(self.token);
        let token = token_text(self.token);
        session.submit_detached(
            Request::unwatch(&self.path, &token),
            self.connection.timeout(),
        );
    }
}

/// The wait for one event. Dropping it loses no event, and leaves no waker behind.
#[must_use = "it waits when it is polled"]
pub(crate) struct Recv<'a> {
    handle: &'a WatchHandle,
    waiter: Waiter,
}

impl Future for Recv<'_> {
    type Output = Result<WatchEvent>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.handle;
        match handle.next(Some((&mut self.waiter, context.waker()))) {
            Ok(Some(event)) => Poll::Ready(Ok(event)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Recv<'_> {
    fn drop(&mut self) {
        let session = self.handle.connection.session();
        session.forget_waiter(self.handle.token, &self.waiter);
    }
}

/// Something below a watched path is different now.
///
/// It says *where to look*, not what happened: equal events are merged, and after too many
/// different ones a single event for the watch's own path stands for all of them. The first event
/// of every watch comes at once, without any change, and has the watch's path: start from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The node that changed, or the watch's own path.
    pub path: String,
}
