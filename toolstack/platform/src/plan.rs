//! The plan: the document with every number decided.
//!
//! A plan is deterministic (the same document gives the same bytes), has no reference to the
//! text it came from, and is written as JSON for other programs, schema `avps-plan/1`: fields may
//! be added under the same version, never renamed or given another meaning. Sizes are in bytes;
//! field names say so.

use serde::{Deserialize, Serialize};

/// Version of the JSON form.
pub const SCHEMA: &str = "avps-plan/1";

/// Guest physical address of the first virtio-mmio register file
/// (Xen: `GUEST_VIRTIO_MMIO_BASE` in xen/include/public/arch-arm.h).
pub const VIRTIO_MMIO_BASE: u64 = 0x0200_0000;
/// Distance of two register files in bytes (Xen: `VIRTIO_MMIO_DEV_SIZE` in libxl_arm.c).
pub const VIRTIO_MMIO_STRIDE: u64 = 0x200;
/// Interrupt of the first virtio device (Xen: `GUEST_VIRTIO_MMIO_SPI_FIRST`).
pub const VIRTIO_IRQ_FIRST: u32 = 33;
/// Virtio devices a domain can have (Xen: interrupts 33 to 43).
pub const MAX_VIRTIO_DEVICES: usize = 11;
/// virtual CPUs a domain can have (Xen: `GUEST_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = 128;
/// Most RAM a guest's address space has room for, in bytes: 3 GiB and 1016 GiB
/// (Xen: `GUEST_RAM0_SIZE`, `GUEST_RAM1_SIZE`).
pub const MAX_MEMORY_BYTES: u64 = 1019 * crate::units::GIB;

/// A whole platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this form: [`SCHEMA`].
    pub schema: String,
    /// Name of the platform.
    pub platform: String,
    /// RAM that the document says domains can have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine_memory_bytes: Option<u64>,
    /// The domains, in the order they are started.
    pub domains: Vec<DomainPlan>,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPlan {
    /// Name, unique on the machine.
    pub name: String,
    /// Identity of this domain of this platform: made from both names, so that a later run
    /// recognises what an earlier one started.
    pub uuid: String,
    /// Absolute path of the kernel.
    pub kernel: String,
    /// Absolute path of the initial ramdisk.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ramdisk: Option<String>,
    /// Kernel command line.
    pub cmdline: String,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// What follows when the guest powers off.
    pub on_poweroff: Action,
    /// What follows when the guest reboots.
    pub on_reboot: Action,
    /// What follows when the guest crashes.
    pub on_crash: Action,
    /// Virtio devices, by number.
    pub virtio: Vec<VirtioPlan>,
}

/// What follows when a domain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Remove it.
    Destroy,
    /// Remove it and start it again.
    Restart,
    /// Leave it as it is, for examination.
    Preserve,
}

impl Action {
    /// The word xl and the document use.
    pub fn word(self) -> &'static str {
        match self {
            Action::Destroy => "destroy",
            Action::Restart => "restart",
            Action::Preserve => "preserve",
        }
    }
}

/// A virtio device: what it is, where the guest finds it, and what its backend may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioPlan {
    /// Number among the domain's virtio devices; part of the XenStore path.
    pub index: u32,
    /// Virtio device id (Virtio 1.3, 5): 2 is block.
    pub device_id: u32,
    /// Guest physical address of its registers. libxl assigns it by the same rule.
    pub mmio_base: u64,
    /// Interrupt number as the guest's controller counts (SPI + 32). libxl assigns it by the same rule.
    pub irq: u32,
    /// Domain id of the backend.
    pub backend_domid: u16,
    /// What the backend may reach of the guest's memory.
    pub memory: MemoryModel,
    /// The parameters of its kind.
    pub device: DevicePlan,
    /// Document path of its table, for findings.
    pub from: String,
}

/// What a backend may reach of a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryModel {
    /// The pages of the request at hand.
    Grant,
    /// All of the guest; dom0 only.
    Foreign,
    /// One region agreed on before boot.
    Pool,
}

impl MemoryModel {
    /// The word used in the document and in XenStore.
    pub fn word(self) -> &'static str {
        match self {
            MemoryModel::Grant => "grant",
            MemoryModel::Foreign => "foreign",
            MemoryModel::Pool => "pool",
        }
    }
}

/// The parameters of a device, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum DevicePlan {
    /// A disk.
    Block(BlockPlan),
}

impl DevicePlan {
    /// The word for the kind in the document and in XenStore.
    pub fn kind(&self) -> &'static str {
        match self {
            DevicePlan::Block(_) => "block",
        }
    }
}

/// A virtio disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPlan {
    /// Absolute path of the image or block device.
    pub image: String,
    /// Whether the guest may only read.
    pub readonly: bool,
    /// Logical block size in bytes: 512 or 4096.
    pub block_size: u32,
    /// How writes are cached.
    pub cache: CacheMode,
    /// Serial number the guest can read, at most 20 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
}

/// How a disk's writes are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// In the backend's page cache until the guest flushes.
    Writeback,
    /// On the medium before the guest is told.
    Writethrough,
    /// Past the page cache.
    Direct,
}

impl CacheMode {
    /// The word used in the document and in XenStore.
    pub fn word(self) -> &'static str {
        match self {
            CacheMode::Writeback => "writeback",
            CacheMode::Writethrough => "writethrough",
            CacheMode::Direct => "direct",
        }
    }
}

impl Plan {
    /// The domain of this name.
    pub fn domain(&self, name: &str) -> Option<&DomainPlan> {
        self.domains.iter().find(|domain| domain.name == name)
    }

    /// RAM of all domains in bytes; the largest number there is when it does not fit.
    pub fn memory_bytes(&self) -> u64 {
        self.domains.iter().fold(0, |sum: u64, domain| {
            sum.saturating_add(domain.memory_bytes)
        })
    }

    /// The plan as JSON, indented, with a line end.
    pub fn to_json(&self) -> String {
        // Maps with keys that are no texts are the only values serde_json refuses; there are none.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}
