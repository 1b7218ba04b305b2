//! Devices of a domain: virtio, served by another domain, and the machine's own.

use serde::{Deserialize, Serialize};

use crate::words::{CacheMode, DeviceDma, MemoryModel};

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
    /// Domain id of the backend, where that is known before anything runs.
    pub backend_domid: u16,
    /// Name of the backend's domain; none for the control domain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<String>,
    /// Guest memory that the backend can access.
    pub memory: MemoryModel,
    /// The parameters of its kind.
    pub device: DevicePlan,
    /// Document path of its table, for findings.
    pub from: String,
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

/// A device of the machine that is assigned to a domain (passthrough).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePassthrough {
    /// Its path in the machine's device tree.
    pub path: String,
    /// What keeps its DMA inside the domain's memory.
    pub dma: DeviceDma,
    /// Its registers.
    pub regions: Vec<RegisterWindow>,
    /// Its interrupts, as the interrupt controller counts them (SPI + 32).
    pub interrupts: Vec<u32>,
    /// Document path of its table.
    pub from: String,
}

/// Registers of a device, and where the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWindow {
    /// Address in the machine.
    pub at: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Address in the guest.
    pub guest_at: u64,
}
