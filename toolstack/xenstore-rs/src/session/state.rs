//! What is known about a connection, and what a message does to it. No I/O, no waiting: the wakers
//! of those concerned are collected, and woken by the caller after it has released the lock.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{Error, describe};
use crate::request;
use crate::wire::{Message, MessageType};

use super::events::{Events, Outcome};
use super::pending::{Answer, InFlight, Slot};

/// A driver that comes this late to a time limit was stopped: a loaded machine runs it sooner.
const LATE: Duration = Duration::from_secs(1);
/// Time a request gets after a stop, at most: a server that is alive needs milliseconds.
const MORE_TIME: Duration = Duration::from_secs(5);

/// Counts of one connection since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Requests sent.
    pub requests: u64,
    /// Watch events received.
    pub events: u64,
    /// Of these, dropped because an equal one was waiting.
    pub coalesced: u64,
    /// How often a watch's waiting events were replaced by one for its own path.
    pub collapsed: u64,
    /// Messages nobody waited for: late replies, unknown request ids or tokens.
    pub strays: u64,
}

/// Why the connection ended.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    Disconnected(String),
    Protocol(String),
}

impl Broken {
    pub(super) fn error(&self, kind: MessageType, subject: &str) -> Error {
        let request = describe(kind, subject);
        match self {
            Self::Disconnected(reason) => Error::Disconnected {
                request,
                reason: reason.clone(),
            },
            Self::Protocol(detail) => Error::Protocol {
                request,
                detail: detail.clone(),
                fatal: true,
            },
        }
    }
}

/// A message, or the rest of one, that has to go out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: u32,
    pub(super) kind: MessageType,
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) broken: Option<Broken>,
    pub(super) last_id: u32,
    pub(super) in_flight: HashMap<u32, InFlight>,
    pub(super) outbox: VecDeque<Outgoing>,
    /// Somebody is sending the message taken from the outbox's front.
    pub(super) sending: bool,
    /// The request that has to be answered before the next may be sent, where that is so.
    pub(super) alone: Option<u32>,
    pub(super) last_token: u64,
    pub(super) watches: HashMap<u64, Events>,
    /// When the driver will look at the deadlines by itself.
    pub(super) armed: Option<Instant>,
    /// A deadline before that has come up.
    pub(super) rearm: bool,
    pub(super) driver: Option<Waker>,
    pub(super) statistics: Statistics,
}

/// A watch's token as it travels.
pub(crate) fn token_text(token: u64) -> String {
    format!("w{token:x}")
}

impl State {
    /// An id no request in flight has; never 0, which watch events carry.
    pub(super) fn unused_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.in_flight.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Hands a message to whom it concerns. Transactions nobody wants any more go to `orphans`.
    pub(super) fn dispatch(
        &mut self,
        message: Message,
        wakers: &mut Vec<Waker>,
        orphans: &mut Vec<u32>,
    ) {
        if message.kind == MessageType::WATCH_EVENT {
            self.dispatch_event(&message.payload, wakers);
            return;
        }
        let id = message.request_id;
        let answer = match message.kind {
            MessageType::ERROR => Answer::Refused(request::error_name(&message.payload)),
            kind => Answer::Reply(kind, message.payload),
        };
        if let Some(transaction_id) = self.answer(id, answer, wakers) {
            orphans.push(transaction_id);
        }
    }

    /// Completes a request. Returns the transaction a cancelled request has started.
    pub(super) fn answer(
        &mut self,
        id: u32,
        answer: Answer,
        wakers: &mut Vec<Waker>,
    ) -> Option<u32> {
        self.alone.take_if(|alone| *alone == id);
        let Some(entry) = self.in_flight.get_mut(&id) else {
            self.statistics.strays = self.statistics.strays.saturating_add(1);
            return None;
        };
        match &mut entry.slot {
            Slot::Waiting(waker) => {
                wakers.extend(waker.take());
                entry.slot = Slot::Done(answer);
                None
            }
            Slot::Done(_) => {
                self.statistics.strays = self.statistics.strays.saturating_add(1);
                None
            }
            Slot::Abandoned => {
                self.in_flight.remove(&id);
                match answer {
                    Answer::Reply(MessageType::TRANSACTION_START, payload) => {
                        let text = payload.strip_suffix(b"\0").unwrap_or(&payload);
                        str::from_utf8(text).ok()?.parse().ok()
                    }
                    _ => None,
                }
            }
        }
    }

    fn dispatch_event(&mut self, payload: &[u8], wakers: &mut Vec<Waker>) {
        let Some((path, token)) = request::watch_event(payload) else {
            // What it was about is lost: going on would mean to miss a change without a word.
            self.fail(
                Broken::Protocol("a watch event without path or token".to_owned()),
                wakers,
            );
            return;
        };
        self.statistics.events = self.statistics.events.saturating_add(1);
        let events = token
            .strip_prefix('w')
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .and_then(|token| self.watches.get_mut(&token));
        let Some(events) = events else {
            self.statistics.strays = self.statistics.strays.saturating_add(1);
            return;
        };
        match events.push(path) {
            Outcome::Queued => events.take_waiters(wakers),
            Outcome::Coalesced => {
                self.statistics.coalesced = self.statistics.coalesced.saturating_add(1);
            }
            Outcome::Collapsed => {
                self.statistics.collapsed = self.statistics.collapsed.saturating_add(1);
                events.take_waiters(wakers);
            }
            Outcome::Filtered => {}
        }
    }

    /// The first time limit of those who wait for an answer, with its request.
    pub(super) fn first_deadline(&self) -> Option<(Instant, MessageType, Duration)> {
        self.in_flight
            .values()
            .filter(|entry| !matches!(entry.slot, Slot::Done(_)))
            .min_by_key(|entry| entry.deadline)
            .map(|entry| (entry.deadline, entry.kind, entry.timeout))
    }

    /// Gives requests that are overdue more time, if that need not be the server's fault: nobody looked when their time was over, or
    /// messages were `unread` then. The latter once for each, since a server may send events and never an answer.
    pub(super) fn extend(&mut self, now: Instant, unread: bool) {
        for entry in self.in_flight.values_mut() {
            let late = now.saturating_duration_since(entry.deadline);
            if entry.deadline <= now && (late > LATE || unread && !entry.extended) {
                entry.extended = true;
                let more = entry.timeout.min(MORE_TIME);
                entry.deadline = now.checked_add(more).unwrap_or(now);
            }
        }
    }

    /// Marks the requests that are overdue, so that they say so themselves.
    pub(super) fn expire(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        for entry in self.in_flight.values_mut() {
            if entry.deadline <= now
                && let Slot::Waiting(waker) = &mut entry.slot
            {
                wakers.extend(waker.take());
                entry.slot = Slot::Done(Answer::Overdue);
            }
        }
    }

    /// Ends the connection. The first reason stays.
    pub(super) fn fail(&mut self, broken: Broken, wakers: &mut Vec<Waker>) {
        if self.broken.is_none() {
            self.broken = Some(broken);
        }
        self.outbox.clear();
        self.in_flight.retain(|_, entry| match &mut entry.slot {
            Slot::Waiting(waker) => {
                wakers.extend(waker.take());
                true
            }
            Slot::Done(_) => true,
            Slot::Abandoned => false,
        });
        for events in self.watches.values_mut() {
            events.take_waiters(wakers);
        }
        wakers.extend(self.driver.clone());
    }

    pub(super) fn broken_error(&self, kind: MessageType, subject: &str) -> Option<Error> {
        self.broken
            .as_ref()
            .map(|broken| broken.error(kind, subject))
    }
}
