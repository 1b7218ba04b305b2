//! What the running `avps-tee` tells about itself, as JSON on its socket: connect, read, end. Names are stable: programs read them.

use std::collections::BTreeMap;
use std::path::Path;

use daemon::socket::{self, SocketError};
use serde::{Deserialize, Serialize};

mod openmetrics;

pub use openmetrics::openmetrics;

/// Counters by name; they only grow while a guest is mediated.
pub type Counters = BTreeMap<String, u64>;

/// Version of the JSON text.
pub const SCHEMA: &str = "avps-tee/1";
/// Where the daemon answers unless it was told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/avps/tee.sock";

/// The XenStore folder in which the daemon in a domain says that it runs: `ready` is 1, `pid` its process.
pub fn daemon(own: u16) -> String {
    format!("/local/domain/{own}/data/avps-tee")
}

/// The XenStore folder of a mediated domain. `rights` are [`Rights`] as JSON; the daemon answers with `state` and `error`.
pub fn folder(domid: u32) -> String {
    format!("/libxl/{domid}/avps/tee")
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Calls of the secure world that may be under way at once.
    pub turns: usize,
    /// One entry per guest.
    pub guests: Vec<Guest>,
    /// Guests that have ended and have calls in the secure world.
    #[serde(default)]
    pub leaving: Vec<Leaving>,
    /// What happened, the oldest first.
    pub audit: Vec<Entry>,
}

/// A guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guest {
    /// Domain number.
    pub domid: u16,
    /// Name.
    pub name: String,
    /// What it may.
    pub rights: Rights,
    /// Sessions it has open.
    pub sessions: Vec<Session>,
    /// Calls under way.
    pub calls: usize,
    /// Calls that were given up and are still in the secure world. While there are any, no other call of the guest begins there.
    #[serde(default)]
    pub quarantined_by: usize,
    /// Pieces of memory it has registered.
    pub regions: usize,
    /// Bytes that it shares, in whole pages: those pieces, and memory for calls under way.
    pub shared_bytes: u64,
    /// Its counters.
    pub counters: Counters,
}

/// A guest that has ended, and whose calls in the secure world have not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leaving {
    /// Domain number.
    pub domid: u16,
    /// Name.
    pub name: String,
    /// Calls, each of which has a permit.
    pub calls: usize,
}

/// Rights: as avpsctl writes them into XenStore, and as they are applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rights {
    /// UUIDs of trusted applications it may open.
    pub applications: Vec<String>,
    /// Applications of which it gets another one: the UUID it asks for, and the one that is opened.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub stand_ins: BTreeMap<String, String>,
    /// Sessions it may have open at once.
    pub sessions: u32,
    /// Bytes it may share at once.
    pub shared_memory_bytes: u64,
    /// Calls per second.
    pub rate: Option<u32>,
    /// Calls under way at once.
    pub concurrency: u32,
    /// Milliseconds a call may take.
    pub timeout_ms: Option<u32>,
    /// Its share of the secure world.
    pub weight: u32,
    /// The interrupt by which it is told that a long call has ended, as its controller counts (SPI + 32). Without, it asks again
    /// and again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interrupt: Option<u32>,
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The guest's number for it.
    pub id: u32,
    /// UUID of the trusted application.
    pub application: String,
    /// A call of it took too long, or its application is no longer allowed: it can only be closed.
    pub given_up: bool,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its place among all entries of this life of the daemon, of which not all are kept.
    pub number: u64,
    /// Seconds since 1970.
    pub at: f64,
    /// The domain.
    pub domid: u16,
    /// Its name.
    pub guest: String,
    /// What it was: `attached`, `detached`, `rights`, `opened`, `failed`, `denied`, `timed-out`, `given-up`,
    /// `quarantined`, `released`, `revoked`, `malformed`, `trouble`.
    pub event: String,
    /// UUID of the trusted application it was about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub application: Option<String>,
    /// Told for people.
    pub text: String,
}

/// Asks the daemon.
///
/// # Errors
/// No daemon, or one that does not answer.
pub fn ask(path: &Path) -> Result<Report, SocketError> {
    socket::ask("avps-tee", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn example() -> Report {
        Report {
            schema: SCHEMA.into(),
            version: "0.1.0".into(),
            pid: 17,
            turns: 2,
            guests: vec![Guest {
                domid: 3,
                name: "cluster".into(),
                rights: Rights {
                    applications: vec!["8aaaf200-2450-11e4-abe2-0002a5d5c51b".into()],
                    stand_ins: BTreeMap::new(),
                    sessions: 16,
                    shared_memory_bytes: 2 << 20,
                    rate: Some(100),
                    concurrency: 4,
                    timeout_ms: None,
                    weight: 100,
                    interrupt: Some(44),
                },
                sessions: Vec::new(),
                calls: 1,
                quarantined_by: 0,
                regions: 2,
                shared_bytes: 8192,
                counters: [("smcs".into(), 40), ("longest_call_us".into(), 900)].into(),
            }],
            leaving: Vec::new(),
            audit: Vec::new(),
        }
    }

    #[test]
    fn no_name_commands_a_terminal_or_forges_a_metric() {
        let hostile = "\u{1b}[2J\u{9b}\u{202e}\"} 1\n# EOF";
        let mut report = example();
        report.guests[0].name = hostile.into();
        report.guests[0].counters.insert(hostile.into(), 1);
        report.audit.push(Entry {
            number: 0,
            at: 0.0,
            domid: 3,
            guest: hostile.into(),
            event: hostile.into(),
            application: None,
            text: String::new(),
        });
        let text = openmetrics(&report);
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{text:?}");
        let ends = text.lines().filter(|line| line.starts_with("# EOF"));
        assert_eq!(ends.count(), 1, "{text}");
    }

    #[test]
    fn counters_and_levels_are_told_apart() {
        let text = openmetrics(&example());
        assert!(text.contains("# TYPE avps_tee_smcs counter\n"), "{text}");
        assert!(
            text.contains("avps_tee_smcs_total{domid=\"3\",guest=\"cluster\"} 40\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE avps_tee_longest_call_us gauge\n"),
            "{text}"
        );
        assert!(
            text.contains("avps_tee_sessions{domid=\"3\",guest=\"cluster\"} 0\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
