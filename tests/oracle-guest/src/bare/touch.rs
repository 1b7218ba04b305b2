//! Accesses that may fault.

use super::console::report;
use core::arch::asm;
use oracle_guest::orders::{Access, touches};

/// What stands behind a reported write.
const WRITTEN: u64 = 0x0badcafe;

/// Makes all accesses of a list, and reports each.
pub(super) fn all(list: &str) {
    for (address, access) in touches(list).flatten() {
        let (word, value, fault, far) = match access {
            Access::Read => {
                let (value, fault, far) = read(address);
                ("r", value, fault, far)
            }
            Access::Write => {
                let (fault, far) = write(address);
                ("w", WRITTEN, fault, far)
            }
        };
        if fault == 0 {
            report!("touch {address:#x} {word} ok value={value:#x}");
        } else {
            let (class, status) = (fault >> 26 & 0x3f, fault & 0x3f);
            report!(
                "touch {address:#x} {word} fault class={class:#x} status={status:#x} far={far:#x}"
            );
        }
    }
}

fn read(address: u64) -> (u64, u64, u64) {
    let (value, fault, far);
    // SAFETY: a fault is caught by the vectors, which know this instruction; a value read is only shown.
    unsafe {
        asm!("bl touch_read", inout("x0") address => value, out("x1") fault, out("x2") far,
             out("x9") _, out("x10") _, out("lr") _, options(nostack));
    }
    (value, fault, far)
}

fn write(address: u64) -> (u64, u64) {
    let (fault, far);
    // SAFETY: as for `read`; whoever gives the order chose an address that this program does not use.
    unsafe {
        asm!("bl touch_write", inout("x0") address => _, out("x1") fault, out("x2") far, in("x3") WRITTEN,
             out("x9") _, out("x10") _, out("lr") _, options(nostack));
    }
    (fault, far)
}
