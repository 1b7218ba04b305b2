//! How a subcommand ends when it does not succeed: one message for the person, one exit code for the caller.

use std::process::ExitCode;

/// Exit code 1: a test failed, a build failed.
pub(crate) const FAILED: u8 = 1;
/// Exit code 3: this host cannot do it (a package is missing and cannot be installed, no network).
pub(crate) const HOST_CANNOT: u8 = 3;
/// Exit code 130: interrupted by the user, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The end of a subcommand that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was wanted, what happened, what to do; may have several lines.
    pub(crate) message: String,
    /// The process's exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// Any error that is not the host's or the user's doing.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: FAILED,
        }
    }

    /// Prints the message on standard error.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}
