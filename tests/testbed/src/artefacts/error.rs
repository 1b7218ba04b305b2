//! Why an artefact could not be had, told from the side of whoever wants to boot the bed.

use std::path::{Path, PathBuf};

use crate::failure::{FAILED, Failure, HOST_CANNOT, INTERRUPTED};
use crate::process;

/// Result of everything that gets or builds artefacts.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why an artefact could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user pressed Ctrl-C.
    #[error("interrupted; the next run goes on from here")]
    Interrupted,
    /// A child failed: compiler, make, tar, apt.
    #[error("{wanted}: {source}")]
    Child {
        /// What was being done.
        wanted: String,
        /// What happened.
        source: process::Error,
    },
    /// The file system said no.
    #[error("cannot {wanted} {}: {source}", path.display())]
    Io {
        /// `write`, `read`, `create`.
        wanted: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
    /// Packages are missing on this host and could not be installed.
    #[error("these packages are needed: {}\n{reason}\nInstall them with:\n  {command}", packages.join(" "))]
    HostPackages {
        /// Debian names.
        packages: Vec<String>,
        /// Why xtask did not do it.
        reason: String,
        /// The exact command.
        command: String,
    },
    /// Debian's archive does not offer something, or cannot be reached.
    #[error("cannot get {what} from Debian: {reason}")]
    Unavailable {
        /// Package or file.
        what: String,
        /// What was tried and what came back.
        reason: String,
    },
    /// The host's tools do not fit together.
    #[error("{0}")]
    Host(String),
    /// What came out of a build is not what was expected.
    #[error("{what} was built, but {problem}. The log: {}", log.display())]
    Product {
        /// The artefact.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// Where to look.
        log: PathBuf,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(wanted: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            wanted,
            path,
            source,
        }
    }

    /// For `map_err` on children.
    pub(crate) fn child(wanted: impl Into<String>) -> impl FnOnce(process::Error) -> Self {
        let wanted = wanted.into();
        move |source| match source {
            process::Error::Interrupted => Self::Interrupted,
            source => Self::Child { wanted, source },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Interrupted => INTERRUPTED,
            Error::HostPackages { .. } | Error::Host(_) | Error::Unavailable { .. } => HOST_CANNOT,
            _ => FAILED,
        };
        Self {
            message: error.to_string(),
            code,
        }
    }
}
