//! libxl's own JSON of a domain's configuration (`libxl_domain_config` in Xen's tools/libs/light/libxl_types.idl).
//!
//! It says what xl.cfg says, for programs that call libxl themselves (`libxl_domain_config_from_json`). What is not written
//! has libxl's default. `avpsctl up` hands libxl this and nothing else.

use serde_json::{Map, Value, json};

use super::partial::pages;
use super::pools;
use crate::plan::{
    Action, Console, DeviceDma, DomainKind, DomainPlan, MemoryModel, Plan, RegisterWindow,
    VirtioPlan,
};
use crate::units::KIB;

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct LibxlJson {
    /// Proposed file name: the domain's name and `.json`.
    pub file_name: String,
    /// Content.
    pub config: Value,
}

/// How libxl is told a CPU pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pool {
    /// The name it has in XenStore.
    Name(String),
    /// Its number.
    Number(u32),
}

/// How libxl is told the domain that serves a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// By its name, which libxl looks up: its number is not known before it runs.
    Name,
    /// By its number.
    Number,
}

/// The configurations of all domains that the toolstack starts, in the plan's order.
pub fn emit(plan: &Plan) -> Vec<LibxlJson> {
    plan.toolstack()
        .map(|domain| LibxlJson {
            file_name: format!("{}.json", domain.name),
            config: whole(
                domain,
                pools::of(plan, domain).map(Pool::Name),
                Backend::Name,
            ),
        })
        .collect()
}

/// The configuration of one domain whose backends have their numbers, in this pool or in the first one.
pub fn config(domain: &DomainPlan, pool: Option<Pool>) -> Value {
    whole(domain, pool, Backend::Number)
}

fn whole(domain: &DomainPlan, pool: Option<Pool>, backend: Backend) -> Value {
    let mut create = json!({"type": "pvh", "name": domain.name, "uuid": domain.uuid});
    match pool {
        Some(Pool::Name(name)) => create["pool_name"] = json!(name),
        Some(Pool::Number(number)) => create["poolid"] = json!(number),
        None => {}
    }
    if domain.kind == DomainKind::Driver {
        // It may then write into its own folders of XenStore what backends write.
        create["driver_domain"] = json!("True");
    }
    if let Some(label) = &domain.label {
        create["ssid_label"] = json!(label);
    }
    let mut whole = Map::new();
    let mut set = |key: &str, value: Value| whole.insert(key.to_owned(), value);
    set("c_info", create);
    set("b_info", build(domain));
    let behind_iommu = domain
        .devices
        .iter()
        .filter(|device| device.dma == DeviceDma::Iommu);
    let paths: Vec<_> = behind_iommu
        .map(|device| json!({"path": device.path}))
        .collect();
    if !paths.is_empty() {
        set("dtdevs", paths.into());
    }
    if !domain.virtio.is_empty() {
        let devices = domain.virtio.iter();
        set("virtios", devices.map(|one| virtio(one, backend)).collect());
    }
    let actions = [
        ("on_poweroff", domain.on_poweroff),
        ("on_reboot", domain.on_reboot),
        // A guest that its watchdog ends did not end by itself.
        ("on_watchdog", domain.on_crash),
        ("on_crash", domain.on_crash),
    ];
    for (key, action) in actions
        .into_iter()
        .filter(|(_, action)| *action != Action::Destroy)
    {
        set(key, json!(action.word()));
    }
    Value::Object(whole)
}

fn build(domain: &DomainPlan) -> Value {
    let memory = domain.memory_bytes / KIB;
    let vcpus: Vec<_> = (0..domain.vcpus).collect();
    let mut build = json!({
        "max_vcpus": domain.vcpus,
        "avail_vcpus": vcpus,
        "max_memkb": memory,
        "target_memkb": memory,
        // As xl does: memory is claimed first, so that too little of it fails at once.
        "claim_mode": "True",
        // Xen has no NUMA nodes on Arm; libxl's choice among them would set affinities, which FLASK then has to allow.
        "numa_placement": "False",
        "kernel": domain.kernel,
        "cmdline": domain.cmdline,
        "type.pvh": {},
        // The default on Arm, but libxl 4.20 asserts that it is written when the memory target is changed.
        "acpi": "False",
    });
    if let Some(ramdisk) = &domain.ramdisk {
        build["ramdisk"] = json!(ramdisk);
    }
    if let Some(tree) = &domain.device_tree {
        build["device_tree"] = json!(tree);
    }
    if !domain.cpus.is_empty() {
        // The same for each vCPU, as xl has it.
        build["vcpu_hard_affinity"] = vec![json!(domain.cpus); vcpus.len()].into();
    }
    if let Some(share) = domain.rtds {
        build["sched_params"] = json!({"period": share.period_us, "budget": share.budget_us});
    }
    if !domain.colors.is_empty() {
        build["llc_colors"] = json!(domain.colors);
    }
    if let Some(tee) = domain.tee_of_xen() {
        build["tee"] = json!(tee);
    }
    if domain.console == Console::Vpl011 {
        build["arch_arm"] = json!({"vuart": "sbsa_uart"});
    }
    let windows = domain.devices.iter().flat_map(|device| &device.regions);
    let iomem: Vec<_> = windows.map(frames).collect();
    if !iomem.is_empty() {
        build["iomem"] = iomem.into();
    }
    let interrupts = domain.devices.iter().flat_map(|device| &device.interrupts);
    let interrupts: Vec<_> = interrupts.collect();
    if !interrupts.is_empty() {
        build["irqs"] = json!(interrupts);
    }
    build
}

fn frames(window: &RegisterWindow) -> Value {
    let pages = pages(window);
    json!({"start": pages.at / 4096, "number": pages.size_bytes / 4096, "gfn": pages.guest_at / 4096})
}

fn virtio(device: &VirtioPlan, backend: Backend) -> Value {
    let mut whole = json!({
        "type": format!("virtio,device{:x}", device.device_id),
        "transport": "mmio",
        "grant_usage": if device.memory == MemoryModel::Grant { "True" } else { "False" },
        "devid": device.index,
    });
    match (&device.backend, backend) {
        (Some(name), Backend::Name) => whole["backend_domname"] = json!(name),
        _ => whole["backend_domid"] = json!(device.backend_domid),
    }
    whole
}
