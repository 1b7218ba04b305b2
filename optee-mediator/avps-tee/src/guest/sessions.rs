//! Sessions: a guest's numbers are its own, and never those of the TEE.
//!
//! A session is closed in the secure world when no call has it: OP-TEE would let the closing wait in one of its threads. So a guest
//! may have closed one that is still open there, and one may be closed there that the guest still knows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use optee_abi::{Login, SessionId, Uuid};

/// What a guest has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The TEE's number.
    pub(crate) host: u32,
    /// The application that was opened.
    pub(crate) application: Uuid,
    /// The one that the guest has asked for.
    pub(crate) asked: Uuid,
    /// How.
    pub(crate) login: Login,
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) opened: Opened,
    /// Nothing may be called in it any more: it can only be closed.
    pub(crate) dead: bool,
    /// The guest has closed it.
    closed: bool,
    /// Calls that have it.
    calls: u32,
    host: Host,
}

/// How far a session is in the secure world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Open,
    /// It is to be closed once no call has it.
    Unwanted,
    /// Somebody closes it.
    Closing,
    Closed,
}

/// The sessions of one guest.
#[derive(Debug)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: HashMap<SessionId, Session>,
    /// Being opened.
    opening: u32,
    next: u32,
}

/// The place of a session that is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    sessions: &'a Sessions,
}

/// A session that a call has: it is not closed meanwhile.
#[derive(Debug)]
pub(crate) struct InUse<'a> {
    sessions: &'a Sessions,
    id: SessionId,
    pub(super) opened: Opened,
}

/// Why a guest's call does not get a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSession {
    /// It has none of this number.
    Unknown,
    /// It can only be closed.
    Dead,
}

/// What is left to do once a guest has closed a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Close it in the secure world, then [`Sessions::closed`].
    Now(Opened),
    /// Nothing: it is closed, or will be when no call has it.
    Nothing,
}

impl Sessions {
    /// None yet. Numbers begin at `first`, so that those of an earlier life mean nothing.
    pub(super) fn new(first: u32) -> Self {
        Self {
            state: Mutex::new(State {
                all: HashMap::new(),
                opening: 0,
                next: first,
            }),
        }
    }

    /// Keeps a place; none when `most` are open or being opened.
    pub(super) fn begin(&self, most: u32) -> Option<Opening<'_>> {
        let mut state = self.lock();
        let open = u32::try_from(state.all.len()).unwrap_or(u32::MAX);
        if open.saturating_add(state.opening) >= most {
            return None;
        }
        state.opening = state.opening.saturating_add(1);
        Some(Opening { sessions: self })
    }

    /// A session for a call.
    pub(super) fn enter(&self, id: SessionId) -> Result<InUse<'_>, NoSession> {
        let mut state = self.lock();
        let session = state.known(id).ok_or(NoSession::Unknown)?;
        if session.dead {
            return Err(NoSession::Dead);
        }
        session.calls = session.calls.saturating_add(1);
        Ok(InUse {
            sessions: self,
            id,
            opened: session.opened,
        })
    }

    /// What a session is of that a guest knows.
    pub(super) fn get(&self, id: SessionId) -> Option<Opened> {
        self.lock().known(id).map(|session| session.opened)
    }

    /// The guest closes a session; none if it has none of this number.
    pub(super) fn close(&self, id: SessionId) -> Option<Close> {
        let mut state = self.lock();
        let session = state.known(id)?;
        session.closed = true;
        session.dead = true;
        if session.host == Host::Open {
            session.host = Host::Unwanted;
        }
        if session.host == Host::Unwanted && session.calls == 0 {
            session.host = Host::Closing;
            return Some(Close::Now(session.opened));
        }
        state.settle(id);
        Some(Close::Nothing)
    }

    /// Nothing more may be called in it: nobody knows what state it is in.
    pub(super) fn give_up(&self, id: SessionId) {
        if let Some(session) = self.lock().all.get_mut(&id) {
            session.unwanted();
        }
    }

    /// Nothing more may be called in those that are not `allowed`. Gives their applications.
    pub(super) fn revoke(&self, allowed: impl Fn(&Opened) -> bool) -> Vec<(SessionId, Uuid)> {
        let mut state = self.lock();
        let mut revoked = Vec::new();
        for (id, session) in &mut state.all {
            if !session.dead && !allowed(&session.opened) {
                session.unwanted();
                revoked.push((*id, session.opened.application));
            }
        }
        revoked.sort_by_key(|(id, _)| *id);
        revoked
    }

    /// A session that is to be closed in the secure world, by the caller: then [`Sessions::closed`] or [`Sessions::put_back`].
    pub(super) fn next_to_close(&self) -> Option<(SessionId, Opened)> {
        let mut state = self.lock();
        let mut all = state.all.iter_mut();
        let (id, session) = all.find(|(_, session)| session.is_to_close())?;
        session.host = Host::Closing;
        Some((*id, session.opened))
    }

    /// There is one.
    pub(super) fn has_to_close(&self) -> bool {
        self.lock().all.values().any(Session::is_to_close)
    }

    /// It is to be closed later.
    pub(super) fn put_back(&self, id: SessionId) {
        if let Some(session) = self.lock().all.get_mut(&id) {
            session.host = Host::Unwanted;
        }
    }

    /// It is closed in the secure world.
    pub(super) fn closed(&self, id: SessionId) {
        let mut state = self.lock();
        if let Some(session) = state.all.get_mut(&id) {
            session.host = Host::Closed;
        }
        state.settle(id);
    }

    /// All that the guest knows or the secure world has open.
    pub(super) fn all(&self) -> Vec<(SessionId, Session)> {
        let state = self.lock();
        let mut all: Vec<_> = state.all.iter().map(|(id, one)| (*id, *one)).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    fn known(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id).filter(|session| !session.closed)
    }

    /// Forgets a session that neither side has.
    fn settle(&mut self, id: SessionId) {
        let session = self.all.get(&id);
        if session.is_some_and(|session| session.closed && session.host == Host::Closed) {
            self.all.remove(&id);
        }
    }
}

impl Session {
    fn unwanted(&mut self) {
        self.dead = true;
        if self.host == Host::Open {
            self.host = Host::Unwanted;
        }
    }

    fn is_to_close(&self) -> bool {
        self.host == Host::Unwanted && self.calls == 0
    }
}

impl Opening<'_> {
    /// It is open.
    pub(super) fn opened(self, opened: Opened) -> SessionId {
        let mut state = self.sessions.lock();
        // 0 is what a guest finds when nothing was opened.
        let mut id = SessionId(state.next.max(1));
        while state.all.contains_key(&id) {
            id = SessionId(id.0.wrapping_add(1).max(1));
        }
        state.next = id.0.wrapping_add(1);
        let session = Session {
            opened,
            dead: false,
            closed: false,
            calls: 0,
            host: Host::Open,
        };
        state.all.insert(id, session);
        id
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.opening = state.opening.saturating_sub(1);
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.lock().all.get_mut(&self.id) {
            session.calls = session.calls.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: Opened = Opened {
        host: 7,
        application: Uuid::NIL,
        asked: Uuid::NIL,
        login: Login::Public,
    };

    #[test]
    fn places_are_counted_while_sessions_are_opened_and_numbers_are_never_0() {
        let sessions = Sessions::new(u32::MAX);
        let first = sessions.begin(2).unwrap();
        let second = sessions.begin(2).unwrap();
        assert!(sessions.begin(2).is_none());
        drop(second);
        let one = first.opened(OPENED);
        let other = sessions.begin(2).unwrap().opened(OPENED);
        assert!(sessions.begin(2).is_none());
        assert_eq!([one.0, other.0], [u32::MAX, 1]);
        sessions.give_up(one);
        assert_eq!(sessions.enter(one).err(), Some(NoSession::Dead));
        assert_eq!(sessions.close(one), Some(Close::Now(OPENED)));
        assert_eq!(sessions.close(one), None);
        // It counts until it is closed in the secure world, too.
        assert!(sessions.begin(2).is_none());
        sessions.closed(one);
        assert_eq!(sessions.all().len(), 1);
        assert!(sessions.begin(2).is_some());
    }

    #[test]
    fn a_session_is_closed_by_one_and_only_when_no_call_has_it() {
        let sessions = Sessions::new(1);
        let id = sessions.begin(1).unwrap().opened(OPENED);
        let call = sessions.enter(id).unwrap();
        assert_eq!(sessions.close(id), Some(Close::Nothing));
        assert_eq!(sessions.enter(id).err(), Some(NoSession::Unknown));
        assert_eq!(sessions.next_to_close(), None);
        drop(call);
        assert_eq!(sessions.next_to_close(), Some((id, OPENED)));
        assert_eq!(sessions.next_to_close(), None);
        sessions.put_back(id);
        assert!(sessions.has_to_close());
        assert_eq!(sessions.next_to_close(), Some((id, OPENED)));
        sessions.closed(id);
        assert!(sessions.all().is_empty());
    }

    #[test]
    fn what_is_revoked_stays_known_until_the_guest_closes_it() {
        let sessions = Sessions::new(1);
        let id = sessions.begin(1).unwrap().opened(OPENED);
        assert_eq!(sessions.revoke(|_| true), []);
        assert_eq!(sessions.revoke(|_| false), [(id, Uuid::NIL)]);
        assert_eq!(sessions.revoke(|_| false), []);
        assert_eq!(sessions.next_to_close(), Some((id, OPENED)));
        sessions.closed(id);
        assert_eq!(sessions.enter(id).err(), Some(NoSession::Dead));
        assert_eq!(sessions.close(id), Some(Close::Nothing));
        assert!(sessions.all().is_empty());
    }
}
