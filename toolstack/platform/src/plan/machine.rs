//! The machine, its hypervisor, and how they start.

use serde::{Deserialize, Serialize};

use crate::units::XenVersion;
use crate::words::{Flask, Gic, Iommu, Protection, Scheduler};

/// A range of physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// Where it begins.
    pub at: u64,
    /// Bytes.
    pub size_bytes: u64,
}

impl Range {
    /// One behind its last byte; the largest number there is when it does not fit.
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.size_bytes)
    }

    /// Whether both have a byte in common.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.at < other.end() && other.at < self.end()
    }

    /// Whether all of the other one is in this one.
    pub fn contains(&self, other: &Range) -> bool {
        self.at <= other.at && other.end() <= self.end()
    }
}

/// A range with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRange {
    /// What lies there.
    pub name: String,
    /// Where.
    #[serde(flatten)]
    pub range: Range,
}

/// What is known of the hardware. Empty lists and absent values are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachinePlan {
    /// Absolute path of the machine's device tree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_tree: Option<String>,
    /// RAM.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub banks: Vec<Range>,
    /// RAM that nobody may use.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reserved: Vec<NamedRange>,
    /// Number of CPUs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpus: Option<u32>,
    /// Groups of CPUs of one kind that share a cache.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub clusters: Vec<Cluster>,
    /// The interrupt controller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gic: Option<Gic>,
    /// The IOMMU that Xen uses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iommu: Option<Iommu>,
    /// The cache that all CPUs share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub llc: Option<Llc>,
    /// How the processor protects memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protection: Option<Protection>,
    /// Regions of the EL2 MPU.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mpu_regions: Option<u32>,
    /// Frequency of the generic timer in Hz.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timer_hz: Option<u64>,
    /// Devices that the device tree describes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub devices: Vec<MachineDevice>,
}

/// CPUs of one kind that share a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// Its CPUs.
    pub cpus: Vec<u32>,
    /// The core's name, as in a device tree.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub core: Option<String>,
}

/// The last-level cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Llc {
    /// Bytes.
    pub size_bytes: u64,
    /// Ways.
    pub ways: u32,
}

impl Llc {
    /// How many colours it has: pages in one way (Xen: docs/misc/cache-coloring.rst).
    pub fn colors(&self) -> u32 {
        let way = self.size_bytes.checked_div(self.ways.into()).unwrap_or(0);
        u32::try_from(way / 4096).unwrap_or(u32::MAX)
    }
}

/// A device of the machine's device tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineDevice {
    /// Its path.
    pub path: String,
    /// What it is compatible with, the most specific first.
    pub compatible: Vec<String>,
    /// Its registers, as the CPU sees them.
    pub regions: Vec<Range>,
    /// Its interrupts, as the interrupt controller counts them (SPI + 32).
    pub interrupts: Vec<u32>,
    /// It names an IOMMU.
    pub behind_iommu: bool,
    /// Its DMA is coherent or it names an IOMMU or DMA channels: it is likely a bus master.
    pub bus_master: bool,
    /// Paths of the nodes that give it clocks, resets, power, pins: what it depends on.
    pub suppliers: Vec<String>,
    /// It is disabled.
    pub disabled: bool,
}

/// The hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct XenPlan {
    /// Release.
    pub version: XenVersion,
    /// Scheduler of the first CPU pool.
    pub scheduler: Scheduler,
    /// Words of the command line that the document asks for.
    pub cmdline: String,
    /// Path of its console's node, with options.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub console: Option<String>,
    /// Its own heap, at fixed places.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub static_heap: Vec<Range>,
    /// Groups of CPUs with a scheduler of their own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cpupools: Vec<Cpupool>,
    /// What FLASK does with what its policy does not allow; none without FLASK.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flask: Option<Flask>,
}

/// The secure world, as OP-TEE was built. Absent values are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TeeFirmware {
    /// Domains that OP-TEE has room for, the control domain among them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partitions: Option<u32>,
}

impl TeeFirmware {
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A group of CPUs with a scheduler of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpupool {
    /// Name.
    pub name: String,
    /// Its CPUs.
    pub cpus: Vec<u32>,
    /// Its scheduler.
    pub scheduler: Scheduler,
}

impl Cpupool {
    /// Identity of this pool of this platform, made from both names as a domain's is: what a toolstack made is recognised
    /// by it.
    pub fn uuid(&self, platform: &str) -> String {
        crate::resolve::pool_uuid(platform, &self.name)
    }
}

/// How Xen and the dom0less domains are loaded into memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// Absolute path of Xen's image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xen: Option<String>,
    /// What U-Boot loads from.
    pub device: String,
    /// Where the device tree for Xen is loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_tree_at: Option<u64>,
    /// Where Xen is loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xen_at: Option<u64>,
    /// Where modules are loaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub window: Option<Range>,
    /// Room for each module, in bytes.
    pub slot_bytes: u64,
    /// What is loaded for the domains of Xen's own boot and the control domain. A module keeps its place when others are
    /// added behind it.
    pub modules: Vec<Module>,
}

/// A file that is loaded before Xen starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its domain.
    pub domain: String,
    /// What it is to that domain.
    pub role: ModuleRole,
    /// Absolute path.
    pub path: String,
    /// Where it is loaded; none without a window.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<u64>,
}

/// What a module is to its domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleRole {
    /// Its kernel.
    Kernel,
    /// Its initial ramdisk.
    Ramdisk,
    /// A partial device tree.
    DeviceTree,
}
