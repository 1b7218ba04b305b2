//! Permissions of a node, in the form the wire and `xenstore-chmod` use: `n0`, `r5`, `b7`.
//!
//! The first entry of a list names the owner, who may always do everything; its access is what
//! domains *without an entry of their own* may do. Source: `docs/misc/xenstore.txt`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What a domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `n`: nothing.
    None,
    /// `r`: read.
    Read,
    /// `w`: write.
    Write,
    /// `b`: both.
    Both,
}

/// One entry of a node's permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// The domain.
    pub domid: u16,
    /// What it may do.
    pub access: Access,
}

/// The text is no permission.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no permission: one of n, r, w, b and a domain number is, for example r5")]
pub struct ParsePermissionError(String);

impl Permission {
    /// An entry.
    pub const fn new(domid: u16, access: Access) -> Self {
        Self { domid, access }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.access {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        };
        write!(f, "{letter}{}", self.domid)
    }
}

impl FromStr for Permission {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePermissionError(text.chars().take(32).collect());
        let mut rest = text.chars();
        let access = match rest.next() {
            Some('n') => Access::None,
            Some('r') => Access::Read,
            Some('w') => Access::Write,
            Some('b') => Access::Both,
            _ => return Err(error()),
        };
        let digits = rest.as_str();
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let domid = digits.parse().map_err(|_| error())?;
        Ok(Self { domid, access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in ["n0", "r5", "w32751", "b65535"] {
            assert_eq!(text.parse::<Permission>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "r", "x0", "r-1", "r+1", "r65536", "r 5", "5", "r5x"] {
            assert!(text.parse::<Permission>().is_err(), "{text}");
        }
    }
}
