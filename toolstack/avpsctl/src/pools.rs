//! CPU pools: each one of the document is found on the machine, or made of CPUs that leave the first pool, and given back.
//!
//! A pool is the document's when it has its CPUs and its scheduler, whatever its name: pools made at boot have none but
//! `Pool-1`. One that this program made is known by its UUID, so that it is removed by whoever ends the platform, and no
//! other is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use platform::plan::{Cpupool, DomainPlan, Plan, Scheduler};

use crate::error::{Error, Result};
use crate::machine::{Machine, PoolInfo};

/// Xen's first pool: dom0 is in it, and every CPU that no other pool has.
const FIRST: u32 = 0;

/// Xen 4.20 forgets a CPU's pool before it lets the scheduler go of the CPU (xen/common/sched/core.c, schedule_cpu_rm), and RTDS
/// looks into that pool then (xen/common/sched/rt.c, move_repl_timer): a data abort in Xen.
const RTDS_STAYS: &str =
    "Xen stops the machine when a CPU leaves a pool with scheduler rtds; the next up uses it";

/// Numbers of pools, by their names in the document.
pub type Numbers = BTreeMap<String, u32>;

/// A pool that was made.
#[derive(Debug, Clone)]
pub struct Made {
    name: String,
    id: u32,
    cpus: Vec<u32>,
    scheduler: Scheduler,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU pool {}: made of CPUs {}",
            self.name,
            list(&self.cpus)
        )
    }
}

/// What there is of a pool of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It exists, with this number.
    There(u32),
    /// It can be made; these of its CPUs have to leave the first pool.
    Absent {
        /// The CPUs.
        leave: Vec<u32>,
    },
}

/// What there is of each pool of the document, in its order. All of them count, also those in which nothing is started: the
/// CPUs of one are missing in the first pool.
///
/// # Errors
/// [`Error::CpuPool`] for a pool that exists in another form, or cannot be made; libxl's and XenStore's.
pub fn compare<'a>(machine: &Machine, plan: &'a Plan) -> Result<Vec<(&'a Cpupool, Status)>> {
    if plan.xen.cpupools.is_empty() {
        return Ok(Vec::new());
    }
    let there = machine.domains.pools()?;
    let mut uuids = BTreeMap::new();
    for pool in &there {
        let uuid = machine.store.read(&uuid_path(pool.id))?;
        uuids.insert(pool.id, uuid.unwrap_or_default());
    }
    let look = Look {
        plan,
        there: &there,
        uuids: &uuids,
        cpus: machine.domains.host()?.cpus,
    };
    let pools = plan.xen.cpupools.iter();
    pools
        .map(|pool| {
            let status = look.status(pool).map_err(|why| Error::CpuPool {
                name: pool.name.clone(),
                why,
            })?;
            Ok((pool, status))
        })
        .collect()
}

/// Sees to it that the document's pools exist, with the schedulers that these domains' shares are for. Tells their numbers and
/// which ones were made; when it fails, none of those is left.
///
/// # Errors
/// As [`compare`]; libxl's; [`Error::Remains`] when something could not be taken back.
pub fn provide(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
) -> Result<(Numbers, Vec<Made>)> {
    let mut made = Vec::new();
    match provide_all(machine, plan, domains, &mut made) {
        Ok(numbers) => Ok((numbers, made)),
        Err(cause) => Err(cause.with_remains(take_back(machine, made))),
    }
}

fn provide_all(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
    made: &mut Vec<Made>,
) -> Result<Numbers> {
    let mut numbers = Numbers::new();
    for (pool, status) in compare(machine, plan)? {
        let id = match status {
            Status::There(id) => id,
            Status::Absent { leave } => {
                let id = make(machine, plan, pool, &leave)?;
                made.push(Made {
                    name: pool.name.clone(),
                    id,
                    cpus: pool.cpus.clone(),
                    scheduler: pool.scheduler,
                });
                id
            }
        };
        numbers.insert(pool.name.clone(), id);
    }
    shares(machine, domains, &numbers)?;
    Ok(numbers)
}

/// Removes what [`provide`] made, the last first. Tells what is still there.
pub fn take_back(machine: &Machine, made: Vec<Made>) -> Vec<String> {
    let mut remains = Vec::new();
    for pool in made.into_iter().rev() {
        if pool.scheduler == Scheduler::Rtds {
            remains.push(format!("CPU pool {} ({RTDS_STAYS})", pool.name));
        } else if let Err(error) = remove(machine, pool.id, &pool.cpus) {
            remains.push(format!("CPU pool {} ({error})", pool.name));
        }
    }
    remains
}

/// The same, without those of these names: something runs in them.
pub fn take_back_unused(
    machine: &Machine,
    mut made: Vec<Made>,
    used: &BTreeSet<String>,
) -> Vec<String> {
    made.retain(|pool| !used.contains(&pool.name));
    take_back(machine, made)
}

/// Removes the pools that were made for this platform and in which nothing runs any more; their CPUs go to the first pool.
/// Tells what became of each.
///
/// # Errors
/// libxl's and XenStore's.
pub fn give_back(machine: &Machine, plan: &Plan) -> Result<Vec<String>> {
    let mut told = Vec::new();
    if plan.xen.cpupools.is_empty() {
        return Ok(told);
    }
    for there in machine.domains.pools()? {
        let uuid = machine.store.read(&uuid_path(there.id))?;
        let mut pools = plan.xen.cpupools.iter();
        let ours = pools.find(|pool| uuid.as_deref() == Some(&pool.uuid(&plan.platform)));
        let Some(pool) = ours else { continue };
        let text = if there.domains > 0 {
            format!("kept, {} domain(s) run in it", there.domains)
        } else if there.scheduler == Some(Scheduler::Rtds) {
            format!("kept, {RTDS_STAYS}")
        } else {
            remove(machine, there.id, &there.cpus)?;
            format!("removed, the first pool has CPUs {}", list(&there.cpus))
        };
        told.push(format!("CPU pool {}: {text}", pool.name));
    }
    Ok(told)
}

/// Numbers as people write them.
pub fn list(numbers: &[u32]) -> String {
    let words: Vec<_> = numbers.iter().map(u32::to_string).collect();
    words.join(", ")
}

fn uuid_path(pool: u32) -> String {
    format!("/local/pool/{pool}/uuid")
}

fn make(machine: &Machine, plan: &Plan, pool: &Cpupool, leave: &[u32]) -> Result<u32> {
    let domains = &machine.domains;
    let mut left = Vec::new();
    let result = leave
        .iter()
        .try_for_each(|cpu| {
            domains.remove_cpu(FIRST, *cpu)?;
            left.push(*cpu);
            Ok(())
        })
        .and_then(|()| domains.create_pool(pool, &pool.uuid(&plan.platform)));
    result.map_err(|cause| {
        let back = left.iter().rev();
        let lost: Vec<_> = back
            .filter(|cpu| domains.add_cpu(FIRST, **cpu).is_err())
            .map(|cpu| format!("CPU {cpu}, in no pool"))
            .collect();
        cause.with_remains(lost)
    })
}

fn remove(machine: &Machine, id: u32, cpus: &[u32]) -> Result<()> {
    machine.domains.destroy_pool(id)?;
    for cpu in cpus {
        machine.domains.add_cpu(FIRST, *cpu)?;
    }
    Ok(())
}

/// A share of a scheduler that does not run where the domain is to be would be dropped without a word.
fn shares(machine: &Machine, domains: &[DomainPlan], numbers: &Numbers) -> Result<()> {
    let shared = |domain: &&DomainPlan| domain.rtds.is_some();
    if !domains.iter().any(|domain| shared(&domain)) {
        return Ok(());
    }
    let there = machine.domains.pools()?;
    for domain in domains.iter().filter(shared) {
        let name = domain.cpupool.as_deref();
        let id = name.and_then(|name| numbers.get(name)).unwrap_or(&FIRST);
        let pool = there.iter().find(|pool| pool.id == *id);
        let found = pool.and_then(|pool| pool.scheduler);
        if found != Some(Scheduler::Rtds) {
            return Err(Error::CpuPool {
                name: pool.map_or_else(|| "Pool-0".to_owned(), |pool| pool.name.clone()),
                why: format!(
                    "domain \"{}\" has a share of rtds, and the pool's scheduler is {}; boot Xen with \
                     sched=rtds, or give the domain a cpupool with that scheduler",
                    domain.name,
                    word(found)
                ),
            });
        }
    }
    Ok(())
}

fn word(scheduler: Option<Scheduler>) -> &'static str {
    scheduler.map_or("one that documents do not know", Scheduler::word)
}

/// The machine as it is while pools are looked for.
struct Look<'a> {
    plan: &'a Plan,
    there: &'a [PoolInfo],
    uuids: &'a BTreeMap<u32, String>,
    cpus: u32,
}

impl Look<'_> {
    fn status(&self, pool: &Cpupool) -> std::result::Result<Status, String> {
        let mut wanted = pool.cpus.clone();
        wanted.sort_unstable();
        let uuid = pool.uuid(&self.plan.platform);
        let ours = |there: &&PoolInfo| self.uuids.get(&there.id) == Some(&uuid);
        let same = |there: &&PoolInfo| there.cpus == wanted;
        let mut pools = self.there.iter();
        if let Some(there) = pools
            .clone()
            .find(ours)
            .or_else(|| pools.clone().find(same))
        {
            return fits(pool, &wanted, there);
        }
        if let Some(there) = pools.find(|there| there.name == pool.name) {
            return Err(format!(
                "another pool has this name: CPUs {}; rename one of them",
                list(&there.cpus)
            ));
        }
        if wanted.contains(&0) {
            return self.first(pool, wanted);
        }
        let mut leave = Vec::new();
        for cpu in wanted {
            match self.there.iter().find(|there| there.cpus.contains(&cpu)) {
                Some(there) if there.id == FIRST => leave.push(cpu),
                Some(there) => {
                    return Err(format!(
                        "CPU {cpu} is in pool \"{}\"; xl cpupool-destroy removes it when nothing runs there",
                        there.name
                    ));
                }
                // Known to be there, and in no pool.
                None if cpu < self.cpus => {}
                None => {
                    let cpus = self.cpus;
                    return Err(format!("this machine has {cpus} CPUs, and no CPU {cpu}"));
                }
            }
        }
        let first = self.there.iter().find(|there| there.id == FIRST);
        if first.is_some_and(|first| first.cpus.iter().all(|cpu| leave.contains(cpu))) {
            return Err("no CPU would be left to the first pool, in which dom0 runs".to_owned());
        }
        Ok(Status::Absent { leave })
    }

    /// The pool with CPU 0 is the first one, as it is when Xen makes the pools at boot; it is what the others leave of it.
    fn first(&self, pool: &Cpupool, wanted: Vec<u32>) -> std::result::Result<Status, String> {
        let Some(first) = self.there.iter().find(|there| there.id == FIRST) else {
            return Err("Xen tells of no first pool".to_owned());
        };
        let others = self.plan.xen.cpupools.iter();
        let others: Vec<u32> = others
            .filter(|other| other.name != pool.name)
            .flat_map(|other| other.cpus.clone())
            .collect();
        let mut left = first.clone();
        left.cpus.retain(|cpu| !others.contains(cpu));
        fits(pool, &wanted, &left)
    }
}

fn fits(pool: &Cpupool, wanted: &[u32], there: &PoolInfo) -> std::result::Result<Status, String> {
    if there.cpus != wanted {
        return Err(format!(
            "it has CPUs {} here, and CPUs {} in the document; end what runs in it (avpsctl down) first",
            list(&there.cpus),
            list(wanted)
        ));
    }
    if there.scheduler != Some(pool.scheduler) {
        return Err(format!(
            "its CPUs are in pool \"{}\" with scheduler {} here, and have {} in the document",
            there.name,
            word(there.scheduler),
            pool.scheduler.word()
        ));
    }
    Ok(Status::There(there.id))
}
