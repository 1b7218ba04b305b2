//! What a guest costs: counts that do not depend on how fast the machine is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a guest.
        #[derive(Debug)]
        pub(crate) struct Counters {
            xen: Arc<xen::Counters>,
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            /// From zero; Xen's own count along.
            pub(crate) fn new(xen: Arc<xen::Counters>) -> Self {
                Self { xen, $($name: AtomicU64::new(0),)* }
            }

            /// Their values at this moment, each by itself. `hypercalls` are two for each SMC, to read and to write registers;
            /// `maps` is how often memory of the guest was mapped.
            pub(crate) fn snapshot(&self) -> tee_report::Counters {
                let xen = self.xen.snapshot();
                [
                    ("hypercalls", xen.hypercalls),
                    ("maps", xen.foreign_maps),
                    ("mapped_pages", xen.foreign_pages),
                    $((stringify!($name), self.$name.load(Ordering::Relaxed)),)*
                ]
                .map(|(name, value)| (name.to_owned(), value))
                .into()
            }
        }
    };
}

counters! {
    /// SMCs.
    smcs,
    /// Messages among them.
    messages,
    /// Calls of the secure world on the guest's behalf.
    calls,
    /// Times that the guest was asked to sleep until a call has ended.
    sleeps,
    /// Copies between the guest's memory and the secure world's.
    copies,
    /// Bytes in them.
    copied_bytes,
    /// Refusals for want of a right.
    denied,
    /// The longest message, in microseconds from when it was read until its answer was known.
    longest_call_us,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// So many more.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// At least this much.
pub(crate) fn raise(counter: &AtomicU64, to: Duration) {
    let microseconds = u64::try_from(to.as_micros()).unwrap_or(u64::MAX);
    counter.fetch_max(microseconds, Ordering::Relaxed);
}
