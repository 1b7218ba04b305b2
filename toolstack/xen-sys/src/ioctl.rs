//! Encoding of Linux ioctl numbers (`include/uapi/asm-generic/ioctl.h`).
//!
//! Nearly all of Xen's devices use `_IOC_NONE` even where data goes both ways, so the direction
//! bits say nothing; the size field still counts and differs when a structure differs.

/// `_IOC_NONE`: no direction given.
pub const NONE: u32 = 0;
/// `_IOC_WRITE`: user space writes, the kernel reads.
pub const WRITE: u32 = 1;

/// `_IOC(direction, type, number, size)` of arm64 and x86_64.
///
/// `size` is the size of the argument structure in bytes and must fit 14 bits.
pub const fn ioc(direction: u32, kind: u8, number: u8, size: usize) -> u32 {
    assert!(size < 1 << 14);
    // Both casts widen or were checked; `From` is not const.
    #[allow(clippy::cast_lossless)]
    {
        (direction << 30) | ((size as u32) << 16) | ((kind as u32) << 8) | number as u32
    }
}
