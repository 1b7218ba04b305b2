//! Waivers: findings that somebody answers for, with a reason and until a day.
//!
//! A waiver takes a finding out of the list and keeps it, with the waiver, for the report. It never weakens a rule for the
//! future: it expires, and one that answers for nothing is reported.

use serde::Serialize;

use crate::finding::Finding;
use crate::plan::{Plan, Waiver};
use crate::rules::{self, Rule};
use crate::units::Date;

/// No day before this one can be today: the format did not exist yet. A machine without a battery-backed clock starts in
/// 1970, and must not bring expired waivers back to life.
pub const EARLIEST_TODAY: Date = Date {
    year: 2026,
    month: 1,
    day: 1,
};

/// A finding, and who answers for it.
#[derive(Debug, Clone)]
pub struct Waived {
    /// The finding.
    pub finding: Finding,
    /// The waiver.
    pub waiver: Waiver,
}

/// A [`Waiver`] for programs.
#[derive(Debug, Clone, Serialize)]
pub struct JsonWaiver {
    /// Why it is acceptable.
    pub reason: String,
    /// Who is responsible for that.
    pub owner: String,
    /// The last day it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// Document path of the waiver.
    pub path: String,
}

impl From<&Waiver> for JsonWaiver {
    fn from(waiver: &Waiver) -> Self {
        JsonWaiver {
            reason: waiver.reason.clone(),
            owner: waiver.owner.clone(),
            expires: waiver.expires,
            path: waiver.from.clone(),
        }
    }
}

/// Whether a waiver of this rule answers for a finding: the same rule, and a finding about the waiver's subject.
fn covers(waiver: &Waiver, rule: &Rule, finding: &Finding) -> bool {
    let about = |subject: &String| finding.subjects.contains(subject);
    rule.id == finding.rule.id && waiver.subject.as_ref().is_none_or(about)
}

/// Sorts findings into those that stand and those that somebody answers for, and adds findings about the waivers
/// themselves. `today` is the day on which waivers expire; `whole` says that the document was read without an error, so
/// that a waiver without a finding is one that nobody needs.
pub fn apply(
    findings: Vec<Finding>,
    plan: &Plan,
    today: Option<Date>,
    whole: bool,
) -> (Vec<Finding>, Vec<Waived>) {
    let today = today.map_or(EARLIEST_TODAY, |day| day.max(EARLIEST_TODAY));
    let mut complaints = Vec::new();
    let mut valid: Vec<(&Waiver, &Rule, bool)> = Vec::new();
    for waiver in &plan.waivers {
        match judge(waiver, plan, today) {
            Err(complaint) => complaints.push(*complaint),
            Ok(rule) if waiver.expires.is_some() => valid.push((waiver, rule, false)),
            // The reader has complained about a waiver without a date.
            Ok(_) => {}
        }
    }
    let (mut kept, mut waived) = (Vec::new(), Vec::new());
    for finding in findings {
        let mut valid = valid.iter_mut();
        match valid.find(|(waiver, rule, _)| covers(waiver, rule, &finding)) {
            Some((waiver, _, used)) => {
                *used = true;
                let waiver = (*waiver).clone();
                waived.push(Waived { finding, waiver });
            }
            None => kept.push(finding),
        }
    }
    let unused = valid.iter().filter(|(_, _, used)| whole && !used);
    complaints.extend(unused.map(|(waiver, _, _)| {
        let about = waiver.subject.as_ref();
        let about = about.map_or_else(String::new, |subject| format!(" about \"{subject}\""));
        let message = format!("there is no finding of {}{about} to waive", waiver.rule);
        complaint(&rules::WAIVER_UNUSED, waiver, "rule", message, "not needed")
    }));
    kept.extend(complaints);
    (kept, waived)
}

fn complaint(
    rule: &'static Rule,
    waiver: &Waiver,
    key: &str,
    message: String,
    label: &str,
) -> Finding {
    let about = waiver.subject.clone().unwrap_or_default();
    Finding::new(rule, format!("{}.{key}", waiver.from), message)
        .label(label)
        .subject(about)
}

/// The rule of a waiver that holds, or what is wrong with the waiver: the first thing only.
fn judge(waiver: &Waiver, plan: &Plan, today: Date) -> Result<&'static Rule, Box<Finding>> {
    let fault = |rule, key, message: String, label| {
        Err(Box::new(complaint(rule, waiver, key, message, label)))
    };
    for (key, text) in [("reason", &waiver.reason), ("owner", &waiver.owner)] {
        if text.trim().is_empty() {
            let message = format!("the waiver of {} has no {key}", waiver.rule);
            return fault(&rules::WAIVER_EMPTY, key, message, "empty");
        }
    }
    let Some(rule) = rules::find(&waiver.rule) else {
        let message = format!("there is no rule \"{}\" to waive", waiver.rule);
        return fault(&rules::WAIVER_UNKNOWN_RULE, "rule", message, "not a rule");
    };
    if !rule.waivable {
        let message = format!("{} ({}) cannot be waived", rule.id, rule.name);
        let label = "not a judgement about risk";
        return fault(&rules::WAIVER_REFUSED, "rule", message, label);
    }
    if let Some(subject) = &waiver.subject
        && !is_named(plan, subject)
    {
        let message = format!("nothing in this document is named \"{subject}\"");
        let label = "not in this document";
        return fault(&rules::WAIVER_SUBJECT, "subject", message, label);
    }
    match waiver.expires {
        Some(last) if last < today => {
            let message = format!("the waiver of {} expired on {last}", waiver.rule);
            fault(
                &rules::WAIVER_EXPIRED,
                "expires",
                message,
                "its last day is over",
            )
        }
        _ => Ok(rule),
    }
}

/// Whether a finding can be about something of this name.
fn is_named(plan: &Plan, name: &str) -> bool {
    let devices = plan.domains.iter().flat_map(|domain| &domain.devices);
    plan.domain(name).is_some()
        || plan.ipc.iter().any(|link| link.name == name)
        || plan.shared_memory.iter().any(|memory| memory.id == name)
        || plan
            .event_channels
            .iter()
            .any(|channel| channel.name == name)
        || plan.networks.iter().any(|network| network.name == name)
        || plan
            .machine
            .devices
            .iter()
            .any(|device| device.path == name)
        || devices.into_iter().any(|device| device.path == name)
        || plan.domains.iter().any(|domain| {
            let owner = domain
                .watchdog
                .as_ref()
                .and_then(|watchdog| watchdog.owner.as_deref());
            owner == Some(name)
        })
}
