//! The blocking front end: every call waits for the server's answer, a thread receives.

mod driver;
mod park;
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
        $crate::blocking::park::block_on($future)
    };
}
pub(crate) use finish;

/// A connection to XenStore.
///
/// Clones share the connection; any number of threads may use it at once. On a socket their
/// requests are on their way at the same time; the kernel's device takes one after the other, so
/// there a second `Client` is what makes two threads independent. The connection is closed with
/// the last clone, watch and transaction of it.
///
/// When it breaks (server gone, an answer overdue) every waiting and every later call fails at
/// once with an error for which [`Error::is_fatal`] holds. It is not opened again behind the
/// user's back, because watches and transactions are lost with it: open a new one.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Opens [`DEVICE`](crate::DEVICE), which every Xen domain's kernel has, or else
    /// [`SOCKET`](crate::SOCKET).
    ///
    /// # Errors
    /// [`Error::Unreachable`], also when this is no Xen domain.
    pub fn open() -> Result<Self> {
        Self::start(Transport::open()?)
    }

    /// Opens the kernel's device or a server's socket by its path.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn connect_path(path: &Path) -> Result<Self> {
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
    pub fn watch(&self, path: &str) -> Result<Watch> {
        finish!(self.connection.watch(path, None)).map(Watch::new)
    }

    /// Watches a node and `depth` levels below it: 0 is the node alone, 1 its children too.
    ///
    /// Servers of Xen 4.22 and later do that themselves, on their socket. Elsewhere the events of
    /// deeper nodes are dropped on arrival: the result is the same, the traffic is not.
    ///
    /// # Errors
    /// The server's; [`Error::Unsupported`] for special paths, whose depth means something else
    /// and needs such a server.
    pub fn watch_depth(&self, path: &str, depth: u32) -> Result<Watch> {
        finish!(self.connection.watch(path, Some(depth))).map(Watch::new)
    }

    fn scope(&self) -> Scope<'_> {
        self.connection.scope()
    }

    node_verbs!(finish);
    server_verbs!(finish);
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("broken", &self.is_broken())
            .field("statistics", &self.statistics())
            .finish()
    }
}
