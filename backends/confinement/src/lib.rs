//! Takes a process's means away, so that whoever takes the process over gains little.
//!
//! [`confine`] is called once, early, by a process that has one thread, and cannot be undone: namespaces of its own
//! with an empty file system and no network, a user id nobody else has, no capabilities, and a list of system calls
//! outside of which the kernel ends the process. What the process needs later must be handed to it as descriptors.
//!
//! Principles:
//! - Each step stands alone: where the kernel refuses one, the others are taken, and the refusal is told.
//! - The walls overlap. The system-call list does not see what io_uring does, so io_uring is on it only if there is
//!   nothing left to open and nobody to connect to.
//! - Nothing here knows Xen: which ioctls a process needs is its own to say.
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

#[cfg(feature = "attacks")]
pub mod attacks;
mod calls;
mod descriptors;
mod filter;
mod identity;
mod namespaces;

use std::fmt;
use std::io;

pub use descriptors::keep_from_children;

/// What the process will need.
#[derive(Clone, Debug)]
pub struct Needs {
    /// User and group id to become: one that nobody else has.
    pub id: u32,
    /// Request numbers of all ioctls it may issue, on whatever descriptor.
    pub ioctls: Vec<u32>,
}

/// One thing that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A mount namespace, so that its mounts are its own.
    MountNamespace,
    /// A root directory with nothing in it.
    EmptyRoot,
    /// A network namespace without any interface.
    NetworkNamespace,
    /// An IPC namespace: no System V objects, no message queues.
    IpcNamespace,
    /// A UTS namespace: the host's name cannot be changed.
    UtsNamespace,
    /// Limits on threads and descriptors; no core dump.
    Limits,
    /// A user and group of its own.
    Identity,
    /// A user namespace in which no id is mapped.
    UserNamespace,
    /// No capabilities, now or later.
    Capabilities,
    /// No other process of the same user may look inside.
    Undumpable,
    /// No program it could start gives it more rights.
    NoNewPrivileges,
    /// The list of system calls.
    SystemCalls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::MountNamespace => "mount namespace",
            Step::EmptyRoot => "empty root directory",
            Step::NetworkNamespace => "network namespace",
            Step::IpcNamespace => "IPC namespace",
            Step::UtsNamespace => "UTS namespace",
            Step::Limits => "resource limits",
            Step::Identity => "user of its own",
            Step::UserNamespace => "user namespace",
            Step::Capabilities => "dropped capabilities",
            Step::Undumpable => "protection from being traced",
            Step::NoNewPrivileges => "no_new_privs",
            Step::SystemCalls => "system-call filter",
        })
    }
}

/// A step that was refused.
#[derive(Debug)]
pub struct Missing {
    /// Which.
    pub step: Step,
    /// What the kernel said.
    pub reason: io::Error,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.step, self.reason)
    }
}

/// Confines this process, as far as the kernel lets it, and tells what was refused.
///
/// Call it while there is one thread: most steps concern the calling thread alone and are inherited by those that
/// start later.
pub fn confine(needs: &Needs) -> Vec<Missing> {
    let mut missing = Missed::default();
    // A process without rights gets them, over nothing but its own namespaces, from a user namespace. One with rights
    // makes its user namespace last, so that the others stay out of its reach even if it regained capabilities.
    let privileged = identity::may_administer();
    if !privileged {
        missing.note(Step::UserNamespace, namespaces::user());
    }
    namespaces::enter(&mut missing);
    missing.note(Step::Limits, identity::limit());
    missing.note(Step::Identity, identity::assume(needs.id));
    if privileged {
        missing.note(Step::UserNamespace, namespaces::user());
    }
    missing.note(Step::Capabilities, identity::drop_capabilities());
    missing.note(Step::Undumpable, identity::forbid_tracing());
    missing.note(Step::NoNewPrivileges, identity::no_new_privileges());
    let rings = missing.has_all(&[
        Step::MountNamespace,
        Step::EmptyRoot,
        Step::NetworkNamespace,
    ]);
    missing.note(Step::SystemCalls, filter::install(&needs.ioctls, rings));
    missing.0
}

/// The steps refused so far.
#[derive(Debug, Default)]
struct Missed(Vec<Missing>);

impl Missed {
    fn note(&mut self, step: Step, result: io::Result<()>) {
        if let Err(reason) = result {
            self.0.push(Missing { step, reason });
        }
    }

    /// Whether all of these steps were taken.
    fn has_all(&self, steps: &[Step]) -> bool {
        !self.0.iter().any(|missing| steps.contains(&missing.step))
    }
}
