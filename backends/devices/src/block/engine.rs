//! Where a queue's image I/O runs: at once on the queue's thread, on a few threads, or in the kernel's io_uring.
//!
//! A [`Job`] owns all memory its I/O touches, goes into the engine whole, and comes out whole in a [`Finished`]: nobody
//! can free or reuse what the kernel still writes to. The engine never sees a chain or guest addresses.
//!
//! **Which engine.** Microseconds per request, measured on ext4 on two CPUs by the ignored test `engines_compared`:
//!
//! | 32 at once | inline | threads | io_uring | auto |
//! |---|---|---|---|---|
//! | page cache, read 4 KiB, cached | 2.1 | 9.6 | 2.7 | 2.1 |
//! | page cache, read 4 KiB, not cached | 143 | 35 | 31 | 30 |
//! | page cache, write 4 KiB | 4.7 | 9.3 | 8.6 | 4.1 |
//! | direct, read 4 KiB | 108 | 32 | – | 35 |
//! | direct, write 4 KiB | 122 | 56 | – | 39 |
//!
//! So *auto* is io_uring for the page cache: what is cached is there when the submitting call returns, as if read
//! inline, and the rest is read in parallel. Its writes are done inline: a buffered write is a copy, and most file
//! systems let io_uring make it only on a worker, which costs two switches of threads. Where io_uring is refused,
//! *auto* asks the page cache first and gives threads what it does not have. For direct I/O *auto* is threads, for the
//! reason below; that costs a single request about 30 µs and makes many two to three times as fast.
//!
//! **Death of the process.** A successor redoes what was in flight, so no write of the dead process may reach the image
//! after it was reaped: it could overwrite what the guest wrote since. A process is reaped when all its threads have
//! left the kernel. A thread in `pwritev`, direct or not, leaves it only when its I/O has ended (direct I/O waits
//! uninterruptibly), so *inline* and *threads* give the guarantee. io_uring gives it for the page cache: a buffered
//! write runs either within the submitting call or on an io-wq worker, and workers are threads that the exiting
//! process waits for since Linux 5.12 (io_wq_put_and_exit in io_uring/io-wq.c; older kernels get threads). It does not
//! give it for direct I/O: the request is then only a bio with its completion, which an exiting process does not wait
//! for (io_uring_files_cancel looks at `inflight_tracked` alone); the ring is torn down later on a work queue
//! (io_ring_ctx_wait_and_kill), and the process can be gone long before the disk has written. Hence an image open for
//! direct I/O is never served through io_uring, whatever is configured.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::config::{Cache, IoEngine, MAX_QUEUES};
use super::device::Shared;
use super::image::Image;
use super::request::Range;
use crate::buffer::Buffer;
use crate::memory::MappedPayload;

mod ring;
mod signal;
mod threads;

use ring::Ring;
use signal::Signal;
use threads::Threads;

/// Most threads that one disk's queues have among them.
const MAX_THREADS: usize = 8;

/// What is to be done with the image.
#[derive(Debug)]
pub(super) enum Operation {
    /// Fill the payload from this byte offset.
    Read(u64),
    /// Write the payload at this byte offset.
    Write(u64),
    /// Make everything written so far durable.
    Sync,
    /// Give the ranges' space back.
    Discard(Vec<Range>),
    /// Make the ranges read as zeros; the payload is overwritten.
    WriteZeroes(Vec<Range>),
}

/// The memory of an operation.
pub(super) enum Payload {
    /// It needs none.
    None,
    /// The first bytes of a private buffer.
    Private(Buffer, usize),
    /// All of a mapping. It is given back by whoever gets the finished job.
    Mapped(Box<dyn MappedPayload>),
}

/// An operation with all it needs, and whom it is for.
pub(super) struct Job<T> {
    pub(super) operation: Operation,
    pub(super) payload: Payload,
    pub(super) owner: T,
}

/// A job that has ended. All bytes were moved if `result` is fine.
pub(super) struct Finished<T> {
    pub(super) job: Job<T>,
    pub(super) result: io::Result<()>,
}

impl<T> Job<T> {
    /// Does it, on this thread.
    fn perform(mut self, image: &Image) -> Finished<T> {
        let result = perform(image, &self.operation, &mut self.payload);
        Finished { job: self, result }
    }
}

fn perform(image: &Image, operation: &Operation, payload: &mut Payload) -> io::Result<()> {
    use std::os::fd::AsFd;
    match (operation, payload) {
        (Operation::Read(offset), Payload::Private(buffer, len)) => {
            image.read_at(buffer.first_mut(*len)?, *offset)
        }
        (Operation::Read(offset), Payload::Mapped(mapping)) => {
            mapping.fill_from(image.as_fd(), *offset)
        }
        (Operation::Write(offset), Payload::Private(buffer, len)) => {
            image.write_at(buffer.first_mut(*len)?, *offset)
        }
        (Operation::Write(offset), Payload::Mapped(mapping)) => {
            mapping.drain_to(image.as_fd(), *offset)
        }
        (Operation::Sync, _) => image.sync(),
        (Operation::Discard(ranges), _) => ranges
            .iter()
            .try_for_each(|range| image.discard(range.offset, range.len)),
        (Operation::WriteZeroes(ranges), Payload::Private(buffer, len)) => {
            let scratch = buffer.first_mut(*len)?;
            ranges.iter().try_for_each(|range| {
                image.write_zeroes(range.offset, range.len, range.unmap, scratch)
            })
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// One queue's engine. Dropping it waits for what is in flight.
pub(super) struct Engine<T: Send + 'static> {
    shared: Arc<Shared>,
    /// Chosen at the first job: queues that no driver uses cost nothing.
    way: Option<Way<T>>,
    finished: Vec<Finished<T>>,
    /// Ends were collected whose signal was not taken.
    stale: bool,
}

/// Boxed where large.
enum Way<T: Send + 'static> {
    Inline,
    Threads(Threads<T>),
    Ring(Box<Ring<T>>),
}

impl<T: Send + 'static> Engine<T> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Engine {
            shared,
            way: None,
            finished: Vec::new(),
            stale: false,
        }
    }

    /// Takes a job. It may not begin before [`Engine::start`].
    pub(super) fn submit(&mut self, mut job: Job<T>) {
        let at_once = self.is_best_done_at_once(&job);
        let shared = &self.shared;
        match self.way.get_or_insert_with(|| choose(shared)) {
            Way::Threads(threads) if !at_once => {
                if shared.config.engine == IoEngine::Auto && is_cached(shared, &mut job) {
                    let result = Ok(());
                    return self.finished.push(Finished { job, result });
                }
                threads.submit(job);
            }
            Way::Ring(ring) if !at_once => ring.submit(job),
            _ => self.finished.push(job.perform(&shared.image)),
        }
    }

    /// A write to the page cache is a copy: handing it to another thread, which io_uring does with every buffered write
    /// on ext4, costs more than doing it.
    fn is_best_done_at_once(&self, job: &Job<T>) -> bool {
        self.shared.config.engine == IoEngine::Auto
            && !self.shared.is_direct()
            && matches!(job.operation, Operation::Write(_))
    }

    /// Whether jobs (`reads`: nothing but reads) may be done by the thread that submits them, waiting for the disk.
    pub(super) fn may_wait(&self, reads: bool) -> bool {
        match &self.way {
            // What the page cache does not have is read in the background.
            Some(Way::Ring(_)) => !reads,
            Some(Way::Threads(_)) => !reads && !self.shared.is_direct(),
            Some(Way::Inline) | None => true,
        }
    }

    /// Begins all jobs submitted, by one system call where that is possible.
    pub(super) fn start(&mut self) {
        if let Some(Way::Ring(ring)) = &mut self.way {
            ring.start();
        }
    }

    /// Takes what has ended.
    pub(super) fn collect(&mut self, finished: &mut Vec<Finished<T>>) {
        finished.append(&mut self.finished);
        let before = finished.len();
        match &mut self.way {
            Some(Way::Threads(threads)) => threads.collect(finished),
            Some(Way::Ring(ring)) => ring.collect(finished),
            Some(Way::Inline) | None => {}
        }
        self.stale |= finished.len() > before;
    }

    /// Jobs that were done at once wait to be collected.
    pub(super) fn has_ended(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Jobs not collected yet.
    pub(super) fn in_flight(&self) -> usize {
        let elsewhere = match &self.way {
            Some(Way::Threads(threads)) => threads.in_flight(),
            Some(Way::Ring(ring)) => ring.in_flight(),
            Some(Way::Inline) | None => 0,
        };
        self.finished.len().saturating_add(elsewhere)
    }

    fn signal(&self) -> Option<&Signal> {
        match &self.way {
            Some(Way::Threads(threads)) => Some(threads.signal()),
            Some(Way::Ring(ring)) => Some(ring.signal()),
            Some(Way::Inline) | None => None,
        }
    }

    /// Readable when jobs have ended.
    pub(super) fn completion_fd(&self) -> Option<BorrowedFd<'_>> {
        self.signal().map(Signal::fd)
    }

    /// Makes [`Engine::completion_fd`] unreadable until further jobs end. Call before [`Engine::collect`].
    pub(super) fn acknowledge(&mut self) {
        self.stale = false;
        if let Some(signal) = self.signal() {
            signal.take();
        }
    }

    /// Call after collecting without having been woken: spares the queue's thread a wake-up for what it has already.
    pub(super) fn settle(&mut self) {
        if self.stale && self.in_flight() == 0 {
            self.acknowledge();
        }
    }

    /// Waits until a job has ended; returns at once if nothing is in flight.
    pub(super) fn wait(&mut self) {
        if let Some(signal) = self.signal()
            && self.finished.is_empty()
            && self.in_flight() > 0
        {
            signal.wait();
        }
    }
}

/// True if a read was done because the page cache had it all; false where only a thread can find out.
fn is_cached<T>(shared: &Shared, job: &mut Job<T>) -> bool {
    match (&job.operation, &mut job.payload) {
        (Operation::Read(offset), Payload::Private(buffer, len)) if !shared.is_direct() => buffer
            .first_mut(*len)
            .is_ok_and(|buffer| shared.image.read_cached(buffer, *offset)),
        _ => false,
    }
}

fn choose<T: Send + 'static>(shared: &Arc<Shared>) -> Way<T> {
    let wanted = shared.config.engine;
    if wanted == IoEngine::Inline {
        return Way::Inline;
    }
    let signal = match Signal::new() {
        Ok(signal) => Arc::new(signal),
        Err(error) => {
            tracing::warn!(%error, "no eventfd to be had; disk I/O runs on the queue's thread");
            return Way::Inline;
        }
    };
    let direct = shared.is_direct();
    if wanted == IoEngine::IoUring && direct {
        tracing::warn!(
            "direct I/O through io_uring may outlive a process that dies; using threads instead"
        );
    }
    if wanted != IoEngine::Threads && !direct {
        match Ring::new(Arc::clone(shared), Arc::clone(&signal)) {
            Ok(ring) => return Way::Ring(Box::new(ring)),
            // Old kernels, seccomp filters and `kernel.io_uring_disabled` refuse it: no reason not to serve.
            Err(error) => tracing::info!(%error, "io_uring is not available; using threads"),
        }
    }
    let queues = usize::from(shared.config.queues.get()).clamp(1, MAX_QUEUES);
    let most = MAX_THREADS.checked_div(queues).unwrap_or(1).max(1);
    Way::Threads(Threads::new(Arc::clone(shared), signal, most))
}

impl Shared {
    /// The image is used past the page cache, or was meant to be: never through mappings or io_uring.
    pub(super) fn is_direct(&self) -> bool {
        self.config.cache == Cache::Direct || self.image.is_direct()
    }
}

#[cfg(test)]
mod tests;
