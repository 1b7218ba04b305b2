//! Watches: starting one, waiting for its events, ending it.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::error::{Error, Result, describe};
use crate::path;
use crate::request::Request;
use crate::session::token_text;
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
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// See [`Session::next_event`].
    pub(crate) fn next(&self, waker: Option<&Waker>) -> Result<Option<WatchEvent>> {
        let event = self
            .connection
            .session()
            .next_event(self.token, &self.path, waker)?;
        Ok(event.map(|path| WatchEvent { path }))
    }

    pub(crate) async fn recv(&self) -> Result<WatchEvent> {
        poll_fn(|context| match self.next(Some(context.waker())) {
            Ok(Some(event)) => Poll::Ready(Ok(event)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
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
