//! What an attempt is, and what became of it.
//!
//! An attempt is one operation on one target. A refusal counts only if it is Xen's (or XenStore's) word for "you may not":
//! any other error is `failed`, because it may as well be this program's mistake. Where the same operation has a target on
//! which it must succeed, that is a control.

use std::io;

use serde::{Deserialize, Serialize};

use crate::attacker::Attacker;

/// Who an attempt is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A guest that this driver domain serves.
    Own,
    /// A guest that it does not serve.
    Foreign,
    /// The control domain.
    Dom0,
    /// Another driver domain.
    Other,
    /// Xen itself, or this domain.
    Here,
}

impl Target {
    /// The last part of an attempt's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Foreign => "foreign",
            Self::Dom0 => "dom0",
            Self::Other => "other-driver",
            Self::Here => "here",
        }
    }
}

/// What has to come out of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expected {
    /// It is refused.
    Refused,
    /// It succeeds: without that, refusals elsewhere say nothing.
    Control,
    /// It succeeds although nobody needs it: `hvm dm` and the like do not distinguish it.
    Limit,
    /// Either; the details tell what was seen.
    Any,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Xen or XenStore said: you may not.
    Refused,
    /// It was done.
    Allowed,
    /// Another error, or no answer in time.
    Failed,
}

/// What one attempt saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// See there.
    pub(crate) outcome: Outcome,
    /// Linux's number, where there was one.
    pub(crate) errno: Option<i32>,
    /// In words.
    pub(crate) detail: String,
}

impl Verdict {
    /// It was done.
    pub(crate) fn allowed(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Allowed,
            errno: None,
            detail: detail.into(),
        }
    }

    /// It was refused, in words that are no errno.
    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Refused,
            errno: None,
            detail: detail.into(),
        }
    }

    /// Neither.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failed,
            errno: None,
            detail: detail.into(),
        }
    }

    /// By errno: `EPERM` and `EACCES` are refusals, all others failures.
    pub(crate) fn from_errno(errno: Option<i32>, detail: impl Into<String>) -> Self {
        Self::from_errno_or(errno, &[], detail)
    }

    /// As [`Verdict::from_errno`], with more numbers that are refusals of this operation.
    pub(crate) fn from_errno_or(
        errno: Option<i32>,
        refusals: &[i32],
        detail: impl Into<String>,
    ) -> Self {
        let refused = errno.is_some_and(|errno| {
            matches!(errno, libc::EPERM | libc::EACCES) || refusals.contains(&errno)
        });
        Self {
            outcome: if refused {
                Outcome::Refused
            } else {
                Outcome::Failed
            },
            errno,
            detail: detail.into(),
        }
    }

    /// Of a system call whose success is described by `detail`.
    pub(crate) fn from_io<T>(
        result: io::Result<T>,
        refusals: &[i32],
        detail: impl FnOnce(T) -> String,
    ) -> Self {
        match result {
            Ok(value) => Self::allowed(detail(value)),
            Err(error) => Self::from_errno_or(error.raw_os_error(), refusals, error.to_string()),
        }
    }

    /// Of a call of the `xen` crate.
    pub(crate) fn from_xen<T>(result: xen::Result<T>, detail: impl FnOnce(T) -> String) -> Self {
        match result {
            Ok(value) => Self::allowed(detail(value)),
            Err(error) => Self::from_errno(error.errno(), error.to_string()),
        }
    }

    /// Is it what was expected?
    pub(crate) fn is(&self, expected: Expected) -> bool {
        match expected {
            Expected::Refused => self.outcome == Outcome::Refused,
            Expected::Control => self.outcome == Outcome::Allowed,
            Expected::Limit | Expected::Any => true,
        }
    }
}

/// A line of the catalogue.
pub(crate) struct Attempt {
    /// Unique, without the target.
    pub(crate) name: &'static str,
    /// What an attacker would gain.
    pub(crate) aim: &'static str,
    /// The targets, and what has to come out for each.
    pub(crate) on: &'static [(Target, Expected)],
    /// Would success end or damage the target? Then it is tried only where a harmless question about it is refused.
    pub(crate) harm: bool,
    /// The operation, on the domain with this number.
    pub(crate) how: fn(&Attacker, u16) -> Verdict,
}

/// One that is tried on everybody.
pub(crate) const fn on_everybody(
    name: &'static str,
    aim: &'static str,
    how: fn(&Attacker, u16) -> Verdict,
) -> Attempt {
    Attempt {
        name,
        aim,
        on: EVERYBODY,
        harm: false,
        how,
    }
}

/// The same, of what harms its target where it works.
pub(crate) const fn harmful(
    name: &'static str,
    aim: &'static str,
    how: fn(&Attacker, u16) -> Verdict,
) -> Attempt {
    Attempt {
        name,
        aim,
        on: EVERYBODY,
        harm: true,
        how,
    }
}

/// Must be refused on every domain there is.
pub(crate) const EVERYBODY: &[(Target, Expected)] = &[
    (Target::Own, Expected::Refused),
    (Target::Foreign, Expected::Refused),
    (Target::Dom0, Expected::Refused),
    (Target::Other, Expected::Refused),
];

/// Must be refused on all but the guests that this domain serves.
pub(crate) const STRANGERS: &[(Target, Expected)] = &[
    (Target::Foreign, Expected::Refused),
    (Target::Dom0, Expected::Refused),
    (Target::Other, Expected::Refused),
];

/// Must be refused on all but the guests that this domain serves, where it has to work.
pub(crate) const ALL_BUT_OWN: &[(Target, Expected)] = &[
    (Target::Own, Expected::Control),
    (Target::Foreign, Expected::Refused),
    (Target::Dom0, Expected::Refused),
    (Target::Other, Expected::Refused),
];

/// Has no domain as its target, and must be refused.
pub(crate) const HERE: &[(Target, Expected)] = &[(Target::Here, Expected::Refused)];

/// Shows that the program does its part right.
pub(crate) const HERE_CONTROL: &[(Target, Expected)] = &[(Target::Here, Expected::Control)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_refusal_are_refusals() {
        let of = |errno| Verdict::from_errno(Some(errno), "").outcome;
        assert_eq!(of(libc::EPERM), Outcome::Refused);
        assert_eq!(of(libc::EACCES), Outcome::Refused);
        for other in [libc::EINVAL, libc::ESRCH, libc::ENOSYS, libc::EFAULT] {
            assert_eq!(of(other), Outcome::Failed);
        }
        assert_eq!(Verdict::from_errno(None, "").outcome, Outcome::Failed);
        let more = Verdict::from_errno_or(Some(libc::EINVAL), &[libc::EINVAL], "");
        assert_eq!(more.outcome, Outcome::Refused);
    }

    #[test]
    fn a_failure_satisfies_neither_a_refusal_nor_a_control() {
        let failed = Verdict::failed("");
        assert!(!failed.is(Expected::Refused));
        assert!(!failed.is(Expected::Control));
        assert!(Verdict::allowed("").is(Expected::Control));
        assert!(!Verdict::allowed("").is(Expected::Refused));
    }
}
