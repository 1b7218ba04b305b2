//! What a call carries: parameters in the guest's memory, copied into buffers that the secure world reads, and back.

use std::ops::Range;
use std::sync::{Arc, Weak};

use optee_abi::limits::TA_PARAMS;
use optee_abi::message::Params;
use optee_abi::{Origin, Outcome, Output, Param, TeeResult};
use tee_device::{Buffer, Direction, Parameter};

use super::commands::Refused;
use super::dispatcher::Dispatcher;
use super::memory::{Region, Temporary};
use crate::audit::Event;
use crate::counters::{add, count};
use crate::pool::{LARGE, Lease};

/// Parameters in a buffer begin at multiples of this.
const ALIGN: u64 = 64;
/// Bytes of a buffer, at most.
const MOST: u64 = LARGE as u64;

/// A parameter that is memory.
#[derive(Debug)]
struct Piece {
    index: usize,
    direction: Direction,
    /// Gone when the guest is: nothing keeps its pages while the secure world works.
    region: Weak<Region>,
    /// In the region.
    offset: u64,
    size: u64,
    place: Place,
}

/// Where a parameter is among the call's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    buffer: usize,
    /// In the buffer.
    offset: u64,
}

/// What the secure world is given.
#[derive(Debug, Default)]
pub(super) struct Prepared<'a> {
    pub(super) parameters: [Parameter; TA_PARAMS],
    pieces: Vec<Piece>,
    /// Kept for the call only.
    temporary: Vec<Temporary<'a>>,
    /// Bytes of each buffer.
    totals: Vec<u64>,
}

impl Place {
    /// So many bytes from there on.
    fn range(self, size: u64) -> Option<Range<usize>> {
        let begin = usize::try_from(self.offset).ok()?;
        Some(begin..begin.checked_add(usize::try_from(size).ok()?)?)
    }
}

impl Dispatcher {
    pub(super) fn buffers(&self, prepared: &Prepared<'_>) -> Result<Lease<'_>, Refused> {
        let totals = prepared.totals.iter();
        let sizes: Vec<usize> = totals
            .map(|total| usize::try_from(*total).unwrap_or(usize::MAX))
            .collect();
        let lease = self
            .shared
            .pool
            .lease(self.attachment, self.tee.as_ref(), &sizes);
        lease.map_err(|error| {
            self.record(&Event::Trouble(error.to_string()));
            (TeeResult::OUT_OF_MEMORY, Origin::COMMS)
        })
    }

    /// Finds the memory that the parameters name, and its place in the buffers.
    pub(super) fn prepare(&self, params: &Params) -> Result<Prepared<'_>, Refused> {
        let mut prepared = Prepared::default();
        let given = params.given();
        for (index, (param, parameter)) in given.iter().zip(&mut prepared.parameters).enumerate() {
            let (direction, region, offset, size) = match param {
                Param::None => continue,
                Param::Value { direction, a, b, c } => {
                    *parameter = Parameter::Value(way(*direction), [*a, *b, *c]);
                    continue;
                }
                // OP-TEE sees no size there either.
                Param::Null { direction, .. } => {
                    *parameter = Parameter::Null(way(*direction), 0);
                    continue;
                }
                Param::Registered { direction, memory } => {
                    let region = self.memory.get(memory.shm_ref);
                    let region = region.ok_or((TeeResult::BAD_PARAMETERS, Origin::COMMS))?;
                    if !memory.fits(region.size) {
                        let what = "a parameter beyond the end of its memory";
                        self.record(&Event::Malformed(what.into()));
                        return Err((TeeResult::SECURITY, Origin::COMMS));
                    }
                    (
                        *direction,
                        Arc::downgrade(&region),
                        memory.offset,
                        memory.size,
                    )
                }
                Param::Temporary { direction, memory } => {
                    let limit = self.rights().shared_memory_bytes;
                    let temporary = self.memory.map(memory, limit).map_err(|error| {
                        self.memory_refused(&error);
                        (error.result(), Origin::COMMS)
                    })?;
                    let region = temporary.region.clone();
                    prepared.temporary.push(temporary);
                    (*direction, region, 0, memory.size)
                }
            };
            let place = place(&mut prepared.totals, size);
            *parameter = Parameter::Memory {
                direction: way(direction),
                buffer: place.buffer,
                offset: place.offset,
                size,
            };
            prepared.pieces.push(Piece {
                index,
                direction: way(direction),
                region,
                offset,
                size,
                place,
            });
        }
        Ok(prepared)
    }
}

/// Gives the guest what the secure world has written.
pub(super) fn copy_out(
    prepared: &Prepared<'_>,
    buffers: &[Buffer],
    outcome: tee_device::Outcome,
    dispatcher: &Dispatcher,
) -> Outcome {
    let mut answer = Outcome::only(TeeResult(outcome.result), Origin(outcome.origin));
    for (parameter, output) in prepared.parameters.iter().zip(&mut answer.outputs) {
        *output = match *parameter {
            Parameter::Value(Direction::Output | Direction::Both, [a, b, c]) => {
                Output::Value { a, b, c }
            }
            Parameter::Memory {
                direction: Direction::Output | Direction::Both,
                size,
                ..
            }
            | Parameter::Null(Direction::Output | Direction::Both, size) => Output::Size(size),
            _ => Output::Unchanged,
        };
    }
    for piece in &prepared.pieces {
        let written = prepared.parameters.get(piece.index);
        let Some(Parameter::Memory { size, .. }) = written else {
            continue;
        };
        if piece.direction == Direction::Input {
            continue;
        }
        let size = piece.size.min(*size);
        let (Some(region), Some(bytes)) =
            (piece.region.upgrade(), slice(buffers, piece.place, size))
        else {
            continue;
        };
        if region.write(piece.offset, bytes) {
            count(&dispatcher.counters.copies);
            add(&dispatcher.counters.copied_bytes, size);
        }
    }
    answer
}

/// Copies what the secure world is to read, once; what it is to write begins as zeros.
pub(super) fn copy_in(
    prepared: &Prepared<'_>,
    buffers: &mut [Buffer],
    dispatcher: &Dispatcher,
) -> Result<(), Refused> {
    for piece in &prepared.pieces {
        let gone = (TeeResult::BAD_PARAMETERS, Origin::COMMS);
        let bytes = slice_mut(buffers, piece.place, piece.size).ok_or(gone)?;
        if piece.direction == Direction::Output {
            bytes.fill(0);
            continue;
        }
        let region = piece.region.upgrade().ok_or(gone)?;
        if !region.read(piece.offset, bytes) {
            return Err(gone);
        }
        count(&dispatcher.counters.copies);
        add(&dispatcher.counters.copied_bytes, piece.size);
    }
    Ok(())
}

/// The place of a parameter of `size` bytes: behind the one before if it fits there, else in a next buffer.
fn place(totals: &mut Vec<u64>, size: u64) -> Place {
    let last = totals.len().saturating_sub(1);
    if let Some(total) = totals.last_mut()
        && let Some(offset) = total.checked_next_multiple_of(ALIGN)
        && let Some(end) = offset.checked_add(size).filter(|end| *end <= MOST)
    {
        *total = end;
        return Place {
            buffer: last,
            offset,
        };
    }
    totals.push(size);
    Place {
        buffer: totals.len().saturating_sub(1),
        offset: 0,
    }
}

fn slice(buffers: &[Buffer], place: Place, size: u64) -> Option<&[u8]> {
    buffers.get(place.buffer)?.bytes().get(place.range(size)?)
}

fn slice_mut(buffers: &mut [Buffer], place: Place, size: u64) -> Option<&mut [u8]> {
    let buffer = buffers.get_mut(place.buffer)?;
    buffer.bytes_mut().get_mut(place.range(size)?)
}

fn way(direction: optee_abi::message::Direction) -> Direction {
    match direction {
        optee_abi::message::Direction::Input => Direction::Input,
        optee_abi::message::Direction::Output => Direction::Output,
        optee_abi::message::Direction::Inout => Direction::Both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_behind_the_one_before_or_in_a_next_buffer() {
        let places = |sizes: &[u64]| {
            let mut totals = Vec::new();
            let place = |size: &u64| {
                let place = place(&mut totals, *size);
                (place.buffer, place.offset)
            };
            let places: Vec<_> = sizes.iter().map(place).collect();
            (places, totals)
        };
        assert_eq!(
            places(&[0, 1, 64, 65]),
            (vec![(0, 0), (0, 0), (0, 64), (0, 128)], vec![193])
        );
        assert_eq!(
            places(&[MOST; 4]),
            (vec![(0, 0), (1, 0), (2, 0), (3, 0)], vec![MOST; 4])
        );
        assert_eq!(
            places(&[100, MOST - 128, 1, MOST]),
            (vec![(0, 0), (0, 128), (1, 0), (2, 0)], vec![MOST, 1, MOST])
        );
        // Too large for any: it is refused when the buffers are lent.
        assert_eq!(
            places(&[1, MOST + 1, u64::MAX, 1]),
            (
                vec![(0, 0), (1, 0), (2, 0), (3, 0)],
                vec![1, MOST + 1, u64::MAX, 1]
            )
        );
    }
}
