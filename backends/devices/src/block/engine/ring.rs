//! Image I/O through io_uring: many requests begin by one system call, and what the page cache has is there at once.
//!
//! Never used for direct I/O; the engine's documentation says why. What the kernel will not do here (short transfers,
//! refusals, discards) a helper thread does again from the beginning: operations on an image are idempotent.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, Probe, cqueue, opcode};

use super::signal::Signal;
use super::threads::Threads;
use super::{Finished, Job, Operation, Payload};
use crate::block::config::QUEUE_SIZE;
use crate::block::device::Shared;
use crate::block::image::Image;

/// Entries of the submission queue; when they are used up, it is submitted and used again.
const ENTRIES: u32 = 64;
/// Entries of the completion queue: more than can be in flight, so that it never overflows.
const COMPLETIONS: u32 = 2 * QUEUE_SIZE as u32;
/// Linux' limit of buffers in one call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const MAX_BUFFERS: usize = 1024;

/// A ring and what is in it.
pub(super) struct Ring<T: Send + 'static> {
    ring: IoUring,
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    /// What the kernel was or will be told of; the place is the entry's user data.
    flights: Vec<Option<Flight<T>>>,
    free: Vec<usize>,
    /// In the submission queue, oldest first: the kernel has not looked at them.
    queued: VecDeque<usize>,
    flying: usize,
    helper: Threads<T>,
    /// The kernel refused to take entries. It must never be called again: stale ones are left in the queue.
    refused: bool,
}

/// A job whose memory the kernel may be using.
struct Flight<T> {
    job: Job<T>,
    vectors: Vectors,
    /// Bytes it is to move.
    len: usize,
}

/// Buffers of a mapping, as the kernel wants them.
struct Vectors(Vec<libc::iovec>);

// SAFETY: the vectors are only numbers for the kernel. What they point to is owned by the job beside them, which may
// change threads.
unsafe impl Send for Vectors {}

impl<T: Send + 'static> Ring<T> {
    /// A ring whose completions raise `signal`.
    ///
    /// # Errors
    /// The kernel has no io_uring, an old one, or does not let us use it.
    pub(super) fn new(shared: Arc<Shared>, signal: Arc<Signal>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        // Before Linux 5.12 workers were kernel threads that a dead process left behind, writing.
        if !ring.params().is_feature_native_workers() || !ring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Readv::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
        ];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter().register_eventfd(signal.fd().as_raw_fd())?;
        Ok(Ring {
            helper: Threads::new(Arc::clone(&shared), Arc::clone(&signal), 1),
            ring,
            shared,
            signal,
            flights: Vec::new(),
            free: Vec::new(),
            queued: VecDeque::new(),
            flying: 0,
            refused: false,
        })
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flying.saturating_add(self.helper.in_flight())
    }

    pub(super) fn submit(&mut self, job: Job<T>) {
        if !self.refused && self.ring.submission().is_full() {
            self.start();
        }
        if self.refused || self.ring.submission().is_full() {
            return self.helper.submit(job);
        }
        let mut flight = match Flight::new(job) {
            Ok(flight) => flight,
            Err(job) => return self.helper.submit(*job),
        };
        let place = self.free.pop().unwrap_or(self.flights.len());
        if place == self.flights.len() {
            self.flights.push(None);
        }
        let Some(entry) = flight.entry(&self.shared.image, place) else {
            self.free.push(place);
            return self.helper.submit(flight.job);
        };
        let Some(seat) = self.flights.get_mut(place) else {
            return self.helper.submit(flight.job);
        };
        // SAFETY: the entry's memory is owned by the flight (on the heap or mapped, so moving the flight does not move
        // it). The flight stays in `flights` until the entry's completion was seen, or until it is certain that the
        // kernel never sees the entry; also when this is dropped.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.free.push(place);
            return self.helper.submit(flight.job);
        }
        *seat = Some(flight);
        self.flying = self.flying.saturating_add(1);
        self.queued.push_back(place);
    }

    /// Submits all entries.
    pub(super) fn start(&mut self) {
        while !self.queued.is_empty() && !self.refused {
            match self.ring.submit() {
                Ok(0) => self.refuse(&io::ErrorKind::WriteZero.into()),
                Ok(taken) => drop(self.queued.drain(..taken.min(self.queued.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.refuse(&error),
            }
        }
    }

    /// The kernel takes no entries, and took none of the queued ones: threads do them and all that come.
    fn refuse(&mut self, error: &io::Error) {
        tracing::warn!(%error, "io_uring takes no more requests; using a thread");
        self.refused = true;
        for place in std::mem::take(&mut self.queued) {
            if let Some(flight) = self.land(place) {
                self.helper.submit(flight.job);
            }
        }
    }

    /// Takes a flight that is over.
    fn land(&mut self, place: usize) -> Option<Flight<T>> {
        let flight = self.flights.get_mut(place)?.take()?;
        self.free.push(place);
        self.flying = self.flying.saturating_sub(1);
        Some(flight)
    }

    pub(super) fn collect(&mut self, finished: &mut Vec<Finished<T>>) {
        if self.flying > 0 {
            loop {
                // One at a time, because what is done about it needs the whole ring.
                let next = self.ring.completion().next();
                let Some(entry) = next else { break };
                self.completed(&entry, finished);
            }
        }
        if self.helper.in_flight() > 0 {
            self.helper.collect(finished);
        }
    }

    fn completed(&mut self, entry: &cqueue::Entry, finished: &mut Vec<Finished<T>>) {
        let flight = usize::try_from(entry.user_data())
            .ok()
            .and_then(|place| self.land(place));
        let Some(Flight { job, len, .. }) = flight else {
            return;
        };
        let result = match usize::try_from(entry.result()) {
            Ok(moved) if moved == len => Ok(()),
            // Short: it may be the image's end, or go on.
            Ok(_) => return self.helper.submit(job),
            Err(_) => Err(io::Error::from_raw_os_error(
                entry.result().saturating_neg(),
            )),
        };
        let again = result.as_ref().is_err_and(|error: &io::Error| {
            matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::EINTR | libc::EOPNOTSUPP | libc::ECANCELED)
            )
        });
        if again {
            return self.helper.submit(job);
        }
        finished.push(Finished { job, result });
    }
}

impl<T> Flight<T> {
    /// A job the ring can do; others come back.
    fn new(job: Job<T>) -> Result<Self, Box<Job<T>>> {
        let (vectors, len) = match (&job.operation, &job.payload) {
            (Operation::Sync, _) => (Vec::new(), 0),
            (Operation::Read(_) | Operation::Write(_), Payload::Private(_, len)) => {
                (Vec::new(), *len)
            }
            (Operation::Read(_) | Operation::Write(_), Payload::Mapped(mapping)) => {
                let vectors: Vec<_> = mapping
                    .slices()
                    .iter()
                    .filter(|slice| !slice.is_empty())
                    .map(|slice| libc::iovec {
                        // The mapping stays until the job has ended, and with it the address.
                        iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                        iov_len: slice.len(),
                    })
                    .collect();
                let len = vectors
                    .iter()
                    .fold(0_usize, |sum, vector| sum.saturating_add(vector.iov_len));
                if vectors.is_empty() || vectors.len() > MAX_BUFFERS {
                    return Err(Box::new(job));
                }
                (vectors, len)
            }
            _ => return Err(Box::new(job)),
        };
        Ok(Flight {
            job,
            vectors: Vectors(vectors),
            len,
        })
    }

    /// What the kernel is told.
    fn entry(&mut self, image: &Image, place: usize) -> Option<Entry> {
        let fd = Fd(image.as_fd().as_raw_fd());
        let vectors = self.vectors.0.as_ptr();
        let count = u32::try_from(self.vectors.0.len()).ok()?;
        let len = u32::try_from(self.len).ok()?;
        let entry = match (&self.job.operation, &mut self.job.payload) {
            (Operation::Sync, _) => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
            (Operation::Read(offset), Payload::Private(buffer, _)) => {
                let memory = buffer.first_mut(self.len).ok()?.as_mut_ptr();
                opcode::Read::new(fd, memory, len).offset(*offset).build()
            }
            (Operation::Write(offset), Payload::Private(buffer, _)) => {
                let memory = buffer.first_mut(self.len).ok()?.as_ptr();
                opcode::Write::new(fd, memory, len).offset(*offset).build()
            }
            (Operation::Read(offset), _) => opcode::Readv::new(fd, vectors, count)
                .offset(*offset)
                .build(),
            (Operation::Write(offset), _) => opcode::Writev::new(fd, vectors, count)
                .offset(*offset)
                .build(),
            _ => return None,
        };
        Some(entry.user_data(place as u64))
    }
}

impl<T: Send + 'static> Drop for Ring<T> {
    fn drop(&mut self) {
        self.start();
        let mut finished = Vec::new();
        self.collect(&mut finished);
        while self.flying > 0 {
            self.signal.wait();
            self.collect(&mut finished);
        }
    }
}
