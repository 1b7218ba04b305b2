//! One split virtqueue, from the device's side.
//!
//! virtio-queue keeps the ring's indices and orders its accesses; what a chain is comes from [`crate::chain`]. Chains are
//! taken in batches, so that their indirect tables are fetched by one operation. Bounded: a batch holds at most
//! [`MAX_BATCH`] chains, whatever the driver put into the ring.

use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use crate::chain::{Chain, ChainError, ChainLimits, TablePending, Walk, walk};
use crate::device::Used;
use crate::inflight::{Deadly, InFlight, Unfinished};
use crate::memory::{CopyIn, MemoryError, PayloadMemory};
use crate::refusal::refused;

/// Most chains taken at once.
pub const MAX_BATCH: usize = 32;

/// A batch is full when it moves this many bytes: the driver is not to wait for all of many large requests. Those with an
/// indirect table do not count, since their length is not known in time.
const FULL: u64 = 256 << 10;

/// A queue as the driver configured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Largest size offered; a power of two.
    pub max_size: u16,
    /// Size chosen by the driver; a power of two up to `max_size`.
    pub size: u16,
    /// Address of the descriptor table (16 × size bytes).
    pub desc_table: u64,
    /// Address of the available ring ("driver area", 6 + 2 × size bytes).
    pub avail_ring: u64,
    /// Address of the used ring ("device area", 6 + 8 × size bytes).
    pub used_ring: u64,
    /// VIRTIO_F_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// VIRTIO_F_INDIRECT_DESC was negotiated.
    pub indirect: bool,
}

impl QueueConfig {
    /// Bytes of the descriptor table.
    pub fn desc_table_len(&self) -> u64 {
        u64::from(self.size).saturating_mul(16)
    }

    /// Bytes of the available ring, `used_event` included.
    pub fn avail_ring_len(&self) -> u64 {
        u64::from(self.size).saturating_mul(2).saturating_add(6)
    }

    /// Bytes of the used ring, `avail_event` included.
    pub fn used_ring_len(&self) -> u64 {
        u64::from(self.size).saturating_mul(8).saturating_add(6)
    }
}

/// Why a queue cannot go on. The device needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Size or address the specification forbids.
    #[error("the queue's size or an address of it is invalid")]
    Config,
    /// The ring's memory or indices are wrong.
    #[error("the ring is broken: {0}")]
    Ring(String),
    /// A chain is malformed.
    #[error("a descriptor chain is malformed: {0}")]
    Chain(#[from] ChainError),
    /// An indirect table cannot be reached.
    #[error("an indirect table cannot be read: {0}")]
    Table(MemoryError),
    /// A request was made available again before it was used, or its head does not exist.
    #[error("descriptor {0} was made available while it is in flight, or does not exist")]
    InFlight(u16),
    /// The requests a predecessor left are not tried again.
    #[error(transparent)]
    Deadly(#[from] Deadly),
}

impl From<virtio_queue::Error> for QueueError {
    fn from(error: virtio_queue::Error) -> Self {
        refused(
            "queue: indices or memory of the ring",
            QueueError::Ring(error.to_string()),
        )
    }
}

/// A queue that is in use.
#[derive(Debug)]
pub struct DeviceQueue {
    queue: Queue,
    limits: ChainLimits,
    in_flight: InFlight,
    /// Requests of a predecessor, to be redone before new ones are taken; the oldest last.
    redo: Vec<u16>,
    tables: Vec<u8>,
    pending: Vec<Taken>,
}

/// A chain on its way out of the ring, in ring order.
#[derive(Debug)]
enum Taken {
    Whole(Chain),
    Table(TablePending),
}

impl DeviceQueue {
    /// A queue at its beginning, whose record is cleared. Fails when the configuration is not one the specification
    /// allows.
    pub fn new(config: &QueueConfig, mut in_flight: InFlight) -> Result<Self, QueueError> {
        in_flight.clear();
        Self::with(config, in_flight)
    }

    /// A queue that another process has served: it goes on where that one was stopped, and redoes what it left in
    /// flight. `ring` is read for the used index.
    pub fn resume<M: GuestMemory>(
        config: &QueueConfig,
        in_flight: InFlight,
        ring: &M,
    ) -> Result<Self, QueueError> {
        let mut resumed = Self::with(config, in_flight)?;
        let ring_used = resumed.queue.used_idx(ring, Ordering::Acquire)?.0;
        let Unfinished { used, mut heads } = resumed.in_flight.take_over(ring_used)?;
        // At most as many as the queue has entries.
        let taken = u16::try_from(heads.len()).map_err(|_| QueueError::Config)?;
        resumed.queue.set_next_used(used);
        resumed.queue.set_next_avail(used.wrapping_add(taken));
        heads.reverse();
        resumed.redo = heads;
        Ok(resumed)
    }

    /// A queue with nothing in flight that somebody else has served up to these indices, and whose record does not
    /// outlive this process.
    pub fn at(config: &QueueConfig, next_avail: u16, next_used: u16) -> Result<Self, QueueError> {
        let mut started = Self::with(config, InFlight::private(config.size))?;
        started.queue.set_next_avail(next_avail);
        started.queue.set_next_used(next_used);
        Ok(started)
    }

    fn with(config: &QueueConfig, in_flight: InFlight) -> Result<Self, QueueError> {
        let mut queue = Queue::new(config.max_size).map_err(|_| QueueError::Config)?;
        queue
            .try_set_size(config.size)
            .map_err(|_| QueueError::Config)?;
        queue
            .try_set_desc_table_address(GuestAddress(config.desc_table))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(config.avail_ring)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(config.used_ring)))
            .map_err(|_| QueueError::Config)?;
        queue.set_event_idx(config.event_idx);
        queue.set_ready(true);
        // A driver whose ring turned out smaller than offered may still fill indirect tables as if it had not.
        let limits = ChainLimits {
            queue_size: config.size,
            max_segments: config.max_size,
            max_bytes: u32::MAX,
            indirect: config.indirect,
        };
        Ok(DeviceQueue {
            queue,
            limits,
            in_flight,
            redo: Vec::new(),
            tables: Vec::new(),
            pending: Vec::new(),
        })
    }

    /// Index of the next entry of the available ring to be taken.
    pub fn next_avail(&self) -> u16 {
        self.queue.next_avail()
    }

    /// Index of the next entry of the used ring to be filled.
    pub fn next_used(&self) -> u16 {
        self.queue.next_used()
    }

    /// Takes up to [`MAX_BATCH`] chains into `batch`. Chains that came before a malformed one are still delivered;
    /// the error is returned then too, and the queue must not be asked again.
    pub fn take<M: GuestMemory>(
        &mut self,
        ring: &M,
        memory: &mut dyn PayloadMemory,
        batch: &mut Vec<Chain>,
    ) -> Result<(), QueueError> {
        let table = GuestAddress(self.queue.desc_table());
        let mut tables_len = 0_usize;
        let mut outcome = Ok(());
        self.pending.clear();
        let oldest = self.redo.len().saturating_sub(MAX_BATCH);
        let redone: Vec<u16> = self.redo.drain(oldest..).rev().collect();
        let room = MAX_BATCH.saturating_sub(redone.len());
        let in_flight = &mut self.in_flight;
        let new = self.queue.iter(ring)?.take(room).map(|found| {
            let head = found.head_index();
            if in_flight.take(head) {
                Ok(head)
            } else {
                Err(refused(
                    "chain: a head that is in flight",
                    QueueError::InFlight(head),
                ))
            }
        });
        let mut bytes = 0_u64;
        // Those to be redone are taken off their list, so none of them may be left.
        let must = redone.len();
        let mut heads = redone.into_iter().map(Ok).chain(new);
        while (self.pending.len() < must || bytes < FULL)
            && let Some(head) = heads.next()
        {
            let walked = head.and_then(|head| Ok(walk(ring, table, head, &self.limits)?));
            match walked {
                Ok(Walk::Whole(chain)) => {
                    bytes = bytes.saturating_add(chain.bytes());
                    self.pending.push(Taken::Whole(chain));
                }
                Ok(Walk::Table(pending)) => {
                    tables_len = tables_len.saturating_add(pending.table().len as usize);
                    self.pending.push(Taken::Table(pending));
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let fetched = self.fetch_tables(memory, tables_len, batch);
        // The earlier chain's error is the one that ends the queue.
        fetched.and(outcome)
    }

    /// Fetches all indirect tables by one operation and completes their chains.
    fn fetch_tables(
        &mut self,
        memory: &mut dyn PayloadMemory,
        tables_len: usize,
        batch: &mut Vec<Chain>,
    ) -> Result<(), QueueError> {
        if tables_len > 0 {
            self.tables.resize(tables_len, 0);
        }
        let places: Vec<_> = self
            .pending
            .iter()
            .filter_map(|taken| match taken {
                Taken::Table(pending) => Some([pending.table()]),
                Taken::Whole(_) => None,
            })
            .collect();
        let mut rest = self.tables.as_mut_slice();
        let mut jobs = Vec::with_capacity(places.len());
        for place in &places {
            let len = total(place);
            let (now, later) = rest.split_at_mut_checked(len).unwrap_or_default();
            jobs.push(CopyIn::new(place, now));
            rest = later;
        }
        if !jobs.is_empty() {
            memory.copy_in(&mut jobs);
        }
        let mut jobs = jobs.into_iter();
        for taken in self.pending.drain(..) {
            let chain = match taken {
                Taken::Whole(chain) => chain,
                Taken::Table(pending) => {
                    let job = jobs.next().ok_or(QueueError::Config)?;
                    job.result.map_err(|error| {
                        refused(
                            "queue: an indirect table out of reach",
                            QueueError::Table(error),
                        )
                    })?;
                    pending.finish(job.buffer)?
                }
            };
            batch.push(chain);
        }
        Ok(())
    }

    /// Puts finished requests into the used ring. All their guest memory is released already.
    pub fn publish<M: GuestMemory>(
        &mut self,
        ring: &M,
        used: impl Iterator<Item = Used>,
    ) -> Result<(), QueueError> {
        for Used { head, written } in used {
            let queue = &mut self.queue;
            self.in_flight
                .publish(head, || queue.add_used(ring, head, written))?;
        }
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was published since the last call.
    pub fn wants_interrupt<M: GuestMemory>(&mut self, ring: &M) -> Result<bool, QueueError> {
        // The fence that orders this after the used index is in here.
        let wanted = self.queue.needs_notification(ring)?;
        if self.queue.event_idx_enabled() {
            return Ok(wanted);
        }
        // virtio-queue does not look at the flag that drivers without EVENT_IDX use (§2.7.7).
        let flags: u16 = ring
            .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
            .map_err(|error| QueueError::Ring(error.to_string()))?;
        Ok(u16::from_le(flags) & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0)
    }

    /// Asks the driver not to notify while the queue is being worked on.
    pub fn suppress_kicks<M: GuestMemory>(&mut self, ring: &M) -> Result<(), QueueError> {
        Ok(self.queue.disable_notification(ring)?)
    }

    /// Asks for one notification when `count` requests wait, and for none before that; false if the driver has not
    /// negotiated EVENT_IDX and cannot be asked for this, or if as many wait already.
    pub fn allow_kick_after<M: GuestMemory>(
        &mut self,
        ring: &M,
        count: u16,
    ) -> Result<bool, QueueError> {
        if !self.queue.event_idx_enabled() {
            return Ok(false);
        }
        // The driver notifies when it adds the entry with this index (§2.7.10).
        let event = self.queue.next_avail().wrapping_add(count).wrapping_sub(1);
        let place = u64::from(self.queue.size())
            .checked_mul(8)
            .and_then(|elements| elements.checked_add(4))
            .and_then(|offset| self.queue.used_ring().checked_add(offset))
            .ok_or(QueueError::Config)?;
        ring.store(event.to_le(), GuestAddress(place), Ordering::Relaxed)
            .map_err(|error| QueueError::Ring(error.to_string()))?;
        fence(Ordering::SeqCst);
        Ok(self.waiting(ring)? < count)
    }

    /// Requests in the available ring that were not taken yet.
    pub fn waiting<M: GuestMemory>(&self, ring: &M) -> Result<u16, QueueError> {
        let avail = self.queue.avail_idx(ring, Ordering::Acquire)?.0;
        Ok(avail.wrapping_sub(self.queue.next_avail()))
    }

    /// Asks for notifications again. True if something came in meanwhile: look again before sleeping.
    pub fn allow_kicks<M: GuestMemory>(&mut self, ring: &M) -> Result<bool, QueueError> {
        Ok(self.queue.enable_notification(ring)?)
    }
}

fn total(place: &[crate::chain::Segment; 1]) -> usize {
    let [segment] = place;
    segment.len as usize
}

#[cfg(test)]
mod tests;
