//! A request that waits for its answer, as a future any front end can wait for.
//!
//! Dropping it gives the answer up, not the connection: the request is still sent, and its id
//! stays reserved until the server has answered, so that a late answer is never taken for another's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::{Errno, Error, Result, describe};
use crate::request::Reply;
use crate::wire::MessageType;

use super::Session;
use super::state::State;

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) kind: MessageType,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    /// Its time was extended because unread messages were found at its end.
    pub(super) extended: bool,
    pub(super) slot: Slot,
}

#[derive(Debug)]
pub(super) enum Slot {
    Waiting(Option<Waker>),
    Done(Answer),
    /// Nobody wants the answer any more, but the id is taken until it has come.
    Abandoned,
}

#[derive(Debug)]
pub(super) enum Answer {
    Reply(MessageType, Vec<u8>),
    Refused(Errno),
    Overdue,
}

/// See the module's documentation.
#[must_use = "dropping it gives the answer up"]
pub(crate) struct Pending<'a> {
    session: Arc<Session>,
    id: u32,
    kind: MessageType,
    subject: &'a str,
    timeout: Duration,
    finished: bool,
}

impl<'a> Pending<'a> {
    pub(super) fn new(
        session: Arc<Session>,
        id: u32,
        kind: MessageType,
        subject: &'a str,
        timeout: Duration,
    ) -> Self {
        Self {
            session,
            id,
            kind,
            subject,
            timeout,
            finished: false,
        }
    }

    /// Lets the request go its way; the answer is dropped when it comes.
    pub(super) fn detach(mut self) {
        self.finished = true;
        let mut state = self.session.state();
        abandon(&mut state, self.id);
    }

    fn finish(&self, answer: Answer) -> Result<Reply<'a>> {
        match answer {
            Answer::Reply(kind, payload) if kind == self.kind => Ok(Reply {
                kind,
                subject: self.subject,
                payload,
            }),
            Answer::Reply(other, _) => Err(Error::bad_reply(
                self.kind,
                self.subject,
                format!("it is of type {other}"),
            )),
            Answer::Refused(errno) => Err(Error::from_server(self.kind, self.subject, errno)),
            Answer::Overdue => Err(Error::Timeout {
                request: describe(self.kind, self.subject),
                after: self.timeout,
            }),
        }
    }
}

impl<'a> Future for Pending<'a> {
    type Output = Result<Reply<'a>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let session = Arc::clone(&self.session);
        let mut state = session.state();
        let slot = state
            .in_flight
            .get_mut(&self.id)
            .map(|entry| &mut entry.slot);
        if let Some(Slot::Waiting(waker)) = slot {
            *waker = Some(context.waker().clone());
            let Some(error) = state.broken_error(self.kind, self.subject) else {
                return Poll::Pending;
            };
            state.in_flight.remove(&self.id);
            self.finished = true;
            return Poll::Ready(Err(error));
        }
        let entry = state.in_flight.remove(&self.id);
        self.finished = true;
        Poll::Ready(match entry.map(|entry| entry.slot) {
            Some(Slot::Done(answer)) => self.finish(answer),
            _ => Err(state
                .broken_error(self.kind, self.subject)
                .unwrap_or_else(|| {
                    Error::bad_reply(self.kind, self.subject, "it was taken already")
                })),
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let orphan = {
            let mut state = self.session.state();
            abandon(&mut state, self.id)
        };
        if let Some(transaction_id) = orphan {
            let request = crate::request::Request::transaction_end(transaction_id, false);
            self.session.submit_detached(request, self.timeout);
        }
    }
}

/// Gives an answer up. If it has come already and started a transaction: which one.
fn abandon(state: &mut State, id: u32) -> Option<u32> {
    let entry = state.in_flight.get_mut(&id)?;
    match std::mem::replace(&mut entry.slot, Slot::Abandoned) {
        Slot::Done(answer) => {
            // Now as if it came after having been given up.
            state.answer(id, answer, &mut Vec::new())
        }
        _ => {
            if state.broken.is_some() {
                state.in_flight.remove(&id);
            }
            None
        }
    }
}
