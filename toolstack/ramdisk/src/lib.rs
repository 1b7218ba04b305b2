//! Initial file systems of domains.
//!
//! [`cpio`] writes the archives that Linux unpacks at boot; [`driver`] makes the one that turns a kernel into a driver
//! domain, of a single program. Nothing here looks for files or keeps any: bytes go in, bytes come out, and the same bytes give
//! the same archive.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod cpio;
pub mod driver;
mod elf;

pub use elf::Unfit;
