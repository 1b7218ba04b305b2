//! What happens to requests between their header and their answer.

use std::io;
use std::sync::atomic::Ordering;

use super::work::{CopyBack, Failure, Large, Outcome, Pieces, Work};
use super::{BlockQueue, Owner};
use crate::block::config::SERIAL_LEN;
use crate::block::engine::{Finished, Job, Operation, Payload};
use crate::block::request::{Request, Status, ranges};
use crate::device::Completions;
use crate::memory::{Access, MemoryError, PayloadMemory};

impl BlockQueue {
    /// Moves every request as far as it goes without waiting. False if none moved.
    pub(super) fn step(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) -> bool {
        let admitted = self.admit(memory, done);
        let mut moved = !admitted.is_empty();
        for work in admitted {
            self.begin(work, memory);
        }
        self.engine.start();
        let mut finished = Vec::new();
        self.engine.collect(&mut finished);
        moved |= !finished.is_empty();
        let mut pieces = self.unstall();
        for Finished { job, result } in finished {
            match job.owner {
                Owner::Request(work) => {
                    pieces.extend(self.advance(*work, &job.operation, job.payload, result));
                }
                Owner::Sync => self.synced(&result),
            }
        }
        moved |= !pieces.is_empty();
        self.move_pieces(pieces, memory);
        self.start_sync();
        self.engine.start();
        // What was done at once raises no signal.
        moved || self.engine.has_ended()
    }

    /// Judges a request, and begins what it asks.
    fn begin(&mut self, mut work: Work, memory: &mut dyn PayloadMemory) {
        let shape = match work.shape.filter(|_| work.readable) {
            Some(shape) => shape,
            None => return self.end(work),
        };
        let request = match Request::parse(&work.header, shape, &self.disk) {
            Ok(request) => request,
            Err(status) => return self.failed(work, Failure::Status(status)),
        };
        match request {
            Request::In { offset } => {
                self.transfer(work, Large::In { offset }, shape.data_in, memory);
            }
            Request::Out { offset } => {
                self.transfer(work, Large::Out { offset }, shape.data_out, memory);
            }
            Request::Flush => {
                self.shared.counters.flushes.inc();
                work.outcome = Outcome::of(Status::Ok);
                self.syncs.next.push(work);
            }
            Request::GetId => {
                let len = shape.data_in.min(SERIAL_LEN as u32);
                work.outcome = Outcome {
                    status: Status::Ok,
                    copy_out: CopyBack::Serial(len),
                    data_in: len,
                };
                self.end(work);
            }
            Request::Discard | Request::WriteZeroes => {
                let list = work
                    .buffer
                    .as_ref()
                    .and_then(|buffer| buffer.first(shape.data_out as usize).ok())
                    .ok_or(Status::IoError)
                    .and_then(|list| ranges(request, list, &self.disk));
                match (list, request) {
                    (Err(status), _) => self.failed(work, Failure::Status(status)),
                    (Ok(list), Request::Discard) => {
                        self.submit_io(work, Operation::Discard(list), Payload::None);
                    }
                    // Zeros that must be written go in large pieces if there is memory now, else in the list's page.
                    (Ok(list), _) => match self.buffers.take(self.piece).or(work.buffer.take()) {
                        Some(buffer) => {
                            let len = buffer.size();
                            let scratch = Payload::Private(buffer, len);
                            self.submit_io(work, Operation::WriteZeroes(list), scratch);
                        }
                        None => self.failed(work, Failure::Status(Status::IoError)),
                    },
                }
            }
        }
    }

    /// Begins a read or a write of `len` bytes.
    fn transfer(&mut self, mut work: Work, large: Large, len: u32, memory: &mut dyn PayloadMemory) {
        if len == 0 {
            work.outcome = Outcome::of(Status::Ok);
            return self.end(work);
        }
        if len as usize <= self.copy_limit(memory) {
            return match work.buffer.take() {
                Some(buffer) => {
                    let payload = Payload::Private(buffer, len as usize);
                    self.submit_io(work, large.operation(), payload);
                }
                None => self.failed(work, Failure::Status(Status::IoError)),
            };
        }
        if self.maps(memory, len as usize) {
            let mapping = match large {
                Large::In { .. } => memory.map(&work.place_in(0, u64::from(len)), Access::Write),
                Large::Out { .. } => memory.map(&work.place_out(0, u64::from(len)), Access::Read),
            };
            match mapping {
                Ok(mapping) => {
                    return self.submit_io(work, large.operation(), Payload::Mapped(mapping));
                }
                Err(MemoryError::TooMany { .. }) => {}
                Err(error) => return self.failed(work, Failure::Memory(error)),
            }
        }
        work.pieces = Some(Pieces {
            large,
            len: u64::from(len),
            position: 0,
            written: false,
        });
        work.buffer = None;
        self.stalled.push_back(work);
    }

    /// I/O of a request has ended. A request that goes on with another piece is given back.
    fn advance(
        &mut self,
        mut work: Work,
        operation: &Operation,
        payload: Payload,
        mut result: io::Result<()>,
    ) -> Option<Work> {
        match payload {
            Payload::None => {}
            Payload::Private(buffer, _) => work.buffer = Some(buffer),
            Payload::Mapped(mapping) => {
                if let Err(error) = mapping.unmap() {
                    self.failed(work, Failure::Memory(error));
                    return None;
                }
            }
        }
        if work.pieces.is_some() && result.is_ok() {
            return Some(work);
        }
        if let Err(error) = std::mem::replace(&mut result, Ok(())) {
            self.failed(work, Failure::Image(error));
            return None;
        }
        match operation {
            Operation::Read(_) => self.has_read(work),
            Operation::Write(_) => self.has_written(work),
            _ => self.end_durably(work),
        }
        None
    }

    /// All data of a read is here.
    pub(super) fn has_read(&mut self, mut work: Work) {
        let len = work.shape.map_or(0, |shape| shape.data_in);
        self.shared.counters.bytes_read.add(u64::from(len));
        work.outcome = Outcome {
            status: Status::Ok,
            copy_out: match (&work.buffer, work.pieces) {
                (Some(_), None) => CopyBack::Buffer(len),
                _ => CopyBack::Nothing,
            },
            data_in: len,
        };
        self.end(work);
    }

    /// All data of a write is in the image.
    pub(super) fn has_written(&mut self, work: Work) {
        let len = work.shape.map_or(0, |shape| shape.data_out);
        self.shared.counters.bytes_written.add(u64::from(len));
        self.end_durably(work);
    }

    /// The image has changed: where writes must be durable, the request waits for a sync.
    fn end_durably(&mut self, mut work: Work) {
        work.outcome = Outcome::of(Status::Ok);
        // Others may need its memory while it waits for a sync.
        work.buffer = None;
        match self.shared.writes_through() {
            true => self.syncs.next.push(work),
            false => self.end(work),
        }
    }

    /// Begins a sync for all that wait for one. A flush that comes while one runs needs another: writes may have
    /// completed since that began.
    fn start_sync(&mut self) {
        if self.syncs.running.is_empty() && !self.syncs.next.is_empty() {
            self.syncs.running = std::mem::take(&mut self.syncs.next);
            self.engine.submit(Job {
                operation: Operation::Sync,
                payload: Payload::None,
                owner: Owner::Sync,
            });
        }
    }

    fn synced(&mut self, result: &io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the image could not be made durable");
            self.shared.failed_syncs.fetch_add(1, Ordering::AcqRel);
        }
        let failed = self.shared.failed_syncs.load(Ordering::Acquire);
        for mut work in std::mem::take(&mut self.syncs.running) {
            if work.failed_syncs != failed {
                self.shared.counters.image_errors.inc();
                work.outcome = Outcome::of(Status::IoError);
            }
            self.end(work);
        }
    }

    pub(super) fn failed(&mut self, mut work: Work, failure: Failure) {
        work.fail(failure, &self.shared.counters);
        self.end(work);
    }

    /// The request has its outcome.
    pub(super) fn end(&mut self, work: Work) {
        self.ended.push(work);
    }
}
