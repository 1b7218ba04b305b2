//! Options that Xen and the kernels have to be built with, each with the reason.
//!
//! They are fragments for `scripts/kconfig/merge_config.sh` or a Yocto layer's `.cfg`: what a plan needs, and nothing else.

use std::fmt::Write;

use super::cmdline::has_colors;
use crate::plan::{
    Boot, Console, DeviceDma, DomainKind, DomainPlan, Gic, Iommu, MemoryModel, Plan, Scheduler,
    TeeMode,
};
use crate::units::XenVersion;

/// A fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Proposed file name: `xen.cfg`, or `linux-` and the domain's name.
    pub file_name: String,
    /// Content.
    pub text: String,
}

/// First release with `VM_EVENT` in place of `MEM_ACCESS`.
const VM_EVENT: XenVersion = XenVersion::new(4, 21);

/// What keeps an option out of an ordinary build.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Expert,
    Unsupported,
}

struct Options {
    text: String,
    behind: Vec<Behind>,
}

impl Options {
    fn add(&mut self, needed: bool, option: &str, behind: Behind, why: &str) {
        if needed {
            let _ = write!(self.text, "\n# {why}\nCONFIG_{option}\n");
            self.behind.push(behind);
        }
    }
}

/// Xen's fragment, and one for each domain's Linux, in the plan's order.
pub fn emit(plan: &Plan) -> Vec<Fragment> {
    let mut fragments = vec![Fragment {
        file_name: "xen.cfg".to_owned(),
        text: xen(plan),
    }];
    fragments.extend(plan.domains.iter().map(|domain| Fragment {
        file_name: format!("linux-{}.cfg", domain.name),
        text: linux(plan, domain),
    }));
    fragments
}

/// Options of Xen (its Kconfig files of 4.20).
pub fn xen(plan: &Plan) -> String {
    let mut options = Options {
        text: String::new(),
        behind: Vec::new(),
    };
    xen_boot(plan, &mut options);
    xen_schedulers(plan, &mut options);
    xen_devices(plan, &mut options);
    let mut out = format!(
        "# Xen for platform \"{}\", written by avpsctl emit kconfig.\n",
        plan.platform
    );
    let has = |behind| options.behind.contains(&behind);
    if has(Behind::Expert) || has(Behind::Unsupported) {
        out.push_str("\n# Some of what follows is only offered to experts.\nCONFIG_EXPERT=y\n");
    }
    if has(Behind::Unsupported) {
        out.push_str("\n# Some of what follows has no security support (SUPPORT.md).\nCONFIG_UNSUPPORTED=y\n");
    }
    out + &options.text
}

fn xen_boot(plan: &Plan, options: &mut Options) {
    let by_xen = plan.dom0less().next().is_some();
    let any = |what: fn(&DomainPlan) -> bool| plan.domains.iter().any(what);
    let mut add = |needed, option, behind, why| options.add(needed, option, behind, why);
    add(
        by_xen,
        "DOM0LESS_BOOT=y",
        Behind::Nothing,
        "Xen itself starts domains.",
    );
    // Shared memory is built on it.
    let shared = !plan.shared_memory.is_empty();
    let fixed = any(|domain| !domain.static_memory.is_empty());
    add(
        fixed || shared,
        "STATIC_MEMORY=y",
        Behind::Unsupported,
        "Memory at fixed places.",
    );
    add(
        shared,
        "STATIC_SHM=y",
        Behind::Unsupported,
        "Memory that several domains see.",
    );
    let channels = !plan.event_channels.is_empty();
    add(
        channels,
        "STATIC_EVTCHN=y",
        Behind::Nothing,
        "Event channels made at boot.",
    );
    let vpl011 = any(|domain| domain.console == Console::Vpl011);
    add(
        vpl011,
        "SBSA_VUART_CONSOLE=y",
        Behind::Nothing,
        "Consoles on an emulated PL011.",
    );
    for option in ["XSM=y", "XSM_FLASK=y"] {
        add(
            plan.xen.flask.is_some(),
            option,
            Behind::Nothing,
            "A policy says what each domain may do to others.",
        );
    }
    let colors = has_colors(plan);
    add(
        colors,
        "LLC_COLORING=y",
        Behind::Expert,
        "Colours of the last-level cache.",
    );
}

fn xen_schedulers(plan: &Plan, options: &mut Options) {
    let pools = plan.xen.cpupools.iter();
    let used: Vec<_> = pools
        .map(|pool| pool.scheduler)
        .chain([plan.xen.scheduler])
        .collect();
    let pools = !plan.xen.cpupools.is_empty();
    options.add(
        pools,
        "BOOT_TIME_CPUPOOLS=y",
        Behind::Nothing,
        "CPU pools made at boot.",
    );
    for (scheduler, option, behind) in [
        (Scheduler::Credit, "SCHED_CREDIT=y", Behind::Nothing),
        (Scheduler::Credit2, "SCHED_CREDIT2=y", Behind::Nothing),
        (Scheduler::Null, "SCHED_NULL=y", Behind::Unsupported),
        (Scheduler::Rtds, "SCHED_RTDS=y", Behind::Unsupported),
        (Scheduler::Arinc653, "SCHED_ARINC653=y", Behind::Unsupported),
    ] {
        let why = format!("CPUs are shared out by {}.", scheduler.word());
        options.add(used.contains(&scheduler), option, behind, &why);
    }
}

fn xen_devices(plan: &Plan, options: &mut Options) {
    let tee = |wanted| {
        let modes = plan.domains.iter().filter_map(|domain| domain.tee.as_ref());
        modes.into_iter().any(|tee| tee.mode == wanted)
    };
    let virtio = plan.domains.iter().any(|domain| !domain.virtio.is_empty());
    let mut add = |needed, option, behind, why| options.add(needed, option, behind, why);
    add(
        virtio,
        "IOREQ_SERVER=y",
        Behind::Expert,
        "Virtio devices served outside of Xen.",
    );
    let ffa = tee(TeeMode::Ffa);
    // avps-tee's own calls are those of the control domain, which Xen carries out as well.
    let smc = tee(TeeMode::Hypervisor) || tee(TeeMode::Mediated) && !ffa;
    let why = "Xen carries out calls to OP-TEE.";
    add(smc, "OPTEE=y", Behind::Unsupported, why);
    let why = "Xen carries out calls to OP-TEE by FF-A.";
    add(ffa, "FFA=y", Behind::Unsupported, why);
    let events = if plan.xen.version < VM_EVENT {
        "MEM_ACCESS=y"
    } else {
        "VM_EVENT=y"
    };
    let why = "avps-tee is told of calls to OP-TEE by vm_event.";
    add(tee(TeeMode::Mediated), events, Behind::Nothing, why);
    let (v2, v3) = (
        plan.machine.gic == Some(Gic::V2),
        plan.machine.gic == Some(Gic::V3),
    );
    add(
        v2,
        "GICV2=y",
        Behind::Nothing,
        "The machine's interrupt controller.",
    );
    add(
        v3,
        "GICV3=y",
        Behind::Nothing,
        "The machine's interrupt controller.",
    );
    let devices = plan.domains.iter().flat_map(|domain| &domain.devices);
    let protected = devices
        .into_iter()
        .any(|device| device.dma == DeviceDma::Iommu);
    let why = "The IOMMU that keeps domains' devices inside their memory.";
    let (option, behind) = match plan.machine.iommu {
        Some(Iommu::SmmuV2) => ("ARM_SMMU=y", Behind::Nothing),
        Some(Iommu::SmmuV3) => ("ARM_SMMU_V3=y", Behind::Expert),
        Some(Iommu::Ipmmu) => ("IPMMU_VMSA=y", Behind::Nothing),
        Some(Iommu::None) | None => return,
    };
    add(protected, option, behind, why);
}

/// Options of a domain's Linux; what a domain runs that is not Linux has them by other names.
pub fn linux(plan: &Plan, domain: &DomainPlan) -> String {
    let mut options = Options {
        text: String::new(),
        behind: Vec::new(),
    };
    let mut add = |needed, option, why| options.add(needed, option, Behind::Nothing, why);
    let control = domain.kind == DomainKind::Control;
    let others = plan.domains.iter().flat_map(|domain| &domain.virtio);
    let name = Some(&domain.name).filter(|_| !control);
    let serves = others
        .into_iter()
        .any(|device| device.backend.as_ref() == name);
    let grants = domain
        .virtio
        .iter()
        .any(|device| device.memory == MemoryModel::Grant);
    let by_toolstack = domain.boot == Boot::Toolstack;
    // A guest of Xen's own boot learns from XenStore that its devices are served.
    let late = domain.is_dom0less() && !domain.virtio.is_empty();
    let xen = control || serves || grants || by_toolstack || late;
    add(xen, "XEN=y", "It knows that it runs on Xen.");
    add(
        control || serves,
        "XEN_DEV_EVTCHN=y",
        "Its programs use event channels.",
    );
    add(
        control || serves,
        "XEN_GNTDEV=y",
        "Its programs map what guests grant.",
    );
    add(
        control || serves,
        "XEN_PRIVCMD=y",
        "Its programs make hypercalls.",
    );
    add(
        control || serves,
        "XEN_PRIVCMD_EVENTFD=y",
        "Guests' signals reach backends as eventfds (Linux 6.7 and later).",
    );
    add(control, "XENFS=y", "The toolstack looks for /proc/xen.");
    add(control, "XEN_BACKEND=y", "It serves guests.");
    for (option, why) in [
        ("BLK_DEV_INITRD=y", "It boots from a ramdisk."),
        (
            "DEVTMPFS=y",
            "avps-backend, alone in it, finds Xen's devices in /dev.",
        ),
        (
            "TMPFS=y",
            "avps-backend keeps its devices' records in memory.",
        ),
    ] {
        add(domain.ramdisk_generated, option, why);
    }
    let virtio = !domain.virtio.is_empty();
    add(
        virtio,
        "VIRTIO_MMIO=y",
        "Its virtio devices have registers in memory.",
    );
    add(virtio, "VIRTIO_BLK=y", "It has virtio disks.");
    add(
        grants,
        "XEN_VIRTIO=y",
        "Its virtio devices reach only what it grants.",
    );
    add(
        late,
        "XEN_BLKDEV_FRONTEND=y",
        "XenStore tells it that its virtio devices are served (the option brings XEN_XENBUS_FRONTEND).",
    );
    let pv = domain.console == Console::Pv && !control;
    add(pv, "HVC_XEN=y", "Its console is Xen's.");
    if domain.console == Console::Vpl011 {
        add(
            true,
            "SERIAL_AMBA_PL011=y",
            "Its console is an emulated PL011.",
        );
        add(
            true,
            "SERIAL_AMBA_PL011_CONSOLE=y",
            "Its console is an emulated PL011.",
        );
    }
    let tee = domain.tee.as_ref().map(|tee| tee.mode);
    let calls = tee.is_some_and(|mode| mode != TeeMode::None);
    add(calls, "TEE=y", "It calls the secure world.");
    add(calls, "OPTEE=y", "It calls the secure world.");
    add(
        tee == Some(TeeMode::Ffa),
        "ARM_FFA_TRANSPORT=y",
        "Its calls to the secure world are FF-A's.",
    );
    let head = format!(
        "# Linux of domain \"{}\", written by avpsctl emit kconfig.\n",
        domain.name
    );
    head + &options.text
}
