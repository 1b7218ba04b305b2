//! Boots the bed and talks to what runs inside.
//!
//! [`bed::Bed`] is one running machine: QEMU, Xen, dom0 with its agent. Dropping it ends QEMU, whatever happened.
//! Each run has a folder of logs below `target/bed/logs` and a folder of sockets that vanishes with it.

pub(crate) mod bed;
pub(crate) mod board;
pub(crate) mod commands;
pub(crate) mod folder;
pub(crate) mod helper;
pub(crate) mod logs;
pub(crate) mod media;
pub(crate) mod plain;
mod pump;
pub(crate) mod qemu;
pub(crate) mod secure;
pub(crate) mod session;
pub(crate) mod shell;

use std::path::PathBuf;

/// Why the bed cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or folder of the run.
    #[error("cannot {wanted} {}: {source}", path.display())]
    Io {
        /// `write`, `create` …
        wanted: &'static str,
        /// Which.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
    /// QEMU is missing or may not be run.
    #[error("cannot start QEMU: {0}")]
    Start(std::io::Error),
    /// QEMU ended before dom0 was there.
    #[error("QEMU ended ({status}) while {during}{said}\nLogs: {}", logs.display())]
    Ended {
        /// How.
        status: String,
        /// What was being waited for.
        during: &'static str,
        /// The end of what it and the console said.
        said: String,
        /// Where all of it is.
        logs: PathBuf,
    },
    /// dom0 did not come up.
    #[error("{what}{said}\nLogs: {}", logs.display())]
    Boot {
        /// What was awaited.
        what: String,
        /// The end of the console.
        said: String,
        /// Where all of it is.
        logs: PathBuf,
    },
    /// Xen cannot be told what to boot.
    #[error("no device tree could be made: {0}")]
    Tree(String),
    /// The control channel.
    #[error(transparent)]
    Agent(#[from] agent::client::Error),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What this module returns.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn io(wanted: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            wanted,
            path: path.to_path_buf(),
            source,
        }
    }
}

impl From<Error> for crate::failure::Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Interrupted => crate::failure::INTERRUPTED,
            Error::Start(_) => crate::failure::HOST_CANNOT,
            _ => crate::failure::FAILED,
        };
        Self {
            message: error.to_string(),
            code,
        }
    }
}
