//! Counters of the running daemon: what they are called, how they are asked for, how they are shown.
//!
//! `avps-backend` answers with a [`Report`] on a unix socket; it and `avpsctl` show it. Names are stable: programs read them. A counter only grows while its device lives; a restarted
//! worker goes on from the values its predecessor last reported.

mod openmetrics;
pub mod socket;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use openmetrics::openmetrics;
pub use table::table;

/// Version of the JSON text.
pub const SCHEMA: &str = "avps-backend-stats/1";

/// Everything the daemon tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the holder.
    pub pid: u32,
    /// One entry per guest.
    pub guests: Vec<Guest>,
}

/// One guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Domain number.
    pub domid: u16,
    /// Domain name, where this domain may read it.
    pub name: Option<String>,
    /// Process id of the worker, while there is one.
    pub worker_pid: Option<u32>,
    /// Parts of the worker's sandbox that could not be had; empty when it is whole, nothing until the worker has told.
    pub sandbox_lacks: Option<Vec<String>>,
    /// Workers that died.
    pub restarts: u64,
    /// The worker did not answer in time: the counters are those it last reported.
    pub stale: bool,
    /// Counters of the guest's ioreq loop, by name.
    pub counters: Counters,
    /// One entry per device.
    pub devices: Vec<Device>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Place in XenStore, as `virtio/3/0`.
    pub path: String,
    /// `waiting`, `attaching`, `ready`, `connected`, `error`, `closing` or `closed`.
    pub state: String,
    /// `grant` or `foreign`, once known.
    pub memory: Option<String>,
    /// Counters by name.
    pub counters: Counters,
}

/// Counters by name.
pub type Counters = BTreeMap<String, u64>;

/// Adds `more` to `sum`, name by name.
pub fn add(sum: &mut Counters, more: &Counters) {
    for (name, value) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*value);
    }
}

#[cfg(test)]
pub(crate) fn example() -> Report {
    let counters = |pairs: &[(&str, u64)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    };
    Report {
        schema: SCHEMA.into(),
        version: "0.1.0".into(),
        pid: 41,
        guests: vec![Guest {
            domid: 3,
            name: Some("cluster".into()),
            worker_pid: Some(42),
            sandbox_lacks: Some(Vec::new()),
            restarts: 0,
            stale: false,
            counters: counters(&[("ioreqs", 123)]),
            devices: vec![Device {
                path: "virtio/3/0".into(),
                state: "connected".into(),
                memory: Some("grant".into()),
                counters: counters(&[("requests", 1_234_567), ("bytes_read", 4096), ("errors", 0)]),
            }],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_dead_worker_are_not_lost() {
        let mut sum = Counters::from([("requests".to_owned(), 5), ("errors".to_owned(), 1)]);
        add(
            &mut sum,
            &Counters::from([("requests".to_owned(), 2), ("maps".to_owned(), u64::MAX)]),
        );
        assert_eq!(sum["requests"], 7);
        assert_eq!(sum["errors"], 1);
        assert_eq!(sum["maps"], u64::MAX);
    }

    #[test]
    fn the_json_form_is_read_back_as_it_was() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), example());
        assert!(text.contains("\"schema\":\"avps-backend-stats/1\""));
    }
}
