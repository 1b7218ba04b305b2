//! What differs between two plans, and for whom.
//!
//! The comparison is structural: things are found again by their names, not by their places, and whatever a plan says is compared,
//! also what this module does not know. Places in the document (`from`) are no part of a plan's meaning.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::plan::Plan;
use crate::units::{Address, ByteSize, TimeSpan};

/// What happened to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Only the second plan has it.
    Added,
    /// Only the first plan has it.
    Removed,
    /// Both have it, and say different things.
    Changed,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Whom it concerns: `platform`, `machine`, `xen`, `tee`, `boot`, `domain`, or a kind of link.
    pub group: String,
    /// Which one of them, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What of it, for example `virtio[0].image`; empty for all of it.
    pub path: String,
    /// What happened.
    pub what: What,
    /// What the first plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What the second plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// Lists of a plan whose elements are somebody, and what they are called.
const GROUPS: [(&str, &str); 6] = [
    ("domains", "domain"),
    ("shared_memory", "shared memory"),
    ("event_channels", "event channel"),
    ("ipc", "IPC link"),
    ("networks", "network"),
    ("waivers", "waiver"),
];
/// By which keys the elements of a list are found again; those of a list that is not named here by the first of [`USUAL`] they
/// have, or by place.
const IDENTITIES: [(&str, &[&str]); 5] = [
    ("modules", &["domain", "role"]),
    ("users", &["domain"]),
    ("ports", &["domain"]),
    ("devices", &["path"]),
    ("waivers", &["rule", "subject"]),
];
const USUAL: [&str; 3] = ["name", "id", "index"];
/// No part of what a plan means.
const IGNORED: [&str; 2] = ["from", "schema"];

/// Compares two plans. The changes are in the order of a plan: the platform, machine, Xen, the secure world, boot, domains, links.
pub fn diff(old: &Plan, new: &Plan) -> Vec<Change> {
    let json = |plan| match serde_json::to_value(plan) {
        Ok(Value::Object(map)) => map,
        // A plan is an object without exception.
        _ => Map::new(),
    };
    let (old, new) = (json(old), json(new));
    let mut changes = Vec::new();
    for key in keys(&old, &new) {
        let (a, b) = (old.get(&key), new.get(&key));
        if let Some((_, group)) = GROUPS.iter().find(|(list, _)| *list == key) {
            let (a, b) = (elements(&key, a), elements(&key, b));
            for name in names(&a, &b) {
                let found = |list: &[(String, &Value)]| {
                    let mut list = list.iter();
                    list.find(|(other, _)| *other == name)
                        .map(|(_, value)| (*value).clone())
                };
                let mut place = Place {
                    group,
                    subject: Some(&name),
                    changes: &mut changes,
                };
                place.compare("", found(&a).as_ref(), found(&b).as_ref());
            }
        } else {
            let own = matches!(key.as_str(), "machine" | "xen" | "tee" | "boot");
            let mut place = Place {
                group: if own { &key } else { "platform" },
                subject: None,
                changes: &mut changes,
            };
            place.compare(if own { "" } else { &key }, a, b);
        }
    }
    changes
}

/// Keys of both, in the first one's order.
fn keys(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<_> = a.keys().cloned().collect();
    keys.extend(b.keys().filter(|key| !a.contains_key(*key)).cloned());
    keys.retain(|key| !IGNORED.contains(&key.as_str()));
    // serde_json may order a map by its keys: the plan's own order is nicer to read.
    let order = [
        "platform",
        "description",
        "machine_memory_bytes",
        "machine",
        "xen",
        "tee",
        "boot",
    ];
    keys.sort_by_key(|key| {
        order
            .iter()
            .position(|known| known == key)
            .unwrap_or(order.len())
    });
    keys
}

/// The elements of a list, each with what it is found again by.
fn elements<'a>(key: &str, list: Option<&'a Value>) -> Vec<(String, &'a Value)> {
    let mut seen = BTreeSet::new();
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.enumerate()
        .map(|(index, value)| {
            let mut name = identity(key, value).unwrap_or_else(|| index.to_string());
            if !seen.insert(name.clone()) {
                // A second one of the same name, which a rule reports: it is at least not lost.
                name = format!("{name} ({index})");
            }
            (name, value)
        })
        .collect()
}

fn identity(list: &str, value: &Value) -> Option<String> {
    let text = |key: &&str| match value.get(*key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match IDENTITIES.iter().find(|(known, _)| *known == list) {
        Some((_, keys)) => {
            let parts: Vec<_> = keys.iter().filter_map(text).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        }
        None => USUAL.iter().find_map(text),
    }
}

fn names(a: &[(String, &Value)], b: &[(String, &Value)]) -> Vec<String> {
    let mut names: Vec<_> = a.iter().map(|(name, _)| name.clone()).collect();
    let known: BTreeSet<_> = names.iter().cloned().collect();
    let new = b.iter().map(|(name, _)| name);
    names.extend(new.filter(|name| !known.contains(*name)).cloned());
    names
}

/// Whom changes belong to.
struct Place<'a> {
    group: &'a str,
    subject: Option<&'a str>,
    changes: &'a mut Vec<Change>,
}

impl Place<'_> {
    fn compare(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        match (old, new) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                for key in keys(a, b) {
                    let inner = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    self.compare(&inner, a.get(&key), b.get(&key));
                }
            }
            (a, b) if is_list_of_tables(a, b) => {
                let key = path.rsplit(['.', ']']).next().unwrap_or_default();
                let (a, b) = (elements(key, a), elements(key, b));
                for name in names(&a, &b) {
                    let found = |list: &[(String, &Value)]| {
                        let mut list = list.iter();
                        list.find(|(other, _)| *other == name)
                            .map(|(_, value)| (*value).clone())
                    };
                    let inner = format!("{path}[{name}]");
                    self.compare(&inner, found(&a).as_ref(), found(&b).as_ref());
                }
            }
            (old, new) => self.changes.push(Change {
                group: self.group.to_owned(),
                subject: self.subject.map(str::to_owned),
                path: path.to_owned(),
                what: match (old, new) {
                    (None, _) => What::Added,
                    (_, None) => What::Removed,
                    _ => What::Changed,
                },
                old: old.cloned(),
                new: new.cloned(),
            }),
        }
    }
}

fn is_list_of_tables(a: Option<&Value>, b: Option<&Value>) -> bool {
    let tables = |value: Option<&Value>| match value {
        None => Some(false),
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Some(!list.is_empty()),
        _ => None,
    };
    matches!((tables(a), tables(b)), (Some(a), Some(b)) if a || b)
}

/// The changes for people: whom they concern, and below that the old and the new value. Control characters do not reach the
/// terminal.
pub fn text(changes: &[Change], unicode: bool) -> String {
    let arrow = if unicode { "→" } else { "->" };
    let mut out = String::new();
    let mut before: Option<(&str, Option<&str>)> = None;
    for change in changes {
        let who = (change.group.as_str(), change.subject.as_deref());
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        let title = match change.subject.as_deref() {
            Some(subject) => format!("{} {subject}", change.group),
            None => change.group.clone(),
        };
        let whole = change.path.is_empty();
        if whole {
            let sign = if change.what == What::Added { '+' } else { '-' };
            out.push_str(&format!("{sign} {title}\n"));
            before = None;
            continue;
        }
        if before != Some(who) {
            out.push_str(&format!("~ {title}\n"));
            before = Some(who);
        }
        let path = people(&change.path);
        let shown = |value: Option<&Value>| value.map(|value| value_text(&change.path, value));
        let line = match (change.what, shown(old), shown(new)) {
            (What::Added, _, Some(new)) => format!("    + {path}: {new}\n"),
            (What::Removed, Some(old), _) => format!("    - {path}: {old}\n"),
            (_, old, new) => {
                let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
                format!("      {path}: {old} {arrow} {new}\n")
            }
        };
        out.push_str(&line);
    }
    printable::lines(&out).into_owned()
}

/// A path without the units that the value shows.
fn people(path: &str) -> String {
    let units = ["_bytes", "_us"];
    let unit = units.iter().find_map(|unit| path.strip_suffix(unit));
    unit.unwrap_or(path).to_owned()
}

/// A value with its unit.
fn value_text(path: &str, value: &Value) -> String {
    let key = path.rsplit('.').next().unwrap_or_default();
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if key.ends_with("_bytes") => ByteSize(bytes).to_string(),
            Some(us) if key.ends_with("_us") => TimeSpan(us).to_string(),
            Some(at) if key == "at" || key.ends_with("_at") || key == "mmio_base" => {
                Address(at).to_string()
            }
            _ => number.to_string(),
        },
        Value::String(text) => format!("\"{text}\""),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| value_text(path, value)).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| !IGNORED.contains(&key.as_str()));
            let fields: Vec<_> = kept
                .map(|(key, value)| format!("{} {}", people(key), value_text(key, value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}
