//! `/chosen`: command lines, Xen's heap, CPU pools, and what the control domain gets.

use super::{Dom0lessError, Work};
use crate::device_tree::{self, Cells};
use crate::emit::cmdline;
use crate::emit::tree::{Addition, Cell, Handle, Node};
use crate::plan::{Cpupool, Range};

/// Cells of an address and of a size below `/chosen`.
const WIDE: Cells = Cells {
    address: 2,
    size: 2,
};

impl Work<'_> {
    pub(super) fn chosen(&mut self) -> Result<Node, Dom0lessError> {
        let plan = self.plan;
        let mut node = Node::default();
        if self.cells_are_needed() {
            node.number("#address-cells", 2);
            node.number("#size-cells", 2);
        }
        node.text("xen,xen-bootargs", cmdline::xen(plan));
        if let Some(control) = plan.control() {
            node.text("xen,dom0-bootargs", control.cmdline.clone());
        }
        if !plan.xen.static_heap.is_empty() {
            // Here, and only here, the root's cells count.
            let cells = self.root_cells();
            let heap = plan
                .xen
                .static_heap
                .iter()
                .map(|range| in_cells(range, cells));
            let heap: Vec<_> = heap.collect::<Result<_, _>>()?;
            node.cells("xen,static-heap", heap.into_iter().flatten());
        }
        for pool in &plan.xen.cpupools {
            let pool = self.pool(pool)?;
            node.children.push(pool);
        }
        self.name_channels();
        if let Some(control) = plan.control() {
            node.children.extend(self.modules(&control.name)?);
            node.children
                .extend(self.shared_memory(&control.name, true));
            node.children
                .extend(self.event_channels(&control.name, true));
        }
        for domain in plan.dom0less() {
            let domain = self.domain(domain)?;
            node.children.push(domain);
        }
        Ok(node)
    }

    fn root_cells(&self) -> Cells {
        let root = self.base.map(|tree| &tree.content.root);
        root.map_or(WIDE, device_tree::cells)
    }

    /// A domain's fixed memory has the cells of `/chosen`, or of the root where that has none. Those are left as they are
    /// when they are wide enough; dtc complains about cells that no child's `reg` needs.
    fn cells_are_needed(&self) -> bool {
        let chosen = self.base.and_then(|tree| tree.node("/chosen"));
        let own = chosen.is_some_and(|node| {
            ["#address-cells", "#size-cells"]
                .iter()
                .any(|name| device_tree::has(node, name))
        });
        let inherited = self.base.is_some() && !own && self.root_cells() == WIDE;
        let has_fixed = self
            .plan
            .dom0less()
            .any(|domain| !domain.static_memory.is_empty());
        self.plan.control().is_some() || (has_fixed && !inherited)
    }

    fn pool(&mut self, pool: &Cpupool) -> Result<Node, Dom0lessError> {
        let mut node = Node::new(self.names.give(&format!("cpupool-{}", pool.name)));
        let handle = self.handles.give("pool", &pool.name);
        self.pools.push((pool.name.clone(), handle.clone()));
        node.handle = Some(handle);
        node.text("compatible", "xen,cpupool");
        let tree = self.base.ok_or_else(|| Dom0lessError::NoTree {
            pool: pool.name.clone(),
        })?;
        let paths = device_tree::cpu_paths(tree);
        let mut cells = Vec::new();
        for cpu in &pool.cpus {
            let path = usize::try_from(*cpu).ok().and_then(|cpu| paths.get(cpu));
            let path = path.ok_or_else(|| Dom0lessError::NoCpu {
                pool: pool.name.clone(),
                cpu: *cpu,
                cpus: paths.len(),
            })?;
            let known = tree.node(path).and_then(device_tree::phandle);
            cells.push(match known {
                Some(known) => Cell::Base(known, path.clone()),
                None => Cell::Node(self.cpu(*cpu, path)),
            });
        }
        node.cells("cpupool-cpus", cells);
        node.text("cpupool-sched", pool.scheduler.word());
        Ok(node)
    }

    /// The handle of a CPU that the machine's tree gives none.
    fn cpu(&mut self, number: u32, path: &str) -> Handle {
        let known = self.cpus.iter().find(|addition| addition.path == path);
        if let Some(handle) = known.and_then(|addition| addition.node.handle.clone()) {
            return handle;
        }
        let handle = self.handles.give("cpu", &number.to_string());
        let node = Node {
            handle: Some(handle.clone()),
            ..Node::default()
        };
        self.cpus.push(Addition {
            path: path.to_owned(),
            node,
        });
        handle
    }

    /// Gives both ends of each event channel their handles, because each names the other.
    fn name_channels(&mut self) {
        for channel in &self.plan.event_channels {
            let mut end = |index: usize| {
                let end = &channel.ends[index];
                let name = format!("{}-{}", end.domain, end.port);
                self.handles.give("evtchn", &name)
            };
            let ends = [end(0), end(1)];
            self.channels.push(ends);
        }
    }
}

/// A range in this many cells.
fn in_cells(range: &Range, cells: Cells) -> Result<Vec<Cell>, Dom0lessError> {
    let number = |number: u64, count: usize| match (count, u32::try_from(number)) {
        (1, Ok(low)) => Ok(vec![Cell::Number(low)]),
        (2, _) => Ok(crate::emit::tree::wide(number).to_vec()),
        _ => Err(Dom0lessError::Cells { address: number }),
    };
    let mut out = number(range.at, cells.address)?;
    out.extend(number(range.size_bytes, cells.size)?);
    Ok(out)
}
