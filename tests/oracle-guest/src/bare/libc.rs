//! What compiled code calls without saying so, and nobody else brings along here.

use core::arch::asm;

/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise. Written as instructions, so that it is not compiled into a call of itself.
    unsafe {
        asm!(
            "2: cbz {n}, 3f",
            "ldrb {b:w}, [{f}], #1",
            "strb {b:w}, [{t}], #1",
            "sub {n}, {n}, #1",
            "b 2b",
            "3:",
            n = inout(reg) count => _, f = inout(reg) from => _, t = inout(reg) to => _, b = out(reg) _,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: going upwards, nothing is overwritten before it is read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller's promise; going downwards, nothing is overwritten before it is read.
    unsafe {
        asm!(
            "2: cbz {n}, 3f",
            "sub {n}, {n}, #1",
            "ldrb {b:w}, [{f}, {n}]",
            "strb {b:w}, [{t}, {n}]",
            "b 2b",
            "3:",
            n = inout(reg) count => _, f = in(reg) from, t = in(reg) to, b = out(reg) _,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise; instructions, as above.
    unsafe {
        asm!(
            "2: cbz {n}, 3f",
            "strb {b:w}, [{t}], #1",
            "sub {n}, {n}, #1",
            "b 2b",
            "3:",
            n = inout(reg) count => _, t = inout(reg) to => _, b = in(reg) byte,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller's promise: both have `count` bytes. Volatile, so that it is not compiled into a call of itself.
        let (a, b) = unsafe {
            (
                one.add(index).read_volatile(),
                other.add(index).read_volatile(),
            )
        };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As C's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(one, other, count) }
}

/// Named by the prebuilt core library; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
