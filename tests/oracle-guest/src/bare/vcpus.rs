//! The domain's other vCPUs: each is started once, and tells that it runs.

use super::console::report;
use super::{cpu, hypercall, start};
use core::sync::atomic::{AtomicU64, Ordering};
use oracle_guest::fdt::Tree;

/// Time for a vCPU to come up, in guest milliseconds.
const PATIENCE_MS: u64 = 500;

/// Where the vCPU being started stores its MPIDR_EL1, whose bit 31 is always set.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Starts all, one after the other. After one that does not come no other is tried: it may come late.
pub(super) fn start_all(tree: &Tree<'_>) {
    let own = cpu::read_register!("mpidr_el1") & 0xff_00ff_ffff;
    let all = tree
        .properties()
        .filter(|property| property.top() == "cpus" && property.name == "reg")
        .filter_map(|property| property.ranges().next());
    let mut up = 1;
    for (target, _) in all.filter(|(target, _)| *target != own) {
        ARRIVED.store(0, Ordering::SeqCst);
        let context = (&raw const ARRIVED).addr() as u64;
        // SAFETY: the entry needs neither stack nor MMU, and writes one aligned word to where the context points.
        let result = unsafe { hypercall::cpu_on(target, start::secondary_entry(), context) };
        if result != 0 {
            report!("cpu {target} refused={result}");
            continue;
        }
        let arrived = || Some(ARRIVED.load(Ordering::SeqCst)).filter(|mpidr| *mpidr != 0);
        if cpu::wait_for(PATIENCE_MS, arrived).is_none() {
            report!("cpu {target} silent");
            break;
        }
        up += 1;
    }
    report!("running {up}");
}
