//! Who depends on whom: the plan seen as domains and the links between them.
//!
//! One list of links for every way to show them (tree, Graphviz, picture), so that all say the same. A link that an IPC table
//! made (memory and event channel) is told once, as what it was written for.

mod text;

use serde::Serialize;

use crate::plan::{Asil, DevicePlan, DomainPlan, EventChannel, Plan, SharedMemory, VirtioPlan};
use crate::units::{ByteSize, TimeSpan};

pub use text::{dot, tree};

/// Name of the control domain in a document that does not describe it.
pub const CONTROL: &str = "dom0";
/// The other side of a TEE call.
pub const SECURE_WORLD: &str = "secure world";

/// What ties domains together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A virtio device: from who uses it to who serves it.
    Virtio,
    /// An IPC link: from who sends to who receives.
    Ipc,
    /// Shared memory: from who writes to who reads; both ways with several writers.
    SharedMemory,
    /// An event channel, both ways.
    EventChannel,
    /// A network, both ways.
    Network,
    /// A device of the machine: from who has it.
    Device,
    /// Calls into the secure world: from who makes them.
    Tee,
    /// A watchdog: from who is watched to who watches.
    Watchdog,
    /// Order of the start: from who waits to who has to be ready.
    After,
}

impl LinkKind {
    /// A heading for links of this kind.
    pub fn title(self) -> &'static str {
        match self {
            LinkKind::Virtio => "virtio",
            LinkKind::Ipc => "IPC",
            LinkKind::SharedMemory => "shared memory",
            LinkKind::EventChannel => "event channel",
            LinkKind::Network => "network",
            LinkKind::Device => "device",
            LinkKind::Tee => "TEE",
            LinkKind::Watchdog => "watchdog",
            LinkKind::After => "starts after",
        }
    }
}

/// An end of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum Node {
    /// A domain, by name.
    Domain(String),
    /// The secure world.
    SecureWorld,
    /// A device or an interface of the machine, by its path or name.
    Machine(String),
}

impl Node {
    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Node::Domain(name) | Node::Machine(name) => name,
            Node::SecureWorld => SECURE_WORLD,
        }
    }
}

impl From<Node> for String {
    fn from(node: Node) -> String {
        node.name().to_owned()
    }
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its name, where it has one.
    pub name: String,
    /// Who depends, or sends.
    pub from: Node,
    /// Who is depended on, or receives.
    pub to: Vec<Node>,
    /// Whether there is no direction.
    pub both_ways: bool,
    /// What else is to be known, in a few words.
    pub detail: String,
    /// Whether it ties domains of different safety levels together.
    pub crosses_levels: bool,
}

/// A domain as a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphDomain {
    /// Its name.
    pub name: String,
    /// Its safety level.
    pub asil: Asil,
    /// What it is for, and who starts it, in words.
    pub role: String,
    /// Whether the document has a table for it.
    pub described: bool,
}

/// The plan as a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Version of the JSON form.
    pub schema: &'static str,
    /// Name of the platform.
    pub platform: String,
    /// The domains, the highest safety level first, then in the document's order.
    pub domains: Vec<GraphDomain>,
    /// The links, by kind, then in the document's order.
    pub links: Vec<Link>,
}

impl Graph {
    /// Sees a plan as a graph.
    pub fn of(plan: &Plan) -> Graph {
        let mut links = Vec::new();
        virtio(plan, &mut links);
        ipc(plan, &mut links);
        memory(plan, &mut links);
        channels(plan, &mut links);
        networks(plan, &mut links);
        rights(plan, &mut links);
        links.sort_by_key(|link| link.kind);
        let mut graph = Graph {
            schema: "avps-graph/1",
            platform: plan.platform.clone(),
            domains: domains(plan, &links),
            links: Vec::new(),
        };
        for link in &mut links {
            let mut levels: Vec<_> = link.nodes().filter_map(|node| graph.level(node)).collect();
            levels.sort();
            levels.dedup();
            link.crosses_levels = levels.len() > 1;
        }
        graph.links = links;
        graph
    }

    /// Safety level of a domain; none for what is no domain.
    pub fn level(&self, node: &Node) -> Option<Asil> {
        let Node::Domain(name) = node else {
            return None;
        };
        let mut domains = self.domains.iter();
        let domain = domains.find(|domain| domain.name == *name)?;
        Some(domain.asil)
    }

    /// How many links cross safety levels.
    pub fn crossings(&self) -> usize {
        self.links.iter().filter(|link| link.crosses_levels).count()
    }
}

impl Link {
    fn new(kind: LinkKind, name: impl Into<String>, from: Node, to: Vec<Node>) -> Link {
        Link {
            kind,
            name: name.into(),
            from,
            to,
            both_ways: false,
            detail: String::new(),
            crosses_levels: false,
        }
    }

    fn both_ways(mut self, both_ways: bool) -> Link {
        self.both_ways = both_ways;
        self
    }

    fn detail(mut self, parts: &[String]) -> Link {
        let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.detail.push_str(", ");
            }
            self.detail.push_str(part);
        }
        self
    }

    /// Every end of it.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.from).chain(&self.to)
    }
}

fn domains(plan: &Plan, links: &[Link]) -> Vec<GraphDomain> {
    let mut domains: Vec<_> = plan
        .domains
        .iter()
        .map(|domain| GraphDomain {
            name: domain.name.clone(),
            asil: domain.asil,
            role: format!("{}, {}", domain.kind.word(), started_by(domain)),
            described: true,
        })
        .collect();
    domains.sort_by_key(|domain| std::cmp::Reverse(domain.asil));
    // Somebody a link names and the document does not describe: dom0, or a mistake that a rule reports.
    for node in links.iter().flat_map(Link::nodes) {
        if let Node::Domain(name) = node
            && !domains.iter().any(|domain| domain.name == *name)
        {
            domains.push(GraphDomain {
                name: name.clone(),
                asil: Asil::Qm,
                role: "not described".into(),
                described: false,
            });
        }
    }
    domains
}

fn started_by(domain: &DomainPlan) -> &'static str {
    domain.boot.word()
}

fn domain(name: &str) -> Node {
    Node::Domain(name.to_owned())
}

/// The domain that serves a device.
fn backend(plan: &Plan, device: &VirtioPlan) -> Node {
    match &device.backend {
        Some(name) => domain(name),
        None => domain(plan.control().map_or(CONTROL, |control| &control.name)),
    }
}

fn virtio(plan: &Plan, links: &mut Vec<Link>) {
    for user in &plan.domains {
        for device in &user.virtio {
            let mut parts = vec![device.memory.word().to_owned()];
            let DevicePlan::Block(block) = &device.device;
            if block.readonly {
                parts.push("read only".into());
            }
            parts.push(block.image.clone());
            let name = format!("{} {}", device.device.kind(), device.index);
            let to = vec![backend(plan, device)];
            links.push(Link::new(LinkKind::Virtio, name, domain(&user.name), to).detail(&parts));
        }
    }
}

fn ipc(plan: &Plan, links: &mut Vec<Link>) {
    for link in &plan.ipc {
        let of = |ipc: &Option<String>| ipc.as_ref() == Some(&link.name);
        let memory = plan.shared_memory.iter().find(|memory| of(&memory.ipc));
        let channel = plan.event_channels.iter().find(|channel| of(&channel.ipc));
        let parts = [
            link.kind.word().to_owned(),
            memory.map(place).unwrap_or_default(),
            channel.map(ports).unwrap_or_default(),
        ];
        let to = vec![domain(&link.receiver)];
        links.push(Link::new(LinkKind::Ipc, &link.name, domain(&link.sender), to).detail(&parts));
    }
}

fn place(memory: &SharedMemory) -> String {
    let size = ByteSize(memory.size_bytes);
    match memory.at {
        Some(at) => format!("{size} at {at:#x}"),
        None => size.to_string(),
    }
}

fn ports(channel: &EventChannel) -> String {
    let [a, b] = &channel.ends;
    format!("ports {} and {}", a.port, b.port)
}

fn memory(plan: &Plan, links: &mut Vec<Link>) {
    for memory in plan.shared_memory.iter().filter(|m| m.ipc.is_none()) {
        let writers = memory.users.iter().filter(|user| user.writes).count();
        let mut users: Vec<_> = memory.users.iter().collect();
        users.sort_by_key(|user| !user.writes);
        let Some((first, others)) = users.split_first() else {
            continue;
        };
        let to = others.iter().map(|user| domain(&user.domain)).collect();
        let link = Link::new(
            LinkKind::SharedMemory,
            &memory.id,
            domain(&first.domain),
            to,
        );
        let who = match writers {
            0 => "no writer".to_owned(),
            1 => String::new(),
            several => format!("{several} writers"),
        };
        links.push(link.both_ways(writers != 1).detail(&[place(memory), who]));
    }
}

fn channels(plan: &Plan, links: &mut Vec<Link>) {
    for channel in plan.event_channels.iter().filter(|c| c.ipc.is_none()) {
        let [a, b] = &channel.ends;
        let to = vec![domain(&b.domain)];
        let link = Link::new(LinkKind::EventChannel, &channel.name, domain(&a.domain), to);
        links.push(link.both_ways(true).detail(&[ports(channel)]));
    }
}

fn networks(plan: &Plan, links: &mut Vec<Link>) {
    for network in &plan.networks {
        let mut nodes: Vec<_> = network
            .ports
            .iter()
            .map(|port| domain(&port.domain))
            .collect();
        nodes.extend(network.uplink.clone().map(Node::Machine));
        let mut nodes = nodes.into_iter();
        let Some(first) = nodes.next() else {
            continue;
        };
        let rate = network.rate_bps.map(|rate| format!("{rate} bit/s"));
        let uplink = network.uplink.as_ref().map(|name| format!("uplink {name}"));
        links.push(
            Link::new(LinkKind::Network, &network.name, first, nodes.collect())
                .both_ways(true)
                .detail(&[rate.unwrap_or_default(), uplink.unwrap_or_default()]),
        );
    }
}

/// What a domain has of the machine, and whom it waits for.
fn rights(plan: &Plan, links: &mut Vec<Link>) {
    for user in &plan.domains {
        let from = || domain(&user.name);
        for device in &user.devices {
            let interrupts: Vec<_> = device.interrupts.iter().map(u32::to_string).collect();
            let parts = [
                format!("DMA: {}", device.dma.word()),
                match interrupts.len() {
                    0 => String::new(),
                    _ => format!("interrupts {}", interrupts.join(" ")),
                },
            ];
            let to = vec![Node::Machine(device.path.clone())];
            let name = device.path.rsplit('/').next().unwrap_or_default();
            links.push(Link::new(LinkKind::Device, name, from(), to).detail(&parts));
        }
        if let Some(tee) = &user.tee {
            let parts = [
                tee.mode.word().to_owned(),
                format!(
                    "{} applications",
                    tee.applications.len() + tee.stand_ins.len()
                ),
                format!("{} sessions", tee.sessions),
            ];
            let to = vec![Node::SecureWorld];
            links.push(Link::new(LinkKind::Tee, "", from(), to).detail(&parts));
        }
        if let Some(watchdog) = &user.watchdog
            && let Some(owner) = &watchdog.owner
        {
            let to = match owner.starts_with('/') {
                true => Node::Machine(owner.clone()),
                false => domain(owner),
            };
            let parts = [
                watchdog.action.word().to_owned(),
                format!("within {}", TimeSpan(watchdog.timeout_us)),
            ];
            links.push(Link::new(LinkKind::Watchdog, "", from(), vec![to]).detail(&parts));
        }
        if !user.after.is_empty() {
            let to = user.after.iter().map(|name| domain(name)).collect();
            links.push(Link::new(LinkKind::After, "", from(), to));
        }
    }
}
