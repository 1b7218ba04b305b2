//! A domain with every number decided.

use serde::{Deserialize, Serialize};

use super::TEE_IRQ;
use super::device::{DevicePassthrough, VirtioPlan};
use super::machine::Range;
use crate::words::{Action, Asil, Boot, Console, DomainKind, Enhanced, TeeMode, WatchdogAction};

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPlan {
    /// Name, unique on the machine.
    pub name: String,
    /// Identity of this domain of this platform: made from both names, so that a later run
    /// recognises what an earlier one started.
    pub uuid: String,
    /// What it is for.
    pub kind: DomainKind,
    /// Who starts it.
    pub boot: Boot,
    /// Safety integrity level.
    pub asil: Asil,
    /// Number that Xen gives it, where that is known before anything runs: 0 for the control domain, 1, 2, … for those
    /// of Xen's own boot in the order of the document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domid: Option<u16>,
    /// Absolute path of the kernel.
    pub kernel: String,
    /// Absolute path of the initial ramdisk.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ramdisk: Option<String>,
    /// That ramdisk is not the document's but made of `avps-backend`, by `avpsctl up` when it starts the driver domain and by
    /// `avpsctl emit ramdisk`.
    #[serde(skip_serializing_if = "is_false", default)]
    pub ramdisk_generated: bool,
    /// Absolute path of the partial device tree that is added to the guest's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_tree: Option<String>,
    /// That tree is not the document's but written by `avpsctl emit partial-dtb`, from the domain's devices.
    #[serde(skip_serializing_if = "is_false", default)]
    pub device_tree_generated: bool,
    /// Kernel command line.
    pub cmdline: String,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// RAM at fixed places of the machine; empty where Xen chooses.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub static_memory: Vec<Range>,
    /// Maps the guest's RAM 1:1: guest-physical addresses equal host-physical addresses.
    #[serde(skip_serializing_if = "is_false", default)]
    pub direct_map: bool,
    /// Colours of the last-level cache; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub colors: Vec<u32>,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Physical CPUs its vCPUs may run on; empty for all of its pool.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cpus: Vec<u32>,
    /// The CPU pool it runs in; none for Xen's first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpupool: Option<String>,
    /// Its share, with the RTDS scheduler.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtds: Option<RtdsShare>,
    /// Its slot in each major frame in microseconds, with the ARINC653 scheduler.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arinc653_runtime_us: Option<u64>,
    /// Whether the amount of its memory may change while it runs.
    pub balloon: bool,
    /// Where its console is.
    pub console: Console,
    /// Interfaces of Xen that a dom0less domain gets.
    pub enhanced: Enhanced,
    /// Shared interrupts it can have, when Xen itself starts it; none for Xen's own choice.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interrupts: Option<u32>,
    /// Domains that have to be ready before it is started.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub after: Vec<String>,
    /// Its security label, where Xen asks FLASK and the toolstack starts it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// What restarts the machine or the domain when it hangs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watchdog: Option<Watchdog>,
    /// Rights in the secure world.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tee: Option<TeeRights>,
    /// What happens if the guest powers off.
    pub on_poweroff: Action,
    /// What happens if the guest reboots.
    pub on_reboot: Action,
    /// What happens if the guest crashes.
    pub on_crash: Action,
    /// Virtio devices, by number.
    pub virtio: Vec<VirtioPlan>,
    /// Devices of the machine that are assigned to it (passthrough).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub devices: Vec<DevicePassthrough>,
}

impl DomainPlan {
    /// Whether Xen itself starts it, as a guest: the control domain is not one.
    pub fn is_dom0less(&self) -> bool {
        self.boot == Boot::Dom0less && self.kind != DomainKind::Control
    }

    /// Whether its calls into the secure world come to avps-tee.
    pub fn is_mediated(&self) -> bool {
        let mode = self.tee.as_ref().map(|tee| tee.mode);
        mode == Some(TeeMode::Mediated)
    }

    /// The interrupt by which avps-tee can tell it that a call has ended: its device tree has to name it, which one that somebody
    /// else wrote need not.
    pub fn tee_interrupt(&self) -> Option<u32> {
        let ours = self.boot == Boot::Toolstack && self.device_tree.is_none();
        (ours && self.is_mediated()).then_some(TEE_IRQ)
    }

    /// What xl and libxl call the mediator in Xen that carries out its calls into the secure world, if one does.
    pub fn tee_of_xen(&self) -> Option<&'static str> {
        match self.tee.as_ref()?.mode {
            TeeMode::None | TeeMode::Mediated => None,
            TeeMode::Hypervisor => Some("optee"),
            TeeMode::Ffa => Some("ffa"),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// CPU time under the RTDS scheduler: a budget in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtdsShare {
    /// Period in microseconds.
    pub period_us: u64,
    /// Budget in each period in microseconds.
    pub budget_us: u64,
}

/// A watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// Longest time between two signs of life, in microseconds.
    pub timeout_us: u64,
    /// What it does.
    pub action: WatchdogAction,
    /// The domain or the watchdog device that watches; none for Xen's own watchdog.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
}

/// A trusted application that stands in for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeeStandIn {
    /// UUID that the domain asks for.
    pub application: String,
    /// UUID that is opened.
    pub opens: String,
}

/// Rights in the secure world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeeRights {
    /// Who mediates its calls to OP-TEE.
    pub mode: TeeMode,
    /// UUIDs of the trusted applications it may open.
    pub applications: Vec<String>,
    /// Applications of which it gets another one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stand_ins: Vec<TeeStandIn>,
    /// Sessions it may have open at once.
    pub sessions: u32,
    /// Memory it may share with the secure world, in bytes.
    pub shared_memory_bytes: u64,
    /// Calls per second; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<u64>,
    /// Calls it may have under way at once.
    pub concurrency: u32,
    /// How long a call may take, in microseconds; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_us: Option<u64>,
    /// Its weight when several domains wait for OP-TEE's threads.
    pub weight: u32,
}

impl TeeRights {
    /// To nothing.
    pub fn none(mode: TeeMode) -> Self {
        TeeRights {
            mode,
            applications: Vec::new(),
            stand_ins: Vec::new(),
            sessions: 0,
            shared_memory_bytes: 0,
            rate: None,
            concurrency: 0,
            timeout_us: None,
            weight: 0,
        }
    }
}
