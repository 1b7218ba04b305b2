//! Counts of the calls a handle has made, so that a backend can tell what a request costs.
//!
//! Under emulation, time says little; the number of ioctls, mapped pages and notifications per
//! request does not depend on the host. All counts are relaxed: they order nothing.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters shared by any number of handles.
        ///
        /// Give one `Arc<Counters>` to all handles of a device to count what the device costs.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The values of [`Counters`] at one moment (each field by itself).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Reads all counters.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl CountersSnapshot {
            /// What has been counted since `earlier`.
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }

            /// All counters with their names, for tables and JSON.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// `GRANT_COPY` ioctls.
    grant_copies,
    /// Segments in them.
    grant_copy_segments,
    /// Batches of grants mapped (`MAP_GRANT_REF` and `mmap`).
    maps,
    /// Granted pages in them.
    mapped_pages,
    /// Batches unmapped (`munmap` and `UNMAP_GRANT_REF`).
    unmaps,
    /// Device-model operations.
    dm_ops,
    /// Events sent.
    notifies,
    /// Reads of the event channel device that returned at least one port.
    event_reads,
    /// Writes to the event channel device that unmask ports.
    unmasks,
    /// Mappings of foreign memory or resources.
    foreign_maps,
    /// Pages in them.
    foreign_pages,
    /// Raw hypercalls.
    hypercalls,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_tells_what_happened_in_between() {
        let counters = Counters::default();
        count(&counters.maps, 1);
        count(&counters.mapped_pages, 16);
        let before = counters.snapshot();
        count(&counters.maps, 1);
        count(&counters.mapped_pages, 3);
        let delta = counters.snapshot().since(&before);
        assert_eq!((delta.maps, delta.mapped_pages, delta.unmaps), (1, 3, 0));
        assert!(delta.iter().any(|item| item == ("mapped_pages", 3)));
    }
}
