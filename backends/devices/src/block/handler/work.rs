//! A request on its way, and what becomes of it.

use std::io;

use crate::block::engine::Operation;
use crate::block::request::{HEADER_LEN, Shape, Status};
use crate::buffer::Buffer;
use crate::chain::{Chain, Segments, slice_segments};
use crate::counters::Counters;
use crate::memory::MemoryError;

/// A request.
pub(super) struct Work {
    pub(super) chain: Chain,
    /// `None` if there is not even a whole header.
    pub(super) shape: Option<Shape>,
    pub(super) header: [u8; HEADER_LEN as usize],
    /// The header (and small data with it) could be read.
    pub(super) readable: bool,
    /// Private memory for its data, if that is copied; while an engine uses it, the job has it.
    pub(super) buffer: Option<Buffer>,
    /// Bytes it counts for in [`super::BlockQueue::mapped`].
    pub(super) large: usize,
    /// Large data that goes piece by piece.
    pub(super) pieces: Option<Pieces>,
    /// Syncs that had failed when it came.
    pub(super) failed_syncs: u64,
    pub(super) outcome: Outcome,
}

/// A transfer too large to copy at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Large {
    /// From the image, at this byte offset.
    In { offset: u64 },
    /// To the image, at this byte offset.
    Out { offset: u64 },
}

impl Large {
    /// All of it at once.
    pub(super) fn operation(self) -> Operation {
        match self {
            Large::In { offset } => Operation::Read(offset),
            Large::Out { offset } => Operation::Write(offset),
        }
    }
}

/// A large transfer through a private buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    pub(super) large: Large,
    /// Bytes in all.
    pub(super) len: u64,
    /// Bytes moved.
    pub(super) position: u64,
    /// The piece at `position` was given to the image; when its I/O ends, `position` moves on.
    pub(super) written: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) status: Status,
    /// What still goes to the guest before the status does.
    pub(super) copy_out: CopyBack,
    /// Bytes of data the guest has received when it is answered.
    pub(super) data_in: u32,
}

/// Data that is copied to the guest together with the status.
#[derive(Clone, Copy)]
pub(super) enum CopyBack {
    Nothing,
    /// Bytes at the start of the private buffer.
    Buffer(u32),
    /// Bytes at the start of the serial number.
    Serial(u32),
}

impl Outcome {
    pub(super) fn of(status: Status) -> Self {
        Outcome {
            status,
            copy_out: CopyBack::Nothing,
            data_in: 0,
        }
    }
}

/// Why a request failed. The guest learns only the status.
pub(super) enum Failure {
    Status(Status),
    Image(io::Error),
    Memory(MemoryError),
}

impl Work {
    pub(super) fn new(
        chain: Chain,
        shape: Option<Shape>,
        buffer: Option<Buffer>,
        large: usize,
        failed_syncs: u64,
    ) -> Self {
        Work {
            chain,
            shape,
            header: [0; HEADER_LEN as usize],
            readable: false,
            buffer,
            large,
            pieces: None,
            failed_syncs,
            outcome: Outcome::of(Status::IoError),
        }
    }

    /// It failed.
    pub(super) fn fail(&mut self, failure: Failure, counters: &Counters) {
        let status = match failure {
            Failure::Status(status) => status,
            Failure::Image(error) => {
                counters.image_errors.inc();
                tracing::debug!(%error, "the image failed a request");
                Status::IoError
            }
            Failure::Memory(error) => {
                counters.memory_errors.inc();
                tracing::debug!(%error, "a request's memory cannot be reached");
                Status::IoError
            }
        };
        self.outcome = Outcome::of(status);
    }

    /// Where `len` bytes of data the guest sent lie, from its byte `start` on.
    pub(super) fn place_out(&self, start: u64, len: u64) -> Segments {
        let start = start.saturating_add(u64::from(HEADER_LEN));
        slice_segments(self.chain.readable(), start, len)
    }

    /// Where `len` bytes of data go that the guest receives, from its byte `start` on.
    pub(super) fn place_in(&self, start: u64, len: u64) -> Segments {
        slice_segments(self.chain.writable(), start, len)
    }
}
