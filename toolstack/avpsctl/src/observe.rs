//! What happens while domains are started, removed and supervised, for whoever wants to show it.

use std::fmt;
use std::time::Duration;

/// One thing that has happened or begins now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// libxl builds a domain now.
    Creating {
        /// Name.
        domain: String,
    },
    /// A domain exists, paused.
    Created {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
    },
    /// Devices whose backends are awaited.
    Waiting {
        /// Name of the domain.
        domain: String,
        /// Devices in all.
        total: usize,
        /// Those that are ready.
        ready: usize,
    },
    /// A guest runs.
    Running {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
        /// Time since its creation began.
        after: Duration,
    },
    /// A guest is complete and stays paused.
    LeftPaused {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
    },
    /// A domain that never ran is removed again.
    TakingBack {
        /// Name.
        domain: String,
        /// Why.
        because: String,
    },
    /// A guest was asked to power off.
    ShuttingDown {
        /// Name.
        domain: String,
    },
    /// A domain is being removed.
    Removing {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
    },
    /// A domain is gone, and nothing of it is left.
    Removed {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
        /// Left-over XenStore folders that had to be removed.
        leftovers: usize,
    },
    /// A domain was destroyed, and its number stays taken as long as somebody holds it.
    Held {
        /// Name.
        domain: String,
        /// Number.
        domid: u32,
        /// Who holds it.
        by: String,
    },
    /// A guest ended by itself.
    Ended {
        /// Name.
        domain: String,
        /// Why.
        reason: String,
        /// What follows.
        then: String,
    },
    /// Anything else worth a line.
    Note(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Creating { domain } => write!(f, "{domain}: creating"),
            Event::Created { domain, domid } => write!(f, "{domain}: created as domain {domid}"),
            Event::Waiting {
                domain,
                total,
                ready,
            } => {
                write!(f, "{domain}: {ready} of {total} virtio devices are ready")
            }
            Event::Running {
                domain,
                domid,
                after,
            } => {
                write!(
                    f,
                    "{domain}: running as domain {domid} after {:.1} s",
                    after.as_secs_f64()
                )
            }
            Event::LeftPaused { domain, domid } => {
                write!(f, "{domain}: ready as domain {domid}, paused")
            }
            Event::TakingBack { domain, because } => {
                write!(
                    f,
                    "{domain}: {because}: removing the domain, which never ran"
                )
            }
            Event::ShuttingDown { domain } => write!(f, "{domain}: shutting down"),
            Event::Removing { domain, domid } => write!(f, "{domain}: removing domain {domid}"),
            Event::Removed {
                domain,
                domid,
                leftovers: 0,
            } => {
                write!(f, "{domain}: domain {domid} is gone")
            }
            Event::Removed {
                domain,
                domid,
                leftovers,
            } => write!(
                f,
                "{domain}: domain {domid} is gone, and {leftovers} folder(s) it left in XenStore"
            ),
            Event::Held { domain, domid, by } => write!(
                f,
                "{domain}: domain {domid} is destroyed; its number stays taken as long as {by} is there"
            ),
            Event::Ended {
                domain,
                reason,
                then,
            } => write!(f, "{domain}: {reason}; {then}"),
            Event::Note(text) => f.write_str(text),
        }
    }
}

/// Somebody who wants to know.
pub trait Observer: Send + Sync {
    /// Is told of each event, in order.
    fn observe(&self, event: Event);
}

/// Nobody wants to know.
#[derive(Debug)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: Event) {}
}
