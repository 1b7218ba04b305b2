//! What can be asked of XenStore, written once: each verb is a future that neither front end's way
//! of waiting has any part in.
//!
//! A [`Scope`] is a connection plus a transaction (or none); the macros of [`public`] give a front
//! end's client and its transaction the same public methods.

mod connection;
mod node;
mod public;
mod watch;

pub use connection::{DEFAULT_TIMEOUT, Features};
pub use watch::WatchEvent;

pub(crate) use connection::Connection;
pub(crate) use node::Scope;
pub(crate) use public::{node_verbs, server_verbs};
pub(crate) use watch::WatchHandle;
