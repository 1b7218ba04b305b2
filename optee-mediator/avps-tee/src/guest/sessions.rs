//! Sessions: a guest's numbers are its own, and never those of the TEE.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use optee_abi::{SessionId, Uuid};

/// A session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The TEE's number.
    pub(crate) host: u32,
    /// With whom.
    pub(crate) application: Uuid,
    /// A call of it was given up: nobody knows what state it is in.
    pub(crate) dead: bool,
}

/// The sessions of one guest.
#[derive(Debug)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: HashMap<SessionId, Session>,
    /// Being opened.
    opening: u32,
    next: u32,
}

/// The place of a session that is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    sessions: &'a Sessions,
}

impl Sessions {
    /// None yet. Numbers begin at `first`, so that those of an earlier life mean nothing.
    pub(super) fn new(first: u32) -> Self {
        Self {
            state: Mutex::new(State {
                open: HashMap::new(),
                opening: 0,
                next: first,
            }),
        }
    }

    /// Keeps a place; none when `most` are open or being opened.
    pub(super) fn begin(&self, most: u32) -> Option<Opening<'_>> {
        let mut state = self.lock();
        let open = u32::try_from(state.open.len()).unwrap_or(u32::MAX);
        if open.saturating_add(state.opening) >= most {
            return None;
        }
        state.opening = state.opening.saturating_add(1);
        Some(Opening { sessions: self })
    }

    /// A session.
    pub(super) fn get(&self, id: SessionId) -> Option<Session> {
        self.lock().open.get(&id).copied()
    }

    /// Takes it out.
    pub(super) fn remove(&self, id: SessionId) -> Option<Session> {
        self.lock().open.remove(&id)
    }

    /// Nothing more may be called in it.
    pub(super) fn give_up(&self, id: SessionId) {
        if let Some(session) = self.lock().open.get_mut(&id) {
            session.dead = true;
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(SessionId, Session)> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .open
            .iter()
            .map(|(id, session)| (*id, *session))
            .collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl Opening<'_> {
    /// It is open.
    pub(super) fn opened(self, host: u32, application: Uuid) -> SessionId {
        let mut state = self.sessions.lock();
        // 0 is what a guest finds when nothing was opened.
        let mut id = SessionId(state.next.max(1));
        while state.open.contains_key(&id) {
            id = SessionId(id.0.wrapping_add(1).max(1));
        }
        state.next = id.0.wrapping_add(1);
        state.open.insert(
            id,
            Session {
                host,
                application,
                dead: false,
            },
        );
        id
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.opening = state.opening.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_while_sessions_are_opened_and_numbers_are_never_0() {
        let sessions = Sessions::new(u32::MAX);
        let first = sessions.begin(2).unwrap();
        let second = sessions.begin(2).unwrap();
        assert!(sessions.begin(2).is_none());
        drop(second);
        let one = first.opened(7, Uuid::NIL);
        let other = sessions.begin(2).unwrap().opened(7, Uuid::NIL);
        assert!(sessions.begin(2).is_none());
        assert_eq!([one.0, other.0], [u32::MAX, 1]);
        sessions.give_up(one);
        assert!(sessions.get(one).unwrap().dead);
        assert!(sessions.remove(one).is_some());
        assert!(sessions.remove(one).is_none());
        assert_eq!(sessions.all().len(), 1);
    }
}
