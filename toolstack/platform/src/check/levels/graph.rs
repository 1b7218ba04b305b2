//! Who can affect whom: the graph over domains and what lies between them.
//!
//! Nodes are the domains and things without a level of their own: devices, groups of CPUs, shared memory, all of the
//! memory. An edge says that its source can make its target fail, and how. What is *not* an edge cuts a chain: a virtio
//! frontend does not affect its backend beyond its requests (backends treat guests as hostile), caches and networks only
//! delay (rules of their own speak about that), and a scheduler that partitions time ends influence over CPUs.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::parties::{control, place};
use crate::plan::{DeviceDma, DomainKind, MemoryModel, Plan};

/// A node. Domains are named, so that nothing depends on their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A domain of the document.
    Domain(String),
    /// The control domain that a toolstack needs and the document does not describe.
    HiddenControl,
    /// A device of the machine, by its path.
    Device(String),
    /// Shared memory, by its id.
    SharedMemory(String),
    /// A physical CPU of a pool.
    Cpu(Option<String>, u32),
    /// All CPUs of a pool, as those see it that are held to some of them.
    PoolSome(Option<String>),
    /// All CPUs of a pool, as those see it that may run on each of them.
    PoolAll(Option<String>),
    /// All of the memory.
    Memory,
}

/// How a node affects the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// Serves its virtio device.
    Backend,
    /// Gives it clock, reset, power or pins.
    Supplies,
    /// Keeps its watchdog.
    Watches,
    /// Is waited for at its start.
    Starts,
    /// Owns it.
    Owns,
    /// Is its device.
    DeviceOf,
    /// Stops it, or writes its memory, as the control domain.
    Controls,
    /// Writes memory that it sees.
    Writes,
    /// Uses its CPU.
    Cpu,
    /// Writes any memory by DMA.
    Dma,
    /// Maps all of its memory as a backend.
    Maps,
}

impl How {
    /// Whether the target's own function rests on the source. The other ways are doors that no function needs, and
    /// a first step through one is what the rules of interference are about.
    pub fn is_dependence(self) -> bool {
        matches!(
            self,
            How::Backend | How::Supplies | How::Watches | How::Starts
        )
    }
}

/// An edge to another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// How.
    pub how: How,
    /// Whom.
    pub to: Node,
    /// Where the document says so.
    pub at: String,
}

/// All edges by their source, in an order that only names decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    edges: BTreeMap<Node, Vec<Edge>>,
}

impl Graph {
    /// The graph of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut graph = Graph::default();
        graph.domains(plan);
        graph.cpus(plan);
        graph.memory(plan);
        graph.devices(plan);
        for edges in graph.edges.values_mut() {
            edges.sort();
            edges.dedup();
        }
        graph
    }

    /// Whom a node affects.
    pub fn from(&self, node: &Node) -> &[Edge] {
        self.edges.get(node).map_or(&[], Vec::as_slice)
    }

    /// Every node that affects another one.
    pub fn sources(&self) -> impl Iterator<Item = (&Node, &[Edge])> {
        self.edges
            .iter()
            .map(|(node, edges)| (node, edges.as_slice()))
    }

    fn add(&mut self, from: Node, how: How, to: Node, at: impl Into<String>) {
        if from != to {
            let at = at.into();
            self.edges
                .entry(from)
                .or_default()
                .push(Edge { how, to, at });
        }
    }

    /// Backends, watchdogs, order of start, the control domain.
    fn domains(&mut self, plan: &Plan) {
        let control_node = control_node(plan);
        for (index, domain) in plan.domains.iter().enumerate() {
            let node = Node::Domain(domain.name.clone());
            if let Some(control) = &control_node {
                self.add(
                    control.clone(),
                    How::Controls,
                    node.clone(),
                    format!("domain[{index}]"),
                );
            }
            for device in &domain.virtio {
                let backend = match &device.backend {
                    Some(name) if plan.domain(name).is_some() => Node::Domain(name.clone()),
                    Some(_) => continue,
                    None => control_node.clone().unwrap_or(Node::HiddenControl),
                };
                if device.memory == MemoryModel::Foreign {
                    let at = format!("{}.memory", device.from);
                    self.add(backend.clone(), How::Maps, node.clone(), at);
                }
                self.add(backend, How::Backend, node.clone(), device.from.clone());
            }
            for (number, name) in domain.after.iter().enumerate() {
                if plan.domain(name).is_some() {
                    let at = format!("domain[{index}].after[{number}]");
                    self.add(Node::Domain(name.clone()), How::Starts, node.clone(), at);
                }
            }
            if let Some(watchdog) = &domain.watchdog {
                let keeper = match &watchdog.owner {
                    Some(name) if plan.domain(name).is_some() => Some(Node::Domain(name.clone())),
                    Some(path) => {
                        let device = Node::Device(path.clone());
                        let mut owned = plan.domains.iter().flat_map(|domain| &domain.devices);
                        // What no domain has is the control domain's.
                        if let (Some(control), false) =
                            (&control_node, owned.any(|device| device.path == *path))
                        {
                            self.add(control.clone(), How::Owns, device.clone(), "");
                        }
                        Some(device)
                    }
                    // Xen only marks a domain whose own watchdog runs out; the toolstack has to act on it.
                    None => control_node.clone(),
                };
                if let Some(keeper) = keeper {
                    self.add(
                        keeper,
                        How::Watches,
                        node,
                        format!("domain[{index}].watchdog.owner"),
                    );
                }
            }
        }
    }

    /// CPUs under schedulers that do not partition time.
    fn cpus(&mut self, plan: &Plan) {
        for (index, domain) in plan.domains.iter().enumerate() {
            let place = place(plan, domain);
            if place.partitions_time() {
                continue;
            }
            let node = || Node::Domain(domain.name.clone());
            let pool = || place.pool.map(str::to_owned);
            let at = || format!("domain[{index}]");
            // Whoever may run on each CPU of the pool meets everybody; the others meet those, and each other on one CPU.
            self.add(node(), How::Cpu, Node::PoolAll(pool()), at());
            if place.cpus.is_empty() {
                self.add(Node::PoolAll(pool()), How::Cpu, node(), at());
                self.add(node(), How::Cpu, Node::PoolSome(pool()), at());
            } else {
                self.add(Node::PoolSome(pool()), How::Cpu, node(), at());
                for cpu in place.cpus {
                    self.add(node(), How::Cpu, Node::Cpu(pool(), *cpu), at());
                    self.add(Node::Cpu(pool(), *cpu), How::Cpu, node(), at());
                }
            }
        }
    }

    fn memory(&mut self, plan: &Plan) {
        for memory in &plan.shared_memory {
            let region = Node::SharedMemory(memory.id.clone());
            for user in memory
                .users
                .iter()
                .filter(|user| plan.domain(&user.domain).is_some())
            {
                let node = Node::Domain(user.domain.clone());
                // Xen maps it writable for every user, whatever the document means.
                self.add(node.clone(), How::Writes, region.clone(), user.from.clone());
                self.add(region.clone(), How::Writes, node, user.from.clone());
            }
        }
    }

    fn devices(&mut self, plan: &Plan) {
        let control_node = control_node(plan);
        let mut owned = BTreeSet::new();
        let mut dma = false;
        for domain in &plan.domains {
            let node = Node::Domain(domain.name.clone());
            for device in &domain.devices {
                let own = Node::Device(device.path.clone());
                owned.insert(device.path.as_str());
                self.add(node.clone(), How::Owns, own.clone(), device.from.clone());
                self.add(
                    own.clone(),
                    How::DeviceOf,
                    node.clone(),
                    device.from.clone(),
                );
                if device.dma == DeviceDma::Trusted {
                    dma = true;
                    self.add(
                        node.clone(),
                        How::Dma,
                        Node::Memory,
                        format!("{}.dma", device.from),
                    );
                }
            }
        }
        for (index, domain) in plan.domains.iter().enumerate().filter(|_| dma) {
            let node = Node::Domain(domain.name.clone());
            self.add(Node::Memory, How::Dma, node, format!("domain[{index}]"));
        }
        let written = plan
            .machine
            .devices
            .iter()
            .filter(|device| !device.regions.is_empty());
        let written: BTreeSet<&str> = written.map(|device| device.path.as_str()).collect();
        for device in &plan.machine.devices {
            let node = Node::Device(device.path.clone());
            // What no domain has is the control domain's, if it has registers that somebody can write.
            let is_free = !owned.contains(device.path.as_str());
            if let Some(control) = control_node.as_ref().filter(|_| is_free)
                && written.contains(device.path.as_str())
            {
                self.add(control.clone(), How::Owns, node.clone(), "");
            }
            for supplier in &device.suppliers {
                let supplies = Node::Device(supplier.clone());
                self.add(supplies.clone(), How::Supplies, node.clone(), "");
                // A regulator, or a group of pins, is a part of the device that somebody writes to.
                let is_known = |path: &&str| owned.contains(path) || written.contains(path);
                if !is_known(&supplier.as_str())
                    && let Some(whole) = above(supplier).find(is_known)
                {
                    let whole = Node::Device(whole.to_owned());
                    self.add(whole, How::Supplies, supplies, "");
                }
            }
        }
    }
}

/// The nodes around a node of the device tree, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/')
        .filter_map(|(at, _)| path.get(..at))
        .filter(|path| !path.is_empty())
}

/// The control domain's node, if there is one.
fn control_node(plan: &Plan) -> Option<Node> {
    let control = control(plan)?;
    Some(match control.domain {
        Some(domain) if domain.kind == DomainKind::Control => Node::Domain(domain.name.clone()),
        _ => Node::HiddenControl,
    })
}
