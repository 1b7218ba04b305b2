//! The few instructions that compiled code has no words for.

use core::arch::asm;

/// Reads a system register.
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading this register has no effect on memory or on this program's state.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack));
        }
        value
    }};
}

/// Writes a system register, and waits until it holds.
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the registers this is used with control timer and interrupts, which are all masked for this program.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack));
        }
    }};
}

pub(super) use {read_register, write_register};

/// Sleeps until something happens, or for no time at all.
pub(super) fn wait_for_interrupt() {
    // SAFETY: wfi only waits.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Does nothing for ever.
pub(crate) fn rest() -> ! {
    loop {
        wait_for_interrupt();
    }
}

/// Ticks of guest time.
pub(super) fn now() -> u64 {
    // SAFETY: isb only orders: without it the counter may be read early.
    unsafe { asm!("isb", options(nostack)) };
    read_register!("cntvct_el0")
}

/// Ticks in a second.
pub(super) fn frequency() -> u64 {
    read_register!("cntfrq_el0")
}

/// Calls `found` until it gives something, for this long at most.
pub(super) fn wait_for<T>(milliseconds: u64, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + milliseconds * frequency() / 1000;
    loop {
        if let Some(value) = found() {
            return Some(value);
        }
        if now() > end {
            return None;
        }
        core::hint::spin_loop();
    }
}
