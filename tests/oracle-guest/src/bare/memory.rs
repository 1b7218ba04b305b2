//! Memory as the device tree tells it, tried with reads and writes; shared memory.

use super::console::report;
use super::cpu;
use core::arch::asm;
use oracle_guest::fdt::Tree;

const PAGE: u64 = 4096;
/// Pages tried in each bank, the first and the last among them.
const PROBES: u64 = 17;
const BANKS: usize = 16;
const PLACES: usize = 128;
/// Begins each page of a filled region; with the page's address it tells that the page is where it should be.
const PATTERN: u64 = 0x4f47_5348_4d00_0000;

/// The device tree at this address, and the range it takes.
pub(super) fn tree(address: u64) -> Option<((u64, u64), Tree<'static>)> {
    let start = core::ptr::with_exposed_provenance::<u8>(usize::try_from(address).ok()?);
    // SAFETY: Xen's boot protocol puts a device tree here, and nothing writes to it while this program runs.
    let size = Tree::size(unsafe { core::slice::from_raw_parts(start, 16) })?;
    // SAFETY: its header tells how large it is.
    let bytes = unsafe { core::slice::from_raw_parts(start, size) };
    Some(((address, size as u64), Tree::new(bytes)?))
}

/// Reads a word of the machine.
pub(super) fn load(address: u64) -> u64 {
    // SAFETY: callers name aligned addresses inside memory that the device tree gives to this domain; any value will do.
    unsafe { core::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

/// Writes a word of the machine.
pub(super) fn store(address: u64, value: u64) {
    // SAFETY: as for `load`; callers keep off this program and its device tree.
    unsafe {
        core::ptr::with_exposed_provenance_mut::<u64>(address as usize).write_volatile(value);
    }
}

/// Reads a register of 32 bits. Xen emulates plain loads and stores, and not those that count their address up, which a compiler
/// may choose.
pub(super) fn load_word(address: u64) -> u32 {
    let value: u32;
    // SAFETY: callers name aligned registers of devices in the device tree; reading them changes nothing in memory.
    unsafe {
        asm!("ldr {value:w}, [{address}]", address = in(reg) address, value = out(reg) value, options(nostack));
    }
    value
}

/// Writes a register of 32 bits; see [`load_word`].
pub(super) fn store_word(address: u64, value: u32) {
    // SAFETY: callers name aligned registers of devices in the device tree, which change nothing in memory.
    unsafe {
        asm!("str {value:w}, [{address}]", address = in(reg) address, value = in(reg) value, options(nostack));
    }
}

/// Pages of this domain's memory, each signed for as long as this program works: whatever else writes there is noticed.
pub(super) struct Banks {
    places: [(u64, u64, u64); PLACES],
    count: usize,
}

impl Banks {
    /// Signs pages of every bank, and reports what could be read back.
    pub(super) fn sign(tree: &Tree<'_>, own: [(u64, u64); 2]) -> Self {
        let mut banks = Self {
            places: [(0, 0, 0); PLACES],
            count: 0,
        };
        // Xen lists shared memory among the banks as well, and reserves it: others may write there.
        let reserved = |start| {
            tree.properties().any(|property| {
                property.top() == "reserved-memory"
                    && property.name == "reg"
                    && property.ranges().any(|(other, _)| other == start)
            })
        };
        let memory = tree.properties().filter(|property| {
            property.depth() == 1 && property.name == "reg" && property.node().starts_with("memory")
        });
        for (start, size) in memory.flat_map(|memory| memory.ranges()).take(BANKS) {
            if !reserved(start) {
                banks.bank(start, size, own);
            }
        }
        banks
    }

    fn bank(&mut self, start: u64, size: u64, own: [(u64, u64); 2]) {
        let (mut tried, mut bad) = (0, 0);
        let mut before = None;
        for probe in 0..PROBES {
            let last = size.saturating_sub(PAGE);
            let page = start + last / (PROBES - 1) * probe / PAGE * PAGE;
            let page = if probe + 1 == PROBES {
                start + last
            } else {
                page
            };
            let taken =
                |(other, length): &(u64, u64)| page < other + length && *other < page + PAGE;
            let Some(place) = self.places.get_mut(self.count) else {
                break;
            };
            // A small bank has fewer pages than probes.
            if own.iter().any(taken) || before.replace(page) == Some(page) {
                continue;
            }
            let signature = cpu::now().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ page;
            *place = (page, load(page), signature);
            self.count += 1;
            store(page, signature);
            tried += 1;
            bad += u32::from(load(page) != signature);
        }
        report!("bank {start:#x}+{size:#x} tried={tried} bad={bad}");
    }

    /// Tells whether all signatures are still there, and puts back what was there before.
    pub(super) fn check(&mut self) {
        let mut lost = 0;
        let places = self.places.get(..self.count).unwrap_or_default();
        for (page, before, signature) in places {
            if load(*page) != *signature {
                if lost == 0 {
                    report!("lost {page:#x} is={:#x}", load(*page));
                }
                lost += 1;
            }
            store(*page, *before);
        }
        report!("kept {} lost={lost}", self.count - lost);
    }
}

/// Fills a shared region: each page begins with a pattern of its offset, then a counter that goes on for half a second.
pub(super) fn fill_shared(address: u64, size: u64) {
    let mut counter = 0;
    cpu::wait_for::<()>(500, || {
        counter += 1;
        for offset in (0..size).step_by(PAGE as usize) {
            store(address + offset, PATTERN ^ offset);
            store(address + offset + 8, counter);
        }
        None
    });
    report!("shm {address:#x}+{size:#x} written={counter}");
}

/// Tells what a shared region holds: pages with the pattern, and whether their counters move, for at most a second.
pub(super) fn look_at_shared(address: u64, size: u64) {
    let pages = |wanted: u64| {
        let offsets = (0..size).step_by(PAGE as usize);
        offsets
            .filter(|offset| load(address + offset) == wanted ^ offset)
            .count()
    };
    let all = (size / PAGE) as usize;
    let filled = cpu::wait_for(1000, || (pages(PATTERN) == all).then_some(all));
    let first = load(address + 8);
    let moved = cpu::wait_for(1000, || (load(address + 8) != first).then_some(()));
    report!(
        "shm {address:#x}+{size:#x} pages={} of={all} moved={}",
        filled.unwrap_or_else(|| pages(PATTERN)),
        moved.is_some()
    );
}
