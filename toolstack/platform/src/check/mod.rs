//! Rules over the plan that need no machine.
//!
//! Each check is one function over the plan that pushes findings; a finding names the document
//! path of the value it is about. Rules that depend on this machine's files are in [`crate::host`].

mod domains;
mod interference;
pub mod levels;
pub(crate) mod parties;

use crate::finding::Finding;
use crate::plan::Plan;

/// Applies every rule.
pub fn check(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    domains::check(plan, &mut findings);
    interference::check(plan, &mut findings);
    levels::check(plan, &mut findings);
    findings
}
