//! Command lines: Xen's own, and those of the kernels.

use std::fmt::Write;

use crate::plan::{DomainKind, Plan, Scheduler};
use crate::units::MIB;

/// Xen's command line (Xen: docs/misc/xen-command-line.pandoc).
///
/// Words of the document stand last. Where Xen has one value for an option, the last one holds.
pub fn xen(plan: &Plan) -> String {
    let mut words = vec!["console=dtuart".to_owned()];
    if let Some(console) = &plan.xen.console {
        words.push(format!("dtuart={console}"));
    }
    if let Some(control) = plan.control() {
        words.push(format!("dom0_mem={}M", control.memory_bytes / MIB));
        words.push(format!("dom0_max_vcpus={}", control.vcpus));
    }
    if plan.xen.scheduler != Scheduler::Credit2 {
        words.push(format!("sched={}", plan.xen.scheduler.word()));
    }
    words.extend(colors(plan));
    if let Some(flask) = plan.xen.flask {
        words.extend(["xsm=flask".to_owned(), format!("flask={}", flask.word())]);
    }
    // Anything else leaves what the last boot had in a domain's memory.
    words.push("bootscrub=idle".to_owned());
    let own = plan.xen.cmdline.split_whitespace().map(str::to_owned);
    words.extend(own);
    words.join(" ")
}

/// Words that switch cache colouring on, where a domain has colours (Xen: docs/misc/cache-coloring.rst).
fn colors(plan: &Plan) -> Vec<String> {
    if !has_colors(plan) {
        return Vec::new();
    }
    let mut words = vec!["llc-coloring=on".to_owned()];
    if let Some(llc) = plan.machine.llc {
        // Without a unit Xen takes KiB.
        words.push(format!("llc-size={}B", llc.size_bytes));
        words.push(format!("llc-nr-ways={}", llc.ways));
    }
    if let Some(control) = plan.control().filter(|domain| !domain.colors.is_empty()) {
        words.push(format!("dom0-llc-colors={}", ranges(&control.colors)));
    }
    words
}

/// Whether cache colouring is used.
pub(super) fn has_colors(plan: &Plan) -> bool {
    plan.domains.iter().any(|domain| !domain.colors.is_empty())
}

/// Numbers as Xen writes them: `0-3,6`.
pub fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(*number) => *end = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let words: Vec<_> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    words.join(",")
}

/// All of a plan's command lines, one a line, as `name: words`.
pub fn emit(plan: &Plan) -> String {
    let mut out = format!("xen: {}\n", xen(plan));
    for domain in &plan.domains {
        let name = match domain.kind {
            DomainKind::Control => format!("{} (dom0)", domain.name),
            _ => domain.name.clone(),
        };
        let _ = writeln!(out, "{name}: {}", domain.cmdline);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_become_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(ranges(&[4, 9, 10]), "4,9-10");
        assert_eq!(ranges(&[u32::MAX]), "4294967295");
        assert_eq!(ranges(&[]), "");
    }
}
