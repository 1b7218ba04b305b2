//! Time: CPUs, caches, schedulers, interrupts and networks that two levels share.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::parties::{Place, control, level, place, several, who, with_others};
use crate::finding::Finding;
use crate::plan::{Asil, DomainPlan, Network, NetworkPort, Plan, Scheduler};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    let classes = Classes::new(plan);
    for class in classes.all.iter().filter(|class| class.asil > Asil::Qm) {
        cpus(plan, &classes, class, findings);
        cache(plan, &classes, class, findings);
    }
    doorbells(plan, findings);
    for network in &plan.networks {
        precedence(plan, network, findings);
    }
}

/// Domains that are the same in all that matters here. What disturbs one of them disturbs each, so it is looked for once.
struct Class<'a> {
    place: Place<'a>,
    asil: Asil,
    colors: &'a [u32],
    clusters: BTreeSet<usize>,
    members: Vec<usize>,
}

impl Class<'_> {
    /// Whether they may hold each other's vCPUs up.
    fn disturbs(&self, other: &Class<'_>) -> bool {
        self.place.meets(&other.place) && !self.place.partitions_time()
    }

    /// Whether accesses of both go through the same lines of a cache, on CPUs of their own.
    fn evicts(&self, other: &Class<'_>, one_for_all: bool) -> bool {
        let reached = one_for_all || !self.clusters.is_disjoint(&other.clusters);
        let apart = !self.colors.is_empty()
            && !other.colors.is_empty()
            && !self.colors.iter().any(|color| other.colors.contains(color));
        // Who shares the CPU shares its caches; that is said already.
        reached && !apart && !self.disturbs(other)
    }
}

struct Classes<'a> {
    domains: &'a [DomainPlan],
    all: Vec<Class<'a>>,
}

impl<'a> Classes<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut by_key: BTreeMap<_, Class<'a>> = BTreeMap::new();
        for (index, domain) in plan.domains.iter().enumerate() {
            let key = (&domain.cpupool, &domain.cpus, &domain.colors, domain.asil);
            let class = by_key.entry(key).or_insert_with(|| {
                let place = place(plan, domain);
                let here = |cpus: &[u32]| cpus.iter().any(|cpu| place.known_cpus().contains(cpu));
                let clusters = plan.machine.clusters.iter().enumerate();
                let clusters = clusters.filter(|(_, cluster)| here(&cluster.cpus));
                Class {
                    place,
                    asil: domain.asil,
                    colors: &domain.colors,
                    clusters: clusters.map(|(index, _)| index).collect(),
                    members: Vec::new(),
                }
            });
            class.members.push(index);
        }
        Classes {
            domains: &plan.domains,
            all: by_key.into_values().collect(),
        }
    }

    /// Domains of all classes that are so, in the order of the document.
    fn members(&self, are: impl Fn(&Class<'_>) -> bool) -> Vec<(usize, &'a DomainPlan)> {
        let classes = self.all.iter().filter(|class| are(class));
        let mut members: Vec<_> = classes.flat_map(|class| &class.members).copied().collect();
        members.sort_unstable();
        let domains = members.into_iter();
        domains
            .filter_map(|index| Some((index, self.domains.get(index)?)))
            .collect()
    }
}

/// Where the document says on which CPUs a domain runs.
fn place_at(index: usize, domain: &DomainPlan) -> String {
    let key = match (domain.cpus.is_empty(), domain.cpupool.is_some()) {
        (false, _) => ".cpus",
        (true, true) => ".cpupool",
        (true, false) => "",
    };
    format!("domain[{index}]{key}")
}

/// Sharing with a lower level; without that, taking turns under a scheduler that promises nothing.
fn cpus(plan: &Plan, classes: &Classes<'_>, class: &Class<'_>, findings: &mut Vec<Finding>) {
    let own = &class.place;
    if own.partitions_time() {
        return;
    }
    let lower = classes.members(|other| other.asil < class.asil && class.disturbs(other));
    // A control domain that is not described runs in the first pool, like every domain without one.
    let hidden = control(plan)
        .filter(|control| control.domain.is_none() && own.pool.is_none() && own.cpus.is_empty());
    if lower.is_empty() && hidden.is_none() {
        scheduler(classes, class, findings);
        return;
    }
    let names = lower.iter().map(|(_, other)| who(other));
    let names = several(names.chain(hidden.map(|control| control.who())));
    let label = match (own.pool, own.cpus.is_empty()) {
        (_, false) => "these CPUs are not its own".to_owned(),
        (Some(pool), true) => format!("pool \"{pool}\" is not its own"),
        (None, true) => "no CPUs of its own".to_owned(),
    };
    for (index, domain) in classes.members(|other| std::ptr::eq(other, class)) {
        let message = format!("{} may run on the same CPUs as {names}", who(domain));
        let finding = Finding::new(&rules::CPU_SHARED, place_at(index, domain), message)
            .label(label.clone())
            .subject(&domain.name)
            .for_level(domain.asil);
        let others = lower.iter().map(|(other_index, other)| {
            let devices = other.devices.iter();
            let interrupts: usize = devices.map(|device| device.interrupts.len()).sum();
            let taken = match interrupts {
                0 => String::new(),
                1 => ", and 1 interrupt of its devices is taken there".to_owned(),
                n => format!(", and {n} interrupts of its devices are taken there"),
            };
            let remark = format!("{} runs there too{taken}", who(other));
            (*other, place_at(*other_index, other), remark)
        });
        findings.push(with_others(finding, others));
    }
}

fn scheduler(classes: &Classes<'_>, class: &Class<'_>, findings: &mut Vec<Finding>) {
    let own = &class.place;
    // RTDS gives each vCPU its budget; that it is experimental is a finding of its own.
    if own.scheduler == Scheduler::Rtds {
        return;
    }
    let word = own.scheduler.word();
    let room = u32::try_from(own.known_cpus().len()).unwrap_or(u32::MAX);
    let alone = classes.members(|other| class.disturbs(other)).len() == 1;
    // Between two of one level the first one says it; to one of a higher level more has been said.
    let equal = classes.members(|other| other.asil == class.asil && class.disturbs(other));
    for (index, domain) in classes.members(|other| std::ptr::eq(other, class)) {
        let first = equal.partition_point(|(other, _)| *other <= index);
        let later = equal.get(first..).unwrap_or_default();
        let crowded = alone && room != 0 && domain.vcpus > room;
        let message = if crowded {
            let vcpus = domain.vcpus;
            format!(
                "the {vcpus} vCPUs of {} take turns on {room} CPU(s) under {word}",
                who(domain)
            )
        } else if later.is_empty() {
            continue;
        } else {
            let names = several(later.iter().map(|(_, other)| who(other)));
            format!("{} takes turns with {names} under {word}", who(domain))
        };
        let finding = Finding::new(&rules::SCHEDULER, place_at(index, domain), message)
            .label(format!("{word} promises no time"))
            .subject(&domain.name)
            .for_level(domain.asil);
        let others = later.iter().map(|(other_index, other)| {
            let remark = format!("{} runs there too", who(other));
            (*other, place_at(*other_index, other), remark)
        });
        findings.push(with_others(finding, others));
    }
}

/// Lower levels whose accesses go through the same cache without a partition.
fn cache(plan: &Plan, classes: &Classes<'_>, class: &Class<'_>, findings: &mut Vec<Finding>) {
    let one_for_all = plan.machine.llc.is_some();
    let lower =
        classes.members(|other| other.asil < class.asil && class.evicts(other, one_for_all));
    if lower.is_empty() {
        return;
    }
    let names = several(lower.iter().map(|(_, other)| who(other)));
    let what = match one_for_all {
        true => "the last-level cache",
        false => "the cache of a cluster",
    };
    let label = match class.colors.is_empty() {
        true => "no colours of its own",
        false => "some of these colours are used by others",
    };
    for (index, domain) in classes.members(|other| std::ptr::eq(other, class)) {
        let message = format!("{} shares {what} with {names}", who(domain));
        let at = format!("domain[{index}].colors");
        let finding = Finding::new(&rules::CACHE_SHARED, at, message)
            .label(label)
            .subject(&domain.name)
            .for_level(domain.asil);
        let others = lower.iter().map(|(other_index, other)| {
            let remark = format!("{} may use the same lines", who(other));
            (*other, format!("domain[{other_index}].colors"), remark)
        });
        findings.push(with_others(finding, others));
    }
}

/// Event channels from a lower level. Those of a link are part of the finding about the link.
fn doorbells(plan: &Plan, findings: &mut Vec<Finding>) {
    for channel in plan
        .event_channels
        .iter()
        .filter(|channel| channel.ipc.is_none())
    {
        let [Some(a), Some(b)] = [0, 1].map(|end: usize| {
            plan.domain(channel.ends.get(end).map_or("", |end| end.domain.as_str()))
        }) else {
            continue;
        };
        if a.asil == b.asil {
            continue;
        }
        let (low, high) = if a.asil < b.asil { (a, b) } else { (b, a) };
        let message = format!(
            "{} can interrupt {} through event channel \"{}\" as often as it likes",
            who(low),
            who(high),
            channel.name
        );
        findings.push(
            Finding::new(
                &rules::DOORBELL,
                format!("{}.between", channel.from),
                message,
            )
            .label(format!("{} and {}", level(a.asil), level(b.asil)))
            .subject(&channel.name)
            .subject(&low.name)
            .subject(&high.name)
            .for_level(high.asil),
        );
    }
}

/// Whether frames of `low` can delay those of `high` without bound.
fn goes_first(high: &NetworkPort, low: &NetworkPort) -> bool {
    high.interval_us.is_some() || high.priority > low.priority
}

fn precedence(plan: &Plan, network: &Network, findings: &mut Vec<Finding>) {
    let ports: Vec<_> = network
        .ports
        .iter()
        .filter_map(|port| Some((port, plan.domain(&port.domain)?)))
        .collect();
    for (port, domain) in ports.iter().filter(|(_, domain)| domain.asil > Asil::Qm) {
        let delayed_by = |(low, other): &&(&NetworkPort, &DomainPlan)| {
            other.asil < domain.asil && !goes_first(port, low)
        };
        let lower: Vec<_> = ports.iter().filter(delayed_by).collect();
        if lower.is_empty() {
            continue;
        }
        let names = several(lower.iter().map(|(_, other)| who(other)));
        let message = format!(
            "on network \"{}\" frames of {} wait for those of {names}",
            network.name,
            who(domain)
        );
        let at = format!("{}.priority", port.from);
        let finding = Finding::new(&rules::NETWORK_PRIORITY, at, message)
            .label(format!("priority {}, no reserved time", port.priority))
            .subject(&network.name)
            .subject(&domain.name)
            .for_level(domain.asil);
        let others = lower.into_iter().map(|(low, other)| {
            let remark = format!("{} has priority {}", who(other), low.priority);
            (*other, format!("{}.priority", low.from), remark)
        });
        findings.push(with_others(finding, others));
    }
}
