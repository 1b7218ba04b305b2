//! What Xen did, against the plan.

use crate::oracle::readback::Range;
use crate::oracle::{Answer, GuestReport, Readback, Verdict};
use platform::Plan;
use platform::plan::{Console, DomainPlan, Scheduler};

/// What Xen made of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// All guests run, and have what the plan says.
    Right,
    /// Xen refused it, in whatever way.
    Refused(String),
    /// All guests run, and something is not as the plan says.
    Differs(Vec<String>),
}

impl Judgement {
    /// One line.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Right => "runs as planned".to_owned(),
            Self::Refused(how) => format!("refused: {how}"),
            Self::Differs(what) => format!("runs, but {}", what.join("; ")),
        }
    }
}

/// Judges an answer.
pub(super) fn judge(plan: &Plan, answer: &Answer) -> Judgement {
    let Verdict::Boots { guests } = &answer.verdict else {
        return Judgement::Refused(format!(
            "{}: {}",
            answer.verdict.word(),
            answer.verdict.line()
        ));
    };
    let mut differences = Vec::new();
    for domain in plan.dom0less() {
        let id = domain.domid.unwrap_or_default();
        match guests.iter().find(|guest| guest.domain == id) {
            Some(guest) => {
                let found = domain_differs(plan, domain, guest, &answer.readback);
                differences.extend(
                    found
                        .into_iter()
                        .map(|what| format!("{}: {what}", domain.name)),
                );
            }
            None => differences.push(format!("{} did not report", domain.name)),
        }
    }
    pools(plan, &answer.readback, &mut differences);
    if differences.is_empty() {
        Judgement::Right
    } else {
        Judgement::Differs(differences)
    }
}

fn domain_differs(
    plan: &Plan,
    domain: &DomainPlan,
    guest: &GuestReport,
    readback: &Readback,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, seen: String, wanted: String| {
        if seen != wanted {
            wrong.push(format!("{what} {seen} instead of {wanted}"));
        }
    };
    let total: u64 = guest.memory.iter().map(|(_, size)| size).sum();
    expect(
        "memory",
        format!("{total:#x}"),
        format!("{:#x}", domain.memory_bytes),
    );
    expect("vCPUs", guest.cpus.to_string(), domain.vcpus.to_string());
    expect(
        "running vCPUs",
        guest.running.to_string(),
        domain.vcpus.to_string(),
    );
    expect("bad pages", guest.bad_pages.to_string(), "0".into());
    expect("arguments", guest.arguments.clone(), domain.cmdline.clone());
    let told = readback.domains.get(&domain.domid.unwrap_or_default());
    if !domain.static_memory.is_empty() {
        let wanted = merged(
            domain
                .static_memory
                .iter()
                .map(|r| (r.at, r.size_bytes))
                .collect(),
        );
        let seen = told.map(|told| told.host_banks.clone()).unwrap_or_default();
        expect("places", hex(&merged(seen)), hex(&wanted));
        if domain.direct_map {
            expect(
                "its own addresses",
                hex(&merged(guest.memory.clone())),
                hex(&wanted),
            );
        }
    }
    if !domain.colors.is_empty() {
        let seen = told.map(|told| told.colours.clone()).unwrap_or_default();
        expect(
            "colours",
            format!("{seen:?}"),
            format!("{:?}", domain.colors),
        );
    }
    let pool = told.and_then(|told| told.pool);
    let wanted = pool_number(plan, domain);
    expect(
        "pool",
        format!("{:?}", pool.unwrap_or(0)),
        format!("{wanted:?}"),
    );
    let uart = guest
        .nodes
        .iter()
        .any(|(name, ..)| name.starts_with("sbsa-uart"));
    let wanted = domain.console == Console::Vpl011;
    expect("vpl011", uart.to_string(), wanted.to_string());
    for memory in &plan.shared_memory {
        for user in memory
            .users
            .iter()
            .filter(|user| user.domain == domain.name)
        {
            let node = guest
                .nodes
                .iter()
                .find(|(name, ..)| guest.shared.get(name) == Some(&memory.id));
            let seen = node.map(|(_, at, size)| (*at, *size));
            let what = format!("shared memory {}", memory.id);
            expect(
                &what,
                format!("{seen:x?}"),
                format!("{:x?}", Some((user.at, memory.size_bytes))),
            );
        }
    }
    wrong
}

/// Xen's number of a domain's pool: pools of the document that hold the boot CPU are number 0, the others follow in the
/// order of the device tree.
fn pool_number(plan: &Plan, domain: &DomainPlan) -> u32 {
    let Some(name) = &domain.cpupool else {
        return 0;
    };
    let mut number = 0;
    for pool in &plan.xen.cpupools {
        let this = if pool.cpus.contains(&0) {
            0
        } else {
            number += 1;
            number
        };
        if pool.name == *name {
            return this;
        }
    }
    u32::MAX
}

fn pools(plan: &Plan, readback: &Readback, differences: &mut Vec<String>) {
    let mut number = 0;
    for pool in &plan.xen.cpupools {
        let this = if pool.cpus.contains(&0) {
            0
        } else {
            number += 1;
            number
        };
        let seen = readback.pools.get(&this);
        let cpus = seen.map(|seen| seen.cpus.clone()).unwrap_or_default();
        let scheduler = seen.map(|seen| seen.scheduler.clone()).unwrap_or_default();
        if cpus != pool.cpus {
            differences.push(format!("pool {}: CPUs {cpus:?}", pool.name));
        }
        if scheduler != word(pool.scheduler) {
            differences.push(format!("pool {}: scheduler {scheduler:?}", pool.name));
        }
    }
}

/// The scheduler's name in Xen's own words.
fn word(scheduler: Scheduler) -> &'static str {
    scheduler.word()
}

/// Neighbours as one, by address.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (at, size) in ranges {
        match merged.last_mut() {
            Some((start, length)) if *start + *length == at => *length += size,
            _ => merged.push((at, size)),
        }
    }
    merged
}

fn hex(ranges: &[Range]) -> String {
    format!("{ranges:x?}")
}
