//! From document to plan: defaults, absolute paths, addresses, interrupts, identities.
//!
//! Resolving never fails: what is missing was reported by the reader, what makes no sense is
//! reported by the checks, and both look at the plan made here.

use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::document::{BlockTable, Document, DomainTable, SCHEMA};
use crate::plan::{
    self, Action, BlockPlan, CacheMode, DevicePlan, DomainPlan, MemoryModel, Plan, VirtioPlan,
};
use crate::units::ByteSize;

/// Command line of a domain that names none: the console of Xen's guests.
const DEFAULT_CMDLINE: &str = "console=hvc0";
/// Virtio device id of a disk (Virtio 1.3, 5.2.1).
const VIRTIO_ID_BLOCK: u32 = 2;

/// Decides every number of a document. `base` is the document's folder.
pub fn resolve(document: &Document, base: &str) -> Plan {
    let platform = document.platform.name.clone().unwrap_or_default();
    let domains = document
        .domains
        .iter()
        .enumerate()
        .map(|(index, table)| domain(&platform, base, index, table))
        .collect();
    Plan {
        schema: plan::SCHEMA.to_owned(),
        machine_memory_bytes: document.machine.memory.map(|ByteSize(bytes)| bytes),
        platform,
        domains,
    }
}

fn domain(platform: &str, base: &str, index: usize, table: &DomainTable) -> DomainPlan {
    let name = table.name.clone().unwrap_or_default();
    let from = format!("domain[{index}]");
    DomainPlan {
        uuid: uuid(platform, &name),
        kernel: path(base, table.kernel.as_deref()),
        ramdisk: table.ramdisk.as_deref().map(|p| path(base, Some(p))),
        cmdline: table
            .cmdline
            .clone()
            .unwrap_or_else(|| DEFAULT_CMDLINE.to_owned()),
        memory_bytes: table.memory.unwrap_or_default().0,
        vcpus: saturate(table.vcpus.unwrap_or(1)),
        on_poweroff: table.on_poweroff.unwrap_or(Action::Destroy),
        on_reboot: table.on_reboot.unwrap_or(Action::Restart),
        on_crash: table.on_crash.unwrap_or(Action::Destroy),
        virtio: table
            .block
            .iter()
            .enumerate()
            .map(|(index, table)| block(base, &from, index, table))
            .collect(),
        name,
    }
}

fn block(base: &str, domain: &str, index: usize, table: &BlockTable) -> VirtioPlan {
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    VirtioPlan {
        index: number,
        device_id: VIRTIO_ID_BLOCK,
        mmio_base: plan::VIRTIO_MMIO_BASE
            .saturating_add(plan::VIRTIO_MMIO_STRIDE.saturating_mul(u64::from(number))),
        irq: plan::VIRTIO_IRQ_FIRST.saturating_add(number),
        backend_domid: 0,
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

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The path seen from the document's folder, without `.` components; empty stays empty.
fn path(base: &str, path: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    if path.is_empty() {
        return String::new();
    }
    let joined = Path::new(base).join(path);
    // ".." stays: what it means depends on symbolic links.
    let clean: PathBuf = joined
        .components()
        .filter(|component| *component != Component::CurDir)
        .collect();
    clean.to_string_lossy().into_owned()
}

/// A UUID made from the names (RFC 9562, version 8: the content is the maker's own affair).
fn uuid(platform: &str, domain: &str) -> String {
    let mut hash = Sha256::new();
    for part in [SCHEMA, platform, domain] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_document() {
        assert_eq!(
            path("/etc/avps", Some("./a/../b.img")),
            "/etc/avps/a/../b.img"
        );
        assert_eq!(path("/etc/avps", Some("/b.img")), "/b.img");
        assert_eq!(path("/etc/avps", Some("")), "");
    }

    #[test]
    fn the_identity_of_a_domain_depends_on_both_names_and_nothing_else() {
        let id = uuid("demo", "cockpit");
        assert_eq!(id, uuid("demo", "cockpit"));
        assert_ne!(id, uuid("demo", "cluster"));
        assert_ne!(id, uuid("democ", "ockpit"));
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'8');
    }
}
