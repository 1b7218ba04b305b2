//! What guests did and were refused: a bounded list for people, and the log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use daemon::rate::{RateLimit, not_shown};
use optee_abi::Uuid;
use xen::DomId;

use crate::lock;
use crate::rights::Denied;
use tee_report::Entry;

/// Entries that are kept of each guest: one that fills its own with refusals hides nobody else's.
const KEPT: usize = 256;
/// A guest's entries that reach the log in each [`INTERVAL`]; all are counted.
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(10);

/// The trail of all guests.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    trail: Mutex<Trail>,
}

#[derive(Debug, Default)]
struct Trail {
    count: u64,
    /// By the guest's name: its numbers change.
    entries: BTreeMap<String, VecDeque<Entry>>,
}

/// What can happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// The guest's calls come here from now on.
    Attached,
    /// They do not any more.
    Detached(&'static str),
    /// Its rights have changed.
    Rights,
    /// A session was opened.
    Opened(Uuid),
    /// It was not, by the secure world.
    Failed(Uuid, u32),
    /// A right is missing.
    Denied(Option<Uuid>, Denied),
    /// A call took too long and is cancelled.
    TimedOut(Uuid),
    /// It did not end even so.
    GivenUp(Uuid),
    /// A call that was given up is still in the secure world.
    Quarantined,
    /// None is any more.
    Released,
    /// A session is closed because its application is not allowed any more.
    Revoked(Uuid),
    /// A call that no driver makes.
    Malformed(String),
    /// The secure world, or the memory shared with it, could not be used.
    Trouble(String),
}

impl Event {
    fn word(&self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detached(_) => "detached",
            Self::Rights => "rights",
            Self::Opened(_) => "opened",
            Self::Failed(..) => "failed",
            Self::Denied(..) => "denied",
            Self::TimedOut(_) => "timed-out",
            Self::GivenUp(_) => "given-up",
            Self::Quarantined => "quarantined",
            Self::Released => "released",
            Self::Revoked(_) => "revoked",
            Self::Malformed(_) => "malformed",
            Self::Trouble(_) => "trouble",
        }
    }

    fn application(&self) -> Option<Uuid> {
        match self {
            Self::Opened(uuid)
            | Self::Failed(uuid, _)
            | Self::TimedOut(uuid)
            | Self::Revoked(uuid)
            | Self::GivenUp(uuid) => Some(*uuid),
            Self::Denied(uuid, _) => *uuid,
            _ => None,
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Denied(..)
                | Self::TimedOut(_)
                | Self::GivenUp(_)
                | Self::Quarantined
                | Self::Revoked(_)
                | Self::Malformed(_)
                | Self::Trouble(_)
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached => f.write_str("its calls are mediated"),
            Self::Detached(why) => write!(f, "its calls are not mediated any more: {why}"),
            Self::Rights => f.write_str("its rights were changed"),
            Self::Opened(uuid) => write!(f, "opened a session with {uuid}"),
            Self::Failed(uuid, result) => {
                write!(f, "could not open a session with {uuid}: {result:#010x}")
            }
            Self::Denied(Some(uuid), why) => write!(f, "denied, for {uuid}: {why}"),
            Self::Denied(None, why) => write!(f, "denied: {why}"),
            Self::TimedOut(uuid) => write!(f, "a call of {uuid} took too long and is cancelled"),
            Self::GivenUp(uuid) => write!(
                f,
                "a call of {uuid} did not end when cancelled and is given up"
            ),
            Self::Quarantined => f.write_str(
                "is quarantined: no call of it begins until the one ends that was given up",
            ),
            Self::Released => f.write_str("is no longer quarantined: the call has ended"),
            Self::Revoked(uuid) => write!(
                f,
                "a session with {uuid} is closed: the application is no longer allowed"
            ),
            Self::Malformed(what) => write!(f, "sent {what}"),
            Self::Trouble(what) => f.write_str(what),
        }
    }
}

/// A guest's way to the trail.
#[derive(Debug)]
pub(crate) struct Recorder {
    domid: DomId,
    guest: String,
    limit: Mutex<RateLimit>,
}

impl Recorder {
    /// For this guest.
    pub(crate) fn new(domid: DomId, guest: &str) -> Self {
        Self {
            domid,
            guest: guest.to_owned(),
            limit: Mutex::new(RateLimit::new(BURST, INTERVAL)),
        }
    }

    /// Writes it down.
    pub(crate) fn record(&self, audit: &Audit, event: &Event) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let entry = Entry {
            number: 0,
            at: now.map_or(0.0, |since| since.as_secs_f64()),
            domid: self.domid.get(),
            guest: self.guest.clone(),
            event: event.word().to_owned(),
            application: event.application().map(|uuid| uuid.to_string()),
            text: event.to_string(),
        };
        if let Some(withheld) = lock(&self.limit).pass(Instant::now()) {
            let more = not_shown(withheld);
            if event.is_refusal() {
                tracing::warn!("{} (domain {}): {event}{more}", self.guest, self.domid);
            } else {
                tracing::info!("{} (domain {}): {event}{more}", self.guest, self.domid);
            }
        }
        audit.keep(entry);
    }
}

impl Audit {
    fn keep(&self, entry: Entry) {
        let mut trail = lock(&self.trail);
        let number = trail.count;
        trail.count = number.saturating_add(1);
        let own = trail.entries.entry(entry.guest.clone()).or_default();
        if own.len() >= KEPT {
            own.pop_front();
        }
        own.push_back(Entry { number, ..entry });
    }

    /// All that is kept, the oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let trail = lock(&self.trail);
        let mut entries: Vec<Entry> = trail.entries.values().flatten().cloned().collect();
        drop(trail);
        entries.sort_by_key(|entry| entry.number);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_the_trail_hides_nobody_elses_entries() {
        let audit = Audit::default();
        let of = |number, name| Recorder::new(DomId::new(number).unwrap(), name);
        let (loud, quiet) = (of(1, "loud"), of(2, "quiet"));
        quiet.record(&audit, &Event::Attached);
        for _ in 0..1000 {
            loud.record(&audit, &Event::Malformed("nonsense".into()));
        }
        quiet.record(&audit, &Event::Rights);
        let entries = audit.entries();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!((numbers[0], numbers[1]), (0, 1001 - KEPT as u64));
        assert_eq!(numbers.last(), Some(&1001));
        assert!(numbers.is_sorted());
        assert_eq!(entries[0].guest, "quiet");
    }
}
