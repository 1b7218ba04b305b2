//! Rules over the plan that need no machine.
//!
//! Each check is one function over the plan that pushes findings; a finding names the document
//! path of the value it is about. Rules that depend on this machine's files are in [`crate::host`].
//!
//! A check's time grows with the length of the document and not faster: names are looked up in [`Index`], overlaps are
//! found by sorting. One cause makes one finding: what only follows from something that is reported is left out.

mod cpus;
mod dom0less_virtio;
mod domains;
mod flask;
mod guest_map;
mod guest_tree;
mod links;
mod machine_devices;
mod memory;
mod modules;
mod networks;
pub(crate) mod pending;
mod places;
mod proposals;
mod ram_budget;
mod roles;
mod schedulers;
mod shared_memory;
mod tee;

use std::collections::HashMap;
mod interference;
pub mod levels;
pub(crate) mod parties;

use crate::finding::Finding;
use crate::plan::{DomainPlan, Plan};
use places::Ram;
pub(crate) use proposals::propose;

/// What several checks look up.
struct Index<'a> {
    /// Where the domain of a name is in the plan; of several with one name, the first.
    domains: HashMap<&'a str, usize>,
    /// Where the CPU pool of a name is in the plan; of several with one name, the first.
    pools: HashMap<&'a str, usize>,
    /// The machine's RAM.
    ram: Ram,
}

impl<'a> Index<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut domains = HashMap::new();
        for (number, domain) in plan.domains.iter().enumerate() {
            domains.entry(domain.name.as_str()).or_insert(number);
        }
        let mut pools = HashMap::new();
        for (number, pool) in plan.xen.cpupools.iter().enumerate() {
            pools.entry(pool.name.as_str()).or_insert(number);
        }
        Index {
            domains,
            pools,
            ram: Ram::new(&plan.machine.banks),
        }
    }

    /// The domain of this name.
    fn domain<'p>(&self, plan: &'p Plan, name: &str) -> Option<&'p DomainPlan> {
        plan.domains.get(*self.domains.get(name)?)
    }
}

/// Applies every rule.
pub fn check(plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let index = Index::new(plan);
    domains::check(plan, &mut findings);
    roles::check(plan, &index, &mut findings);
    memory::check(plan, &index, &mut findings);
    ram_budget::check(plan, &index, &mut findings);
    modules::check(plan, &mut findings);
    cpus::check(plan, &index, &mut findings);
    schedulers::check(plan, &index, &mut findings);
    shared_memory::check(plan, &index, &mut findings);
    links::check(plan, &index, &mut findings);
    dom0less_virtio::check(plan, &mut findings);
    flask::check(plan, &mut findings);
    networks::check(plan, &index, &mut findings);
    guest_map::check(plan, &index, &mut findings);
    guest_tree::check(plan, &index, &mut findings);
    machine_devices::check(plan, &index, &mut findings);
    tee::check(plan, &mut findings);
    interference::check(plan, &mut findings);
    levels::check(plan, &mut findings);
    pending::check(plan, &index, &mut findings);
    findings
}
