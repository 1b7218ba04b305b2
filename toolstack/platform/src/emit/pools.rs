//! The names that CPU pools have for the toolstack.

use crate::plan::{DomainPlan, Plan};

/// The name of a domain's pool, where it has one of its own.
pub(super) fn of(plan: &Plan, domain: &DomainPlan) -> Option<String> {
    let pool = domain.cpupool.as_deref()?;
    Some(name(plan, pool))
}

/// The name of a pool made at boot. Xen numbers pools as they stand in its device tree, but that of CPU 0 always gets
/// number 0 (xen/common/sched/boot-cpupool.c); the toolstack then knows them by number (tools/helpers/xen-init-dom0.c).
pub(super) fn name(plan: &Plan, pool: &str) -> String {
    let pools = &plan.xen.cpupools;
    let Some(place) = pools.iter().position(|known| known.name == pool) else {
        return pool.to_owned();
    };
    // CPUs of no pool are in one behind the last.
    let first = pools.iter().position(|pool| pool.cpus.contains(&0));
    let first = first.unwrap_or(pools.len());
    let number = match place {
        place if place == first => 0,
        0 => first,
        place => place,
    };
    format!("Pool-{number}")
}
