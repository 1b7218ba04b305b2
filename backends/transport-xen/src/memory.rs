//! The memory models: how rings and payload of a guest are reached.
//!
//! | model | rings | payload |
//! |---|---|---|
//! | grants | granted pages mapped while the queue runs | one batched grant copy, or above a limit one batched map |
//! | foreign mapping | guest pages mapped while the queue runs | windows of guest memory, mapped on demand, bounded, dropped when Xen says the guest's memory map changed |
//!
//! These are the only modules here that touch guest memory through pointers. Every address comes from the guest.

use std::sync::Arc;

use devices::{Counters, MemoryError, PayloadMemory, QueueConfig};

use crate::xen_side::Platform;

mod foreign;
mod grant;
mod ring;

pub(crate) use foreign::ForeignMemory;
use grant::GrantPayload;
pub use ring::RingMemory;

/// One device's way to its guest's memory.
#[derive(Clone)]
pub(crate) struct DeviceMemory {
    kind: Kind,
    counters: Arc<Counters>,
}

#[derive(Clone)]
enum Kind {
    Grant {
        platform: Arc<dyn Platform>,
        copy_limit: usize,
    },
    Foreign(Arc<ForeignMemory>),
}

impl DeviceMemory {
    /// By grants; payload of more than `copy_limit` bytes is mapped.
    pub(crate) fn by_grants(
        platform: &Arc<dyn Platform>,
        copy_limit: usize,
        counters: &Arc<Counters>,
    ) -> Self {
        DeviceMemory {
            kind: Kind::Grant {
                platform: Arc::clone(platform),
                copy_limit,
            },
            counters: Arc::clone(counters),
        }
    }

    /// By foreign mappings.
    pub(crate) fn by_foreign_mapping(
        foreign: &Arc<ForeignMemory>,
        counters: &Arc<Counters>,
    ) -> Self {
        DeviceMemory {
            kind: Kind::Foreign(Arc::clone(foreign)),
            counters: Arc::clone(counters),
        }
    }

    /// The driver's addresses are not guest physical ones, so it must negotiate ACCESS_PLATFORM.
    pub(crate) fn needs_access_platform(&self) -> bool {
        matches!(self.kind, Kind::Grant { .. })
    }

    /// Whether a ring area can lie there, as far as its address tells.
    pub(crate) fn check_area(&self, addr: u64, len: u64) -> Result<(), MemoryError> {
        match &self.kind {
            Kind::Grant { .. } => grant::check_area(addr, len),
            Kind::Foreign(foreign) => foreign.check_area(addr, len),
        }
    }

    /// Maps a queue's rings and opens its way to payload.
    pub(crate) fn open(
        &self,
        queue: &QueueConfig,
    ) -> Result<(RingMemory, Box<dyn PayloadMemory>), MemoryError> {
        let areas = [
            ring::Area {
                addr: queue.desc_table,
                len: queue.desc_table_len(),
                writable: false,
            },
            ring::Area {
                addr: queue.avail_ring,
                len: queue.avail_ring_len(),
                writable: false,
            },
            ring::Area {
                addr: queue.used_ring,
                len: queue.used_ring_len(),
                writable: true,
            },
        ];
        let mut ring = RingMemory::default();
        let payload: Box<dyn PayloadMemory> = match &self.kind {
            Kind::Grant {
                platform,
                copy_limit,
            } => {
                let grants = platform.grants().map_err(xen_error)?;
                for area in areas {
                    self.counters.ring_maps.inc();
                    grant::map_area(&*grants, area, &mut ring)?;
                }
                let counters = Arc::clone(&self.counters);
                Box::new(GrantPayload::new(grants, *copy_limit, counters))
            }
            Kind::Foreign(foreign) => {
                for area in areas {
                    self.counters.ring_maps.inc();
                    foreign.map_area(area, &mut ring)?;
                }
                Box::new(foreign::ForeignPayload::new(
                    Arc::clone(foreign),
                    Arc::clone(&self.counters),
                ))
            }
        };
        Ok((ring, payload))
    }
}

/// What Xen or the kernel said, as a memory error.
fn xen_error(error: xen::Error) -> MemoryError {
    match error.errno() {
        Some(errno) => MemoryError::Os(std::io::Error::new(
            std::io::Error::from_raw_os_error(errno).kind(),
            error.to_string(),
        )),
        None => MemoryError::Os(std::io::Error::other(error.to_string())),
    }
}
