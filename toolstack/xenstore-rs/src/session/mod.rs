//! One connection's state: who waits for which answer, which watches exist, what is still to be
//! sent, and whether the connection is alive.
//!
//! Both front ends share this. Waiting is done by [`std::task::Waker`]s, which a parked thread and
//! a tokio task can both be woken by. Bytes are moved by a *driver* (a thread, or a task), which
//! calls [`Session::readable`], [`Session::flush`] and [`Session::expire`]; a request normally goes
//! out on the caller's own stack, without it.
//!
//! It must never wait for anything itself, and never grow with what the server sends: replies
//! nobody asked for are dropped, events are bounded (see [`events`]), requests are limited.

pub(crate) mod events;
mod pending;
mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, describe};
use crate::request::Request;
use crate::transport::{Sent, Transport};
use crate::wire::{self, Decoder, MessageType};

use events::Events;
pub(crate) use events::Waiter;
pub(crate) use pending::Pending;
use pending::{Answer, InFlight, Slot};
pub use state::Statistics;
pub(crate) use state::token_text;
use state::{Broken, Outgoing, State};

/// Most requests that may wait for an answer on one connection.
pub const IN_FLIGHT_MAX: usize = 4096;

/// What is left to do after [`Session::flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Nothing, or somebody else is at it.
    Done,
    /// Wait for room in the socket, then flush again.
    Full,
    /// The next message may only be sent where waiting is allowed: flush with [`Wait::Allowed`].
    NeedsThread,
}

/// What a driver receives into.
pub(crate) struct Inbox {
    decoder: Decoder,
    buffer: Box<[u8]>,
}

impl Inbox {
    /// Bytes read at once: a few large replies, or some hundred events.
    const CAPACITY: usize = 16384;

    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            buffer: vec![0; Self::CAPACITY].into_boxed_slice(),
        }
    }
}

/// May [`Session::flush`] be held by the kernel?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Allowed,
    Forbidden,
}

/// See the module's documentation.
pub(crate) struct Session {
    transport: Transport,
    state: Mutex<State>,
}

impl Session {
    pub(crate) fn new(transport: Transport) -> Arc<Self> {
        Arc::new(Self {
            transport,
            state: Mutex::new(State::default()),
        })
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// A panic elsewhere leaves the state consistent: nothing in here calls foreign code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.state().statistics
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Queues a request and sends it if that is possible at once.
    pub(crate) fn submit<'a>(
        self: &Arc<Self>,
        request: Request<'a>,
        timeout: Duration,
    ) -> Result<Pending<'a>> {
        self.submit_up_to(IN_FLIGHT_MAX, request, timeout)
    }

    fn submit_up_to<'a>(
        self: &Arc<Self>,
        in_flight_max: usize,
        request: Request<'a>,
        timeout: Duration,
    ) -> Result<Pending<'a>> {
        let Request {
            kind,
            transaction_id,
            subject,
            payload,
        } = request;
        let limit = self.transport.payload_limit();
        if payload.len() > limit {
            return Err(Error::TooLong {
                request: describe(kind, subject),
                bytes: payload.len(),
                limit,
                hint: if self.transport.is_device() {
                    " sent through the kernel"
                } else {
                    ""
                },
            });
        }
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or_else(|| far_future(now));
        let (id, late) = {
            let mut state = self.state();
            if let Some(broken) = &state.broken {
                return Err(broken.error(kind, subject));
            }
            if state.in_flight.len() >= in_flight_max {
                return Err(Error::Busy {
                    request: describe(kind, subject),
                    waiting: state.in_flight.len(),
                });
            }
            let id = state.unused_id();
            let bytes = wire::encode(kind, id, transaction_id, &payload).map_err(|error| {
                Error::TooLong {
                    request: describe(kind, subject),
                    bytes: error.0,
                    limit,
                    hint: "",
                }
            })?;
            state.in_flight.insert(
                id,
                InFlight {
                    kind,
                    deadline,
                    timeout,
                    extended: false,
                    slot: Slot::Waiting(None),
                },
            );
            state.outbox.push_back(Outgoing {
                id,
                kind,
                bytes,
                sent: 0,
            });
            state.statistics.requests = state.statistics.requests.saturating_add(1);
            let late = state.armed.is_none_or(|armed| deadline < armed);
            state.rearm |= late;
            (id, late)
        };
        let left = self.flush(Wait::Forbidden);
        if late || left != Flush::Done {
            self.wake_driver();
        }
        Ok(Pending::new(Arc::clone(self), id, kind, subject, timeout))
    }

    /// Sends a request whose answer nobody wants, as from a `drop`. Failing is fine: then the
    /// connection is gone, and with it whatever there was to undo.
    ///
    /// These have room of their own beyond [`IN_FLIGHT_MAX`], so that a busy connection does not
    /// keep a watch or a transaction for ever.
    pub(crate) fn submit_detached(
        self: &Arc<Self>,
        request: Result<Request<'_>>,
        timeout: Duration,
    ) {
        const ROOM: usize = 2 * IN_FLIGHT_MAX;
        if let Ok(request) = request
            && let Ok(pending) = self.submit_up_to(ROOM, request, timeout)
        {
            pending.detach();
        }
    }

    /// Sends what is in the outbox as far as that works.
    pub(crate) fn flush(&self, wait: Wait) -> Flush {
        loop {
            let mut outgoing = {
                let mut state = self.state();
                if state.sending || state.alone.is_some() || state.broken.is_some() {
                    return Flush::Done;
                }
                match state.outbox.front() {
                    None => return Flush::Done,
                    Some(next)
                        if wait == Wait::Forbidden && self.transport.may_block(next.kind) =>
                    {
                        return Flush::NeedsThread;
                    }
                    Some(_) => {}
                }
                let Some(outgoing) = state.outbox.pop_front() else {
                    return Flush::Done;
                };
                state.sending = true;
                if self.transport.one_at_a_time() {
                    state.alone = Some(outgoing.id);
                }
                outgoing
            };
            let rest = outgoing.bytes.get(outgoing.sent..).unwrap_or_default();
            let result = self.transport.send(rest);

            let mut wakers = Vec::new();
            let mut full = false;
            {
                let mut state = self.state();
                state.sending = false;
                match result {
                    Ok(Sent::Bytes(count)) => {
                        outgoing.sent = outgoing.sent.saturating_add(count);
                        if outgoing.sent < outgoing.bytes.len() {
                            state.outbox.push_front(outgoing);
                        }
                    }
                    Ok(Sent::Full) => {
                        state.outbox.push_front(outgoing);
                        full = true;
                    }
                    Ok(Sent::Refused(errno)) => {
                        state.answer(outgoing.id, Answer::Refused(errno), &mut wakers);
                    }
                    Err(error) => state.fail(
                        Broken::Disconnected(format!("sending failed: {error}")),
                        &mut wakers,
                    ),
                }
            }
            wake_all(wakers);
            if full {
                return Flush::Full;
            }
        }
    }

    /// Reads once what is there and hands it out. `false` when the connection is over.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub(crate) fn readable(self: &Arc<Self>, inbox: &mut Inbox) -> io::Result<bool> {
        let Inbox { decoder, buffer } = inbox;
        let count = match self.transport.receive(buffer) {
            Ok(0) => {
                self.fail(Broken::Disconnected(if decoder.is_mid_message() {
                    "the server closed it in the middle of a message".to_owned()
                } else {
                    "the server closed it".to_owned()
                }));
                return Ok(false);
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                self.fail(Broken::Disconnected(format!("receiving failed: {error}")));
                return Ok(false);
            }
        };
        let mut input = buffer.get(..count).unwrap_or_default();
        let mut wakers = Vec::new();
        let mut orphans = Vec::new();
        {
            let mut state = self.state();
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(message)) => state.dispatch(message, &mut wakers, &mut orphans),
                    Ok(None) => break,
                    Err(error) => {
                        state.fail(Broken::Protocol(error.to_string()), &mut wakers);
                        break;
                    }
                }
            }
        }
        wake_all(wakers);
        for transaction_id in orphans {
            let request = Request::transaction_end(transaction_id, false);
            self.submit_detached(request, ORPHAN_TIMEOUT);
        }
        Ok(!self.is_broken())
    }

    /// Gives the connection up if an answer is overdue. Returns when to call again, `None` for
    /// "when woken".
    ///
    /// An answer that nobody has read is not overdue: this process, or only the driver, may have
    /// been stopped for longer than the time limit. So what has come is read first, and whoever was
    /// late gives the server a little more time.
    pub(crate) fn expire(self: &Arc<Self>, inbox: &mut Inbox) -> Option<Instant> {
        {
            let state = self.state();
            let now = Instant::now();
            if !state.rearm && state.armed.is_none_or(|armed| armed > now) {
                return state.armed;
            }
        }
        let mut unread = false;
        if self
            .first_deadline()
            .is_some_and(|first| first <= Instant::now())
        {
            for _ in 0..READS_MAX {
                if !matches!(self.readable(inbox), Ok(true)) {
                    break;
                }
                unread = true;
            }
        }
        let mut wakers = Vec::new();
        let armed = {
            let mut state = self.state();
            let now = Instant::now();
            state.rearm = false;
            state.extend(now, unread);
            if let Some((deadline, kind, timeout)) = state.first_deadline()
                && deadline <= now
            {
                state.expire(now, &mut wakers);
                let reason = format!("{kind} was not answered within {timeout:?}");
                state.fail(Broken::Disconnected(reason), &mut wakers);
            }
            // With nothing in flight the old alarm stays: the next request then need not wake the
            // driver, which would cost every single request a context switch.
            state.armed = match state.first_deadline() {
                Some((deadline, ..)) => Some(deadline),
                None => state.armed.filter(|armed| *armed > now),
            };
            state.armed
        };
        wake_all(wakers);
        armed
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.state().first_deadline().map(|(deadline, ..)| deadline)
    }

    /// Has `waker` woken whenever the driver has something to do.
    pub(crate) fn set_driver(&self, waker: &Waker) {
        let mut state = self.state();
        if !state
            .driver
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            state.driver = Some(waker.clone());
        }
    }

    fn wake_driver(&self) {
        let driver = self.state().driver.clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Ends the connection on this side; everybody who still waits gets `reason`.
    pub(crate) fn close(&self, reason: &str) {
        self.fail(Broken::Disconnected(reason.to_owned()));
    }

    fn fail(&self, broken: Broken) {
        let mut wakers = Vec::new();
        self.state().fail(broken, &mut wakers);
        wake_all(wakers);
    }

    /// Makes room for the events of a new watch; its token.
    ///
    /// Before the request is sent: the kernel's device may deliver the first event ahead of the
    /// answer.
    pub(crate) fn add_watch(&self, root: &str, depth: Option<u32>) -> u64 {
        let mut state = self.state();
        state.last_token = state.last_token.wrapping_add(1);
        let token = state.last_token;
        state.watches.insert(token, Events::new(root, depth));
        token
    }

    /// Forgets a watch; whoever still waits for its events is told the truth at the next poll.
    pub(crate) fn remove_watch(&self, token: u64) {
        let mut wakers = Vec::new();
        if let Some(mut events) = self.state().watches.remove(&token) {
            events.take_waiters(&mut wakers);
        }
        wake_all(wakers);
    }

    /// How many wait for events of a watch.
    #[cfg(test)]
    pub(crate) fn waiters(&self, token: u64) -> usize {
        let state = self.state();
        state.watches.get(&token).map_or(0, Events::waiters)
    }

    /// Somebody no longer waits for an event of this watch.
    pub(crate) fn forget_waiter(&self, token: u64, waiter: &Waiter) {
        let mut state = self.state();
        let events = state.watches.get_mut(&token);
        let waker = events.and_then(|events| events.forget(waiter));
        // A waker may end whatever it belongs to, which may call in here again.
        drop(state);
        drop(waker);
    }

    /// The next event of a watch. `None`: none yet, and the waker, if given, will be woken.
    pub(crate) fn next_event(
        &self,
        token: u64,
        root: &str,
        wake: Option<(&mut Waiter, &Waker)>,
    ) -> Result<Option<String>> {
        let mut state = self.state();
        let State {
            watches, broken, ..
        } = &mut *state;
        if let Some(events) = watches.get_mut(&token) {
            if let Some(path) = events.pop() {
                return Ok(Some(path));
            }
            if broken.is_none() {
                let before = wake.and_then(|(waiter, waker)| events.wait(waiter, waker));
                drop(state);
                drop(before);
                return Ok(None);
            }
        }
        Err(match broken {
            Some(broken) => broken.error(MessageType::WATCH, root),
            None => Error::Disconnected {
                request: describe(MessageType::WATCH, root),
                reason: "the watch has ended".to_owned(),
            },
        })
    }
}

/// Most reads of what came while nobody looked, each of up to [`Inbox::CAPACITY`] bytes. The kernel keeps less than that for a socket;
/// a server that never stops talking is not listened to for ever.
const READS_MAX: u32 = 256;

/// How long the end of a transaction that nobody waits for may take.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Stands for "no time limit" where a sum overflows.
fn far_future(now: Instant) -> Instant {
    now.checked_add(Duration::from_secs(86400 * 365))
        .unwrap_or(now)
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
