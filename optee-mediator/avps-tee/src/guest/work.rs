//! Carries messages out: what the guest asks of the secure world, as far as it may.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use optee_abi::limits::TA_PARAMS;
use optee_abi::message::Params;
use optee_abi::{
    Command, Login, Message, Origin, Outcome, Output, Param, SessionId, TeeResult, Uuid,
};
use rustix::io::Errno;
use tee_device::{Buffer, Client, Direction, Parameter};

use super::calls::Reply;
use super::desk::{Desk, Work};
use super::memory::Region;
use crate::audit::Event;
use crate::counters::{add, count};
use crate::lock;
use crate::pool::{LARGE, Loan};
use crate::rights::Denied;

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
struct Prepared {
    parameters: [Parameter; TA_PARAMS],
    pieces: Vec<Piece>,
    /// Kept for the call only.
    temporary: Vec<Arc<Region>>,
    /// Bytes of each buffer.
    totals: Vec<u64>,
}

type Refused = (TeeResult, Origin);

impl Place {
    /// So many bytes from there on.
    fn range(self, size: u64) -> Option<Range<usize>> {
        let begin = usize::try_from(self.offset).ok()?;
        Some(begin..begin.checked_add(usize::try_from(size).ok()?)?)
    }
}

impl Desk {
    /// Carries a message out; none if the call was given up meanwhile.
    pub(super) fn carry_out(&self, work: Work) -> Option<Reply> {
        let Work {
            id,
            message,
            mut reply,
        } = work;
        let began = Instant::now();
        let outcome = match self.command(id, &message) {
            Ok(outcome) => outcome?,
            Err((result, origin)) => Outcome::only(result, origin),
        };
        self.took(began.elapsed());
        if let Err(error) = message.answer(&outcome, &mut reply.copy) {
            self.record(&Event::Trouble(error.to_string()));
            optee_abi::message::refuse(&mut reply.copy, TeeResult::GENERIC, Origin::COMMS);
        }
        Some(reply)
    }

    fn command(&self, id: u32, message: &Message) -> Result<Option<Outcome>, Refused> {
        let done = Ok(Some(Outcome::only(TeeResult::SUCCESS, Origin::COMMS)));
        let comms = |result| (result, Origin::COMMS);
        match &message.command {
            Command::OpenSession {
                ta, login, params, ..
            } => self.open(id, *ta, *login, params),
            Command::Invoke {
                session,
                function,
                params,
                ..
            } => self.invoke(id, *session, *function, params),
            Command::CloseSession { session } => {
                let session = self.sessions.remove(*session);
                let session = session.ok_or(comms(TeeResult::BAD_PARAMETERS))?;
                // One whose call was given up ends with that.
                if !session.dead {
                    self.close(session.host);
                }
                done
            }
            Command::Cancel { session, cancel_id } => {
                let open = self.sessions.get(*session);
                let host = open.ok_or(comms(TeeResult::BAD_PARAMETERS))?.host;
                for call in self.calls.meant(*session, *cancel_id) {
                    // It may have ended by now.
                    let _ = self.tee.cancel(host, call);
                }
                done
            }
            Command::RegisterShm { memory } => {
                let limit = self.rights().shared_memory_bytes;
                match self.memory.register(memory, limit) {
                    Ok(()) => done,
                    Err(error) => {
                        self.memory_refused(&error);
                        Err(comms(error.result()))
                    }
                }
            }
            Command::UnregisterShm { shm_ref } => match self.memory.unregister(*shm_ref) {
                Ok(()) => done,
                Err(error) => {
                    self.memory_refused(&error);
                    Err(comms(error.result()))
                }
            },
            Command::DoBottomHalf => done,
            Command::StopAsyncNotif => {
                self.notify(false);
                done
            }
        }
    }

    fn open(
        &self,
        id: u32,
        ta: Uuid,
        login: Login,
        params: &Params,
    ) -> Result<Option<Outcome>, Refused> {
        let rights = self.rights();
        let denied = |denied, result| {
            self.record(&Event::Denied(Some(ta), denied));
            (result, Origin::TEE)
        };
        // From here on only the application that is opened counts.
        let ta = rights
            .opens(ta, login)
            .map_err(|why| denied(why, TeeResult::ACCESS_DENIED))?;
        self.pace(Some(ta))?;
        let place = self.sessions.begin(rights.sessions);
        let place =
            place.ok_or_else(|| denied(Denied::Sessions(rights.sessions), TeeResult::BUSY))?;
        let mut prepared = self.prepare(params)?;
        // Kept as long as the buffers: there are enough for each turn's share.
        let Some(_turn) = self.turn(id, rights.weight) else {
            return Ok(None);
        };
        let mut loan = self.buffers(&prepared)?;
        copy_in(&prepared, loan.buffers(), self)?;
        if !self.calls.running(id, None, Some(ta)) {
            return Ok(None);
        }
        count(&self.counters.calls);
        let client = Client {
            login: login.raw() as u32,
            uuid: [0; 16],
        };
        let opened =
            self.tee
                .open_session(ta.0, client, id, loan.buffers(), &mut prepared.parameters);
        let (outcome, host) = opened.map_err(|error| self.trouble(&error))?;
        let opened = outcome.result == TeeResult::SUCCESS.0;
        if !self.calls.ending(id) {
            if opened {
                self.close(host);
            }
            return Ok(None);
        }
        let session = opened.then(|| {
            self.record(&Event::Opened(ta));
            place.opened(host, ta)
        });
        if !opened {
            self.record(&Event::Failed(ta, outcome.result));
        }
        let mut answer = self.copy_out(&prepared, loan.buffers(), outcome);
        answer.session = session;
        Ok(Some(answer))
    }

    fn invoke(
        &self,
        id: u32,
        session: SessionId,
        function: u32,
        params: &Params,
    ) -> Result<Option<Outcome>, Refused> {
        let rights = self.rights();
        let open = self.sessions.get(session);
        // Of an earlier life of this program, most likely: the guest's driver tells its program that it must begin anew.
        let open = open.ok_or((TeeResult::COMMUNICATION, Origin::COMMS))?;
        if open.dead {
            return Err((TeeResult::TARGET_DEAD, Origin::TEE));
        }
        self.pace(Some(open.application))?;
        let mut prepared = self.prepare(params)?;
        // Kept as long as the buffers: there are enough for each turn's share.
        let Some(_turn) = self.turn(id, rights.weight) else {
            return Ok(None);
        };
        let mut loan = self.buffers(&prepared)?;
        copy_in(&prepared, loan.buffers(), self)?;
        if !self
            .calls
            .running(id, Some(session), Some(open.application))
        {
            return Ok(None);
        }
        count(&self.counters.calls);
        let called = self.tee.invoke(
            open.host,
            function,
            id,
            loan.buffers(),
            &mut prepared.parameters,
        );
        let outcome = called.map_err(|error| self.trouble(&error))?;
        if !self.calls.ending(id) {
            // Whatever state it is in: nobody will use this session again.
            self.close(open.host);
            return Ok(None);
        }
        Ok(Some(self.copy_out(&prepared, loan.buffers(), outcome)))
    }

    fn close(&self, host: u32) {
        count(&self.counters.calls);
        if let Err(error) = self.tee.close_session(host) {
            self.record(&Event::Trouble(error.to_string()));
        }
    }

    /// A call more in this second.
    fn pace(&self, application: Option<Uuid>) -> Result<(), Refused> {
        let Some(rate) = self.rights().rate else {
            return Ok(());
        };
        if lock(&self.pace).take(Instant::now(), rate) {
            return Ok(());
        }
        self.record(&Event::Denied(application, Denied::Rate(rate)));
        Err((TeeResult::BUSY, Origin::COMMS))
    }

    /// Waits for a turn in the secure world; none if the call was given up.
    fn turn(&self, id: u32, weight: u32) -> Option<crate::slots::Turn<'_>> {
        let over = || self.calls.is_over(id);
        self.shared.slots.wait(self.attachment, weight, over)
    }

    fn trouble(&self, error: &tee_device::Error) -> Refused {
        let result = match error.errno().map(Errno::from_raw_os_error) {
            Some(Errno::NOMEM) => TeeResult::OUT_OF_MEMORY,
            Some(Errno::INVAL) => TeeResult::BAD_PARAMETERS,
            _ => TeeResult::COMMUNICATION,
        };
        self.record(&Event::Trouble(error.to_string()));
        (result, Origin::COMMS)
    }

    fn buffers(&self, prepared: &Prepared) -> Result<Loan<'_>, Refused> {
        let totals = prepared.totals.iter();
        let sizes: Vec<usize> = totals
            .map(|total| usize::try_from(*total).unwrap_or(usize::MAX))
            .collect();
        let loan = self
            .shared
            .pool
            .lend(self.attachment, self.tee.as_ref(), &sizes);
        loan.map_err(|error| {
            self.record(&Event::Trouble(error.to_string()));
            (TeeResult::OUT_OF_MEMORY, Origin::COMMS)
        })
    }

    /// Finds the memory that the parameters name, and its place in the buffers.
    fn prepare(&self, params: &Params) -> Result<Prepared, Refused> {
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
                    (*direction, region, memory.offset, memory.size)
                }
                Param::Temporary { direction, memory } => {
                    let limit = self.rights().shared_memory_bytes;
                    let most = limit / optee_abi::limits::PAGE_SIZE;
                    let region = self.memory.map(memory, most, limit).map_err(|error| {
                        self.memory_refused(&error);
                        (error.result(), Origin::COMMS)
                    })?;
                    let region = Arc::new(region);
                    prepared.temporary.push(Arc::clone(&region));
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
                region: Arc::downgrade(&region),
                offset,
                size,
                place,
            });
        }
        Ok(prepared)
    }

    /// Gives the guest what the secure world has written.
    fn copy_out(
        &self,
        prepared: &Prepared,
        buffers: &[Buffer],
        outcome: tee_device::Outcome,
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
                count(&self.counters.copies);
                add(&self.counters.copied_bytes, size);
            }
        }
        answer
    }
}

/// Copies what the secure world is to read, once; what it is to write begins as zeros.
fn copy_in(prepared: &Prepared, buffers: &mut [Buffer], desk: &Desk) -> Result<(), Refused> {
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
        count(&desk.counters.copies);
        add(&desk.counters.copied_bytes, piece.size);
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
