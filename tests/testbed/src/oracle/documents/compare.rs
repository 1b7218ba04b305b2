//! What Xen did, against the plan.

use crate::oracle::readback::{Pool, Range};
use crate::oracle::{Answer, GuestReport, Readback, Verdict};
use platform::Plan;
use platform::plan::{Console, Cpupool, DomainPlan};

/// Xen's page in bytes.
const PAGE: u64 = 4096;

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
    // Xen tells the guest shared memory as RAM, too, beside the node of its own.
    let shared: Vec<Range> = guest
        .shared
        .keys()
        .filter_map(|name| place(guest, name))
        .collect();
    let is_own = |range: &&Range| !shared.contains(range);
    let memory: Vec<Range> = guest.memory.iter().filter(is_own).copied().collect();
    let total: u64 = memory.iter().map(|(_, size)| size).sum();
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
    // A report's line may be too short for all of them.
    let is_cut = guest.arguments.len() > 64 && domain.cmdline.starts_with(&guest.arguments);
    if !is_cut {
        expect("arguments", guest.arguments.clone(), domain.cmdline.clone());
    }
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
        let half = seen.iter().filter(|(_, size)| size % PAGE != 0).count();
        expect(
            "banks that are no whole pages",
            half.to_string(),
            "0".into(),
        );
        expect("places", hex(&merged(seen)), hex(&wanted));
        if domain.direct_map {
            expect(
                "its own addresses",
                hex(&merged(memory.clone())),
                hex(&wanted),
            );
        }
    }
    if !domain.colors.is_empty() {
        let seen = told.map(|told| told.colours.clone()).unwrap_or_default();
        expect(
            "colours",
            format!("{seen:?}"),
            format!("{:?}", ascending(&domain.colors)),
        );
    }
    let mut pools = plan.xen.cpupools.iter();
    if let Some(pool) = pools.find(|pool| Some(&pool.name) == domain.cpupool.as_ref()) {
        // Of a domain that sleeps, some schedulers do not tell.
        if let Some(number) = told.and_then(|told| told.pool) {
            let seen = is_pool(readback.pools.get(&number), pool);
            expect("pool as wanted", seen.to_string(), true.to_string());
        }
    }
    if !domain.cpus.is_empty() {
        let seen = told.map(|told| told.affinity.clone()).unwrap_or_default();
        let wanted = vec![domain.cpus.clone(); seen.len().max(1)];
        expect("affinity", format!("{seen:?}"), format!("{wanted:?}"));
    }
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
            let nodes = guest.shared.iter().filter(|(_, id)| **id == memory.id);
            let seen: Vec<Range> = nodes.filter_map(|(name, _)| place(guest, name)).collect();
            let what = format!("shared memory {}", memory.id);
            expect(&what, hex(&seen), hex(&[(user.at, memory.size_bytes)]));
        }
    }
    wrong.extend(overlaps(guest, &memory));
    wrong
}

/// What lies over something else in the guest's own map: Xen says nothing, and one of the two is gone.
fn overlaps(guest: &GuestReport, memory: &[Range]) -> Vec<String> {
    let ram = memory.iter().map(|(at, size)| ("RAM", *at, *size));
    let nodes = guest
        .nodes
        .iter()
        .map(|(name, at, size)| (name.as_str(), *at, *size));
    let mut places: Vec<(&str, u64, u64)> = ram.chain(nodes).collect();
    places.sort_by_key(|(_, at, size)| (*at, *size));
    let pairs = places.windows(2).filter_map(|pair| match pair {
        // Two devices in one page are where the machine has them.
        [one, other] if one == other => None,
        [(a, at, size), (b, next, _)] if at.saturating_add(*size) > *next => {
            Some(format!("{a} and {b} overlap at {next:#x}"))
        }
        _ => None,
    });
    pairs.collect()
}

/// Where a guest sees the node of this name.
fn place(guest: &GuestReport, name: &str) -> Option<Range> {
    let mut nodes = guest.nodes.iter();
    let (_, at, size) = nodes.find(|(found, ..)| found == name)?;
    Some((*at, *size))
}

/// Whether Xen has a pool as the document wants it. Xen gives numbers of its own: the boot CPU's pool is 0.
fn is_pool(seen: Option<&Pool>, wanted: &Cpupool) -> bool {
    seen.is_some_and(|seen| {
        let mut cpus = wanted.cpus.clone();
        cpus.sort_unstable();
        seen.cpus == cpus && seen.scheduler == wanted.scheduler.word()
    })
}

fn pools(plan: &Plan, readback: &Readback, differences: &mut Vec<String>) {
    for pool in &plan.xen.cpupools {
        if !readback
            .pools
            .values()
            .any(|seen| is_pool(Some(seen), pool))
        {
            differences.push(format!("no pool is {}: {:?}", pool.name, readback.pools));
        }
    }
}

/// In order, each once: as Xen's documentation wants colours to be.
fn ascending(numbers: &[u32]) -> Vec<u32> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
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
