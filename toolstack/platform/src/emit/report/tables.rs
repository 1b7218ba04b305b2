//! What there is: domains, CPUs, memory, and what domains share.

use super::{Markdown, code, numbers, text};
use crate::check::parties::{backend, level, place, who};
use crate::check::pending::is_own_device;
use crate::plan::{DevicePlan, DomainPlan, Plan, Range};
use crate::units::{ByteSize, TimeSpan};

pub(super) fn domains(out: &mut Markdown, plan: &Plan) {
    out.heading("Domains");
    let rows = plan.domains.iter().map(|domain| {
        let place = place(plan, domain);
        let pool = domain
            .cpupool
            .as_deref()
            .map_or("first pool".to_owned(), text);
        let cpus = match place.known_cpus() {
            [] => "all of the pool".to_owned(),
            cpus => numbers(cpus),
        };
        [
            text(&domain.name),
            level(domain.asil),
            domain.kind.word().to_owned(),
            domain.boot.word().to_owned(),
            memory_of(domain),
            format!("{} on {cpus}", domain.vcpus),
            format!("{pool}, {}", place.scheduler.word()),
            devices_of(domain),
            watchdog(domain),
        ]
    });
    out.table(
        &[
            "Domain",
            "Level",
            "Kind",
            "Started by",
            "Memory",
            "vCPUs",
            "Pool, scheduler",
            "Devices",
            "Watchdog",
        ],
        rows,
    );
}

fn memory_of(domain: &DomainPlan) -> String {
    let size = ByteSize(domain.memory_bytes);
    let mut notes = Vec::new();
    if !domain.static_memory.is_empty() {
        notes.push("static".to_owned());
    }
    if domain.direct_map {
        notes.push("direct map".to_owned());
    }
    if !domain.colors.is_empty() {
        notes.push(format!("colours {}", numbers(&domain.colors)));
    }
    if domain.balloon {
        notes.push("balloon".to_owned());
    }
    match notes.as_slice() {
        [] => size.to_string(),
        notes => format!("{size} ({})", notes.join(", ")),
    }
}

fn devices_of(domain: &DomainPlan) -> String {
    let virtio = domain
        .virtio
        .iter()
        .map(|device| format!("virtio {} {}", device.device.kind(), device.index));
    let own = domain.devices.iter().map(|device| code(&device.path));
    virtio.chain(own).collect::<Vec<_>>().join(", ")
}

fn watchdog(domain: &DomainPlan) -> String {
    let Some(watchdog) = &domain.watchdog else {
        return String::new();
    };
    let timeout = TimeSpan(watchdog.timeout_us);
    let owner = watchdog.owner.as_deref();
    let kept = owner.map_or("Xen's own".to_owned(), code);
    let who = match is_own_device(domain, watchdog) {
        true => "set by the guest",
        false => "**not carried out**",
    };
    format!("{timeout}, {kept}, {}; {who}", watchdog.action.word())
}

pub(super) fn cpus(out: &mut Markdown, plan: &Plan) {
    out.heading("CPU pools");
    let pools = plan.xen.cpupools.iter().map(|pool| {
        let members = plan
            .domains
            .iter()
            .filter(|domain| domain.cpupool.as_ref() == Some(&pool.name));
        let members: Vec<_> = members.map(who).map(|who| text(&who)).collect();
        [
            text(&pool.name),
            numbers(&pool.cpus),
            pool.scheduler.word().to_owned(),
            members.join(", "),
        ]
    });
    let first = plan
        .domains
        .iter()
        .filter(|domain| domain.cpupool.is_none());
    let first: Vec<_> = first.map(who).map(|who| text(&who)).collect();
    let rest = (!first.is_empty()).then(|| {
        [
            "first pool".to_owned(),
            "those in no pool".to_owned(),
            plan.xen.scheduler.word().to_owned(),
            first.join(", "),
        ]
    });
    out.table(&["Pool", "CPUs", "Scheduler", "Domains"], pools.chain(rest));
}

pub(super) fn memory(out: &mut Markdown, plan: &Plan) {
    out.heading("Memory map");
    let mut places: Vec<(Range, String, String)> = Vec::new();
    let machine = &plan.machine;
    places.extend(
        machine
            .banks
            .iter()
            .map(|bank| (*bank, "RAM".to_owned(), String::new())),
    );
    for reserved in &machine.reserved {
        let what = format!("reserved: {}", text(&reserved.name));
        places.push((reserved.range, what, "nobody".to_owned()));
    }
    let heap = plan.xen.static_heap.iter();
    places.extend(heap.map(|heap| (*heap, "Xen's static heap".to_owned(), "Xen".to_owned())));
    if let Some(window) = plan.boot.window {
        places.push((
            window,
            "kernels and ramdisks until Xen has copied them".to_owned(),
            "Xen".to_owned(),
        ));
    }
    for domain in &plan.domains {
        let ranges = domain.static_memory.iter();
        places
            .extend(ranges.map(|range| (*range, "RAM of a domain".to_owned(), text(&who(domain)))));
        for device in &domain.devices {
            let windows = device.regions.iter().map(|window| {
                let range = Range {
                    at: window.at,
                    size_bytes: window.size_bytes,
                };
                (
                    range,
                    format!("registers of {}", code(&device.path)),
                    text(&who(domain)),
                )
            });
            places.extend(windows);
        }
    }
    for memory in &plan.shared_memory {
        if let Some(at) = memory.at {
            let range = Range {
                at,
                size_bytes: memory.size_bytes,
            };
            let users: Vec<_> = memory.users.iter().map(|user| text(&user.domain)).collect();
            places.push((
                range,
                format!("shared memory {}", text(&memory.id)),
                users.join(", "),
            ));
        }
    }
    places.sort_by_key(|(range, ..)| (range.at, std::cmp::Reverse(range.size_bytes)));
    let rows = places.into_iter().map(|(range, what, whose)| {
        [
            format!("`{:#012x}`", range.at),
            format!("`{:#012x}`", range.end().saturating_sub(1)),
            ByteSize(range.size_bytes).to_string(),
            what,
            whose,
        ]
    });
    out.table(&["From", "To", "Size", "What", "Whose"], rows);
    let elsewhere = plan
        .domains
        .iter()
        .filter(|domain| domain.static_memory.is_empty());
    let elsewhere: Vec<_> = elsewhere.map(|domain| text(&domain.name)).collect();
    if !elsewhere.is_empty() {
        out.paragraph(&format!(
            "Xen chooses where these domains lie: {}.",
            elsewhere.join(", ")
        ));
    }
}

pub(super) fn shared(out: &mut Markdown, plan: &Plan) {
    out.heading("What domains share");
    let named = |name: &str| text(&plan.domain(name).map_or_else(|| name.to_owned(), who));
    let memories = plan.shared_memory.iter().map(|memory| {
        let users: Vec<_> = memory
            .users
            .iter()
            .map(|user| match user.writes {
                true => format!("{} (meant to write)", named(&user.domain)),
                false => named(&user.domain),
            })
            .collect();
        let what = match &memory.ipc {
            Some(_) => "memory of a link, **without a protocol**",
            None => "shared memory",
        };
        let size = ByteSize(memory.size_bytes);
        [
            what.to_owned(),
            text(&memory.id),
            users.join(", "),
            size.to_string(),
        ]
    });
    let channels = plan.event_channels.iter().map(|channel| {
        let ends: Vec<_> = channel.ends.iter().map(|end| named(&end.domain)).collect();
        let ports: Vec<_> = channel
            .ends
            .iter()
            .map(|end| end.port.to_string())
            .collect();
        let ports = format!("ports {}", ports.join(" and "));
        [
            "event channel".to_owned(),
            text(&channel.name),
            ends.join(", "),
            ports,
        ]
    });
    let networks = plan.networks.iter().map(|network| {
        let ports: Vec<_> = network
            .ports
            .iter()
            .map(|port| format!("{} (priority {})", named(&port.domain), port.priority))
            .collect();
        let uplink = network
            .uplink
            .as_deref()
            .map_or_else(String::new, |uplink| format!("uplink {}", text(uplink)));
        [
            "network, **not made**".to_owned(),
            text(&network.name),
            ports.join(", "),
            uplink,
        ]
    });
    let disks = plan.domains.iter().flat_map(|domain| {
        domain.virtio.iter().map(move |device| {
            let (_, server) = backend(plan, device.backend.as_deref());
            let DevicePlan::Block(disk) = &device.device;
            let access = if disk.readonly {
                "read only"
            } else {
                "writable"
            };
            [
                "virtio disk".to_owned(),
                code(&disk.image),
                format!("{}, served by {}", text(&who(domain)), text(&server)),
                format!("{access}, memory by {}", device.memory.word()),
            ]
        })
    });
    let rows = memories.chain(channels).chain(networks).chain(disks);
    out.table(&["What", "Name", "Domains", ""], rows);
}
