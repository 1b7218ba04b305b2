//! The guest itself. It runs at EL1 without a kernel, wherever Xen loads it; see the library for what it is for.
#![no_std]
#![no_main]

mod bare;

use core::panic::PanicInfo;

use bare::console::report;

/// A panic is a report like any other; silence would look like a domain that never ran.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report!("panic {info}");
    bare::cpu::rest()
}
