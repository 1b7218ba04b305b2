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

use super::parties::highest;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    if highest(plan) == Asil::Qm {
        return;
    }
    memory::check(plan, findings);
    time::check(plan, findings);
    control::check(plan, findings);
    devices::check(plan, findings);
    supervision::check(plan, findings);
}
