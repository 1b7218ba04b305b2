//! What Xen did, against the plan.

use crate::oracle::readback::{Domain, Pool, Range};
use crate::oracle::{Answer, GuestReport, Readback, Verdict};
use platform::Plan;
use platform::plan::{Console, Cpupool, DomainPlan};
use std::fmt::Display;

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
    let mut differences = differences(plan, guests, &answer.readback, &[]);
    // What was not told shows nothing.
    for guest in guests.iter().filter(|guest| guest.torn > 0) {
        let (domain, torn) = (guest.domain, guest.torn);
        differences.push(format!("{torn} lines of domain {domain} were lost"));
    }
    let is_placed = plan.shared_memory.iter().any(|memory| memory.at.is_some());
    if is_placed && answer.readback.ram.is_empty() {
        differences.push("Xen's memory map, which has its shared memory, was not read".to_owned());
    }
    if differences.is_empty() {
        Judgement::Right
    } else {
        Judgement::Differs(differences)
    }
}

/// What Xen and its guests tell otherwise than the plan has it. Domains whose guest is not the oracle's are `strangers`: of
/// them, as of the control domain, only Xen tells.
pub(crate) fn differences(
    plan: &Plan,
    guests: &[GuestReport],
    readback: &Readback,
    strangers: &[&str],
) -> Vec<String> {
    let mut all = Vec::new();
    for domain in plan.control().into_iter().chain(plan.dom0less()) {
        let id = domain.domid.unwrap_or_default();
        let told = readback.domains.get(&id);
        let mut wrong = Wrong::default();
        if domain.is_dom0less() && !strangers.contains(&domain.name.as_str()) {
            match guests.iter().find(|guest| guest.domain == id) {
                Some(guest) => guest_differs(plan, domain, guest, &mut wrong),
                None => wrong.0.push("did not report".to_owned()),
            }
        } else {
            let pages = told.and_then(|told| told.pages).unwrap_or_default();
            wrong.expect("pages", &pages, &(domain.memory_bytes / PAGE));
            let vcpus = told.map_or(0, |told| told.affinity.len());
            wrong.expect("vCPUs", &vcpus, &domain.vcpus);
        }
        domain_differs(plan, domain, told, readback, &mut wrong);
        let named = wrong
            .0
            .into_iter()
            .map(|what| format!("{}: {what}", domain.name));
        all.extend(named);
    }
    pools(plan, readback, &mut all);
    all.extend(shared_memory(plan, readback));
    all
}

/// What is wrong with a domain.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn expect(&mut self, what: &str, seen: &dyn Display, wanted: &dyn Display) {
        let (seen, wanted) = (seen.to_string(), wanted.to_string());
        if seen != wanted {
            self.0.push(format!("{what} {seen} instead of {wanted}"));
        }
    }
}

/// What the guest tells.
fn guest_differs(plan: &Plan, domain: &DomainPlan, guest: &GuestReport, wrong: &mut Wrong) {
    // Xen tells the guest shared memory as RAM, too, beside the node of its own.
    let shared: Vec<Range> = guest
        .shared
        .keys()
        .filter_map(|name| place(guest, name))
        .collect();
    let is_own = |range: &&Range| !shared.contains(range);
    let memory: Vec<Range> = guest.memory.iter().filter(is_own).copied().collect();
    let total: u64 = memory.iter().map(|(_, size)| size).sum();
    let memory_bytes = format!("{:#x}", domain.memory_bytes);
    wrong.expect("memory", &format!("{total:#x}"), &memory_bytes);
    wrong.expect("vCPUs", &guest.cpus, &domain.vcpus);
    wrong.expect("running vCPUs", &guest.running, &domain.vcpus);
    wrong.expect("bad pages", &guest.bad_pages, &0);
    // A report's line may be too short for all of them.
    let is_cut = guest.arguments.len() > 64 && domain.cmdline.starts_with(&guest.arguments);
    if !is_cut {
        wrong.expect("arguments", &guest.arguments, &domain.cmdline);
    }
    if domain.direct_map && !domain.static_memory.is_empty() {
        let seen = hex(&merged(memory.clone()));
        wrong.expect("its own addresses", &seen, &hex(&places(domain)));
    }
    let uart = guest
        .nodes
        .iter()
        .any(|(name, ..)| name.starts_with("sbsa-uart"));
    wrong.expect("vpl011", &uart, &(domain.console == Console::Vpl011));
    for memory in &plan.shared_memory {
        for user in memory
            .users
            .iter()
            .filter(|user| user.domain == domain.name)
        {
            let nodes = guest.shared.iter().filter(|(_, id)| **id == memory.id);
            let seen: Vec<Range> = nodes.filter_map(|(name, _)| place(guest, name)).collect();
            let what = format!("shared memory {}", memory.id);
            wrong.expect(&what, &hex(&seen), &hex(&[(user.at, memory.size_bytes)]));
        }
    }
    for at in touched(plan, domain) {
        let reached = guest.said.iter().any(|said| {
            said.strip_prefix(&format!("touch {at:#x} r "))
                .is_some_and(|came| came.starts_with("ok"))
        });
        wrong.expect(&format!("registers at {at:#x} reached"), &reached, &true);
    }
    wrong.0.extend(overlaps(guest, &memory));
}

/// Orders to read the first register of each region that a domain is given of a device that the machine has.
pub(super) fn touch(plan: &mut Plan) {
    let places: Vec<Vec<u64>> = plan.domains.iter().map(|d| given(plan, d)).collect();
    for (domain, places) in plan.domains.iter_mut().zip(places) {
        for at in places {
            domain.cmdline = format!("{} {}", domain.cmdline, order(at))
                .trim()
                .to_owned();
        }
    }
}

/// Where a domain finds the first registers of what it is given of devices that the machine has.
fn given(plan: &Plan, domain: &DomainPlan) -> Vec<u64> {
    let is_there = |at: u64| {
        let mut known = plan.machine.devices.iter().flat_map(|d| &d.regions);
        known.any(|range| at >= range.at && at - range.at < range.size_bytes)
    };
    let regions = domain.devices.iter().flat_map(|device| &device.regions);
    regions
        .filter(|region| is_there(region.at) && region.guest_at % 8 == 0)
        .map(|region| region.guest_at)
        .collect()
}

/// Makes a guest read the word there (`oracle-guest`, `orders`).
fn order(at: u64) -> String {
    format!("touch={at:#x}:r")
}

/// The registers that a domain was ordered to read. A document may have orders of its own, to places that it must not reach.
fn touched(plan: &Plan, domain: &DomainPlan) -> Vec<u64> {
    let is_ordered = |at: &u64| domain.cmdline.split(' ').any(|word| word == order(*at));
    given(plan, domain).into_iter().filter(is_ordered).collect()
}

/// Its static memory, neighbours as one.
fn places(domain: &DomainPlan) -> Vec<Range> {
    let ranges = domain.static_memory.iter();
    merged(ranges.map(|range| (range.at, range.size_bytes)).collect())
}

/// What Xen tells.
fn domain_differs(
    plan: &Plan,
    domain: &DomainPlan,
    told: Option<&Domain>,
    readback: &Readback,
    wrong: &mut Wrong,
) {
    if !domain.static_memory.is_empty() {
        let seen = told.map(|told| told.host_banks.clone()).unwrap_or_default();
        let half = seen.iter().filter(|(_, size)| size % PAGE != 0).count();
        wrong.expect("banks that are no whole pages", &half, &0);
        wrong.expect("places", &hex(&merged(seen)), &hex(&places(domain)));
    }
    if !domain.colors.is_empty() {
        let seen = told.map(|told| told.colours.clone()).unwrap_or_default();
        let wanted = format!("{:?}", ascending(&domain.colors));
        wrong.expect("colours", &format!("{seen:?}"), &wanted);
    }
    let mut pools = plan.xen.cpupools.iter();
    if let Some(pool) = pools.find(|pool| Some(&pool.name) == domain.cpupool.as_ref()) {
        // Of a domain that sleeps, some schedulers do not tell.
        if let Some(number) = told.and_then(|told| told.pool) {
            let seen = is_pool(readback.pools.get(&number), pool);
            wrong.expect("pool as wanted", &seen, &true);
        }
    }
    if !domain.cpus.is_empty() {
        let seen = told.map(|told| told.affinity.clone()).unwrap_or_default();
        let wanted = vec![domain.cpus.clone(); seen.len().max(1)];
        wrong.expect("affinity", &format!("{seen:?}"), &format!("{wanted:?}"));
    }
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

/// Shared memory that Xen does not have where it has a place. Xen tells it before its console works.
fn shared_memory(plan: &Plan, readback: &Readback) -> Vec<String> {
    if readback.ram.is_empty() {
        return Vec::new();
    }
    let placed = plan.shared_memory.iter();
    let placed = placed.filter_map(|memory| Some((memory, (memory.at?, memory.size_bytes))));
    placed
        .filter(|(_, range)| !readback.shared.contains(range))
        .map(|(memory, range)| {
            let (wanted, seen) = (hex(&[range]), hex(&readback.shared));
            format!("shared memory {} not at {wanted}: {seen}", memory.id)
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TEXT: &str = r#"
schema = "avps/1"
[platform]
name = "d"
[machine]
banks = [{ at = 0x4000_0000, size = "1GiB" }]
[[domain]]
name = "a"
kernel = "k"
boot = "dom0less"
memory = "32MiB"
console = "none"
[[domain.device]]
path = "/pl031@9010000"
dma = "none"
interrupts = []
[[domain.device.region]]
at = 0x901_0000
size = "4KiB"
"#;

    /// The document's plan on a machine that has the device, with its orders.
    fn plan(text: &str) -> Plan {
        let (document, _) = platform::document::read(text);
        let mut plan = platform::resolve(&document.expect("a document"), "/", Default::default());
        plan.machine.devices = vec![platform::plan::MachineDevice {
            path: "/pl031@9010000".to_owned(),
            regions: vec![platform::plan::Range {
                at: 0x901_0000,
                size_bytes: 0x1000,
            }],
            ..Default::default()
        }];
        touch(&mut plan);
        plan
    }

    /// A boot in which the guest reports what the plan says, and this.
    fn answer(plan: &Plan, said: &[&str]) -> Answer {
        let domain = plan.dom0less().next().expect("a domain");
        let mut guest = GuestReport::default();
        guest.domain = domain.domid.expect("a number");
        guest.memory = vec![(0x4000_0000, domain.memory_bytes)];
        (guest.cpus, guest.running) = (1, 1);
        guest.arguments = domain.cmdline.clone();
        guest.said = said.iter().map(|said| (*said).to_owned()).collect();
        Answer {
            verdict: Verdict::Boots {
                guests: vec![guest],
            },
            log: String::new(),
            early: String::new(),
            readback: Readback::default(),
            time: Duration::ZERO,
        }
    }

    #[test]
    fn a_device_whose_registers_are_not_reached_was_not_given() {
        for size in ["4KiB", "0B"] {
            let plan = plan(&TEXT.replace("4KiB", size));
            let judged = |said: &[&str]| judge(&plan, &answer(&plan, said));
            let reached = "touch 0x9010000 r ok value=0x1";
            assert_eq!(judged(&[reached]), Judgement::Right);
            let missed = "touch 0x9010000 r fault class=0x25 status=0x6 far=0x9010000";
            for said in [&[missed][..], &[], &["touch 0x9010008 r ok value=0x1"]] {
                assert!(matches!(judged(said), Judgement::Differs(_)), "{said:?}");
            }
        }
    }

    #[test]
    fn orders_of_a_documents_own_are_not_about_its_devices() {
        let mut plan = plan(TEXT);
        plan.domains[0].cmdline.push_str(" touch=0x32fff000:r");
        let said = [
            "touch 0x9010000 r ok value=0x1",
            "touch 0x32fff000 r fault class=0x25 status=0x6 far=0x32fff000",
        ];
        assert_eq!(judge(&plan, &answer(&plan, &said)), Judgement::Right);
    }

    #[test]
    fn a_guest_whose_lines_were_lost_shows_nothing() {
        let plan = plan(TEXT);
        let mut answer = answer(&plan, &["touch 0x9010000 r ok value=0x1"]);
        assert_eq!(judge(&plan, &answer), Judgement::Right);
        if let Verdict::Boots { guests } = &mut answer.verdict {
            guests[0].torn = 1;
        }
        assert!(matches!(judge(&plan, &answer), Judgement::Differs(_)));
    }
}
