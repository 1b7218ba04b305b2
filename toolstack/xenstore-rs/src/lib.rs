//! XenStore client: the tree of names and values through which Xen's domains find each other.
//!
//! One protocol core, two front ends: [`Client`] blocks, `tokio::Client` (feature `tokio`) awaits;
//! both have the same verbs, read, write, watch, transaction and the rest of
//! `docs/misc/xenstore.txt`, over `/dev/xen/xenbus` or a server's unix socket.
//!
//! ```no_run
//! # fn main() -> xenstore::Result<()> {
//! let client = xenstore::Client::open()?;
//! let state = client.transaction(|tx| {
//!     tx.write("/tool/example/state", "1")?;
//!     tx.read_string_opt("/tool/example/wish")
//! })?;
//! let watch = client.watch("/tool/example/wish")?;
//! let changed = watch.recv()?;
//! # let _ = (state, changed); Ok(()) }
//! ```
//!
//! What it must never do: wait without a time limit for the server, let a slow user of events
//! block the answers of others (or the other way round), grow with what a peer sends, take one
//! request's answer for another's, or panic on anything a guest wrote into the store.
//!
//! Layers, each knowing only those before it: [`wire`] and [`path`] (syntax), `request` (what to
//! send, what came back), `transport` (file descriptors), `session` (who waits for what), `verbs`
//! (the requests as futures), [`Client`] and `tokio`.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod backoff;
mod blocking;
mod error;
pub mod path;
mod permission;
mod request;
mod session;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;
mod verbs;
pub mod wire;

pub use backoff::RetryPolicy;
pub use blocking::{Client, Transaction, Watch};
pub use error::{Errno, Error, Result};
pub use permission::{Access, ParsePermissionError, Permission};
pub use session::events::PENDING_MAX;
pub use session::{IN_FLIGHT_MAX, Statistics};
pub use transport::{DEVICE, SOCKET};
pub use verbs::{DEFAULT_TIMEOUT, Features, WatchEvent};
