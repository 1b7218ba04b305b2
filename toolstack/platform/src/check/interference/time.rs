//! Time: CPUs, caches, schedulers, interrupts and networks that two levels share.

use crate::check::parties::{Place, control, level, place, safety, several, who, with_others};
use crate::finding::Finding;
use crate::plan::{Asil, DomainPlan, Network, NetworkPort, Plan, Scheduler};
use crate::rules;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    let neighbours = Neighbours::new(plan);
    for (index, domain) in safety(plan) {
        cpus(plan, &neighbours, index, domain, findings);
        cache(plan, &neighbours, index, domain, findings);
    }
    doorbells(plan, findings);
    for network in &plan.networks {
        precedence(plan, network, findings);
    }
}

/// All domains with their places, each found once.
struct Neighbours<'a> {
    all: Vec<(usize, &'a DomainPlan, Place<'a>)>,
}

impl<'a> Neighbours<'a> {
    fn new(plan: &'a Plan) -> Self {
        let domains = plan.domains.iter().enumerate();
        Neighbours {
            all: domains
                .map(|(index, domain)| (index, domain, place(plan, domain)))
                .collect(),
        }
    }

    /// The others on the CPUs of this domain.
    fn on_cpus_of(
        &self,
        index: usize,
    ) -> impl Iterator<Item = &(usize, &'a DomainPlan, Place<'a>)> {
        let own = self.all.get(index).map(|(_, _, place)| *place);
        self.all.iter().filter(move |(other, _, place)| {
            *other != index && own.is_some_and(|own| own.meets(place))
        })
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
fn cpus(
    plan: &Plan,
    neighbours: &Neighbours<'_>,
    index: usize,
    domain: &DomainPlan,
    findings: &mut Vec<Finding>,
) {
    let own = place(plan, domain);
    if own.partitions_time() {
        return;
    }
    let at = place_at(index, domain);
    let others: Vec<_> = neighbours.on_cpus_of(index).collect();
    let lower: Vec<_> = others
        .iter()
        .filter(|(_, other, _)| other.asil < domain.asil)
        .collect();
    // A control domain that is not described runs in the first pool, like every domain without one.
    let hidden = control(plan)
        .filter(|control| control.domain.is_none() && own.pool.is_none() && own.cpus.is_empty());
    if !lower.is_empty() || hidden.is_some() {
        let names = lower.iter().map(|(_, other, _)| who(other));
        let names = several(names.chain(hidden.map(|control| control.who())));
        let message = format!("{} may run on the same CPUs as {names}", who(domain));
        let label = match (own.pool, own.cpus.is_empty()) {
            (_, false) => "these CPUs are not its own".to_owned(),
            (Some(pool), true) => format!("pool \"{pool}\" is not its own"),
            (None, true) => "no CPUs of its own".to_owned(),
        };
        let finding = Finding::new(&rules::CPU_SHARED, at, message)
            .label(label)
            .subject(&domain.name)
            .for_level(domain.asil);
        let others = lower.iter().map(|(other_index, other, _)| {
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
        return;
    }
    // Between two of one level the first one says it; one of a higher level has said more.
    let alone = others.is_empty();
    let equal = others
        .into_iter()
        .filter(|(other_index, other, _)| other.asil == domain.asil && *other_index > index);
    scheduler(&own, at, (alone, equal.collect()), domain, findings);
}

fn scheduler(
    own: &Place<'_>,
    at: String,
    (alone, others): (bool, Vec<&(usize, &DomainPlan, Place<'_>)>),
    domain: &DomainPlan,
    findings: &mut Vec<Finding>,
) {
    // RTDS gives each vCPU its budget; that it is experimental is a finding of its own.
    if own.scheduler == Scheduler::Rtds {
        return;
    }
    let room = u32::try_from(own.known_cpus().len()).unwrap_or(u32::MAX);
    let crowded = alone && room != 0 && domain.vcpus > room;
    if others.is_empty() && !crowded {
        return;
    }
    let word = own.scheduler.word();
    let message = if others.is_empty() {
        format!(
            "the {} vCPUs of {} take turns on {room} CPU(s) under {word}",
            domain.vcpus,
            who(domain)
        )
    } else {
        let names = several(others.iter().map(|(_, other, _)| who(other)));
        format!("{} takes turns with {names} under {word}", who(domain))
    };
    let finding = Finding::new(&rules::SCHEDULER, at, message)
        .label(format!("{word} promises no time"))
        .subject(&domain.name)
        .for_level(domain.asil);
    let others = others.iter().map(|(other_index, other, _)| {
        let remark = format!("{} runs there too", who(other));
        (*other, place_at(*other_index, other), remark)
    });
    findings.push(with_others(finding, others));
}

/// Lower levels whose accesses go through the same cache without a partition.
fn cache(
    plan: &Plan,
    neighbours: &Neighbours<'_>,
    index: usize,
    domain: &DomainPlan,
    findings: &mut Vec<Finding>,
) {
    let machine = &plan.machine;
    if machine.llc.is_none() && machine.clusters.is_empty() {
        return;
    }
    let own = place(plan, domain);
    let clusters_of = |place: &Place<'_>| -> Vec<usize> {
        let cpus = place.known_cpus().to_vec();
        let clusters = machine.clusters.iter().enumerate();
        let with =
            clusters.filter(|(_, cluster)| cluster.cpus.iter().any(|cpu| cpus.contains(cpu)));
        with.map(|(index, _)| index).collect()
    };
    let own_clusters = clusters_of(&own);
    let mut lower = Vec::new();
    for (other_index, other, place) in &neighbours.all {
        let one_cluster = own_clusters
            .iter()
            .any(|cluster| clusters_of(place).contains(cluster));
        let reached = machine.llc.is_some() || one_cluster;
        // Who shares the CPU shares its caches; that is said already.
        let said = own.meets(place) && !own.partitions_time();
        let apart = !domain.colors.is_empty()
            && !other.colors.is_empty()
            && !domain
                .colors
                .iter()
                .any(|color| other.colors.contains(color));
        if *other_index != index && other.asil < domain.asil && reached && !said && !apart {
            lower.push((*other_index, *other));
        }
    }
    if lower.is_empty() {
        return;
    }
    let names = several(lower.iter().map(|(_, other)| who(other)));
    let what = match machine.llc {
        Some(_) => "the last-level cache",
        None => "the cache of a cluster",
    };
    let message = format!("{} shares {what} with {names}", who(domain));
    let label = match domain.colors.is_empty() {
        true => "no colours of its own",
        false => "some of these colours are used by others",
    };
    let finding = Finding::new(
        &rules::CACHE_SHARED,
        format!("domain[{index}].colors"),
        message,
    )
    .label(label)
    .subject(&domain.name)
    .for_level(domain.asil);
    let others = lower.into_iter().map(|(other_index, other)| {
        let remark = format!("{} may use the same lines", who(other));
        (other, format!("domain[{other_index}].colors"), remark)
    });
    findings.push(with_others(finding, others));
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
