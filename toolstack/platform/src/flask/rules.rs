//! The rules that one domain needs. Found by booting guests with an empty policy in permissive mode and by Xen's hooks
//! (xen/xsm/flask/hooks.c); that none can be left out is tested on Xen.

use super::{CONTROL, Label, Need, Rule, type_of};
use crate::plan::{Console, DeviceDma, DevicePassthrough, DomainPlan, MemoryModel, VirtioPlan};
use crate::units::XenVersion;

/// Xen labels the machine's addresses in pages of this size in bytes.
const PAGE: u64 = 4096;

/// Permissions that not every release has, with the first one that does (xen/xsm/flask/policy/access_vectors). A policy that names
/// one that its Xen does not know is no policy; on releases before these, Xen asks for nothing in their place.
const SINCE: [(&str, XenVersion); 3] = [
    ("vuart_op", XenVersion::new(4, 18)),
    ("set_llc_colors", XenVersion::new(4, 20)),
    // xenstored asks for each domain's state: without the right it is not told that the domain ended.
    ("get_domain_state", XenVersion::new(4, 21)),
];

/// Rules of a domain that the toolstack starts, on this release of Xen.
pub(super) fn of(domain: &DomainPlan, xen: XenVersion) -> Vec<Rule> {
    let mut rules = Rules {
        all: Vec::new(),
        xen,
        domain: domain.name.clone(),
        need: Need::Build,
    };
    let guest = type_of(&domain.name);
    build(&mut rules, domain, &guest);
    manage(&mut rules, &guest);
    store(&mut rules, &guest);
    itself(&mut rules, domain, &guest);
    for device in &domain.virtio {
        backend(&mut rules, device, &guest);
    }
    devices(&mut rules, domain, &guest);
    if domain.is_mediated() {
        mediator(&mut rules, domain, &guest);
    }
    rules.all
}

/// The machine's parts that are the domain's own.
pub(super) fn labels(domain: &DomainPlan) -> Vec<Label> {
    let mut labels = Vec::new();
    let mut add = |what| {
        labels.push(Label {
            what,
            of_type: devices_of(&type_of(&domain.name)),
        });
    };
    for device in &domain.devices {
        if device.dma == DeviceDma::Iommu {
            add(format!("devicetreecon \"{}\"", device.path));
        }
        for interrupt in &device.interrupts {
            add(format!("pirqcon {interrupt}"));
        }
        for region in &device.regions {
            let end = region.at.saturating_add(region.size_bytes.max(1));
            let (first, last) = (region.at / PAGE, end.div_ceil(PAGE).saturating_sub(1));
            add(format!("iomemcon {first:#x}-{last:#x}"));
        }
    }
    labels
}

/// The type of its devices.
pub(super) fn devices_of(guest: &str) -> String {
    format!("{guest}_device")
}

struct Rules {
    all: Vec<Rule>,
    xen: XenVersion,
    domain: String,
    need: Need,
}

impl Rules {
    fn allow(
        &mut self,
        source: &str,
        target: &str,
        class: &'static str,
        permissions: &[&'static str],
    ) {
        let xen = self.xen;
        let is_known = |permission: &&str| {
            let mut since = SINCE.iter();
            since.all(|(name, first)| name != permission || xen >= *first)
        };
        let permissions: Vec<_> = permissions.iter().copied().filter(is_known).collect();
        if permissions.is_empty() {
            return;
        }
        self.all.push(Rule {
            domain: self.domain.clone(),
            need: self.need,
            source: source.to_owned(),
            target: target.to_owned(),
            class,
            permissions,
        });
    }

    /// `one` opens an event channel of its own towards `other`, which may be asked to be its other side.
    fn channel(&mut self, one: &str, other: &str) {
        self.allow(&channel(one), other, "event", &["bind"]);
    }
}

fn channel(of_type: &str) -> String {
    format!("{of_type}_channel")
}

/// libxl's way from nothing to a domain that has not run yet (tools/libs/light/libxl_create.c, libxl_dom.c).
fn build(rules: &mut Rules, domain: &DomainPlan, guest: &str) {
    rules.need = Need::Build;
    rules.allow(
        CONTROL,
        guest,
        "domain",
        &[
            "create",
            "max_vcpus",
            "setdomainmaxmem",
            "setaddrsize",
            "setpagingmempool",
            "setvcpucontext",
            "getscheduler",
        ],
    );
    if !domain.cpus.is_empty() {
        rules.allow(CONTROL, guest, "domain", &["setaffinity"]);
    }
    rules.allow(
        CONTROL,
        guest,
        "domain2",
        &[
            "setscheduler",
            "set_llc_colors",
            "resource_map",
            "cacheflush",
        ],
    );
    rules.allow(CONTROL, guest, "hvm", &["setparam"]);
    rules.allow(CONTROL, guest, "mmu", &["adjust", "map_read", "map_write"]);
    if domain.console == Console::Vpl011 {
        rules.allow(CONTROL, guest, "domain2", &["vuart_op"]);
    }
}

fn manage(rules: &mut Rules, guest: &str) {
    rules.need = Need::Manage;
    rules.allow(
        CONTROL,
        guest,
        "domain",
        &[
            "getdomaininfo",
            "getvcpuinfo",
            "getaffinity",
            "pause",
            "unpause",
            "destroy",
        ],
    );
    rules.allow(CONTROL, guest, "domain2", &["get_domain_state"]);
}

fn store(rules: &mut Rules, guest: &str) {
    rules.need = Need::Store;
    rules.allow(CONTROL, guest, "grant", &["map_read", "map_write", "unmap"]);
    rules.allow(CONTROL, &channel(guest), "event", &["create"]);
    rules.channel(guest, CONTROL);
    rules.channel(CONTROL, guest);
}

fn itself(rules: &mut Rules, domain: &DomainPlan, guest: &str) {
    rules.need = Need::Itself;
    rules.allow(guest, guest, "grant", &["query"]);
    let mut memory = vec!["physmap"];
    if domain.balloon {
        memory.push("adjust");
    }
    rules.allow(guest, guest, "mmu", &memory);
    rules.allow(guest, guest, "hvm", &["getparam"]);
    rules.allow(guest, &channel(guest), "event", &["send"]);
}

/// Who serves a virtio device of the guest. The control domain's own channels are the reference policy's.
fn backend(rules: &mut Rules, device: &VirtioPlan, guest: &str) {
    let backend = device.backend.as_deref().map(type_of);
    let backend = backend.as_deref().unwrap_or(CONTROL);
    rules.need = Need::DeviceModel;
    rules.allow(backend, guest, "hvm", &["dm"]);
    if backend != CONTROL {
        rules.allow(backend, guest, "domain2", &["resource_map"]);
        // Xen makes the guest's end of an ioreq channel in the backend's name.
        rules.allow(backend, &channel(guest), "event", &["create"]);
        rules.allow(backend, &channel(backend), "event", &["create"]);
        rules.channel(guest, backend);
        rules.channel(backend, guest);
    }
    match device.memory {
        MemoryModel::Grant => {
            rules.need = Need::Grants;
            rules.allow(
                backend,
                guest,
                "grant",
                &["map_read", "map_write", "unmap", "copy"],
            );
            // Xen asks with the two sides of a copy, whoever calls (xen/common/grant_table.c, gnttab_copy_lock_domains): above
            // what the backend writes, here what it reads.
            rules.allow(guest, backend, "grant", &["copy"]);
        }
        MemoryModel::Foreign => {
            rules.need = Need::Foreign;
            rules.allow(backend, guest, "mmu", &["map_read", "map_write"]);
        }
        MemoryModel::Pool => {}
    }
}

/// libxl gives a domain its registers, interrupts and what is behind an IOMMU.
fn devices(rules: &mut Rules, domain: &DomainPlan, guest: &str) {
    rules.need = Need::Devices;
    let has = |what: fn(&DevicePassthrough) -> bool| domain.devices.iter().any(what);
    let registers = has(|device| !device.regions.is_empty());
    let interrupts = has(|device| !device.interrupts.is_empty());
    let dma = has(|device| device.dma == DeviceDma::Iommu);
    let devices = devices_of(guest);
    if !registers && !interrupts && !dma {
        return;
    }
    // Nothing is taken away again: Xen does that when the domain ends.
    rules.allow(CONTROL, guest, "resource", &["add"]);
    let given = [(registers, "add_iomem"), (dma, "add_device")];
    for (_, permission) in given.iter().filter(|(has, _)| *has) {
        rules.allow(CONTROL, &devices, "resource", &[permission]);
    }
    if interrupts {
        rules.allow(CONTROL, &devices, "hvm", &["bind_irq"]);
    }
    // What Xen asks for depends on whether the domain is behind an IOMMU.
    let behind: &[_] = match dma {
        true => &["use_iommu", "use_iommu_nointremap"],
        false => &["use_noiommu"],
    };
    rules.allow(guest, &devices, "resource", behind);
}

/// avps-tee in the control domain. The ring of its monitor is a page of the guest's, which is found, zeroed and taken out of the
/// guest's address space (xen/common/vm_event.c, xen/arch/arm/hvm.c); the ring's event channel is between the same types as
/// XenStore's. The guest's interrupt is raised as a device model raises one. A guest whose calls Xen itself carries out needs no rule:
/// Xen asks about none of them, and `create` covers its TEE.
fn mediator(rules: &mut Rules, domain: &DomainPlan, guest: &str) {
    rules.need = Need::Mediator;
    let registers = &[
        "getdomaininfo",
        "pause",
        "unpause",
        "getvcpucontext",
        "setvcpucontext",
    ];
    rules.allow(CONTROL, guest, "domain", registers);
    rules.allow(CONTROL, guest, "domain2", &["vm_event"]);
    rules.allow(CONTROL, guest, "hvm", &["getparam"]);
    if domain.tee_interrupt().is_some() {
        rules.allow(CONTROL, guest, "hvm", &["dm"]);
    }
    rules.allow(CONTROL, guest, "mmu", &["adjust", "map_read", "map_write"]);
}
