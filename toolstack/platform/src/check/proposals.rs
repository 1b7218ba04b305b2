//! Free places in memory, for findings that want one.

use std::collections::HashMap;

use super::memory::{What, extent, places};
use super::places::{Place, Ram, hex};
use crate::finding::Finding;
use crate::plan::{Plan, Range};
use crate::rules::{self, Rule};
use crate::units::MIB;

/// Findings for which a free place is looked for: each search goes through all places.
const PROPOSALS: usize = 8;

/// Looks for free places, for the first findings that want one.
pub(super) struct Proposals<'a> {
    ram: &'a Ram,
    places: &'a [Place<What>],
    left: usize,
}

impl<'a> Proposals<'a> {
    pub(super) fn new(ram: &'a Ram, places: &'a [Place<What>]) -> Self {
        Proposals {
            ram,
            places,
            left: PROPOSALS,
        }
    }

    pub(super) fn ram(&self) -> &'a Ram {
        self.ram
    }

    pub(super) fn places(&self) -> &'a [Place<What>] {
        self.places
    }

    /// The rule's advice, with a free place for this many bytes.
    pub(super) fn help(&mut self, rule: &Rule, size_bytes: u64) -> String {
        let left = self.left;
        self.left = left.saturating_sub(1);
        let free = (left > 0).then(|| self.ram.free(size_bytes, self.places));
        match free.flatten() {
            Some(at) => format!(
                "{}; nothing of this document is at {}",
                rule.help,
                extent(&Range { at, size_bytes })
            ),
            None => rule.help.to_owned(),
        }
    }
}

/// Names a free place where the reader found that one is missing.
pub(crate) fn propose(plan: &Plan, findings: &mut [Finding]) {
    let is_missing_place = |finding: &&mut Finding| {
        std::ptr::eq(finding.rule, &rules::MISSING_KEY)
            && (finding.at.ends_with("].at"))
            && (finding.at.contains(".static_memory[")
                || finding.at.starts_with("xen.static_heap["))
    };
    if !findings
        .iter_mut()
        .any(|finding| is_missing_place(&finding))
    {
        return;
    }
    let ram = Ram::new(&plan.machine.banks);
    let mut taken = places(plan, &mut Vec::new());
    let sizes: HashMap<String, u64> = taken
        .iter()
        .map(|place| (place.at.clone(), place.range.size_bytes))
        .collect();
    for finding in findings.iter_mut().filter(is_missing_place).take(PROPOSALS) {
        // A range without a size, too, has no place.
        let size_bytes = sizes.get(&finding.at).copied().unwrap_or(MIB);
        let Some(at) = ram.free(size_bytes, &taken) else {
            continue;
        };
        finding.help = format!(
            "add for example at = {}: nothing of this document is there",
            hex(at)
        );
        taken.push(Place {
            range: Range { at, size_bytes },
            at: String::new(),
            what: What::Reserved,
        });
    }
}
