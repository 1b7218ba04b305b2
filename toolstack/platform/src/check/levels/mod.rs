//! Safety levels along chains (`AVPS09xx`): what a safety domain rests on needs its level, and so does what that rests on.
//!
//! The required level of each node of the [`graph`] is the highest level among all that it can affect: the least fixpoint
//! over its edges. A domain below what is required of it is at fault, and the finding shows the shortest chain to the
//! domain whose level is not met.
//!
//! Which rule speaks about what: a *dependence* (disk, clock, watchdog, start) is found here, at every step of a chain; a
//! *door* that no function needs (a shared CPU, memory that both can write) is a rule of [`super::interference`] where it
//! leads to the safety domain itself, and is found here only where it leads to a domain that others rest on.

mod chains;
mod graph;

use std::collections::{BTreeMap, BTreeSet};

pub use graph::{Edge, Graph, How, Node};

use crate::finding::Finding;
use crate::plan::{Asil, Plan};

use super::parties::{highest, level};

/// What is required of each node, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    own: BTreeMap<Node, Asil>,
    required: BTreeMap<Node, Asil>,
    next: BTreeMap<Node, Edge>,
    graph: Graph,
}

impl Levels {
    /// Finds the required level of every node of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut levels = Levels {
            graph: Graph::new(plan),
            ..Levels::default()
        };
        for domain in &plan.domains {
            let own = levels
                .own
                .entry(Node::Domain(domain.name.clone()))
                .or_insert(Asil::Qm);
            *own = domain.asil.max(*own);
        }
        levels.own.insert(Node::HiddenControl, Asil::Qm);
        let mut reverse: BTreeMap<&Node, Vec<(&Node, &Edge)>> = BTreeMap::new();
        for (from, edges) in levels.graph.sources() {
            for edge in edges {
                reverse.entry(&edge.to).or_default().push((from, edge));
            }
        }
        let mut required: BTreeMap<Node, Asil> = BTreeMap::new();
        let mut next: BTreeMap<Node, Edge> = BTreeMap::new();
        // From the highest level down: what is reached first keeps its level, and each layer is one step further away.
        for level in [Asil::D, Asil::C, Asil::B, Asil::A] {
            let of_level = levels.own.iter().filter(|(_, own)| **own == level);
            let mut layer: BTreeSet<Node> = of_level.map(|(node, _)| node.clone()).collect();
            layer.retain(|node| !required.contains_key(node));
            required.extend(layer.iter().map(|node| (node.clone(), level)));
            while !layer.is_empty() {
                let mut reached: BTreeMap<Node, Edge> = BTreeMap::new();
                for (from, edge) in layer.iter().filter_map(|node| reverse.get(node)).flatten() {
                    if required.contains_key(*from) {
                        continue;
                    }
                    let best = reached
                        .entry((*from).clone())
                        .or_insert_with(|| (*edge).clone());
                    if *edge < best {
                        *best = (*edge).clone();
                    }
                }
                required.extend(reached.keys().map(|node| (node.clone(), level)));
                layer = reached.keys().cloned().collect();
                next.extend(reached);
            }
        }
        levels.required = required;
        levels.next = next;
        levels
    }

    /// The level that the document gives a node; none for one that is no domain.
    pub fn own(&self, node: &Node) -> Option<Asil> {
        self.own.get(node).copied()
    }

    /// The level that a node needs: at least its own.
    pub fn required(&self, node: &Node) -> Asil {
        self.required.get(node).copied().unwrap_or(Asil::Qm)
    }

    /// Whether a domain is below what is required of it.
    pub fn is_below(&self, node: &Node) -> bool {
        self.own(node).is_some_and(|own| own < self.required(node))
    }

    /// The shortest chain from a node to a domain that has the required level itself; empty for such a domain.
    pub fn chain(&self, node: &Node) -> Vec<&Edge> {
        let mut chain: Vec<&Edge> = Vec::new();
        let mut at = node;
        while let Some(edge) = self.next.get(at) {
            chain.push(edge);
            at = &edge.to;
        }
        chain
    }

    /// The graph that the levels follow from.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A node in words, a domain with its level.
    pub fn words(&self, node: &Node) -> String {
        let own = level(self.own(node).unwrap_or(Asil::Qm));
        match node {
            Node::Domain(name) => format!("\"{name}\" ({own})"),
            Node::HiddenControl => format!("the control domain ({own})"),
            Node::Device(path) => path.clone(),
            Node::SharedMemory(id) => format!("shared memory \"{id}\""),
            Node::Cpu(_, cpu) => format!("CPU {cpu}"),
            Node::PoolSome(Some(pool)) | Node::PoolAll(Some(pool)) => format!("CPUs of \"{pool}\""),
            Node::PoolSome(None) | Node::PoolAll(None) => "shared CPUs".to_owned(),
            Node::Memory => "all of the memory".to_owned(),
        }
    }

    /// A step of a chain in words: what of its target it affects.
    pub fn step(&self, edge: &Edge) -> String {
        let to = self.words(&edge.to);
        match edge.how {
            How::Backend => format!("disk of {to}"),
            How::Watches => format!("watchdog of {to}"),
            How::Starts => format!("start of {to}"),
            How::Maps => format!("memory of {to}"),
            How::Supplies => format!("clock, reset, power or pins of {to}"),
            How::Owns | How::DeviceOf | How::Controls | How::Writes | How::Cpu | How::Dma => to,
        }
    }
}

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    if highest(plan) > Asil::Qm {
        chains::check(&Levels::of(plan), plan, findings);
    }
}
