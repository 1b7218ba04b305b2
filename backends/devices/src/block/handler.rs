//! A block queue's requests, handled in batches and answered in whatever order their I/O ends.
//!
//! A batch costs one copy for all headers and small written data, then I/O in the background ([`super::engine`]), then
//! one copy for all small read data and statuses of whatever has ended. Data too large to copy is mapped while its
//! request is in flight and unmapped before the request completes. Direct I/O never touches a mapping the kernel could
//! keep pinned: it goes through private buffers.
//!
//! A request goes through these steps; those in the same step share copies:
//! waiting (for private memory) → header fetched → `begin` → I/O, piece by piece if large → (sync) → `answer`.
//!
//! Bounded: private memory and mapped bytes by a budget per disk, requests by the queue's size.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::config::QUEUE_SIZE;
use super::device::Shared;
use super::engine::{Engine, Job, Operation, Payload};
use super::request::{Disk, HEADER_LEN, RANGES_LEN, Shape, ShapeError};
use crate::buffer::{ALIGNMENT, Buffers};
use crate::chain::{Chain, Segments, slice_segments};
use crate::device::{Completions, QueueHandler};
use crate::memory::{CopyIn, PayloadMemory};

mod answer;
mod pieces;
mod step;
mod work;

use work::Work;

/// Private memory for the payload of one disk's requests, in bytes; its queues share it equally. This and
/// [`MAPPED`] keep a process with one disk below 6 MiB.
const PRIVATE: usize = 1 << 20;
/// Most bytes of guest memory one disk has mapped for requests in flight; its queues share it equally.
const MAPPED: usize = 2 << 20;
/// The least a queue may have of it, in bytes.
const MAPPED_PER_QUEUE: usize = 256 << 10;
/// Most bytes moved through a private buffer at a time.
const PIECE: usize = 256 << 10;

/// Whom an engine's job is for.
enum Owner {
    Request(Box<Work>),
    /// All requests in [`Syncs::running`].
    Sync,
}

/// Requests that end when the image is durable. One sync serves many.
#[derive(Default)]
struct Syncs {
    /// Those the running sync is for; none runs if empty.
    running: Vec<Work>,
    /// Those that came after it began.
    next: Vec<Work>,
}

/// Handles one queue.
pub(super) struct BlockQueue {
    shared: Arc<Shared>,
    disk: Disk,
    engine: Engine<Owner>,
    buffers: Buffers,
    /// Most bytes of one buffer.
    piece: usize,
    /// Most bytes mapped. A request that is larger goes through private memory, piece by piece.
    mapped_limit: usize,
    /// Bytes of requests in flight whose data is mapped, or would be if it could.
    mapped: usize,
    /// Not looked at yet.
    waiting: VecDeque<Chain>,
    /// Begun, and waiting for a private buffer.
    stalled: VecDeque<Work>,
    syncs: Syncs,
    /// Ended, and not answered yet.
    ended: Vec<Work>,
    /// Requests begun and not answered yet.
    begun: usize,
}

impl BlockQueue {
    pub(super) fn new(shared: Arc<Shared>, disk: Disk) -> Self {
        let queues = usize::from(shared.config.queues.get()).max(1);
        let private = PRIVATE.checked_div(queues).unwrap_or(PRIVATE);
        BlockQueue {
            engine: Engine::new(Arc::clone(&shared)),
            shared,
            disk,
            buffers: Buffers::new(private),
            piece: PIECE.min(private & !(ALIGNMENT - 1)),
            mapped_limit: MAPPED
                .checked_div(queues)
                .unwrap_or(MAPPED)
                .max(MAPPED_PER_QUEUE),
            mapped: 0,
            waiting: VecDeque::new(),
            stalled: VecDeque::new(),
            syncs: Syncs::default(),
            ended: Vec::new(),
            begun: 0,
        }
    }

    /// Most bytes of a request's data in one direction that are copied.
    fn copy_limit(&self, memory: &dyn PayloadMemory) -> usize {
        match self.shared.is_direct() {
            // There is no other way than copying.
            true => self.piece,
            false => memory.copy_limit().min(self.piece),
        }
    }

    /// Whether data of this many bytes is mapped: neither too little to pay nor too much at once. Never for direct I/O,
    /// during which the kernel could keep the pages pinned.
    fn maps(&self, memory: &dyn PayloadMemory, len: usize) -> bool {
        !self.shared.is_direct() && len > memory.copy_limit() && len <= self.mapped_limit
    }

    /// Does all that can be done now, and answers it.
    fn run(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        loop {
            while self.step(memory, done) {}
            if self.ended.is_empty() {
                return;
            }
            // That frees private memory: there may be more to do.
            self.answer(memory, done);
        }
    }

    /// Takes chains from the front of those waiting as far as private memory goes, and fetches their headers.
    fn admit(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) -> Vec<Work> {
        let limit = self.copy_limit(memory);
        let mut works = Vec::new();
        // Those stalled came first.
        while self.stalled.is_empty()
            && let Some(chain) = self.waiting.front()
        {
            let shape = Shape::of(chain);
            let need = shape.map_or(0, |shape| copied_len(shape, limit));
            let len = shape.map_or(0, |shape| shape.data_out.max(shape.data_in) as usize);
            let large = if self.maps(memory, len) { len } else { 0 };
            let together = self.mapped.saturating_add(large);
            if together > self.mapped_limit {
                break;
            }
            let buffer = match need {
                0 => None,
                need => match self.buffers.take(need) {
                    Some(buffer) => Some(buffer),
                    None => break,
                },
            };
            let Some(chain) = self.waiting.pop_front() else {
                break;
            };
            self.shared.counters.requests.inc();
            if let Err(error @ ShapeError::NoStatus) = shape {
                done.cannot_answer(chain, error.to_string());
                continue;
            }
            self.mapped = together;
            self.begun = self.begun.saturating_add(1);
            let failed_syncs = self.shared.failed_syncs.load(Ordering::Acquire);
            works.push(Work::new(chain, shape.ok(), buffer, large, failed_syncs));
        }
        fetch(&mut works, limit, memory);
        works
    }

    /// Submits the I/O of a request.
    fn submit_io(&mut self, work: Work, operation: Operation, payload: Payload) {
        self.engine.submit(Job {
            operation,
            payload,
            owner: Owner::Request(Box::new(work)),
        });
    }
}

impl QueueHandler for BlockQueue {
    fn submit(
        &mut self,
        batch: &mut Vec<Chain>,
        memory: &mut dyn PayloadMemory,
        done: &mut Completions,
    ) {
        if batch.is_empty() {
            return;
        }
        // Each chain has a head of its own, so more than the queue's size means that a hostile driver uses one twice.
        let outstanding = self.begun.saturating_add(self.waiting.len());
        let room = usize::from(QUEUE_SIZE).saturating_sub(outstanding);
        for chain in batch.drain(room.min(batch.len())..) {
            done.cannot_answer(chain, "more disk requests at once than the queue can hold");
        }
        self.waiting.extend(batch.drain(..));
        self.run(memory, done);
        self.engine.settle();
    }

    fn may_wait(&self, batch: &[Chain]) -> bool {
        // Anything else than a read has data after its header, or nothing but a status to receive.
        let reads = batch
            .iter()
            .all(|chain| chain.readable_len() == HEADER_LEN && chain.writable_len() > 1);
        self.engine.may_wait(reads)
    }

    fn is_waiting(&self) -> bool {
        self.engine.in_flight() > 0
    }

    fn completion_fd(&self) -> Option<BorrowedFd<'_>> {
        self.engine.completion_fd()
    }

    fn reap(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        self.engine.acknowledge();
        self.run(memory, done);
    }

    fn drain(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        self.run(memory, done);
        while self.engine.in_flight() > 0 {
            self.engine.wait();
            self.run(memory, done);
        }
    }
}

/// Private memory a request's payload needs, in bytes: that of each direction which is small enough to copy.
fn copied_len(shape: Shape, limit: usize) -> usize {
    let small = |len: u32, limit: usize| {
        let len = len as usize;
        if len <= limit { len } else { 0 }
    };
    small(shape.data_out, limit.max(RANGES_LEN)).max(small(shape.data_in, limit))
}

/// Copies all headers, and the data behind them where that is small, in one operation.
fn fetch(works: &mut [Work], limit: usize, memory: &mut dyn PayloadMemory) {
    let places: Vec<Segments> = works
        .iter()
        .map(|work| match work.shape {
            Some(Shape { data_out, .. }) if data_out as usize <= limit.max(RANGES_LEN) => {
                slice_segments(
                    work.chain.readable(),
                    u64::from(HEADER_LEN),
                    u64::from(data_out),
                )
            }
            _ => Segments::new(),
        })
        .collect();
    let mut jobs = Vec::with_capacity(works.len().saturating_mul(2));
    let mut owners = Vec::with_capacity(jobs.capacity());
    for (index, (work, place)) in works.iter_mut().zip(&places).enumerate() {
        let Work {
            chain,
            shape,
            header,
            buffer,
            readable,
            ..
        } = work;
        let Some(shape) = shape else { continue };
        *readable = true;
        jobs.push(CopyIn::new(chain.readable(), header));
        owners.push(index);
        if !place.is_empty()
            && let Some(buffer) = buffer
            && let Ok(data) = buffer.first_mut(shape.data_out as usize)
        {
            jobs.push(CopyIn::new(place, data));
            owners.push(index);
        }
    }
    if jobs.is_empty() {
        return;
    }
    memory.copy_in(&mut jobs);
    let results: Vec<bool> = jobs.into_iter().map(|job| job.result.is_ok()).collect();
    for (owner, _) in owners.into_iter().zip(results).filter(|(_, fine)| !fine) {
        if let Some(work) = works.get_mut(owner) {
            work.readable = false;
        }
    }
}
