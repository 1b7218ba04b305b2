//! Everything that only exists on the bare machine.

pub(crate) mod console;
pub(crate) mod cpu;

mod events;
mod flood;
mod heartbeat;
mod hypercall;
mod libc;
mod memory;
mod smc;
mod start;
mod tell;
mod touch;
mod vcpus;

use console::report;
use memory::Banks;
use oracle_guest::fdt::Tree;
use oracle_guest::orders::{self, Access, Flood, Order};

/// Where [`start`] goes when the MMU is on: `tree` is what Xen passed in x0, `image` where this program lies.
pub(crate) extern "C" fn main(tree: u64, image: u64) -> ! {
    let size = start::image_size();
    report!(
        "hello image={image:#x}+{size:#x} tree={tree:#x} hz={}",
        cpu::frequency()
    );
    match memory::tree(tree) {
        Some((bytes, tree)) => {
            let own = [(image, size), bytes];
            work(&tree, own);
        }
        None => report!("fault no device tree at {tree:#x}"),
    }
    cpu::rest()
}

/// Reports, then follows the orders. `own` are the ranges that must not be written.
fn work(tree: &Tree<'_>, own: [(u64, u64); 2]) {
    tell::tree(tree);
    let mut banks = Banks::sign(tree, own);
    vcpus::start_all(tree);
    let arguments = tell::arguments(tree);
    let (mut flood, mut after) = (None, 0);
    for order in orders::read(arguments) {
        match order {
            Order::Touch(list) => touch::all(list),
            Order::Heartbeat { beats, period_us } => heartbeat::run(tree, beats, period_us),
            Order::Shared {
                address,
                size,
                access: Access::Write,
            } => memory::fill_shared(address, size),
            Order::Shared {
                address,
                size,
                access: Access::Read,
            } => memory::look_at_shared(address, size),
            Order::Send(port) => events::send(port),
            Order::Wait(port) => events::wait(port),
            Order::Flood(kind) => flood = Some(kind),
            Order::FloodAfter(milliseconds) => after = milliseconds,
            Order::Wrong(word) => report!("unknown {word}"),
        }
    }
    banks.check();
    report!("done");
    let Some(flood) = flood else { return };
    if after > 0
        && let Err(what) = heartbeat::sleep(tree, after)
    {
        report!("flood impossible: {what}");
        return;
    }
    report!("flooding");
    match flood {
        Flood::Hypercalls => flood::hypercalls(),
        Flood::Mmio => flood::mmio(tree),
        Flood::Sgi => flood::interrupts(),
        Flood::Events => flood::events(),
        Flood::Smc(application) => smc::flood(tree, application),
    }
}
