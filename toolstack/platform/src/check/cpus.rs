//! CPUs, interrupts and cache colours; and what the chosen release of Xen knows of them.

use super::Index;
use super::schedulers::{Pool, Pools};
use crate::finding::Finding;
use crate::plan::{Console, DomainKind, DomainPlan, Gic, Llc, MAX_VCPUS, Plan};
use crate::rules;
use crate::units::{XenVersion, ranges};

/// Releases whose source was read.
const KNOWN: [XenVersion; 2] = [XenVersion::new(4, 17), XenVersion::new(4, 22)];
/// Longest command line for Xen in bytes: what is left of Xen's 1024 for the document's own words (Xen: `saved_cmdline`).
const MAX_CMDLINE: usize = 900;
/// Words of Xen's command line that are written from other keys.
const DECIDED: [(&str, &str); 7] = [
    ("sched", "scheduler in [xen]"),
    ("dom0_mem", "memory of the control domain"),
    ("dom0_max_vcpus", "vcpus of the control domain"),
    ("dtuart", "console in [xen]"),
    ("llc-coloring", "colors of the domains"),
    ("llc-size", "llc in [machine]"),
    ("llc-nr-ways", "llc in [machine]"),
];
/// The first release with cache colours.
const COLORS_SINCE: XenVersion = XenVersion::new(4, 20);
/// The first release in which the device tree can bind a vCPU to CPUs.
const PIN_SINCE: XenVersion = XenVersion::new(4, 21);
/// CPUs that GICv2 can tell apart.
const GICV2_CPUS: u32 = 8;
/// Xen gives interrupts out in groups of this many (Xen: `domain_vgic_init`).
const INTERRUPT_GROUP: u32 = 32;
/// Shared interrupts a guest can have, before rounding (Xen: 1020 - `NR_LOCAL_IRQS`).
const MAX_INTERRUPTS: u32 = 988;
/// Colours that Xen has room for (Xen: `CONFIG_LLC_COLORS_ORDER`, 7).
const MAX_COLORS: u32 = 128;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    version(plan, findings);
    let pools = Pools::new(plan);
    pool_lists(plan, index, &pools, findings);
    for (number, cluster) in plan.machine.clusters.iter().enumerate() {
        let at = format!("machine.cluster[{number}].cpus");
        cpu_list(plan, &at, &cluster.cpus, findings);
    }
    let colored = plan.domains.iter().position(|d| !d.colors.is_empty());
    let colors = colored.and_then(|domain| color_count(plan, domain, findings));
    for (number, domain) in plan.domains.iter().enumerate() {
        let at = format!("domain[{number}]");
        pool(&at, index, &pools, domain, findings);
        let is_list = cpu_list(plan, &format!("{at}.cpus"), &domain.cpus, findings);
        if is_list && !domain.cpus.is_empty() {
            pinned(plan, &at, index, &pools, domain, findings);
        }
        let limited = plan.machine.gic == Some(Gic::V2) && domain.vcpus <= MAX_VCPUS;
        if limited && domain.vcpus > GICV2_CPUS {
            let message = format!(
                "domain \"{}\" wants {} vCPUs, and the machine has a GICv2",
                domain.name, domain.vcpus
            );
            findings.push(
                Finding::new(&rules::GICV2_VCPUS, format!("{at}.vcpus"), message)
                    .label(format!("at most {GICV2_CPUS}")),
            );
        }
        interrupts(&at, domain, findings);
        domain_colors(plan, &at, domain, colors, colored, findings);
    }
}

fn version(plan: &Plan, findings: &mut Vec<Finding>) {
    let version = plan.xen.version;
    let [first, last] = KNOWN;
    if version < first || version > last {
        let message = format!("Xen {version} is not known to this program");
        let finding = Finding::new(&rules::XEN_VERSION, "xen.version", message);
        findings.push(finding.label(format!("known are {first} to {last}")));
    }
    let cmdline = &plan.xen.cmdline;
    if cmdline.len() > MAX_CMDLINE || cmdline.chars().any(char::is_control) {
        let label = match cmdline.len() > MAX_CMDLINE {
            true => format!("{} bytes", cmdline.len()),
            false => "has control characters".to_owned(),
        };
        let message = "Xen cannot keep this command line";
        let finding = Finding::new(&rules::XEN_COMMAND_LINE, "xen.cmdline", message);
        findings.push(finding.label(label));
        return;
    }
    for (word, key) in DECIDED {
        let is_word = |given: &&str| given.split('=').next() == Some(word);
        if let Some(given) = cmdline.split(' ').find(is_word) {
            let message = format!("\"{given}\" is decided by another key of the document");
            findings.push(
                Finding::new(&rules::XEN_COMMAND_LINE_WORD, "xen.cmdline", message)
                    .label(format!("written from {key}"))
                    .help(format!("remove the word, and use {key}")),
            );
        }
    }
}

/// Reports the first CPU of a list that is there twice, or that the machine does not have.
fn cpu_list(plan: &Plan, at: &str, cpus: &[u32], findings: &mut Vec<Finding>) -> bool {
    if let Some(beyond) = cpus
        .iter()
        .find(|cpu| plan.machine.cpus.is_some_and(|count| **cpu >= count))
    {
        let count = plan.machine.cpus.unwrap_or_default();
        let message = format!("there is no CPU {beyond}: the machine has {count}");
        findings.push(
            Finding::new(&rules::CPU_BEYOND_MACHINE, at, message)
                .label(format!("the last one is {}", count.saturating_sub(1))),
        );
        return false;
    }
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("CPU {} is in this list twice", pair[0]);
        findings.push(Finding::new(&rules::CPU_LIST, at, message).label("twice"));
        return false;
    }
    true
}

fn pool_lists(plan: &Plan, index: &Index<'_>, pools: &Pools<'_>, findings: &mut Vec<Finding>) {
    let mut sound = true;
    for (number, pool) in plan.xen.cpupools.iter().enumerate() {
        let earlier = index.pools.get(pool.name.as_str()).copied();
        if let Some(earlier) = earlier.filter(|earlier| *earlier != number) {
            let message = format!("two pools are named \"{}\"", pool.name);
            findings.push(
                Finding::new(
                    &rules::CPUPOOL_NAME,
                    format!("cpupool[{number}].name"),
                    message,
                )
                .label("the same name again")
                .related(format!("cpupool[{earlier}].name"), "first used here"),
            );
        } else if pool.name.is_empty() {
            let at = format!("cpupool[{number}].name");
            let message = "a pool has no name";
            findings.push(Finding::new(&rules::CPUPOOL_NAME, at, message).label("empty"));
        }
        let at = format!("cpupool[{number}].cpus");
        if pool.cpus.is_empty() {
            let message = format!("pool \"{}\" has no CPU", pool.name);
            findings.push(Finding::new(&rules::CPU_LIST, at, message).label("empty"));
            sound = false;
        } else if !cpu_list(plan, &at, &pool.cpus, findings) {
            sound = false;
        } else if let Some((cpu, other)) = in_another_pool(pools, number, &pool.cpus) {
            let message = format!("CPU {cpu} is in two pools");
            findings.push(
                Finding::new(&rules::CPU_IN_TWO_POOLS, at, message)
                    .label(format!("has CPU {cpu}"))
                    .related(format!("cpupool[{other}].cpus"), "has it too"),
            );
            sound = false;
        }
    }
    let unused = pools.cpus(Pool::Rest).filter(|cpus| *cpus > 0);
    if let (true, Pool::Named(first), Some(unused)) = (sound, pools.first, unused) {
        let cpus: Vec<u32> = (0..plan.machine.cpus.unwrap_or_default())
            .take(usize::from(u16::MAX))
            .filter(|cpu| pools.of_cpu(*cpu) == Pool::Rest)
            .collect();
        let message = format!("{unused} CPUs are in no pool, and nothing can run there");
        findings.push(
            Finding::new(
                &rules::CPUS_UNUSED,
                format!("cpupool[{first}].cpus"),
                message,
            )
            .label(format!("unused: {}", ranges(&cpus))),
        );
    }
}

fn in_another_pool(pools: &Pools<'_>, number: usize, cpus: &[u32]) -> Option<(u32, usize)> {
    cpus.iter().find_map(|cpu| match pools.of_cpu(*cpu) {
        Pool::Named(other) if other != number => Some((*cpu, other)),
        _ => None,
    })
}

fn pool(
    at: &str,
    index: &Index<'_>,
    pools: &Pools<'_>,
    domain: &DomainPlan,
    findings: &mut Vec<Finding>,
) {
    let Some(name) = &domain.cpupool else { return };
    let at = format!("{at}.cpupool");
    match pools.of(index, domain) {
        None => {
            let message = format!("there is no CPU pool \"{name}\"");
            findings.push(
                Finding::new(&rules::UNKNOWN_CPUPOOL, at, message).label("not in this document"),
            );
        }
        Some(pool) if domain.kind == DomainKind::Control && pool != pools.first => {
            let message = format!(
                "control domain \"{}\" cannot be in pool \"{name}\"",
                domain.name
            );
            findings.push(
                Finding::new(&rules::CONTROL_CPUPOOL, at, message)
                    .label("CPU 0 is not in this pool"),
            );
        }
        Some(_) => {}
    }
}

fn pinned(
    plan: &Plan,
    at: &str,
    index: &Index<'_>,
    pools: &Pools<'_>,
    domain: &DomainPlan,
    findings: &mut Vec<Finding>,
) {
    let Some(pool) = pools.of(index, domain) else {
        return;
    };
    let at = format!("{at}.cpus");
    if let Some(outside) = domain.cpus.iter().find(|cpu| pools.of_cpu(**cpu) != pool) {
        let message = format!(
            "domain \"{}\" is bound to CPU {outside}, which is not in its pool",
            domain.name
        );
        findings.push(
            Finding::new(&rules::PIN_OUTSIDE_POOL, at, message)
                .label(format!("CPU {outside} is in another pool"))
                .related(pools.path(pool, "cpus"), "the domain's pool"),
        );
        return;
    }
    // Bound to all of its pool is what it is without being bound.
    let is_all = pools.cpus(pool) == Some(domain.cpus.len());
    let by_xen = domain.is_dom0less();
    if by_xen && !is_all && plan.xen.version < PIN_SINCE {
        let message = format!(
            "Xen {} cannot bind domain \"{}\" to CPUs",
            plan.xen.version, domain.name
        );
        findings.push(Finding::new(&rules::PIN_IGNORED, at, message).label("would be ignored"));
    }
}

fn interrupts(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let Some(count) = domain.interrupts else {
        return;
    };
    let at = format!("{at}.interrupts");
    let rounded = count.checked_next_multiple_of(INTERRUPT_GROUP);
    let rounded = rounded.unwrap_or(u32::MAX);
    if rounded > MAX_INTERRUPTS {
        let most = MAX_INTERRUPTS / INTERRUPT_GROUP * INTERRUPT_GROUP;
        let message = format!(
            "domain \"{}\" wants {count} interrupts; Xen allows {most}",
            domain.name
        );
        let finding = Finding::new(&rules::INTERRUPT_COUNT, at, message);
        findings.push(finding.label(format!("at most {most}")));
        return;
    }
    let has_vpl011 = domain.console == Console::Vpl011 && !domain.direct_map;
    let vpl011 = has_vpl011.then_some(32);
    let devices = domain
        .devices
        .iter()
        .flat_map(|device| device.interrupts.iter().copied());
    let last = devices.chain(vpl011).max().unwrap_or(0);
    if last >= rounded.saturating_add(32) {
        let message = format!(
            "domain \"{}\" has interrupt {last}, and only {count} interrupts",
            domain.name
        );
        let finding = Finding::new(&rules::INTERRUPT_COUNT, at, message);
        findings.push(finding.label(format!("at least {}", last.saturating_sub(31))));
    }
}

/// How many colours there are; a cache that has none is reported, if somebody wants them.
fn color_count(plan: &Plan, wanted: usize, findings: &mut Vec<Finding>) -> Option<u32> {
    let Some(llc) = plan.machine.llc else {
        let at = format!("domain[{wanted}].colors");
        let message = "there are cache colours, and the cache is not described";
        findings.push(Finding::new(&rules::LLC_UNKNOWN, at, message).label("of which cache?"));
        return Some(MAX_COLORS);
    };
    if let Some(label) = geometry(&llc) {
        let message = "the cache cannot be divided into colours";
        findings.push(Finding::new(&rules::LLC_GEOMETRY, "machine.llc", message).label(label));
        return None;
    }
    Some(llc.colors().min(MAX_COLORS))
}

/// What is wrong with the cache (Xen: `llc_coloring_init`).
fn geometry(llc: &Llc) -> Option<String> {
    let way = llc.size_bytes.checked_div(llc.ways.into()).unwrap_or(0);
    if llc.ways == 0 || !llc.size_bytes.is_multiple_of(llc.ways.into()) {
        Some("the size is no multiple of the ways".to_owned())
    } else if !way.is_multiple_of(super::places::PAGE) {
        Some(format!("{way} bytes per way are no whole pages"))
    } else if !llc.colors().is_power_of_two() || llc.colors() < 2 {
        Some(format!("{} colours", llc.colors()))
    } else {
        None
    }
}

fn domain_colors(
    plan: &Plan,
    at: &str,
    domain: &DomainPlan,
    colors: Option<u32>,
    others: Option<usize>,
    findings: &mut Vec<Finding>,
) {
    let at = format!("{at}.colors");
    let name = &domain.name;
    if domain.colors.is_empty() {
        let by_xen = domain.is_dom0less();
        // Static memory on a coloured machine has been reported.
        if let Some(other) = others
            && by_xen
            && domain.static_memory.is_empty()
        {
            let message = format!("domain \"{name}\" has no colours, and others have");
            findings.push(
                Finding::new(&rules::COLORS_MISSING, at, message)
                    .label("gets those of another domain, or all")
                    .related(format!("domain[{other}].colors"), "has colours"),
            );
        }
        return;
    }
    if plan.xen.version < COLORS_SINCE {
        let message = format!("Xen {} knows no cache colours", plan.xen.version);
        findings.push(
            Finding::new(&rules::XEN_TOO_OLD, at, message)
                .label(format!("known since {COLORS_SINCE}")),
        );
        return;
    }
    if !domain.colors.is_sorted_by(|a, b| a < b) {
        let message = format!("the colours of domain \"{name}\" are not ascending");
        findings.push(
            Finding::new(&rules::COLOR_LIST, at, message).label("each once, the lowest first"),
        );
        return;
    }
    let last = domain.colors.iter().max().copied().unwrap_or(0);
    if let Some(colors) = colors.filter(|colors| last >= *colors) {
        let message = format!("domain \"{name}\" wants colour {last}; there are {colors}");
        findings.push(
            Finding::new(&rules::COLOR_RANGE, at, message)
                .label(format!("at most {}", colors.saturating_sub(1))),
        );
    }
}
