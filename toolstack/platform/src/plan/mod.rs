//! The plan: the document with every number decided.
//!
//! A plan is deterministic (the same document gives the same bytes), has no reference to the
//! text it came from, and is written as JSON for other programs, schema `avps-plan/1`: fields may
//! be added under the same version, never renamed or given another meaning. Sizes are in bytes;
//! field names say so.

mod device;
mod domain;
mod links;
mod machine;

pub use device::*;
pub use domain::*;
pub use links::*;
pub use machine::*;

use serde::{Deserialize, Serialize};

pub use crate::words::*;

/// Version of the JSON form.
pub const SCHEMA: &str = "avps-plan/1";

/// Guest physical address of the first virtio-mmio register file
/// (Xen: `GUEST_VIRTIO_MMIO_BASE` in xen/include/public/arch-arm.h).
pub const VIRTIO_MMIO_BASE: u64 = 0x0200_0000;
/// Distance of two register files in bytes (Xen: `VIRTIO_MMIO_DEV_SIZE` in libxl_arm.c).
pub const VIRTIO_MMIO_STRIDE: u64 = 0x200;
/// The first shared interrupt (SPI), as a guest's controller counts.
pub const FIRST_SPI: u32 = 32;
/// Interrupt of the first virtio device (Xen: `GUEST_VIRTIO_MMIO_SPI_FIRST`).
pub const VIRTIO_IRQ_FIRST: u32 = 33;
/// Virtio devices a domain can have (Xen: interrupts 33 to 43).
pub const MAX_VIRTIO_DEVICES: usize = 11;
/// Interrupt by which avps-tee tells a domain that a call has ended: the first one behind those.
pub const TEE_IRQ: u32 = 44;
/// Where guests see shared memory whose document does not say: a part of the guest's physical addresses that Xen uses for
/// nothing, up to the grant table's frames (Xen: xen/include/public/arch-arm.h, between `GUEST_VPCI_MEM` and
/// `GUEST_GNTTAB_BASE`).
pub const SHARED_MEMORY_BASE: u64 = 0x3300_0000;
/// Virtual CPUs a domain can have (Xen: `GUEST_MAX_VCPUS`).
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
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// RAM that the document says domains can have that the toolstack starts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine_memory_bytes: Option<u64>,
    /// The hardware.
    pub machine: MachinePlan,
    /// The hypervisor.
    pub xen: XenPlan,
    /// The secure world.
    #[serde(skip_serializing_if = "TeeFirmware::is_unknown", default)]
    pub tee: TeeFirmware,
    /// How Xen and the dom0less domains are loaded into memory.
    pub boot: BootPlan,
    /// The domains, in the order they are started.
    pub domains: Vec<DomainPlan>,
    /// Memory that several domains see.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub shared_memory: Vec<SharedMemory>,
    /// Event channels between dom0less domains; dom0 may be one end.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub event_channels: Vec<EventChannel>,
    /// Links between two domains.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ipc: Vec<IpcLink>,
    /// Networks between domains.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub networks: Vec<Network>,
    /// Waivers: findings that are accepted, each with a reason, an owner and an expiry date.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waivers: Vec<Waiver>,
}

impl Plan {
    /// The domain of this name.
    pub fn domain(&self, name: &str) -> Option<&DomainPlan> {
        self.domains.iter().find(|domain| domain.name == name)
    }

    /// Domains that Xen itself starts, the control domain not among them.
    pub fn dom0less(&self) -> impl Iterator<Item = &DomainPlan> {
        self.domains.iter().filter(|domain| domain.is_dom0less())
    }

    /// Domains that the toolstack starts.
    pub fn toolstack(&self) -> impl Iterator<Item = &DomainPlan> {
        let of_toolstack = |domain: &&DomainPlan| {
            domain.boot == Boot::Toolstack && domain.kind != DomainKind::Control
        };
        self.domains.iter().filter(of_toolstack)
    }

    /// The control domain, where the document describes it.
    pub fn control(&self) -> Option<&DomainPlan> {
        let mut domains = self.domains.iter();
        domains.find(|domain| domain.kind == DomainKind::Control)
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
