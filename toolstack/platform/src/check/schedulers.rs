//! CPU pools and what their schedulers can keep.

use super::Index;
use crate::finding::Finding;
use crate::plan::{Boot, Cpupool, DomainKind, DomainPlan, Plan, RtdsShare, Scheduler};
use crate::rules;
use crate::units::TimeSpan;

/// Shortest budget and period in microseconds (Xen: `RTDS_MIN_BUDGET`, `RTDS_MIN_PERIOD`).
const RTDS_MIN_US: u64 = 10;
/// Share of a vCPU that nobody gave one (Xen: `RTDS_DEFAULT_PERIOD`, `RTDS_DEFAULT_BUDGET`).
const RTDS_DEFAULT: RtdsShare = RtdsShare {
    period_us: 10_000,
    budget_us: 4_000,
};
/// Entries in the table of ARINC653 (Xen: `ARINC653_MAX_DOMAINS_PER_SCHEDULE`).
const ARINC653_SLOTS: usize = 64;
/// A CPU's whole time, in the units that shares are summed up in.
const WHOLE: u128 = 1_000_000_000;

/// A pool as Xen will make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// This one of the document.
    Named(usize),
    /// The CPUs that are in no pool of the document.
    Rest,
}

/// The pools that Xen will make.
pub(super) struct Pools<'a> {
    plan: &'a Plan,
    /// The pool of each CPU that is in one.
    of_cpu: Vec<Option<usize>>,
    /// CPUs in no pool of the document, where the machine's number of CPUs is known.
    rest: Option<u32>,
    /// Xen's Pool-0: the one with the boot CPU (Xen: `btcpupools_allocate_pools`).
    pub(super) first: Pool,
}

impl<'a> Pools<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let mut of_cpu: Vec<Option<usize>> = Vec::new();
        for (number, pool) in plan.xen.cpupools.iter().enumerate() {
            for cpu in &pool.cpus {
                let cpu = usize::try_from(*cpu).unwrap_or(usize::MAX);
                if cpu >= of_cpu.len() {
                    of_cpu.resize(cpu.saturating_add(1), None);
                }
                if let Some(slot @ None) = of_cpu.get_mut(cpu) {
                    *slot = Some(number);
                }
            }
        }
        let first = of_cpu.first().copied().flatten();
        let rest = plan.machine.cpus.map(|cpus| {
            let known = usize::try_from(cpus).unwrap_or(usize::MAX);
            let taken = of_cpu.iter().take(known).flatten().count();
            cpus.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
        });
        Pools {
            plan,
            of_cpu,
            rest,
            first: first.map_or(Pool::Rest, Pool::Named),
        }
    }

    /// Where Xen puts the domain; none for a pool that is not there.
    pub(super) fn of(&self, index: &Index<'_>, domain: &DomainPlan) -> Option<Pool> {
        match &domain.cpupool {
            Some(name) => index.pools.get(name.as_str()).copied().map(Pool::Named),
            None => Some(self.first),
        }
    }

    /// The pool of a CPU.
    pub(super) fn of_cpu(&self, cpu: u32) -> Pool {
        let cpu = usize::try_from(cpu).unwrap_or(usize::MAX);
        let pool = self.of_cpu.get(cpu).copied().flatten();
        pool.map_or(Pool::Rest, Pool::Named)
    }

    /// Its CPUs, where their number is known.
    pub(super) fn cpus(&self, pool: Pool) -> Option<usize> {
        match pool {
            Pool::Named(_) => self.named(pool).map(|pool| pool.cpus.len()),
            Pool::Rest => self.rest.and_then(|cpus| usize::try_from(cpus).ok()),
        }
    }

    /// Document path of what decides about it.
    pub(super) fn path(&self, pool: Pool, key: &str) -> String {
        match pool {
            Pool::Named(number) => format!("cpupool[{number}].{key}"),
            Pool::Rest => format!("xen.{key}"),
        }
    }

    fn named(&self, pool: Pool) -> Option<&Cpupool> {
        match pool {
            Pool::Named(number) => self.plan.xen.cpupools.get(number),
            Pool::Rest => None,
        }
    }

    fn scheduler(&self, pool: Pool) -> Scheduler {
        let named = self.named(pool).map(|pool| pool.scheduler);
        named.unwrap_or(self.plan.xen.scheduler)
    }

    fn describe(&self, pool: Pool) -> String {
        match self.named(pool) {
            Some(pool) => format!("pool \"{}\"", pool.name),
            None => "the first pool".to_owned(),
        }
    }
}

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let pools = Pools::new(plan);
    let has_control = plan.control().is_some();
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); plan.xen.cpupools.len()];
    let mut rest = Vec::new();
    for (number, domain) in plan.domains.iter().enumerate() {
        let Some(pool) = pools.of(index, domain) else {
            continue;
        };
        shares(has_control, number, domain, pools.scheduler(pool), findings);
        match pool {
            Pool::Named(pool) => members[pool].push(number),
            Pool::Rest => rest.push(number),
        }
    }
    let named = members.into_iter().enumerate();
    let named = named.map(|(number, members)| (Pool::Named(number), members));
    for (pool, members) in named.chain([(Pool::Rest, rest)]) {
        match pools.scheduler(pool) {
            Scheduler::Null => null(plan, &pools, pool, &members, findings),
            Scheduler::Rtds => rtds(plan, &pools, pool, &members, findings),
            Scheduler::Arinc653 => arinc653(plan, &pools, pool, &members, findings),
            Scheduler::Credit | Scheduler::Credit2 => {}
        }
    }
}

/// What the domain says of its share, by itself.
fn shares(
    has_control: bool,
    number: usize,
    domain: &DomainPlan,
    scheduler: Scheduler,
    findings: &mut Vec<Finding>,
) {
    let at = format!("domain[{number}]");
    let given = [
        (domain.rtds.is_some(), Scheduler::Rtds, "rtds"),
        (
            domain.arinc653_runtime_us.is_some(),
            Scheduler::Arinc653,
            "arinc653",
        ),
    ];
    for (given, needed, key) in given {
        if given && scheduler != needed {
            findings.push(
                Finding::new(
                    &rules::SHARE_WITHOUT_SCHEDULER,
                    format!("{at}.{key}"),
                    format!(
                        "domain \"{}\" has a share of {key}, and its scheduler is {}",
                        domain.name,
                        scheduler.word()
                    ),
                )
                .label("for another scheduler"),
            );
        } else if given
            && !has_control
            && domain.boot == Boot::Dom0less
            && domain.kind != DomainKind::Control
        {
            findings.push(
                Finding::new(
                    &rules::SHARE_WITHOUT_CONTROL,
                    format!("{at}.{key}"),
                    format!("nobody can set the share of domain \"{}\"", domain.name),
                )
                .label("needs a control domain"),
            );
        }
    }
    let Some(share) = domain.rtds else { return };
    let (key, message) = if share.period_us < RTDS_MIN_US {
        ("period", "the period is too short")
    } else if share.budget_us < RTDS_MIN_US {
        ("budget", "the budget is too short")
    } else if share.budget_us > share.period_us {
        ("budget", "the budget is longer than the period")
    } else {
        return;
    };
    let value = match key {
        "period" => share.period_us,
        _ => share.budget_us,
    };
    let message = format!("{message} (domain \"{}\")", domain.name);
    let at = format!("{at}.rtds.{key}");
    findings.push(Finding::new(&rules::RTDS_SHARE, at, message).label(TimeSpan(value).to_string()));
}

fn null(
    plan: &Plan,
    pools: &Pools<'_>,
    pool: Pool,
    members: &[usize],
    findings: &mut Vec<Finding>,
) {
    let Some(cpus) = pools.cpus(pool) else { return };
    let mut vcpus = 0_usize;
    for number in members {
        let domain = &plan.domains[*number];
        vcpus = vcpus.saturating_add(usize::try_from(domain.vcpus).unwrap_or(usize::MAX));
        if vcpus > cpus {
            let place = pools.describe(pool);
            let message = format!(
                "{place} has {cpus} CPUs and the null scheduler; vCPUs of domain \"{}\" never run",
                domain.name
            );
            findings.push(
                Finding::new(
                    &rules::NULL_OVERCOMMIT,
                    format!("domain[{number}].vcpus"),
                    message,
                )
                .label(format!("{vcpus} vCPUs up to here"))
                .related(pools.path(pool, "scheduler"), "one vCPU per CPU"),
            );
            return;
        }
    }
}

fn rtds(
    plan: &Plan,
    pools: &Pools<'_>,
    pool: Pool,
    members: &[usize],
    findings: &mut Vec<Finding>,
) {
    let Some(cpus) = pools.cpus(pool) else { return };
    let room = WHOLE.saturating_mul(u128::try_from(cpus).unwrap_or(u128::MAX));
    let mut sum = 0_u128;
    for number in members {
        let domain = &plan.domains[*number];
        let share = domain.rtds.unwrap_or(RTDS_DEFAULT);
        // A share that is no share has been reported.
        if share.period_us == 0 || share.budget_us > share.period_us {
            continue;
        }
        let part = u128::from(share.budget_us) * WHOLE / u128::from(share.period_us);
        sum = sum.saturating_add(part.saturating_mul(domain.vcpus.into()));
        if sum > room {
            let place = pools.describe(pool);
            let percent = sum.saturating_mul(100) / WHOLE;
            findings.push(
                Finding::new(
                    &rules::RTDS_OVERLOAD,
                    format!("domain[{number}].rtds"),
                    format!("more time of {place} is promised than its {cpus} CPUs have"),
                )
                .label(format!("{percent} % of a CPU up to here"))
                .related(pools.path(pool, "scheduler"), "this pool"),
            );
            return;
        }
    }
}

fn arinc653(
    plan: &Plan,
    pools: &Pools<'_>,
    pool: Pool,
    members: &[usize],
    findings: &mut Vec<Finding>,
) {
    let place = pools.describe(pool);
    if let Some(cpus) = pools.cpus(pool).filter(|cpus| *cpus > 1) {
        let key = match pool {
            Pool::Named(_) => "cpus",
            Pool::Rest => "scheduler",
        };
        let message = format!("{place} has {cpus} CPUs, and arinc653 has one table for one CPU");
        let at = pools.path(pool, key);
        findings
            .push(Finding::new(&rules::ARINC653_SINGLE, at, message).label("more than one CPU"));
    }
    for (slot, number) in members.iter().enumerate() {
        let domain = &plan.domains[*number];
        let at = format!("domain[{number}]");
        let name = &domain.name;
        if domain.vcpus > 1 {
            let message = format!("domain \"{name}\" has more than one vCPU under arinc653");
            let at = format!("{at}.vcpus");
            findings.push(Finding::new(&rules::ARINC653_SINGLE, at, message).label("use 1"));
        }
        // Xen gives the control domain a slot by itself.
        let wants_slot = domain.kind != DomainKind::Control;
        let (key, label) = match domain.arinc653_runtime_us {
            None if wants_slot => ("arinc653", "has no slot"),
            Some(0) => ("arinc653.runtime", "zero"),
            _ => ("", ""),
        };
        if !key.is_empty() {
            let message = format!("domain \"{name}\" never runs: it has no time in {place}");
            let at = format!("{at}.{key}");
            findings.push(Finding::new(&rules::ARINC653_SLOT, at, message).label(label));
        }
        if slot == ARINC653_SLOTS {
            let count = members.len();
            let message =
                format!("{place} has {count} domains, and arinc653 has {ARINC653_SLOTS} slots");
            findings.push(
                Finding::new(&rules::ARINC653_SLOTS, at, message).label("the first one too many"),
            );
        }
    }
}
