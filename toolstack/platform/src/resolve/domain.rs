//! Domains and their devices.

use std::collections::{HashMap, HashSet};

use super::links::Links;
use super::machine::range;
use super::names::{path, uuid};
use super::saturate;
use crate::document::{BlockTable, DeviceTable, DocumentTable, DomainTable, TeeStandInTable};
use crate::flask::label_of;
use crate::plan::{
    self, Action, Asil, BlockPlan, Boot, CacheMode, Console, DeviceDma, DevicePassthrough,
    DevicePlan, DomainKind, DomainPlan, Enhanced, MachineDevice, MemoryModel, RegisterWindow,
    RtdsShare, TeeMode, TeeRights, TeeStandIn, VirtioPlan, Watchdog, WatchdogAction,
};
use crate::units::{ByteSize, MIB};

/// Linux's parameter that decides whether a domain's programs may name other domains in calls to Xen.
const PRIVCMD_UNRESTRICTED: &str = "xen_privcmd.unrestricted=";
/// Command line of a domain that names none: the paravirtual console of Xen's guests.
const CMDLINE_PV: &str = "console=hvc0";
/// The same for a domain with an emulated PL011.
const CMDLINE_VPL011: &str = "console=ttyAMA0";
/// The word for a kernel that brings along what it needs; a file of this name is `./none`.
pub(crate) const NO_RAMDISK: &str = "none";
/// Virtio device id of a disk (Virtio 1.3, 5.2.1).
const VIRTIO_ID_BLOCK: u32 = 2;
/// Sessions with the secure world of a domain that does not say.
const TEE_SESSIONS: u64 = 16;
/// Memory shared with the secure world of a domain that does not say.
const TEE_SHARED: u64 = 2 * MIB;
/// Calls into the secure world at once, by default.
const TEE_CONCURRENCY: u64 = 4;
/// The share of a domain that says nothing.
const TEE_WEIGHT: u64 = 100;

pub(super) fn domains(content: &DocumentTable, platform: &str, base: &str) -> Vec<DomainPlan> {
    let mut domains = Vec::new();
    // Xen counts from 1, in the order of its device tree.
    let mut next = 1_u16;
    let control = control(content);
    for (index, table) in content.domain.iter().enumerate() {
        let mut domain = domain(control, platform, base, index, table);
        domain.domid = match (domain.kind, domain.boot) {
            (DomainKind::Control, _) => Some(0),
            (_, Boot::Dom0less) => {
                let domid = next;
                next = next.saturating_add(1);
                Some(domid)
            }
            (_, Boot::Toolstack) => None,
        };
        let flask = content.xen.as_ref().and_then(|xen| xen.flask);
        if flask.is_some() && domain.boot == Boot::Toolstack {
            domain.label = Some(label_of(&domain.name));
        }
        domains.push(domain);
    }
    let mut ids = HashMap::new();
    for domain in &domains {
        ids.entry(domain.name.clone()).or_insert(domain.domid);
    }
    for device in domains.iter_mut().flat_map(|domain| &mut domain.virtio) {
        let backend = device.backend.as_ref().and_then(|name| ids.get(name));
        device.backend_domid = backend.copied().flatten().unwrap_or(0);
    }
    domains
}

fn domain(
    control: Option<&str>,
    platform: &str,
    base: &str,
    index: usize,
    table: &DomainTable,
) -> DomainPlan {
    let name = table.name.clone().unwrap_or_default();
    let from = format!("domain[{index}]");
    let kind = table.kind.unwrap_or(DomainKind::Guest);
    let boot = match kind {
        // Xen starts it, whatever the document says; that it says so is checked.
        DomainKind::Control => Boot::Dom0less,
        _ => table.boot.unwrap_or(Boot::Toolstack),
    };
    let by_xen = boot == Boot::Dom0less;
    let console = table
        .console
        .unwrap_or(match by_xen && kind != DomainKind::Control {
            true => Console::Vpl011,
            false => Console::Pv,
        });
    let static_memory: Vec<_> = table.static_memory.iter().map(range).collect();
    let fixed = static_memory
        .iter()
        .fold(0_u64, |sum, range| sum.saturating_add(range.size_bytes));
    // libxl tells a guest of its virtio devices; Xen does not.
    let virtio_of_xen = by_xen && kind != DomainKind::Control && !table.block.is_empty();
    let (ramdisk, ramdisk_generated) = ramdisk(base, table, kind, boot);
    let generated = table.device_tree.is_none() && (!table.device.is_empty() || virtio_of_xen);
    DomainPlan {
        uuid: uuid(platform, &name),
        kind,
        boot,
        asil: table.asil.unwrap_or(Asil::Qm),
        domid: None,
        kernel: path(base, table.kernel.as_deref()),
        ramdisk,
        ramdisk_generated,
        device_tree: device_tree(base, table, generated),
        device_tree_generated: generated,
        cmdline: cmdline(table, kind, console),
        memory_bytes: table.memory.map_or(fixed, |ByteSize(bytes)| bytes),
        static_memory,
        direct_map: table.direct_map.unwrap_or(false),
        colors: table.colors.clone().unwrap_or_default().0,
        vcpus: saturate(table.vcpus.unwrap_or(1)),
        cpus: table.cpus.clone().unwrap_or_default().0,
        cpupool: table.cpupool.clone(),
        rtds: table.rtds.as_ref().map(|share| RtdsShare {
            period_us: share.period.unwrap_or_default().0,
            budget_us: share.budget.unwrap_or_default().0,
        }),
        arinc653_runtime_us: table
            .arinc653
            .as_ref()
            .map(|slot| slot.runtime.unwrap_or_default().0),
        balloon: table.balloon.unwrap_or(!by_xen),
        console,
        enhanced: table.enhanced.unwrap_or(Enhanced::Disabled),
        interrupts: table.interrupts.map(saturate),
        after: table.after.clone().unwrap_or_default().0,
        label: None,
        watchdog: table.watchdog.as_ref().map(|watchdog| Watchdog {
            timeout_us: watchdog.timeout.unwrap_or_default().0,
            action: watchdog.action.unwrap_or(WatchdogAction::Reset),
            owner: watchdog.owner.clone(),
        }),
        tee: table.tee.as_ref().map(|tee| TeeRights {
            mode: tee.mode.unwrap_or(TeeMode::None),
            applications: tee.applications.clone().unwrap_or_default().0,
            stand_ins: tee.stand_in.iter().map(stand_in).collect(),
            sessions: saturate(tee.sessions.unwrap_or(TEE_SESSIONS)),
            shared_memory_bytes: tee.shared_memory.unwrap_or(ByteSize(TEE_SHARED)).0,
            rate: tee.rate,
            concurrency: saturate(tee.concurrency.unwrap_or(TEE_CONCURRENCY)),
            timeout_us: tee.timeout.map(|timeout| timeout.0),
            weight: saturate(tee.weight.unwrap_or(TEE_WEIGHT)),
        }),
        on_poweroff: table.on_poweroff.unwrap_or(Action::Destroy),
        on_reboot: table.on_reboot.unwrap_or(Action::Restart),
        on_crash: table.on_crash.unwrap_or(Action::Destroy),
        virtio: table
            .block
            .iter()
            .enumerate()
            .map(|(index, table)| block(base, &from, index, table, control))
            .collect(),
        devices: table
            .device
            .iter()
            .enumerate()
            .map(|(index, table)| device(&from, index, table))
            .collect(),
        name,
    }
}

/// Name of the control domain, where the document has one.
fn control(content: &DocumentTable) -> Option<&str> {
    let mut domains = content.domain.iter();
    let control = domains.find(|domain| domain.kind == Some(DomainKind::Control))?;
    control.name.as_deref()
}

fn block(
    base: &str,
    domain: &str,
    index: usize,
    table: &BlockTable,
    control: Option<&str>,
) -> VirtioPlan {
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let backend = table.backend.as_deref();
    VirtioPlan {
        index: number,
        device_id: VIRTIO_ID_BLOCK,
        mmio_base: plan::VIRTIO_MMIO_BASE
            .saturating_add(plan::VIRTIO_MMIO_STRIDE.saturating_mul(u64::from(number))),
        irq: plan::VIRTIO_IRQ_FIRST.saturating_add(number),
        backend_domid: 0,
        backend: backend
            .filter(|name| Some(*name) != control)
            .map(str::to_owned),
        memory: table.memory.unwrap_or(MemoryModel::Grant),
        device: DevicePlan::Block(BlockPlan {
            image: path(base, table.image.as_deref()),
            readonly: table.readonly.unwrap_or(false),
            block_size: saturate(table.block_size.unwrap_or(512)),
            cache: table.cache.unwrap_or(CacheMode::Writeback),
            serial: table.serial.clone(),
        }),
        from: format!("{domain}.block[{index}]"),
    }
}

fn stand_in(table: &TeeStandInTable) -> TeeStandIn {
    TeeStandIn {
        application: table.application.clone().unwrap_or_default(),
        opens: table.opens.clone().unwrap_or_default(),
    }
}

fn device(domain: &str, index: usize, table: &DeviceTable) -> DevicePassthrough {
    let regions = table.region.iter().map(|region| {
        let at = region.at.unwrap_or_default().0;
        RegisterWindow {
            at,
            size_bytes: region.size.unwrap_or_default().0,
            guest_at: region.guest_at.map_or(at, |address| address.0),
        }
    });
    DevicePassthrough {
        path: table.path.clone().unwrap_or_default(),
        dma: table.dma.unwrap_or(DeviceDma::Iommu),
        regions: regions.collect(),
        interrupts: table.interrupts.clone().unwrap_or_default().0,
        from: format!("{domain}.device[{index}]"),
    }
}

/// The kernel's words. Linux lets programs of a driver domain act on guests only when it is told so
/// (drivers/xen/privcmd.c): what holds them back then is FLASK.
fn cmdline(table: &DomainTable, kind: DomainKind, console: Console) -> String {
    let mut words = table.cmdline.clone().unwrap_or_else(|| {
        let default = match console {
            Console::Vpl011 => CMDLINE_VPL011,
            Console::Pv | Console::None => CMDLINE_PV,
        };
        default.to_owned()
    });
    if kind == DomainKind::Driver && !words.contains(PRIVCMD_UNRESTRICTED) {
        words = format!("{words} {PRIVCMD_UNRESTRICTED}1")
            .trim_start()
            .to_owned();
    }
    words
}

/// The ramdisk that the document names, or the file that avpsctl makes for a driver domain, and whether it is that one.
fn ramdisk(
    base: &str,
    table: &DomainTable,
    kind: DomainKind,
    boot: Boot,
) -> (Option<String>, bool) {
    match table.ramdisk.as_deref() {
        Some(NO_RAMDISK) => (None, false),
        Some(file) => (Some(path(base, Some(file))), false),
        None if kind == DomainKind::Driver && boot == Boot::Toolstack => {
            let name = table.name.as_deref().unwrap_or_default();
            let file = format!("{name}.ramdisk.cpio");
            (Some(path(base, Some(&file))), true)
        }
        None => (None, false),
    }
}

/// The partial device tree that the document names, or the file that avpsctl writes for the domain's devices.
fn device_tree(base: &str, table: &DomainTable, generated: bool) -> Option<String> {
    if generated {
        let name = table.name.as_deref().unwrap_or_default();
        return Some(path(base, Some(&format!("{name}.passthrough.dtb"))));
    }
    table.device_tree.as_deref().map(|p| path(base, Some(p)))
}

/// Takes registers and interrupts that the document leaves out from the machine's device tree.
pub(super) fn devices_from_facts(
    content: &DocumentTable,
    domains: &mut [DomainPlan],
    facts: &[MachineDevice],
) {
    for (domain, table) in domains.iter_mut().zip(&content.domain) {
        for (device, table) in domain.devices.iter_mut().zip(&table.device) {
            let Some(known) = facts.iter().find(|known| known.path == device.path) else {
                continue;
            };
            if table.region.is_empty() {
                let regions = known.regions.iter().map(|region| RegisterWindow {
                    at: region.at,
                    size_bytes: region.size_bytes,
                    guest_at: region.at,
                });
                device.regions = regions.collect();
            }
            if table.interrupts.is_none() {
                device.interrupts.clone_from(&known.interrupts);
            }
        }
    }
}

/// Gives Xen's interfaces to the domains of Xen's own boot that need them and do not say.
pub(super) fn interfaces(content: &DocumentTable, domains: &mut [DomainPlan], links: &Links) {
    let channels = links.event_channels.iter();
    let ends = channels.flat_map(|channel| &channel.ends);
    let with_channel: HashSet<&str> = ends.map(|end| end.domain.as_str()).collect();
    for (domain, table) in domains.iter_mut().zip(&content.domain) {
        if domain.boot != Boot::Dom0less || table.enhanced.is_some() {
            continue;
        }
        let has_channel = with_channel.contains(domain.name.as_str());
        let needs_store = !domain.virtio.is_empty() || domain.console == Console::Pv;
        domain.enhanced = match (domain.kind, needs_store, has_channel) {
            (DomainKind::Control, _, _) => Enhanced::Enabled,
            (_, true, _) => Enhanced::Enabled,
            (_, false, true) => Enhanced::NoXenstore,
            (_, false, false) => Enhanced::Disabled,
        };
    }
}
