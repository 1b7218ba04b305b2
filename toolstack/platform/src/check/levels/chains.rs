//! Findings about domains below what is required of them.

use std::collections::BTreeMap;

use super::{Edge, How, Levels, Node};
use crate::check::parties::{control, level, several};
use crate::finding::Finding;
use crate::plan::{Asil, Plan};
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
    by_way_of(levels, findings);
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

/// What others rest on a domain for, itself or by the devices it owns: one finding for each pair and way.
fn dependences(levels: &Levels, plan: &Plan, node: &Node, findings: &mut Vec<Finding>) {
    let own = levels.own(node).unwrap_or(Asil::Qm);
    let mut firsts: Vec<(Vec<&Edge>, &Edge)> = Vec::new();
    for edge in levels.graph.from(node) {
        if edge.how == How::Owns {
            let steps = levels.graph.from(&edge.to).iter();
            firsts.extend(steps.map(|step| (vec![edge], step)));
        } else {
            firsts.push((Vec::new(), edge));
        }
    }
    // What reaches one target in one way is one cause: three disks, or one clock of four devices of a domain.
    let mut causes: BTreeMap<(How, Node), Vec<(Vec<&Edge>, &Edge)>> = BTreeMap::new();
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
    let steps: Vec<_> = chain.iter().map(|edge| levels.step(edge)).collect();
    let words = levels.words(node);
    let message = format!(
        "{words} needs {}: {words} → {}",
        level(required),
        steps.join(" → ")
    );
    let finding = Finding::new(rule, at, message)
        .label(format!("needs {}", level(required)))
        .for_level(required);
    explain(levels, finding, node, chain)
}

/// Adds what the chain is about, and the place of each of its steps.
fn explain(levels: &Levels, finding: Finding, node: &Node, chain: &[&Edge]) -> Finding {
    let mut finding = subject(finding, node);
    for (number, edge) in (1..).zip(chain) {
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

/// Doors that lead to a domain at fault: what is between its neighbours and it is a shared CPU or shared memory.
fn by_way_of(levels: &Levels, findings: &mut Vec<Finding>) {
    let mut into: BTreeMap<&Node, Vec<(&Node, &Edge)>> = BTreeMap::new();
    for (from, edges) in levels.graph.sources() {
        for edge in edges.iter().filter(|edge| is_door(&edge.to)) {
            into.entry(&edge.to).or_default().push((from, edge));
        }
    }
    // A domain may be reached by several groups of CPUs; that is one cause.
    let mut said: BTreeMap<(&Node, How), ()> = BTreeMap::new();
    for (door, sources) in &into {
        let out = levels.graph.from(door);
        let directly = out
            .iter()
            .filter_map(|edge| levels.own(&edge.to))
            .max()
            .unwrap_or(Asil::Qm);
        for way in out {
            let (own, required) = (
                levels.own(&way.to).unwrap_or(Asil::Qm),
                levels.required(&way.to),
            );
            // Who stands at the door of a domain with that level is told so already.
            if own >= required || directly >= required || said.contains_key(&(&way.to, way.how)) {
                continue;
            }
            let neighbours = || {
                let others = sources.iter().filter(|(node, _)| **node != way.to);
                others.filter(|(node, _)| levels.own(node).is_some_and(|other| other <= own))
            };
            let Some((_, first)) = neighbours().next() else {
                continue;
            };
            said.insert((&way.to, way.how), ());
            let rest = levels.chain(&way.to);
            let steps: Vec<_> = rest.iter().map(|edge| levels.step(edge)).collect();
            let message = format!(
                "{} can disturb {} over {}, which needs {}: → {}",
                several(neighbours().map(|(node, _)| levels.words(node))),
                levels.words(&way.to),
                levels.words(door),
                level(required),
                steps.join(" → ")
            );
            let mut finding = Finding::new(&rules::LEVEL_BY_WAY_OF, first.at.clone(), message)
                .label(format!("can disturb {}", levels.words(&way.to)))
                .for_level(required);
            for (node, edge) in neighbours().take(MAX_NAMED) {
                finding = subject(finding, node);
                if edge.at != finding.at {
                    finding = finding.related(edge.at.clone(), levels.words(node));
                }
            }
            findings.push(explain(levels, finding, &way.to, &rest));
        }
    }
}

/// Nodes that are only a place where domains meet. The control domain and DMA reach every safety domain itself.
fn is_door(node: &Node) -> bool {
    matches!(
        node,
        Node::Cpu(..) | Node::PoolSome(_) | Node::PoolAll(_) | Node::SharedMemory(_)
    )
}
