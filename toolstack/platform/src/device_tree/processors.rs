//! CPUs, how they are grouped, and the cache they share.

use std::collections::BTreeMap;

use dtoolkit::Node;
use dtoolkit::model::DeviceTreeNode;

use super::address::cells;
use super::tree::{Tree, exact_child, phandle, texts, word, words};
use crate::plan::{Cluster, Llc};

/// Longest chain of caches that is followed.
const MAX_CACHES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Processors {
    /// Paths, in the order in which Xen counts CPUs.
    pub(super) cpus: Vec<String>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) llc: Option<Llc>,
}

/// Xen gives number 0 to the CPU it starts on and counts the others as they stand in the tree
/// (xen/arch/arm/smpboot.c, `dt_smp_init_cpus`).
pub(super) fn processors(tree: &Tree) -> Processors {
    let Some(parent) = exact_child(&tree.content.root, "cpus") else {
        return Processors::default();
    };
    let mut nodes: Vec<_> = parent.children().filter(is_cpu).collect();
    let first = nodes
        .iter()
        .position(|node| hardware_number(parent, node) == Some(tree.boot_cpu.into()));
    if let Some(first) = first {
        let node = nodes.remove(first);
        nodes.insert(0, node);
    }
    let number_of: BTreeMap<u32, u32> = (0..)
        .zip(&nodes)
        .filter_map(|(number, node)| Some((phandle(node)?, number)))
        .collect();
    let mut clusters = Vec::new();
    if let Some(map) = exact_child(parent, "cpu-map") {
        from_map(map, &number_of, &nodes, &mut clusters);
    }
    if clusters.is_empty() {
        clusters = by_kind(&nodes);
    }
    Processors {
        llc: last_level_cache(tree, &nodes),
        clusters,
        cpus: nodes
            .iter()
            .map(|node| format!("/cpus/{}", node.name()))
            .collect(),
    }
}

fn is_cpu(node: &&DeviceTreeNode) -> bool {
    texts(node, "device_type").first() == Some(&"cpu")
}

/// A CPU's `reg`: its MPIDR on Arm.
fn hardware_number(parent: &DeviceTreeNode, node: &DeviceTreeNode) -> Option<u64> {
    let reg = words(node, "reg");
    let address = reg.get(..cells(parent).address.min(reg.len()))?;
    match address {
        [low] => Some(u64::from(*low)),
        [high, low] => Some(u64::from(*high) << 32 | u64::from(*low)),
        _ => None,
    }
}

fn core(node: &DeviceTreeNode) -> Option<String> {
    texts(node, "compatible")
        .first()
        .map(|text| (*text).to_owned())
}

/// Clusters as `cpu-map` has them: those with cores in them, sockets and clusters around them ignored.
fn from_map(
    node: &DeviceTreeNode,
    number_of: &BTreeMap<u32, u32>,
    nodes: &[&DeviceTreeNode],
    clusters: &mut Vec<Cluster>,
) {
    let mut cpus = Vec::new();
    for child in node.children() {
        if child.name().starts_with("core") {
            let threads = child.children();
            let handles = std::iter::once(child).chain(threads);
            cpus.extend(
                handles
                    .filter_map(|node| word(node, "cpu"))
                    .filter_map(|handle| number_of.get(&handle).copied()),
            );
        } else {
            from_map(child, number_of, nodes, clusters);
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    let first = cpus.first().and_then(|first| usize::try_from(*first).ok());
    if let Some(first) = first {
        clusters.push(Cluster {
            name: format!("cluster{}", clusters.len()),
            core: nodes.get(first).and_then(|node| core(node)),
            cpus,
        });
    }
}

/// CPUs of one kind, in a tree that does not say how they are grouped.
fn by_kind(nodes: &[&DeviceTreeNode]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for (number, node) in (0..).zip(nodes) {
        let core = core(node);
        match clusters.iter_mut().find(|cluster| cluster.core == core) {
            Some(cluster) => cluster.cpus.push(number),
            None => clusters.push(Cluster {
                name: format!("cluster{}", clusters.len()),
                cpus: vec![number],
                core,
            }),
        }
    }
    clusters
}

/// The cache at the end of every CPU's chain, if it is the same one and says how it is built.
fn last_level_cache(tree: &Tree, nodes: &[&DeviceTreeNode]) -> Option<Llc> {
    let mut shared = None;
    for node in nodes {
        let last = last_cache(tree, node)?;
        if *shared.get_or_insert(last) != last {
            return None;
        }
    }
    let (_, cache) = tree.by_phandle(shared?)?;
    let size = word(cache, "cache-size")?;
    let line = word(cache, "cache-line-size").or_else(|| word(cache, "cache-block-size"))?;
    let way = word(cache, "cache-sets")?.checked_mul(line)?;
    let ways = size.checked_div(way)?;
    (ways > 0).then(|| Llc {
        size_bytes: size.into(),
        ways,
    })
}

fn last_cache(tree: &Tree, cpu: &DeviceTreeNode) -> Option<u32> {
    let mut last = None;
    let mut node = cpu;
    for _ in 0..MAX_CACHES {
        let next = word(node, "next-level-cache").or_else(|| word(node, "l2-cache"));
        let Some((handle, cache)) =
            next.and_then(|handle| Some((handle, tree.by_phandle(handle)?)))
        else {
            break;
        };
        last = Some(handle);
        node = cache.1;
    }
    last
}
