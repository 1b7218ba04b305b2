//! Device trees of machines: what they say about the hardware.
//!
//! A vendor's device tree is the one place where a machine's memory, interrupts, clocks and IOMMU streams are written
//! down. [`facts`] takes them from there, so that nobody types them again. A tree is foreign input: whatever is wrong with
//! it ends in a [`DeviceTreeError`], never in a panic, and it is no longer and no deeper than there are limits for.

mod address;
mod devices;
mod interrupts;
mod memory;
mod processors;
mod read;
mod tree;

pub(crate) use address::{Cells, cells};
pub(crate) use devices::clocks;
pub(crate) use interrupts::triggers;
pub use read::DeviceTreeError;
pub(crate) use tree::{Tree, has, is_compatible, phandle};

use crate::plan::MachinePlan;

/// Longest device tree that is read, in bytes (Xen: `MAX_FDT_SIZE`, xen/include/xen/device_tree.h).
pub const MAX_DEVICE_TREE_BYTES: usize = 2 * 1024 * 1024;

/// What a machine's device tree (`.dtb`) says about the machine. The path of the tree is not filled in.
///
/// # Errors
/// [`DeviceTreeError`] when the bytes are no device tree.
pub fn facts(dtb: &[u8]) -> Result<MachinePlan, DeviceTreeError> {
    let tree = Tree::parse(dtb)?;
    let processors = processors::processors(&tree);
    Ok(MachinePlan {
        device_tree: None,
        banks: memory::banks(&tree),
        reserved: memory::reserved(&tree),
        cpus: u32::try_from(processors.cpus.len())
            .ok()
            .filter(|cpus| *cpus > 0),
        clusters: processors.clusters,
        gic: interrupts::gic(&tree),
        iommu: devices::iommu(&tree),
        llc: processors.llc,
        protection: None,
        mpu_regions: None,
        timer_hz: interrupts::timer_hz(&tree),
        devices: devices::devices(&tree),
    })
}

/// Paths of the CPUs' nodes, in the order in which Xen counts CPUs: the one it starts on first, then those of the tree.
pub(crate) fn cpu_paths(tree: &Tree) -> Vec<String> {
    processors::processors(tree).cpus
}
