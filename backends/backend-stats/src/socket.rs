//! Asking the running avps-backend what it does.

use std::path::Path;

use daemon::socket::{self, SocketError};

use crate::Report;

/// Where a daemon answers unless it was told otherwise.
pub const DEFAULT: &str = "/run/avps/backend.sock";

/// Asks the daemon.
///
/// # Errors
/// No daemon, or one that does not answer.
pub fn ask(path: &Path) -> Result<Report, SocketError> {
    socket::ask("avps-backend", path)
}
