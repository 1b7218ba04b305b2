//! Findings about domains below what is required of them.

use std::collections::BTreeMap;

use super::{Edge, How, Levels, Node};
use crate::check::parties::{control, level, several};
use crate::finding::Finding;
use crate::plan::{Asil, DevicePlan, MemoryModel, Plan};
use crate::rules::{self, Rule};

/// Domains named by one finding; more are only counted.
const MAX_NAMED: usize = 16;

pub(super) fn check(levels: &Levels, plan: &Plan, findings: &mut Vec<Finding>) {
    let below: Vec<&Node> = levels
        .own
        .keys()
        .filter(|node| levels.is_below(node))
        .collect();
    for node in &below {
        dependences(levels, plan, node, findings);
    }
    by_way_of(levels, &below, findings);
}

fn rule(how: How) -> Option<&'static Rule> {
    match how {
        How::Backend => Some(&rules::BACKEND_LEVEL),
        How::Supplies => Some(&rules::SUPPLIER_LEVEL),
        How::Watches => Some(&rules::WATCHDOG_LEVEL),
        How::Starts => Some(&rules::START_LEVEL),
        _ => None,
    }
}

/// A dependence, and the ownership of a device before it, if that is how it begins.
type Steps<'a> = (Vec<&'a Edge>, &'a Edge);

/// What others rest on a domain for, itself or by the devices it owns: one finding for each pair and way.
fn dependences(levels: &Levels, plan: &Plan, node: &Node, findings: &mut Vec<Finding>) {
    let own = levels.own(node).unwrap_or(Asil::Qm);
    let mut firsts: Vec<Steps<'_>> = Vec::new();
    for edge in levels.graph.from(node) {
        if edge.how == How::Owns {
            let steps = levels.graph.from(&edge.to).iter();
            firsts.extend(steps.map(|step| (vec![edge], step)));
        } else {
            firsts.push((Vec::new(), edge));
        }
    }
    // What reaches one target in one way is one cause: three disks, or one clock of four devices of a domain.
    let mut causes: BTreeMap<(How, Node), Vec<Steps<'_>>> = BTreeMap::new();
    for (before, edge) in firsts {
        let required = levels.required(&edge.to);
        if rule(edge.how).is_none() || required <= own || ends_at(levels, edge) == *node {
            continue;
        }
        let key = before
            .first()
            .map_or_else(|| edge.to.clone(), |owns| owns.to.clone());
        causes
            .entry((edge.how, key))
            .or_default()
            .push((before, edge));
    }
    for ((how, _), mut chains) in causes {
        // The worst first, then the shortest chain.
        chains.sort_by_key(|(_, edge)| {
            let required = levels.required(&edge.to);
            (
                std::cmp::Reverse(required),
                levels.chain(&edge.to).len(),
                edge.at.clone(),
            )
        });
        let (Some((before, first)), Some(rule)) = (chains.first(), rule(how)) else {
            continue;
        };
        let chain: Vec<&Edge> = before
            .iter()
            .copied()
            .chain([*first])
            .chain(levels.chain(&first.to))
            .collect();
        let at = match (how, before.first()) {
            (How::Backend, _) => format!("{}.backend", first.at),
            (_, Some(owns)) if how == How::Supplies && !owns.at.is_empty() => {
                format!("{}.path", owns.at)
            }
            (How::Supplies, _) => control(plan).map(|control| control.at).unwrap_or_default(),
            _ => first.at.clone(),
        };
        let mut finding = blame(levels, rule, at, node, &chain);
        if let Some(can) = backend_can(plan, first).filter(|_| how == How::Backend) {
            finding = finding.label(can);
        }
        for (_, more) in chains
            .iter()
            .skip(1)
            .take(MAX_NAMED)
            .filter(|(_, more)| !more.at.is_empty())
        {
            finding = finding.related(more.at.clone(), levels.step(more));
        }
        findings.push(finding);
    }
}

/// What exactly the backend of a device can do to its guest.
fn backend_can(plan: &Plan, edge: &Edge) -> Option<&'static str> {
    let mut devices = plan.domains.iter().flat_map(|domain| &domain.virtio);
    let device = devices.find(|device| device.from == edge.at)?;
    let DevicePlan::Block(disk) = &device.device;
    Some(match (device.memory, disk.readonly) {
        (MemoryModel::Foreign, _) => "answers what it likes, and reaches all of the guest",
        _ if device.backend.is_some() => {
            "answers what it likes, or never, also in the place of the guest's other backends; on Xen as it is reaches all of the guest"
        }
        (_, true) => "answers what it likes, or never",
        (_, false) => "answers what it likes, or never; may lose or change what is written",
    })
}

/// The domain that a chain through this edge ends at.
fn ends_at(levels: &Levels, edge: &Edge) -> Node {
    let chain = levels.chain(&edge.to);
    chain
        .last()
        .map_or_else(|| edge.to.clone(), |last| last.to.clone())
}

/// The finding about a node and its chain.
fn blame(
    levels: &Levels,
    rule: &'static Rule,
    at: String,
    node: &Node,
    chain: &[&Edge],
) -> Finding {
    let last = chain.last().map_or(node, |edge| &edge.to);
    let required = levels.required(last);
    let words = levels.words(node);
    let steps = steps(levels, chain);
    let message = format!("{words} needs {}: {words} → {steps}", level(required));
    let finding = Finding::new(rule, at, message)
        .label(format!("needs {}", level(required)))
        .for_level(required);
    explain(levels, finding, node, chain)
}

/// A chain in words; of a very long one the beginning and the end.
fn steps(levels: &Levels, chain: &[&Edge]) -> String {
    let named = |edges: &[&Edge]| {
        let words: Vec<_> = edges.iter().map(|edge| levels.step(edge)).collect();
        words.join(" → ")
    };
    match chain.split_last_chunk::<2>() {
        Some((first, last)) if first.len() > MAX_NAMED => {
            let first = first.get(..MAX_NAMED).unwrap_or_default();
            format!("{} → … → {}", named(first), named(last))
        }
        _ => named(chain),
    }
}

/// Adds what the chain is about, and the place of each of its steps.
fn explain(levels: &Levels, finding: Finding, node: &Node, chain: &[&Edge]) -> Finding {
    let mut finding = subject(finding, node);
    if let Some(last) = chain.last() {
        finding = subject(finding, &last.to);
    }
    for (number, edge) in (1..=MAX_NAMED).zip(chain) {
        finding = subject(finding, &edge.to);
        let place = edge.at.clone();
        if !place.is_empty() && !finding.at.starts_with(&place) {
            finding = finding.related(place, format!("{number}. {}", levels.step(edge)));
        }
    }
    finding
}

fn subject(finding: Finding, node: &Node) -> Finding {
    match node {
        Node::Domain(name) | Node::Device(name) | Node::SharedMemory(name) => finding.subject(name),
        _ => finding,
    }
}

/// Domains whose shortest chain begins at a shared CPU or shared memory, behind which is a domain that others rest on and
/// that is itself at fault: one finding for all that stand at one door. Where the domain behind it has the level, or only
/// reaches one by a door of its own, the rules of interference speak about that door, and closing it ends the chain.
fn by_way_of(levels: &Levels, below: &[&Node], findings: &mut Vec<Finding>) {
    let mut doors: BTreeMap<(&Edge, &Node), Vec<(&Node, &Edge)>> = BTreeMap::new();
    for node in below {
        let chain = levels.chain(node);
        let [first, second, third, ..] = chain.as_slice() else {
            continue;
        };
        let is_met = levels.own(&second.to) >= Some(levels.required(node));
        let serves = third.how.is_dependence() || third.how == How::Owns;
        if is_door(&first.to) && serves && !is_met {
            doors
                .entry((second, &first.to))
                .or_default()
                .push((node, first));
        }
    }
    for ((way, door), neighbours) in doors {
        let Some((_, first)) = neighbours.first() else {
            continue;
        };
        let required = levels.required(&way.to);
        let rest = levels.chain(&way.to);
        let message = format!(
            "{} can disturb {} over {}, and that one needs {}: → {}",
            several(neighbours.iter().map(|(node, _)| levels.words(node))),
            levels.words(&way.to),
            levels.words(door),
            level(required),
            steps(levels, &rest)
        );
        let mut finding = Finding::new(&rules::LEVEL_BY_WAY_OF, first.at.clone(), message)
            .label(format!("can disturb {}", levels.words(&way.to)))
            .for_level(required);
        for (node, edge) in neighbours.iter().take(MAX_NAMED) {
            finding = subject(finding, node);
            if edge.at != finding.at {
                finding = finding.related(edge.at.clone(), levels.words(node));
            }
        }
        findings.push(explain(levels, finding, &way.to, &rest));
    }
}

/// Nodes that are only a place where domains meet. The control domain and DMA reach every safety domain itself.
fn is_door(node: &Node) -> bool {
    matches!(
        node,
        Node::Cpu(..) | Node::PoolSome(_) | Node::PoolAll(_) | Node::SharedMemory(_)
    )
}
