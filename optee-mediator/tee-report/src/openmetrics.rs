//! The report as OpenMetrics text, as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use daemon::openmetrics::labels;

use crate::{Guest, Report};

/// What is a level, not a count.
const LEVELS: &[&str] = &["longest_call_us"];

/// The text.
pub fn openmetrics(report: &Report) -> String {
    let mut out = String::new();
    let counters: BTreeSet<&String> = report
        .guests
        .iter()
        .flat_map(|guest| guest.counters.keys())
        .collect();
    for name in counters {
        let level = LEVELS.contains(&name.as_str());
        let value = |guest: &Guest| guest.counters.get(name).copied();
        family(&mut out, report, name, level, &value);
    }
    let number = |count: usize| u64::try_from(count).ok();
    family(&mut out, report, "sessions", true, &|guest| {
        number(guest.sessions.len())
    });
    family(&mut out, report, "calls_under_way", true, &|guest| {
        number(guest.calls)
    });
    family(&mut out, report, "quarantined_by", true, &|guest| {
        number(guest.quarantined_by)
    });
    family(&mut out, report, "shared_bytes", true, &|guest| {
        Some(guest.shared_bytes)
    });
    events(&mut out, report);
    out.push_str("# EOF\n");
    out
}

fn family(
    out: &mut String,
    report: &Report,
    name: &str,
    level: bool,
    value: &dyn Fn(&Guest) -> Option<u64>,
) {
    let (kind, ending) = match level {
        true => ("gauge", ""),
        false => ("counter", "_total"),
    };
    let name = daemon::openmetrics::name(name);
    // Writing to a string does not fail.
    let _ = writeln!(out, "# TYPE avps_tee_{name} {kind}");
    for guest in &report.guests {
        if let Some(value) = value(guest) {
            let domid = guest.domid.to_string();
            let labels = labels(&[("domid", &domid), ("guest", &guest.name)]);
            let _ = writeln!(out, "avps_tee_{name}{ending}{labels} {value}");
        }
    }
}

/// How often each kind of event is among those that are kept.
fn events(out: &mut String, report: &Report) {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for entry in &report.audit {
        *counts.entry((&entry.guest, &entry.event)).or_default() += 1;
    }
    let _ = writeln!(out, "# TYPE avps_tee_audit_entries gauge");
    for ((guest, event), count) in counts {
        let labels = labels(&[("guest", guest), ("event", event)]);
        let _ = writeln!(out, "avps_tee_audit_entries{labels} {count}");
    }
}
