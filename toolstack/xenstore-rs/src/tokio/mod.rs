//! The asynchronous front end, on tokio. Same verbs, same meaning as the blocking one.
//!
//! Every future may be dropped at any point (`select!`, a timeout of one's own) without harm to
//! the connection: answers find their request by its id, and a transaction or a watch whose start
//! nobody waited for is ended again.

mod driver;
mod transaction;
mod watch;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::session::{Session, Statistics};
use crate::transport::Transport;
use crate::verbs::{Connection, Scope, node_verbs, server_verbs};

pub use transaction::Transaction;
pub use watch::Watch;

macro_rules! finish {
    ($future:expr) => {
        $future.await
    };
}
pub(crate) use finish;

/// A connection to XenStore, for use inside a tokio runtime with I/O and time enabled.
///
/// Clones share the connection. A connection that broke stays broken, as with the blocking
/// [`Client`](crate::Client); one also breaks when the runtime it was opened in shuts down.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Opens [`DEVICE`](crate::DEVICE), which every Xen domain's kernel has, or else
    /// [`SOCKET`](crate::SOCKET).
    ///
    /// # Errors
    /// [`Error::Unreachable`], also when this is no Xen domain; [`Error::System`] outside of a
    /// runtime.
    pub async fn open() -> Result<Self> {
        Self::start(Transport::open()?)
    }

    /// Opens the kernel's device or a server's socket by its path.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn connect_path(path: &Path) -> Result<Self> {
        Self::start(Transport::open_path(path)?)
    }

    /// Takes over a connected stream socket, for example one half of a pair.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn from_socket(socket: OwnedFd) -> Result<Self> {
        let transport = Transport::from_socket(socket).map_err(|source| Error::System {
            what: "a non-blocking socket",
            source,
        })?;
        Self::start(transport)
    }

    fn start(transport: Transport) -> Result<Self> {
        let session = Session::new(transport);
        driver::start(&session)?;
        Ok(Self {
            connection: Connection::new(session),
        })
    }

    /// Sets how long an answer may take before the connection is given up, for this value and its
    /// later clones. The default is [`DEFAULT_TIMEOUT`](crate::DEFAULT_TIMEOUT). Time in which this process was stopped does not
    /// count against the server.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            connection: self.connection.with_timeout(timeout),
        }
    }

    /// Is the connection lost?
    pub fn is_broken(&self) -> bool {
        self.connection.is_broken()
    }

    /// What this connection has done so far.
    pub fn statistics(&self) -> Statistics {
        self.connection.statistics()
    }

    /// Watches a node and everything below it, or one of the special paths `@introduceDomain`
    /// and `@releaseDomain`.
    ///
    /// # Errors
    /// The server's.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        self.connection.watch(path, None).await.map(Watch::new)
    }

    /// Watches a node and `depth` levels below it; see
    /// [`Client::watch_depth`](crate::Client::watch_depth) of the blocking client.
    ///
    /// # Errors
    /// The server's; [`Error::Unsupported`] for special paths where the server has no depth.
    pub async fn watch_depth(&self, path: &str, depth: u32) -> Result<Watch> {
        self.connection
            .watch(path, Some(depth))
            .await
            .map(Watch::new)
    }

    fn scope(&self) -> Scope<'_> {
        self.connection.scope()
    }

    node_verbs!(finish, async);
    server_verbs!(finish, async);
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("broken", &self.is_broken())
            .field("statistics", &self.statistics())
            .finish()
    }
}
