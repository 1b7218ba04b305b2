//! Freedom from interference: shared resources and open doors between domains of different levels (`AVPS08xx`).
//!
//! Each finding is about one pair of neighbours and one cause. Nothing here looks further than one step: what follows
//! along a chain is found by [`super::levels`].

mod control;
mod devices;
mod memory;
mod supervision;
mod time;

use crate::finding::Finding;
use crate::plan::{Asil, Plan};
use crate::rules;

use super::parties::highest;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    if highest(plan) == Asil::Qm {
        return;
    }
    memory::check(plan, findings);
    say_once(findings);
    time::check(plan, findings);
    control::check(plan, findings);
    devices::check(plan, findings);
    supervision::check(plan, findings);
}

/// That a region has two writers is advice at any level; where it crosses levels, the stronger finding says it.
fn say_once(findings: &mut Vec<Finding>) {
    const SEVERAL_WRITERS: &str = "AVPS0614";
    let across: Vec<String> = findings
        .iter()
        .filter(|finding| finding.rule.id == rules::WRITERS_ACROSS_LEVELS.id)
        .map(|finding| finding.at.clone())
        .collect();
    findings.retain(|finding| {
        let said = across.iter().any(|at| finding.at.starts_with(at.as_str()));
        !(said && finding.rule.id == SEVERAL_WRITERS)
    });
}
