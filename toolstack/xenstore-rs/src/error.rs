//! What can go wrong, told from the caller's side: what was asked for, what happened, what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::wire::MessageType;

/// `Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Name of an errno as XenStore sends it, for example `ENOSPC`.
///
/// The name is kept as it came, known or not: it is the only thing the wire carries.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Errno(Box<str>);

/// Linux' numbers (generic ABI, same on arm64 and x86-64) of the names in `xsd_errors`, and of
/// those the kernel's device adds.
const NUMBERS: &[(&str, i32)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("E2BIG", 7),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("EISCONN", 106),
    ("EDQUOT", 122),
];

impl Errno {
    /// From a name; anything longer than 64 bytes or outside printable ASCII is cut down first,
    /// because it comes from the peer and ends up in logs.
    pub fn from_name(name: &str) -> Self {
        let clean: String = name
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { '?' })
            .take(64)
            .collect();
        Self(clean.into_boxed_str())
    }

    /// From a number, as the kernel's device returns it from `write(2)`.
    pub fn from_number(number: i32) -> Self {
        match NUMBERS.iter().find(|(_, n)| *n == number) {
            Some((name, _)) => Self((*name).into()),
            None => Self(format!("errno {number}").into_boxed_str()),
        }
    }

    /// The name, for example `EINVAL`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Linux' number for it, `None` when the name is unknown here.
    pub fn number(&self) -> Option<i32> {
        NUMBERS
            .iter()
            .find(|(name, _)| *name == self.name())
            .map(|(_, number)| *number)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a request was not done.
///
/// After [`Error::Disconnected`], [`Error::Timeout`] and [`Error::Protocol`] with `fatal` set the
/// connection is of no more use: watches and transactions died with it. Open a new one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No XenStore was found on this machine.
    #[error(
        "cannot reach XenStore ({tried}): {source}; is this a Xen domain, and may this user open it?"
    )]
    Unreachable {
        /// What was opened, in order.
        tried: String,
        /// The last attempt's error.
        source: io::Error,
    },
    /// `ENOENT`: the node, or the domain asked for, does not exist.
    #[error("{request}: does not exist")]
    NotFound {
        /// Message type and path.
        request: String,
    },
    /// `EACCES` or `EPERM`: this domain may not do that.
    #[error("{request}: permission denied ({errno}); see the node's permissions, `xenstore-ls -p`")]
    PermissionDenied {
        /// Message type and path.
        request: String,
        /// Which of the two it was.
        errno: Errno,
    },
    /// `EAGAIN`: others changed the same nodes, and the transaction was not carried out.
    #[error(
        "{request}: given up after {attempts} attempts, other clients keep changing the same nodes"
    )]
    Conflict {
        /// Message type and path.
        request: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Any other error of the server, under the name it gave.
    #[error("{request}: XenStore answered {errno}")]
    Server {
        /// Message type and path.
        request: String,
        /// The server's own name for the error.
        errno: Errno,
    },
    /// The path can not name a node.
    #[error("{path:?} is no XenStore path: {reason}")]
    InvalidPath {
        /// The path, shortened when very long.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An argument can not be sent.
    #[error("{request}: {reason}")]
    InvalidArgument {
        /// Message type and path.
        request: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The message does not fit.
    #[error(
        "{request}: {bytes} bytes of path and value, but at most {limit} fit into a message{hint}"
    )]
    TooLong {
        /// Message type and path.
        request: String,
        /// Size of the payload that was wanted.
        bytes: usize,
        /// Largest payload this connection carries.
        limit: usize,
        /// Why the limit is lower than the protocol's, or nothing.
        hint: &'static str,
    },
    /// The value is not text.
    #[error("{path}: the value is not UTF-8 text; read it as bytes")]
    NotText {
        /// The node.
        path: String,
    },
    /// This connection or server can not do that.
    #[error("{request}: {reason}")]
    Unsupported {
        /// Message type and path.
        request: String,
        /// Why not.
        reason: &'static str,
    },
    /// No answer came in time; the connection was given up.
    #[error("{request}: no answer from XenStore within {after:?}; the connection was given up")]
    Timeout {
        /// Message type and path.
        request: String,
        /// The limit that was exceeded.
        after: Duration,
    },
    /// Too many requests are waiting for this connection's server.
    #[error("{request}: {waiting} requests are already waiting for XenStore on this connection")]
    Busy {
        /// Message type and path.
        request: String,
        /// How many.
        waiting: usize,
    },
    /// The peer does not speak XenStore's protocol.
    #[error("{request}: XenStore's answer makes no sense: {detail}")]
    Protocol {
        /// Message type and path.
        request: String,
        /// What was wrong with it.
        detail: String,
        /// Is the connection lost? Otherwise only this request was.
        fatal: bool,
    },
    /// The connection is gone.
    #[error("{request}: the connection to XenStore is gone: {reason}")]
    Disconnected {
        /// Message type and path.
        request: String,
        /// What ended it.
        reason: String,
    },
    /// The machine refused a thread or a descriptor this client needs.
    #[error("cannot run a XenStore client: {what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// Is it that a node does not exist?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Is it that this domain lacks the right?
    pub fn is_permission_denied(&self) -> bool {
        matches!(self, Self::PermissionDenied { .. })
    }

    /// Would the same transaction have a chance if tried again?
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Is the connection lost, so that only a new one helps?
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Disconnected { .. } | Self::Protocol { fatal: true, .. }
        )
    }

    /// The errno's name, when the server (or the kernel in its place) gave one.
    pub fn errno_name(&self) -> Option<&str> {
        match self {
            Self::NotFound { .. } => Some("ENOENT"),
            Self::Conflict { .. } => Some("EAGAIN"),
            Self::PermissionDenied { errno, .. } | Self::Server { errno, .. } => Some(errno.name()),
            _ => None,
        }
    }

    /// From an error the server gave to a request.
    pub(crate) fn from_server(kind: MessageType, subject: &str, errno: Errno) -> Self {
        let request = describe(kind, subject);
        match errno.name() {
            "ENOENT" => Self::NotFound { request },
            "EACCES" | "EPERM" => Self::PermissionDenied { request, errno },
            "EAGAIN" => Self::Conflict {
                request,
                attempts: 1,
            },
            _ => Self::Server { request, errno },
        }
    }

    /// A reply that can not be understood, on a connection that is otherwise in order.
    pub(crate) fn bad_reply(kind: MessageType, subject: &str, detail: impl Into<String>) -> Self {
        Self::Protocol {
            request: describe(kind, subject),
            detail: detail.into(),
            fatal: false,
        }
    }
}

/// How a request is named in messages: `READ /local/domain/0/name`.
pub(crate) fn describe(kind: MessageType, subject: &str) -> String {
    if subject.is_empty() {
        kind.to_string()
    } else {
        format!("{kind} {subject}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_keep_their_name() {
        for name in [
            "EINVAL",
            "EEXIST",
            "ENOSPC",
            "EQUOTA",
            "E2BIG",
            "ENOSYS",
            "EWHATEVER",
        ] {
            let error = Error::from_server(MessageType::WRITE, "/a", Errno::from_name(name));
            assert_eq!(error.errno_name(), Some(name));
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn common_errors_can_be_told_apart() {
        let from = |name| Error::from_server(MessageType::READ, "/a", Errno::from_name(name));
        assert!(from("ENOENT").is_not_found());
        assert!(from("EACCES").is_permission_denied());
        assert!(from("EPERM").is_permission_denied());
        assert!(from("EAGAIN").is_conflict());
        assert!(!from("EIO").is_fatal());
        assert_eq!(from("ENOENT").to_string(), "READ /a: does not exist");
    }

    #[test]
    fn names_from_the_peer_are_harmless_in_logs() {
        let errno = Errno::from_name(&format!("E\x1b[31m\n{}", "x".repeat(500)));
        assert!(errno.name().len() <= 64);
        assert!(errno.name().chars().all(|c| c.is_ascii_graphic()));
    }

    #[test]
    fn numbers_and_names_agree() {
        for (name, number) in NUMBERS {
            assert_eq!(Errno::from_number(*number).name(), *name);
            assert_eq!(Errno::from_name(name).number(), Some(*number));
        }
        assert_eq!(Errno::from_number(9999).name(), "errno 9999");
    }
}
