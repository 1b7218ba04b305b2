//! Raw FFI to libxenlight (libxl), Xen's domain library: one binding per supported Xen release.
//!
//! libxl keeps its source interface stable and its binary interface not: every Xen release has a
//! soname of its own (`libxenlight.so.4.20`) and structures of its own. So each release has a
//! checked-in module here, made by bindgen from that release's headers with an allow-list, and
//! nothing is linked: a module's `Libxenlight` loads one exact soname at run time and holds the
//! functions as pointers. A build needs neither Xen's headers nor libclang.
//!
//! The modules are generated for aarch64 and x86_64 and must come out equal; bindgen's layout
//! assertions in them are checked by the compiler on every target. Regenerate or compare with
//!
//! ```text
//! cargo run -p libxl-sys --features bindgen -- [--check] 4.17=DIR 4.20=DIR
//! ```
//!
//! where `DIR` is the `usr/include` of an unpacked `libxen-dev` of that release.
//!
//! This crate must never add behaviour: what is safe, and what a call means, is the `libxl`
//! crate's subject.

pub mod xentoollog;

macro_rules! release {
    ($(#[$doc:meta])* $module:ident) => {
        $(#[$doc])*
        #[rustfmt::skip]
        #[allow(
            missing_docs,
            non_camel_case_types,
            non_snake_case,
            non_upper_case_globals,
            clippy::all,
            clippy::missing_safety_doc,
            clippy::ptr_as_ptr,
            clippy::undocumented_unsafe_blocks,
            unused_qualifications,
            reason = "generated from C headers, in C's own names"
        )]
        pub mod $module;
    };
}

release!(
    /// Xen 4.17: `libxenlight.so.4.17`, Debian 12's.
    v4_17
);
release!(
    /// Xen 4.20: `libxenlight.so.4.20`, Debian 13's.
    v4_20
);

/// Sonames of the bindings in this crate, newest release first, with the release each stands for
/// as (major, minor).
pub const SONAMES: [(&str, (i32, i32)); 2] = [
    ("libxenlight.so.4.20", (4, 20)),
    ("libxenlight.so.4.17", (4, 17)),
];
