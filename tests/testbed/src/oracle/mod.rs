//! The oracle: real Xen judges a layout. No dom0, no kernel, no file system: Xen on QEMU, and in each domain a tiny guest
//! that tells what the domain really has. An answer takes about a second.
//!
//! [`Oracle::ask`] boots a [`Layout`] and gives a [`Verdict`]. Where Xen refuses a layout before its console works, its
//! words are read from its memory. A verdict is given as soon as it is certain; it never rests on a guest's good will:
//! a guest that does not report is missing.

mod ask;
mod cases;
pub(crate) mod command;
mod console;
pub(crate) mod documents;
mod guest;
mod judge;
mod layout;
mod machine;
mod qmp;
mod readback;
mod symbols;
mod tree;

pub(crate) use ask::{Answer, Oracle};
pub(crate) use guest::GuestReport;
pub(crate) use judge::Verdict;
pub(crate) use layout::{Content, Layout, Machine, Module, Stranger, XEN_ARGUMENTS};
pub(crate) use readback::Readback;

use std::path::PathBuf;

/// What guests and Xen have told in a console's text so far.
pub(crate) fn told(console: &str) -> (Vec<GuestReport>, Readback) {
    let mut reports = guest::Reports::default();
    for line in console.lines() {
        reports.take(line);
    }
    (reports.all(), readback::read("", console))
}

/// Why a layout could not be judged at all. What Xen thinks of it is a [`Verdict`], never an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something that is booted could not be had.
    #[error(transparent)]
    Artefact(#[from] crate::artefacts::error::Error),
    /// QEMU could not be run.
    #[error(transparent)]
    Run(#[from] crate::run::Error),
    /// A file or socket of the run.
    #[error("cannot {wanted} {}: {source}", path.display())]
    Io {
        /// `write`, `read`, `listen at` …
        wanted: &'static str,
        /// Which.
        path: PathBuf,
        /// From the operating system.
        source: std::io::Error,
    },
    /// A device tree's source is not understood.
    #[error("the layout `{name}` is no device tree: {said}")]
    Tree {
        /// The layout.
        name: String,
        /// dtc's words.
        said: String,
    },
    /// QEMU ended by itself.
    #[error("QEMU ended ({status}) while it ran `{name}`: {said}")]
    Ended {
        /// The layout.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        said: String,
    },
    /// Xen's symbols cannot be read.
    #[error("{}: {problem}", path.display())]
    Symbols {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
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
        match error {
            Error::Artefact(error) => error.into(),
            Error::Run(error) => error.into(),
            Error::Interrupted => Self {
                message: "interrupted".to_owned(),
                code: crate::failure::INTERRUPTED,
            },
            error => Self::new(error.to_string()),
        }
    }
}
