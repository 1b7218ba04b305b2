//! Who has which part of the physical memory: the plan's ranges cut into pieces that do not overlap.

use std::collections::BTreeSet;

use crate::plan::{ModuleRole, Plan, Range, SharedMemory};

/// What a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// Where modules are loaded; the modules themselves lie in it.
    Window,
    /// Firmware's, the secure world's, a carve-out.
    Reserved,
    /// Xen's heap.
    Heap,
    /// A file that is loaded before Xen starts.
    Module,
    /// Memory of the domain with this number.
    Domain(usize),
    /// Memory that several domains see; the number of the domain that owns it, if one does.
    Shared(Option<usize>),
}

/// A range with its use.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) range: Range,
    pub(super) usage: Use,
    pub(super) name: String,
    pub(super) note: String,
}

/// A piece of a bank, and what lies there; nothing where it is free.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    pub(super) range: Range,
    pub(super) regions: Vec<&'a Region>,
}

/// Regions told for one piece: more can only be a mistake, and their names would not be read.
const MOST_IN_A_PIECE: usize = 4;

/// All that has a place.
pub(super) fn regions(plan: &Plan) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut add = |range: Range, usage: Use, name: String, note: String| {
        if range.size_bytes > 0 {
            regions.push(Region {
                range,
                usage,
                name,
                note,
            });
        }
    };
    for reserved in &plan.machine.reserved {
        let name = reserved.name.clone();
        add(reserved.range, Use::Reserved, name, "reserved".into());
    }
    for heap in &plan.xen.static_heap {
        add(*heap, Use::Heap, "Xen's heap".into(), String::new());
    }
    if let Some(window) = plan.boot.window {
        let name = "room for modules".to_owned();
        add(window, Use::Window, name, "U-Boot loads into it".into());
    }
    for module in &plan.boot.modules {
        let Some(at) = module.at else { continue };
        let range = Range {
            at,
            size_bytes: plan.boot.slot_bytes,
        };
        let role = match module.role {
            ModuleRole::Kernel => "kernel",
            ModuleRole::Ramdisk => "ramdisk",
            ModuleRole::DeviceTree => "device tree",
        };
        let name = format!("{role} of {}", module.domain);
        let file = module.path.rsplit('/').next().unwrap_or_default();
        add(range, Use::Module, name, file.to_owned());
    }
    for (index, domain) in plan.domains.iter().enumerate() {
        for range in &domain.static_memory {
            let note = match domain.direct_map {
                true => "direct mapped",
                false => "",
            };
            add(*range, Use::Domain(index), domain.name.clone(), note.into());
        }
    }
    for memory in &plan.shared_memory {
        let Some(at) = memory.at else { continue };
        let range = Range {
            at,
            size_bytes: memory.size_bytes,
        };
        let usage = Use::Shared(owner(plan, memory));
        add(range, usage, memory.id.clone(), users(memory));
    }
    regions.sort_by(|a, b| {
        let key = |r: &Region| (r.range.at, r.range.end(), r.usage);
        (key(a), &a.name).cmp(&(key(b), &b.name))
    });
    regions
}

fn owner(plan: &Plan, memory: &SharedMemory) -> Option<usize> {
    let owner = memory
        .users
        .iter()
        .find(|user| user.role == crate::plan::ShmRole::Owner)?;
    plan.domains.iter().position(|d| d.name == owner.domain)
}

/// Who sees shared memory.
pub(super) fn users(memory: &SharedMemory) -> String {
    let users: Vec<_> = memory
        .users
        .iter()
        .map(|user| match user.writes {
            true => format!("{} writes", user.domain),
            false => user.domain.clone(),
        })
        .collect();
    format!("shared: {}", users.join(", "))
}

/// The bank in pieces, ascending. `regions` are in ascending order.
pub(super) fn pieces<'a>(bank: &Range, regions: &'a [Region]) -> Vec<Piece<'a>> {
    let mut cuts = BTreeSet::from([bank.at, bank.end()]);
    let inside: Vec<_> = regions
        .iter()
        .filter(|region| region.range.overlaps(bank))
        .collect();
    for region in &inside {
        cuts.insert(region.range.at.max(bank.at));
        cuts.insert(region.range.end().min(bank.end()));
    }
    let cuts: Vec<_> = cuts.into_iter().collect();
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut waiting = inside.into_iter().peekable();
    let mut open: Vec<&Region> = Vec::new();
    for pair in cuts.windows(2) {
        let &[at, end] = pair else { continue };
        open.retain(|region| region.range.end() > at);
        while let Some(region) = waiting.next_if(|region| region.range.at <= at) {
            open.push(region);
        }
        let found = told(&open);
        let range = Range {
            at,
            size_bytes: end - at,
        };
        pieces.push(Piece {
            range,
            regions: found,
        });
    }
    pieces
}

/// What is said of a piece: the window is only said where it is empty.
fn told<'a>(open: &[&'a Region]) -> Vec<&'a Region> {
    let nothing_else = open.iter().all(|region| region.usage == Use::Window);
    open.iter()
        .filter(|region| nothing_else || region.usage != Use::Window)
        .take(MOST_IN_A_PIECE)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(at: u64, size_bytes: u64, usage: Use) -> Region {
        Region {
            range: Range { at, size_bytes },
            usage,
            name: format!("{at:x}"),
            note: String::new(),
        }
    }

    #[test]
    fn pieces_cover_the_bank_and_each_byte_has_all_its_users() {
        let bank = Range {
            at: 100,
            size_bytes: 100,
        };
        let regions = [
            region(90, 20, Use::Heap),
            region(120, 40, Use::Domain(0)),
            region(150, 20, Use::Domain(1)),
            region(300, 10, Use::Reserved),
        ];
        let pieces = pieces(&bank, &regions);
        let seen: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.range.at, piece.range.end(), piece.regions.len()))
            .collect();
        assert_eq!(
            seen,
            [
                (100, 110, 1),
                (110, 120, 0),
                (120, 150, 1),
                (150, 160, 2),
                (160, 170, 1),
                (170, 200, 0)
            ]
        );
    }

    #[test]
    fn a_module_hides_the_room_it_was_loaded_into() {
        let bank = Range {
            at: 0,
            size_bytes: 100,
        };
        let regions = [region(0, 50, Use::Window), region(0, 10, Use::Module)];
        let pieces = pieces(&bank, &regions);
        assert_eq!(pieces[0].regions[0].usage, Use::Module);
        assert_eq!(pieces[1].regions[0].usage, Use::Window);
        assert_eq!(pieces[2].regions.len(), 0);
    }
}
