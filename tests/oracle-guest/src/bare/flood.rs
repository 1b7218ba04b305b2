//! A guest that leaves no peace: what a neighbour with a deadline has to live with.

use super::cpu::write_register;
use super::{heartbeat, hypercall, memory};
use oracle_guest::fdt::Tree;

/// Calls Xen.
pub(super) fn hypercalls() -> ! {
    loop {
        hypercall::version();
    }
}

/// Reads a register that Xen emulates, the interrupt distributor's GICD_TYPER; without a distributor it returns.
pub(super) fn mmio(tree: &Tree<'_>) {
    let Some([distributor, _]) = heartbeat::registers(tree) else {
        return;
    };
    loop {
        memory::load_word(distributor + 4);
    }
}

/// Sends interrupts to itself.
pub(super) fn interrupts() -> ! {
    loop {
        write_register!("S3_0_C12_C11_5", 1);
    }
}

/// Notifies ports whether they exist or not.
pub(super) fn events() -> ! {
    loop {
        for port in 0..4096 {
            hypercall::send(port);
        }
    }
}
