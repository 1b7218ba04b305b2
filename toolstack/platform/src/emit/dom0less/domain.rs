//! A domain's node, and what lies in it: modules, shared memory, event channels.

use super::{Dom0lessError, Work};
use crate::emit::cmdline::{has_colors, ranges};
use crate::emit::tree::{Cell, Node, wide};
use crate::plan::{
    Console, DeviceDma, DomainPlan, Enhanced, Module, ModuleRole, SharedMemory, ShmRole,
};
use crate::units::{KIB, XenVersion};

/// Colours that Xen has room for (Xen: `CONFIG_LLC_COLORS_ORDER`, 7).
const MAX_COLORS: u32 = 128;
/// First release that reads a vCPU's node.
const VCPU_NODES: XenVersion = XenVersion::new(4, 21);

impl Work<'_> {
    pub(super) fn domain(&mut self, domain: &DomainPlan) -> Result<Node, Dom0lessError> {
        let mut node = Node::new(self.names.give(&domain.name));
        node.text("compatible", "xen,domain");
        node.number("#address-cells", 2);
        node.number("#size-cells", 2);
        node.number("cpus", domain.vcpus);
        node.wide("memory", [domain.memory_bytes / KIB]);
        if !domain.static_memory.is_empty() {
            let banks = domain.static_memory.iter();
            node.wide(
                "xen,static-mem",
                banks.flat_map(|bank| [bank.at, bank.size_bytes]),
            );
        }
        if domain.direct_map {
            node.flag("direct-map");
        }
        if let Some(colors) = self.colors(domain) {
            node.text("llc-colors", colors);
        }
        if domain.console == Console::Vpl011 {
            node.flag("vpl011");
        }
        if let Some(interrupts) = domain.interrupts {
            node.number("nr_spis", interrupts);
        }
        if domain.enhanced != Enhanced::Disabled {
            node.text("xen,enhanced", domain.enhanced.word());
        }
        if let Some(pool) = &domain.cpupool {
            let known = self.pools.iter().find(|(name, _)| name == pool);
            let (_, handle) = known.ok_or_else(|| Dom0lessError::NoPool {
                domain: domain.name.clone(),
                pool: pool.clone(),
            })?;
            node.cells("domain-cpupool", [Cell::Node(handle.clone())]);
        }
        let by_iommu = |device: &crate::plan::DevicePassthrough| device.dma == DeviceDma::Iommu;
        if domain.devices.iter().any(by_iommu) {
            node.text("passthrough", "enabled");
        }
        node.children.extend(self.vcpus(domain));
        node.children.extend(self.modules(&domain.name)?);
        node.children
            .extend(self.shared_memory(&domain.name, false));
        node.children
            .extend(self.event_channels(&domain.name, false));
        Ok(node)
    }

    /// A domain's colours. Where any domain has some, each says its own: Xen 4.20 gives a domain without the property
    /// those of the one before it (xen/arch/arm/dom0less-build.c, `create_domUs`: `llc_colors_str` outside the loop).
    fn colors(&self, domain: &DomainPlan) -> Option<String> {
        if !has_colors(self.plan) {
            return None;
        }
        if !domain.colors.is_empty() {
            return Some(ranges(&domain.colors));
        }
        let count = self.plan.machine.llc?.colors().min(MAX_COLORS);
        let last = count.checked_sub(1)?;
        Some(format!("0-{last}"))
    }

    /// Where each vCPU may run.
    fn vcpus(&self, domain: &DomainPlan) -> Vec<Node> {
        if domain.cpus.is_empty() || self.plan.xen.version < VCPU_NODES {
            return Vec::new();
        }
        let vcpus = 0..domain.vcpus.min(crate::plan::MAX_VCPUS);
        vcpus
            .map(|number| {
                let mut node = Node::new(format!("vcpu{number}"));
                node.text("compatible", "xen,vcpu");
                node.number("id", number);
                node.text("hard-affinity", ranges(&domain.cpus));
                node
            })
            .collect()
    }

    /// What is loaded for a domain.
    pub(super) fn modules(&mut self, domain: &str) -> Result<Vec<Node>, Dom0lessError> {
        let modules = self.plan.boot.modules.iter();
        let own = modules.filter(|module| module.domain == domain);
        own.map(|module| self.module(module)).collect()
    }

    fn module(&self, module: &Module) -> Result<Node, Dom0lessError> {
        let [at, size] = self.place(module)?;
        let mut node = Node::new(format!("module@{at:x}"));
        let kind = match module.role {
            ModuleRole::Kernel => "multiboot,kernel",
            ModuleRole::Ramdisk => "multiboot,ramdisk",
            ModuleRole::DeviceTree => "multiboot,device-tree",
        };
        node.texts("compatible", [kind, "multiboot,module"]);
        node.wide("reg", [at, size]);
        let domain = self.plan.domain(&module.domain);
        // The control domain's stands in xen,dom0-bootargs.
        if module.role == ModuleRole::Kernel
            && let Some(domain) = domain.filter(|domain| domain.domid != Some(0))
        {
            node.text("bootargs", domain.cmdline.clone());
        }
        Ok(node)
    }

    /// Shared memory that a domain sees.
    pub(super) fn shared_memory(&mut self, domain: &str, in_chosen: bool) -> Vec<Node> {
        let mut nodes = Vec::new();
        for memory in &self.plan.shared_memory {
            for (number, user) in memory.users.iter().enumerate() {
                if user.domain != domain {
                    continue;
                }
                let mut name = format!("shm-{}", memory.id);
                if memory.users.iter().take(number).any(|u| u.domain == domain) {
                    name = format!("{name}-{number}");
                }
                let name = if in_chosen {
                    self.names.give(&name)
                } else {
                    name
                };
                let mut node = Node::new(name);
                node.text("compatible", "xen,domain-shared-memory-v1");
                node.text("xen,shm-id", memory.id.clone());
                let host = memory.at.into_iter().flat_map(wide);
                let guest = [user.at, memory.size_bytes].into_iter().flat_map(wide);
                node.cells("xen,shared-mem", host.chain(guest));
                if has_owner(memory) {
                    node.text("role", user.role.word());
                }
                nodes.push(node);
            }
        }
        nodes
    }

    /// A domain's ends of event channels.
    pub(super) fn event_channels(&mut self, domain: &str, in_chosen: bool) -> Vec<Node> {
        let plan = self.plan;
        let is_started = |name: &str| plan.domain(name).is_some_and(|d| d.domid.is_some());
        let mut nodes = Vec::new();
        for (channel, handles) in plan.event_channels.iter().zip(&self.channels) {
            if !channel.ends.iter().all(|end| is_started(&end.domain)) {
                continue;
            }
            let [first, second] = handles;
            for (end, own, other) in [
                (&channel.ends[0], first, second),
                (&channel.ends[1], second, first),
            ] {
                if end.domain != domain {
                    continue;
                }
                let name = format!("evtchn-{}", end.port);
                let name = if in_chosen {
                    self.names.give(&name)
                } else {
                    name
                };
                let mut node = Node::new(name);
                node.handle = Some(own.clone());
                node.text("compatible", "xen,evtchn-v1");
                node.cells(
                    "xen,evtchn",
                    [Cell::Number(end.port), Cell::Node(other.clone())],
                );
                nodes.push(node);
            }
        }
        nodes
    }
}

/// Xen takes a role for an explicit one: with "borrower" everywhere, nobody would allocate the memory
/// (xen/arch/arm/static-shmem.c, `handle_shared_mem_bank`).
fn has_owner(memory: &SharedMemory) -> bool {
    memory.users.iter().any(|user| user.role == ShmRole::Owner)
}
