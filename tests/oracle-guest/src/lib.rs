//! What the oracle's bare-metal guest and whoever reads its reports share, and all of it that can be tested on a host.
//!
//! Real Xen judges a layout by starting its domains; this guest is in each of them, and tells on Xen's console what the
//! domain really has: memory, CPUs, shared memory, event channels. What it does beyond that its boot arguments say
//! ([`orders`]). It must never be quiet: what it cannot do, it reports.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod fdt;
pub mod frame;
pub mod gaps;
pub mod orders;
