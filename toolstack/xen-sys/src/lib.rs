//! Raw Xen ABI, as seen from Linux user space: ioctl and hypercall numbers, structures, constants.
//!
//! This crate exists so that every number of the Xen interface stands in one place, each with the
//! header it was taken from and a compile-time check of its layout. It contains no system call, no
//! C library and no policy; the `xen` crate makes safe handles of it. Only interfaces that Xen and
//! Linux keep stable belong here: `domctl` and `sysctl` change between releases and do not, but for
//! the few operations in [`domctl`] that have not changed and for which there is no other way.
//!
//! Sources: Linux `include/uapi/xen/*.h` (devices below `/dev/xen`) and Xen `xen/include/public`
//! (hypercalls and shared pages). Layouts are those of 64-bit arm64 and x86_64, which agree in
//! every structure here.
#![no_std]

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
compile_error!("xen-sys knows the Xen ABI of aarch64 and x86_64 only");

/// Checks size, alignment and field offsets of a structure while it is compiled.
macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal $(, $($field:ident).+ @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            assert!(core::mem::align_of::<$type>() == $align);
            $(assert!(core::mem::offset_of!($type, $($field).+) == $offset);)*
        };
    };
}

/// Checks an ioctl number against the value printed by a C program built from the kernel headers.
macro_rules! number {
    ($($name:ident = $value:literal),* $(,)?) => {
        const _: () = { $(assert!($name == $value);)* };
    };
}

pub mod dm_op;
pub mod domain;
pub mod domctl;
pub mod evtchn;
pub mod flask;
pub mod gntalloc;
pub mod gntdev;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod ioctl;
pub mod ioreq;
pub mod memory;
pub mod privcmd;
pub mod version;
pub mod vm_event;
