//! Who has to be trusted with what: memory, life, levels.

use super::{Markdown, code, text};
use crate::check::levels::{Levels, Node};
use crate::check::parties::{backend, control, level, who};
use crate::check::pending::is_own_device;
use crate::plan::{
    DeviceDma, DevicePlan, DomainKind, DomainPlan, MemoryModel, Plan, WatchdogAction,
};

pub(super) fn memory(out: &mut Markdown, plan: &Plan) {
    out.heading("Who can write whose memory");
    out.paragraph(
        "Beside the domain itself and Xen. A device behind the IOMMU writes only its own domain's memory and is not listed.",
    );
    let rows = plan.domains.iter().map(|domain| {
        let writers = writers(plan, domain);
        let cell = match writers.is_empty() {
            true => "nobody".to_owned(),
            false => writers.join("; "),
        };
        [text(&who(domain)), cell]
    });
    out.table(&["Memory of", "Can be written by"], rows);
}

fn writers(plan: &Plan, domain: &DomainPlan) -> Vec<String> {
    let mut writers = Vec::new();
    if let Some(control) = control(plan).filter(|control| control.name() != domain.name) {
        writers.push(format!("{}: all of it", text(&control.who())));
    }
    for device in &domain.virtio {
        let (_, server) = backend(plan, device.backend.as_deref());
        let DevicePlan::Block(disk) = &device.device;
        let reach = match (device.memory, disk.readonly) {
            (MemoryModel::Foreign, _) => "all of it",
            (MemoryModel::Pool, _) => "the pool",
            (MemoryModel::Grant, _) => "ring pages, and the buffers of requests that read",
        };
        writers.push(format!(
            "{}, as the backend of a disk: {reach}",
            text(&server)
        ));
    }
    for memory in &plan.shared_memory {
        if !memory.users.iter().any(|user| user.domain == domain.name) {
            continue;
        }
        let others = memory
            .users
            .iter()
            .filter(|user| user.domain != domain.name);
        let others: Vec<_> = others.map(|user| text(&user.domain)).collect();
        if !others.is_empty() {
            writers.push(format!(
                "{}: shared memory {}",
                others.join(", "),
                text(&memory.id)
            ));
        }
    }
    for other in plan
        .domains
        .iter()
        .filter(|other| other.name != domain.name)
    {
        for device in other
            .devices
            .iter()
            .filter(|device| device.dma == DeviceDma::Trusted)
        {
            writers.push(format!(
                "{}, by DMA of {}: all of it",
                text(&who(other)),
                code(&device.path)
            ));
        }
    }
    writers
}

pub(super) fn stopping(out: &mut Markdown, plan: &Plan) {
    out.heading("Who can stop whom");
    let mut lines = Vec::new();
    match control(plan) {
        Some(control) => {
            lines.push(format!(
                "{} can pause and destroy every other domain. When it shuts down or crashes, Xen halts or restarts the machine.",
                text(&control.who())
            ));
        }
        None => lines.push(
            "There is no control domain and no hardware domain: no domain can pause or destroy another one, and no crash of a \
             domain stops the machine. Nobody restarts a domain either; only a reset of the machine does."
                .to_owned(),
        ),
    }
    for domain in &plan.domains {
        if let Some(watchdog) = domain
            .watchdog
            .as_ref()
            .filter(|w| w.action == WatchdogAction::Reset)
        {
            let kept = watchdog
                .owner
                .as_deref()
                .map_or("Xen's own watchdog".to_owned(), code);
            lines.push(match is_own_device(domain, watchdog) {
                true => format!(
                    "{kept} resets the machine when {0} hangs, if the software of {0} sets it up so.",
                    text(&who(domain))
                ),
                false => format!(
                    "{kept} is to reset the machine when {} hangs; no program of this release does that.",
                    text(&who(domain))
                ),
            });
        }
        let mut servers: Vec<_> = domain
            .virtio
            .iter()
            .map(|device| backend(plan, device.backend.as_deref()).1)
            .collect();
        servers.sort();
        servers.dedup();
        for server in servers {
            lines.push(format!(
                "{} can leave the disks of {} without an answer.",
                text(&server),
                text(&who(domain))
            ));
        }
    }
    let toolstack = plan
        .toolstack()
        .filter(|domain| domain.kind != DomainKind::Control);
    let toolstack: Vec<_> = toolstack.map(|domain| text(&who(domain))).collect();
    if !toolstack.is_empty() {
        lines.push(format!(
            "Without the toolstack these domains do not start: {}.",
            toolstack.join(", ")
        ));
    }
    lines.push("A fault in Xen, in the firmware or in the hardware stops everybody.".to_owned());
    out.items(lines);
}

pub(super) fn levels(out: &mut Markdown, plan: &Plan) {
    out.heading("Levels, and what they have to be");
    out.paragraph(
        "The required level of a domain is the highest level among all that it can affect: by what others rest on it for \
         (disks, clocks, watchdogs, order of start), by memory and CPUs it shares without a partition, by DMA, as the control domain. \
         Caches and networks only delay and are not counted here; a virtio guest is not taken to affect its backend. \
         Accepted findings count: this is what holds without the arguments for them.",
    );
    let levels = Levels::of(plan);
    let hidden = levels
        .is_below(&Node::HiddenControl)
        .then_some(Node::HiddenControl);
    let nodes = plan
        .domains
        .iter()
        .map(|domain| Node::Domain(domain.name.clone()));
    let rows = nodes.chain(hidden).map(|node| {
        let own = levels.own(&node).map_or_else(String::new, level);
        let required = levels.required(&node);
        let chain: Vec<_> = levels
            .chain(&node)
            .into_iter()
            .map(|edge| text(&levels.step(edge)))
            .collect();
        let name = match &node {
            Node::Domain(name) => text(name),
            other => text(&levels.words(other)),
        };
        let needs = match levels.is_below(&node) {
            true => format!("**{}**", level(required)),
            false => level(required),
        };
        let because = match chain.is_empty() {
            true => "its own".to_owned(),
            false => format!("→ {}", chain.join(" → ")),
        };
        [name, own, needs, because]
    });
    out.table(&["Domain", "Level", "Required", "Because of"], rows);
}
