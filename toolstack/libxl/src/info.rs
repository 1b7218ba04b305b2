//! What is known of domains and of the machine.

use serde::Serialize;
use uuid::Uuid;

/// Why a domain shut down (`SHUTDOWN_*` in Xen's `public/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownReason {
    /// It powered itself off.
    Poweroff,
    /// It wants to be started again.
    Reboot,
    /// It suspended itself.
    Suspend,
    /// It crashed.
    Crash,
    /// Its watchdog expired.
    Watchdog,
    /// It wants to be built again around its memory.
    SoftReset,
    /// Some other number.
    Unknown(i32),
}

impl ShutdownReason {
    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Poweroff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            other => Self::Unknown(other),
        }
    }
}

impl std::fmt::Display for ShutdownReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Poweroff => "poweroff",
            Self::Reboot => "reboot",
            Self::Suspend => "suspend",
            Self::Crash => "crash",
            Self::Watchdog => "watchdog",
            Self::SoftReset => "soft reset",
            Self::Unknown(code) => return write!(formatter, "unknown reason {code}"),
        })
    }
}

/// One domain, as the hypervisor knows it at the moment of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domain {
    /// Its number; numbers are used again after a domain's death.
    pub domid: u32,
    /// Its UUID; all zero for dom0.
    pub uuid: Uuid,
    /// Its name in XenStore, where it has one.
    pub name: Option<String>,
    /// A vCPU is running on a CPU right now.
    pub running: bool,
    /// All its vCPUs wait for something.
    pub blocked: bool,
    /// It is paused by a toolstack.
    pub paused: bool,
    /// It has shut down but is not destroyed yet.
    pub shutdown: bool,
    /// It is being destroyed.
    pub dying: bool,
    /// Why it shut down, when it has.
    pub shutdown_reason: Option<ShutdownReason>,
    /// Memory it has now, in KiB.
    pub memory_kib: u64,
    /// Memory it may have, in KiB.
    pub max_memory_kib: u64,
    /// Memory claimed for it and not yet given to it, in KiB.
    pub outstanding_memory_kib: u64,
    /// vCPUs online.
    pub vcpus_online: u32,
    /// vCPUs it can have.
    pub vcpus_max: u32,
    /// CPU time used by all its vCPUs, in nanoseconds.
    pub cpu_time_ns: u64,
    /// CPU pool it runs in.
    pub cpupool: u32,
}

/// What the hypervisor says of the machine (`libxl_physinfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhysInfo {
    /// Online CPUs.
    pub cpus: u32,
    /// Highest CPU number there can be.
    pub max_cpu_id: u32,
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// CPU clock, in kHz.
    pub cpu_khz: u32,
    /// NUMA nodes.
    pub nodes: u32,
    /// All memory, in the hypervisor's pages.
    pub total_pages: u64,
    /// Free memory, in the hypervisor's pages.
    pub free_pages: u64,
    /// Memory being cleaned and then free, in the hypervisor's pages.
    pub scrub_pages: u64,
    /// Memory claimed by domains that do not have it yet, in the hypervisor's pages.
    pub outstanding_pages: u64,
    /// Hardware-assisted guests (the only kind on Arm).
    pub hvm: bool,
    /// Hardware-assisted paging.
    pub hap: bool,
    /// Device passthrough with an IOMMU.
    pub directio: bool,
}

/// What the hypervisor says of itself (`libxl_version_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) major: i32,
    pub(crate) minor: i32,
    pub(crate) extra: String,
    pub(crate) changeset: String,
    pub(crate) capabilities: String,
    pub(crate) command_line: String,
    pub(crate) page_size: u64,
}

/// The running hypervisor and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostInfo {
    /// Whole version, as in "4.20.3".
    pub xen_version: String,
    /// Major version.
    pub xen_major: u32,
    /// Minor version.
    pub xen_minor: u32,
    /// Guest types it offers, as in "xen-3.0-aarch64".
    pub capabilities: String,
    /// Revision it was built from; empty where not told.
    pub changeset: String,
    /// Its command line.
    pub command_line: String,
    /// Online CPUs.
    pub cpus: u32,
    /// CPU clock, in kHz.
    pub cpu_khz: u32,
    /// Size of the hypervisor's pages, in bytes.
    pub page_size: u64,
    /// All memory, in KiB.
    pub total_memory_kib: u64,
    /// Memory no domain has or has claimed, in KiB.
    pub free_memory_kib: u64,
}

impl HostInfo {
    pub(crate) fn new(version: Version, physical: &PhysInfo) -> Self {
        let kib = |pages: u64| pages.saturating_mul(version.page_size) / 1024;
        Self {
            xen_version: format!("{}.{}{}", version.major, version.minor, version.extra),
            xen_major: u32::try_from(version.major).unwrap_or_default(),
            xen_minor: u32::try_from(version.minor).unwrap_or_default(),
            cpus: physical.cpus,
            cpu_khz: physical.cpu_khz,
            page_size: version.page_size,
            total_memory_kib: kib(physical.total_pages),
            free_memory_kib: kib(physical
                .free_pages
                .saturating_add(physical.scrub_pages)
                .saturating_sub(physical.outstanding_pages)),
            capabilities: version.capabilities,
            changeset: version.changeset,
            command_line: version.command_line,
        }
    }
}
