//! From a plan to what is booted.

use crate::oracle::{Content, Error, Layout, Machine, Module, Oracle, Result, XEN_ARGUMENTS};
use platform::Plan;
use platform::plan::{self, Iommu, ModuleRole};
use std::ops::Range;

/// Where QEMU puts Xen, rounded up.
pub(super) const XEN: Range<u64> = 0x4020_0000..0x4060_0000;
/// Where QEMU puts the device tree, with room to spare.
pub(super) const TREE: Range<u64> = 0x4800_0000..0x4820_0000;

/// The machine that a document is for, if QEMU has it.
pub(crate) fn machine(plan: &Plan) -> Option<Machine> {
    let [bank] = plan.machine.banks.as_slice() else {
        return None;
    };
    let memory_mib = u32::try_from(bank.size_bytes >> 20).ok()?;
    let is_ours = bank.at == 0x4000_0000 && (256..=3072).contains(&memory_mib);
    let cpus = u8::try_from(plan.machine.cpus?).ok()?;
    let options = match plan.machine.iommu {
        None | Some(Iommu::None) => "",
        Some(Iommu::SmmuV3) => ",iommu=smmuv3",
        Some(_) => return None,
    };
    (is_ours && (1..=8).contains(&cpus)).then(|| Machine {
        cpus,
        memory_mib,
        options: options.to_owned(),
        ..Machine::default()
    })
}

/// The layout that a plan is emitted as, with `content` for its modules; partial device trees are the plan's own. `None` when
/// it cannot be: then the checker must have refused it.
pub(crate) fn layout(
    oracle: &Oracle,
    plan: &Plan,
    content: &dyn Fn(&plan::Module) -> Content,
) -> Result<Option<Layout>> {
    let Some(machine) = machine(plan) else {
        return Ok(None);
    };
    let base = oracle.tree(&machine)?;
    let guest = oracle.guest_size()?;
    let mut plan = plan.clone();
    plan.xen.cmdline = format!("{XEN_ARGUMENTS} {}", plan.xen.cmdline);
    let mut contents = Vec::new();
    for module in &plan.boot.modules {
        let content = content(module);
        contents.push((module, bytes(&content, guest)?, content));
    }
    // Of bytes that stand in for a file, Xen is told the whole slot.
    let size = |module: &plan::Module| {
        let mut all = contents.iter();
        let (_, size, content) = all.find(|(known, ..)| *known == module)?;
        let is_told = matches!(content, Content::Guest | Content::File(_));
        (is_told && module.role != ModuleRole::DeviceTree).then_some(*size)
    };
    let Ok(dtb) = platform::emit::dom0less::dtb(&plan, &base, &size) else {
        return Ok(None);
    };
    let Ok(partial) = platform::emit::partial::emit(&plan, &base) else {
        return Ok(None);
    };
    // What QEMU puts there itself. Where something would lie over something else it loads nothing: Xen is told of it all the same.
    let mut taken: Vec<Range<u64>> = vec![XEN, TREE];
    let modules = contents.iter().filter_map(|(module, size, content)| {
        let (content, size) = match module.role {
            ModuleRole::Kernel | ModuleRole::Ramdisk => (content.clone(), *size),
            ModuleRole::DeviceTree => {
                let tree = partial.iter().find(|tree| tree.domain == module.domain)?;
                let size = u64::try_from(tree.dtb.len()).unwrap_or(u64::MAX);
                (Content::Bytes(tree.dtb.clone()), size)
            }
        };
        let address = module.at?;
        let place = address..address.saturating_add(size);
        let free = taken
            .iter()
            .all(|other| place.end <= other.start || other.end <= place.start);
        taken.push(place);
        free.then_some(Module { content, address })
    });
    let modules = modules.collect();
    Ok(Some(Layout {
        modules,
        dtb,
        machine,
        readback: true,
        strangers: Vec::new(),
    }))
}

/// Length of what is loaded; `guest` is that of the oracle's own guest.
fn bytes(content: &Content, guest: u64) -> Result<u64> {
    Ok(match content {
        Content::Guest => guest,
        Content::File(path) => std::fs::metadata(path)
            .map_err(Error::io("read", path))?
            .len(),
        Content::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        Content::Source(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
    })
}
