//! The machine, its hypervisor, and how they start.

use super::names::path;
use super::saturate;
use crate::document::{DocumentTable, MachineTable, RangeTable};
use crate::plan::{
    BootPlan, Cluster, Cpupool, DomainKind, DomainPlan, Llc, MachinePlan, Module, ModuleRole,
    NamedRange, Range, Scheduler, TeeFirmware, XenPlan,
};
use crate::units::{ByteSize, MIB, XenVersion};

/// Room for a module of a document that names none.
const SLOT: u64 = 32 * MIB;
/// What U-Boot loads from in a document that does not say.
const DEVICE: &str = "virtio 0:1";

pub(super) fn range(table: &RangeTable) -> Range {
    Range {
        at: table.at.unwrap_or_default().0,
        size_bytes: table.size.unwrap_or_default().0,
    }
}

/// The device tree's facts, each replaced where the document says something else.
pub(super) fn machine(table: &MachineTable, base: &str, facts: MachinePlan) -> MachinePlan {
    let banks: Vec<_> = table.bank.iter().map(range).collect();
    let reserved = table.reserved.iter().map(|table| NamedRange {
        name: table.name.clone().unwrap_or_default(),
        range: Range {
            at: table.at.unwrap_or_default().0,
            size_bytes: table.size.unwrap_or_default().0,
        },
    });
    let clusters: Vec<_> = table
        .cluster
        .iter()
        .enumerate()
        .map(|(index, table)| Cluster {
            name: table
                .name
                .clone()
                .unwrap_or_else(|| format!("cluster{index}")),
            cpus: table.cpus.clone().unwrap_or_default().0,
            core: table.core.clone(),
        })
        .collect();
    let llc = table.llc.as_ref().map(|table| Llc {
        size_bytes: table.size.unwrap_or_default().0,
        ways: saturate(table.ways.unwrap_or_default()),
    });
    let cpus = table.cpus.map(saturate).or(facts.cpus);
    MachinePlan {
        device_tree: table.device_tree.as_deref().map(|p| path(base, Some(p))),
        banks: if banks.is_empty() { facts.banks } else { banks },
        // What the firmware reserves stays reserved.
        reserved: facts.reserved.into_iter().chain(reserved).collect(),
        cpus,
        clusters: if clusters.is_empty() {
            clusters_of(facts.clusters, cpus)
        } else {
            clusters
        },
        gic: table.gic.or(facts.gic),
        iommu: table.iommu.or(facts.iommu),
        llc: llc.or(facts.llc),
        protection: table.protection.or(facts.protection),
        mpu_regions: table.mpu_regions.map(saturate).or(facts.mpu_regions),
        timer_hz: table.timer_hz.or(facts.timer_hz),
        devices: facts.devices,
    }
}

/// The device tree's clusters without the CPUs that the document leaves out: it may state fewer than there are.
fn clusters_of(mut clusters: Vec<Cluster>, cpus: Option<u32>) -> Vec<Cluster> {
    for cluster in &mut clusters {
        cluster
            .cpus
            .retain(|&cpu| cpus.is_none_or(|count| cpu < count));
    }
    clusters.retain(|cluster| !cluster.cpus.is_empty());
    clusters
}

pub(super) fn xen(content: &DocumentTable) -> XenPlan {
    let table = content.xen.clone().unwrap_or_default();
    let scheduler = table.scheduler.unwrap_or(Scheduler::Credit2);
    let pools = content.cpupool.iter().map(|pool| Cpupool {
        name: pool.name.clone().unwrap_or_default(),
        cpus: pool.cpus.clone().unwrap_or_default().0,
        scheduler: pool.scheduler.unwrap_or(scheduler),
    });
    XenPlan {
        version: table.version.unwrap_or(XenVersion::DEFAULT),
        scheduler,
        cmdline: table.cmdline.unwrap_or_default(),
        console: table.console,
        static_heap: table.static_heap.iter().map(range).collect(),
        cpupools: pools.collect(),
        flask: table.flask,
    }
}

pub(super) fn tee(content: &DocumentTable) -> TeeFirmware {
    let table = content.tee.clone().unwrap_or_default();
    TeeFirmware {
        partitions: table.partitions.map(saturate),
    }
}

/// Each domain has a slot for each thing it may need, so that one with a new ramdisk moves no other.
pub(super) fn boot(content: &DocumentTable, base: &str, domains: &[DomainPlan]) -> BootPlan {
    let table = content.boot.clone().unwrap_or_default();
    let window = table.window.as_ref().map(range);
    let slot = table.slot.unwrap_or(ByteSize(SLOT)).0;
    let loaded = domains
        .iter()
        .filter(|domain| domain.domid.is_some() || domain.kind == DomainKind::Control);
    let mut modules = Vec::new();
    for (number, domain) in (0_u64..).zip(loaded) {
        let files = [
            (ModuleRole::Kernel, Some(&domain.kernel)),
            (ModuleRole::Ramdisk, domain.ramdisk.as_ref()),
            (ModuleRole::DeviceTree, domain.device_tree.as_ref()),
        ];
        for (place, (role, file)) in (0_u64..).zip(files) {
            let Some(file) = file.filter(|file| !file.is_empty()) else {
                continue;
            };
            let offset = number
                .saturating_mul(3)
                .saturating_add(place)
                .saturating_mul(slot);
            modules.push(Module {
                domain: domain.name.clone(),
                role,
                path: file.clone(),
                at: window.map(|window| window.at.saturating_add(offset)),
            });
        }
    }
    BootPlan {
        xen: table.xen.as_deref().map(|p| path(base, Some(p))),
        device: table.device.unwrap_or_else(|| DEVICE.to_owned()),
        device_tree_at: table.device_tree_at.map(|address| address.0),
        xen_at: table.xen_at.map(|address| address.0),
        window,
        slot_bytes: slot,
        modules,
    }
}
