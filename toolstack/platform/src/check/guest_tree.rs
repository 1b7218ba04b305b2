//! How much room the device tree takes that Xen writes for a guest of its own boot.
//!
//! Up to 4.21, Xen writes it into 4 KiB and stops the machine when that is not enough: vCPUs, shared memory and the command
//! line share the room. What is counted here is what those releases write (xen/arch/arm/dom0less-build.c,
//! `prepare_dtb_domU`, and the functions it calls); where something depends on the machine, the least it can be.

use std::collections::HashSet;

use super::Index;
use super::shared_memory::is_direct;
use crate::finding::Finding;
use crate::plan::{Console, DomainPlan, Enhanced, Gic, MAX_VCPUS, Plan, SharedMemory};
use crate::rules;
use crate::units::{GIB, XenVersion};

/// Room for the tree in bytes (Xen: `DOMU_DTB_SIZE`).
const ROOM: usize = 4096;
/// The first release that has room for every number of vCPUs.
const ROOM_SINCE: XenVersion = XenVersion::new(4, 22);
/// The shortest name of a core in a device tree, for machines whose cores are not known.
const SHORTEST_CORE: &str = "arm,armv8";
/// A pair of address and size, of two cells each.
const RANGE: usize = 16;
/// A number of one cell.
const CELL: usize = 4;
/// An interrupt: kind, number, flags.
const INTERRUPT: usize = 3 * CELL;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    if plan.xen.version >= ROOM_SINCE {
        return;
    }
    let mut shared: Vec<Vec<&SharedMemory>> = vec![Vec::new(); plan.domains.len()];
    for memory in &plan.shared_memory {
        for user in &memory.users {
            if let Some(domain) = index.domains.get(user.domain.as_str()) {
                shared[*domain].push(memory);
            }
        }
    }
    for (number, (domain, shared)) in plan.domains.iter().zip(shared).enumerate() {
        let by_xen = domain.is_dom0less();
        // A partial tree brings room of its own, and nobody knows how much of it it needs.
        let is_known = domain.device_tree.is_none() && domain.devices.is_empty();
        if !by_xen || !is_known || domain.vcpus > MAX_VCPUS {
            continue;
        }
        let bytes = Tree::of(plan, domain, &shared).bytes();
        if bytes > ROOM {
            let (key, label) = largest(domain, &shared);
            let message = format!(
                "the device tree of domain \"{}\" does not fit into {ROOM} bytes",
                domain.name
            );
            findings.push(
                Finding::new(
                    &rules::GUEST_DEVICE_TREE,
                    format!("domain[{number}]{key}"),
                    message,
                )
                .label(format!("{label}; at least {bytes} bytes in all")),
            );
        }
    }
}

/// What takes the most room.
fn largest(domain: &DomainPlan, shared: &[&SharedMemory]) -> (&'static str, String) {
    let vcpus = usize::try_from(domain.vcpus).unwrap_or(usize::MAX);
    // About what one of them takes.
    let parts = [
        (vcpus.saturating_mul(96), ".vcpus", format!("{vcpus} vCPUs")),
        (
            shared.len().saturating_mul(152),
            "",
            format!("{} regions of shared memory", shared.len()),
        ),
        (
            domain.cmdline.len(),
            ".cmdline",
            format!("{} bytes of command line", domain.cmdline.len()),
        ),
    ];
    let most = parts.into_iter().max_by_key(|(bytes, _, _)| *bytes);
    most.map_or(("", String::new()), |(_, key, label)| (key, label))
}

/// A flattened device tree, counted (Devicetree Specification 0.4, 5).
#[derive(Default)]
struct Tree {
    structure: usize,
    names: HashSet<&'static str>,
}

fn padded(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

impl Tree {
    fn begin(&mut self, name: &str) {
        self.add(CELL.saturating_add(padded(name.len().saturating_add(1))));
    }

    fn end(&mut self) {
        self.add(CELL);
    }

    fn property(&mut self, name: &'static str, bytes: usize) {
        self.names.insert(name);
        self.add(padded(bytes).saturating_add(3 * CELL));
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.property(name, text.len().saturating_add(1));
    }

    fn add(&mut self, bytes: usize) {
        self.structure = self.structure.saturating_add(bytes);
    }

    fn interrupts(&mut self, count: usize) {
        self.property("interrupts", INTERRUPT.saturating_mul(count));
        self.property("interrupt-parent", CELL);
    }

    /// Header and an empty list of reservations, the structure with its end, and each name once.
    fn bytes(&self) -> usize {
        let names = self.names.iter().map(|name| name.len().saturating_add(1));
        let names = names.fold(0, usize::saturating_add);
        let header = 64;
        self.structure
            .saturating_add(names)
            .saturating_add(header + CELL)
    }

    fn of(plan: &Plan, domain: &DomainPlan, shared: &[&SharedMemory]) -> Tree {
        let mut tree = Tree::default();
        tree.begin("");
        tree.property("#address-cells", CELL);
        tree.property("#size-cells", CELL);
        tree.boot(domain);
        tree.cpus(plan, domain);
        tree.memory(domain, shared);
        tree.interrupt_controller(plan);
        tree.begin("timer");
        tree.text("compatible", "arm,armv8-timer");
        tree.interrupts(3);
        tree.end();
        if domain.console == Console::Vpl011 {
            tree.begin("sbsa-uart@22000000");
            tree.text("compatible", "arm,sbsa-uart");
            tree.property("reg", RANGE);
            tree.interrupts(1);
            // Xen leaves "current-speed" out where there is no room for it, and goes on.
            tree.end();
        }
        if domain.enhanced != Enhanced::Disabled {
            tree.begin("hypervisor");
            tree.text("compatible", "xen,xen-4.20\0xen,xen");
            // The grant table, and at least one range that is left for others.
            tree.property("reg", 2 * RANGE);
            tree.interrupts(1);
            tree.end();
        }
        tree.end();
        tree
    }

    fn boot(&mut self, domain: &DomainPlan) {
        self.begin("chosen");
        if !domain.cmdline.is_empty() {
            self.text("bootargs", &domain.cmdline);
        }
        if domain.ramdisk.is_some() {
            self.property("linux,initrd-start", 2 * CELL);
            self.property("linux,initrd-end", 2 * CELL);
        }
        self.end();
        self.begin("psci");
        self.text("compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci");
        self.text("method", "hvc");
        self.property("cpu_off", CELL);
        self.property("cpu_on", CELL);
        self.end();
    }

    fn cpus(&mut self, plan: &Plan, domain: &DomainPlan) {
        let core = plan
            .machine
            .clusters
            .first()
            .and_then(|c| c.core.as_deref());
        let core = core.unwrap_or(SHORTEST_CORE);
        self.begin("cpus");
        self.property("#address-cells", CELL);
        self.property("#size-cells", CELL);
        for _ in 0..domain.vcpus.min(MAX_VCPUS) {
            self.begin("cpu@0");
            self.text("compatible", core);
            self.text("device_type", "cpu");
            self.property("reg", CELL);
            self.text("enable-method", "psci");
            self.end();
        }
        self.end();
    }

    fn memory(&mut self, domain: &DomainPlan, shared: &[&SharedMemory]) {
        let banks = match is_direct(domain) {
            true => domain.static_memory.len(),
            false if domain.memory_bytes > 3 * GIB => 2,
            false => 1,
        };
        self.begin("memory@40000000");
        self.text("device_type", "memory");
        let ranges = banks.saturating_add(shared.len());
        self.property("reg", RANGE.saturating_mul(ranges));
        self.end();
        if shared.is_empty() {
            return;
        }
        self.begin("reserved-memory");
        self.property("ranges", 0);
        self.property("#address-cells", CELL);
        self.property("#size-cells", CELL);
        for memory in shared {
            self.begin("xen-shmem@33000000");
            self.text("compatible", "xen,shared-memory-v1");
            self.property("reg", RANGE);
            self.text("xen,id", &memory.id);
            self.property("xen,offset", 2 * CELL);
            self.end();
        }
        self.end();
    }

    fn interrupt_controller(&mut self, plan: &Plan) {
        self.begin("interrupt-controller@3001000");
        self.property("#address-cells", CELL);
        self.property("#interrupt-cells", CELL);
        self.property("interrupt-controller", 0);
        match plan.machine.gic {
            Some(Gic::V2) => self.text("compatible", "arm,gic-400"),
            Some(Gic::V3) | None => {
                self.text("compatible", "arm,gic-v3");
                self.property("#redistributor-regions", CELL);
            }
        }
        self.property("reg", 2 * RANGE);
        // Its other name, "phandle", is found at the end of this one.
        self.property("linux,phandle", CELL);
        self.property("linux,phandle", CELL);
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_what_the_specification_says() {
        let mut tree = Tree::default();
        tree.begin("psci");
        assert_eq!(tree.structure, 12, "token, name with its zero, padding");
        tree.text("method", "hvc");
        assert_eq!(tree.structure, 28, "token, length, name, value");
        tree.end();
        assert_eq!(tree.structure, 32);
        assert_eq!(tree.bytes(), 32 + "method".len() + 1 + 64 + 4);
    }
}
