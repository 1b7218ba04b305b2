//! Large requests that may not be mapped: piece by piece through a private buffer each.

use std::mem;

use super::BlockQueue;
use super::work::{Failure, Large, Pieces, Work};
use crate::block::engine::{Operation, Payload};
use crate::block::request::Status;
use crate::chain::Segments;
use crate::memory::{CopyIn, CopyOut, PayloadMemory};

impl Pieces {
    /// Bytes of the next piece.
    fn next_len(&self, piece: usize) -> usize {
        let left = self.len.saturating_sub(self.position);
        usize::try_from(left).unwrap_or(usize::MAX).min(piece)
    }
}

impl BlockQueue {
    /// Gives private memory to requests that wait for it, oldest first. Reads begin; writes need their first piece.
    pub(super) fn unstall(&mut self) -> Vec<Work> {
        let mut writes = Vec::new();
        while let Some(pieces) = self.stalled.front().and_then(|work| work.pieces) {
            let Some(buffer) = self.buffers.take(pieces.next_len(self.piece)) else {
                break;
            };
            let Some(mut work) = self.stalled.pop_front() else {
                break;
            };
            work.buffer = Some(buffer);
            match pieces.large {
                Large::In { .. } => self.submit_piece(work),
                Large::Out { .. } => writes.push(work),
            }
        }
        writes
    }

    /// Carries on with requests whose piece has ended, or that have just got their buffer and are to write: one copy
    /// for all that were read, one for all to be written next.
    pub(super) fn move_pieces(&mut self, works: Vec<Work>, memory: &mut dyn PayloadMemory) {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for work in works {
            match work.pieces.map(|pieces| pieces.large) {
                Some(Large::In { .. }) => reads.push(work),
                _ => writes.push(work),
            }
        }
        self.copy_pieces_out(reads, memory);
        self.copy_pieces_in(writes, memory);
    }

    fn copy_pieces_out(&mut self, works: Vec<Work>, memory: &mut dyn PayloadMemory) {
        let places: Vec<(Segments, usize)> = works
            .iter()
            .filter_map(|work| work.pieces.map(|pieces| (work, pieces)))
            .map(|(work, pieces)| {
                let len = pieces.next_len(self.piece);
                (work.place_in(pieces.position, len as u64), len)
            })
            .collect();
        let mut jobs: Vec<CopyOut<'_>> = works
            .iter()
            .zip(&places)
            .map(|(work, (place, len))| {
                let data = work.buffer.as_ref().and_then(|data| data.first(*len).ok());
                CopyOut::new(place, data.unwrap_or_default())
            })
            .collect();
        if jobs.is_empty() {
            return;
        }
        memory.copy_out(&mut jobs);
        let results: Vec<_> = jobs.into_iter().map(|job| job.result).collect();
        for ((mut work, (_, len)), result) in works.into_iter().zip(places).zip(results) {
            match (result, &mut work.pieces) {
                (Err(error), _) => self.failed(work, Failure::Memory(error)),
                (Ok(()), Some(pieces)) => {
                    pieces.position = pieces.position.saturating_add(len as u64);
                    match pieces.position < pieces.len {
                        true => self.submit_piece(work),
                        false => self.has_read(work),
                    }
                }
                (Ok(()), None) => self.failed(work, Failure::Status(Status::IoError)),
            }
        }
    }

    /// Fetches the next piece of each write; a piece that has just been written is counted first.
    fn copy_pieces_in(&mut self, works: Vec<Work>, memory: &mut dyn PayloadMemory) {
        let mut going_on = Vec::new();
        for mut work in works {
            let piece = self.piece;
            let over = work.pieces.as_mut().is_none_or(|pieces| {
                if mem::take(&mut pieces.written) {
                    let len = pieces.next_len(piece) as u64;
                    pieces.position = pieces.position.saturating_add(len);
                }
                pieces.position >= pieces.len
            });
            match over {
                true => self.has_written(work),
                false => going_on.push(work),
            }
        }
        let places: Vec<(Segments, usize)> = going_on
            .iter()
            .filter_map(|work| work.pieces.map(|pieces| (work, pieces)))
            .map(|(work, pieces)| {
                let len = pieces.next_len(self.piece);
                (work.place_out(pieces.position, len as u64), len)
            })
            .collect();
        let mut jobs: Vec<CopyIn<'_>> = going_on
            .iter_mut()
            .zip(&places)
            .map(|(work, (place, len))| {
                let data = work
                    .buffer
                    .as_mut()
                    .and_then(|data| data.first_mut(*len).ok());
                CopyIn::new(place, data.unwrap_or_default())
            })
            .collect();
        if jobs.is_empty() {
            return;
        }
        memory.copy_in(&mut jobs);
        let results: Vec<_> = jobs.into_iter().map(|job| job.result).collect();
        for (mut work, result) in going_on.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    if let Some(pieces) = &mut work.pieces {
                        pieces.written = true;
                    }
                    self.submit_piece(work);
                }
                Err(error) => self.failed(work, Failure::Memory(error)),
            }
        }
    }

    /// Submits the I/O of the next piece.
    fn submit_piece(&mut self, mut work: Work) {
        let (Some(pieces), Some(buffer)) = (work.pieces, work.buffer.take()) else {
            return self.failed(work, Failure::Status(Status::IoError));
        };
        let operation = match pieces.large {
            Large::In { offset } => Operation::Read(offset.saturating_add(pieces.position)),
            Large::Out { offset } => Operation::Write(offset.saturating_add(pieces.position)),
        };
        let payload = Payload::Private(buffer, pieces.next_len(self.piece));
        self.submit_io(work, operation, payload);
    }
}
