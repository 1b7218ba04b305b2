//! What a device costs and does, counted.
//!
//! Every device has one [`Counters`], shared by its transport, its memory model and its request handlers. Under
//! emulation counters are how performance is judged; in the field they are how it is observed. They are relaxed
//! atomics: each is exact, but a snapshot is not one instant.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of one device. All count events unless they say bytes; they only grow.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        /// The values of [`Counters`] at (about) one time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Reads every counter.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.get(),)+ }
            }
        }

        impl CountersSnapshot {
            /// Name and value of each counter, in a fixed order: for tables, JSON and metrics.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Requests taken from a queue.
    requests,
    /// Payload bytes the guest received.
    bytes_read,
    /// Payload bytes the guest sent.
    bytes_written,
    /// Requests answered with an error.
    errors,
    /// Requests the file or device behind it failed.
    image_errors,
    /// Requests whose guest memory could not be reached.
    memory_errors,
    /// Flushes the guest asked for.
    flushes,
    /// Batched copies to or from guest memory (with grants: `GRANT_COPY` ioctls).
    copies,
    /// Batched mappings of payload (with grants: `MAP_GRANT_REF` ioctls; rings are not counted here).
    maps,
    /// Batched unmappings of payload.
    unmaps,
    /// Pages mapped for payload.
    mapped_pages,
    /// Mappings of ring areas.
    ring_maps,
    /// Notifications of the driver that reached a queue.
    kicks,
    /// Interrupts raised.
    interrupts,
    /// Register accesses of the guest.
    ioreqs,
    /// Register accesses without meaning: unknown offset, wrong width, not permitted now.
    bad_accesses,
    /// Resets by the driver.
    resets,
    /// Times the device asked for a reset because the driver broke the protocol.
    needs_resets,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; wraps at 2^64.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
