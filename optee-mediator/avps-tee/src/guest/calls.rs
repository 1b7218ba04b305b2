//! Calls that are under way: who waits for them, and what the guest is told meanwhile.
//!
//! A vCPU that called is *held*: it stands still until it is answered. Short calls end so. After a while ([`Calls::new`]) the guest is
//! asked to wait instead, as a request of the TEE in the middle of the call; its other work goes on.
//!
//! A guest that takes notifications waits for one: each call has a key, and when it has ended an interrupt tells the guest to
//! fetch that. Another one is asked to sleep, and asked again when it comes back and the call has not ended. How long it sleeps
//! follows from how long the call has taken, so that a long call costs few SMCs and is noticed little later than it ends.
//!
//! A call that was given up may still be in the secure world. While one is, the guest is *quarantined*: no other call of it begins
//! there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use optee_abi::smc::{Answer, Resume, ReturnCode};
use optee_abi::{SessionId, ShmRef, Uuid};

use super::MOST_CALLS;
use super::memory::Region;
use super::pending::{
    Due, Held, Overdue, Pending, Reply, RequestPage, Room, State, TOO_SOON, Told,
};

/// Keys of notifications: from 1 to this. 0 has a meaning of its own.
pub(super) const KEYS: u32 = MOST_CALLS;

/// What a call is, as far as waiting for it goes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About {
    /// It is answered with a time-out after so long.
    pub(super) timeout: Option<Duration>,
    /// What the guest says to cancel it, and in which session.
    pub(super) cancel_id: u32,
    pub(super) session: Option<SessionId>,
}

/// Why a call does not begin in the secure world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody waits for it any more.
    GivenUp,
    /// The guest has cancelled it.
    Cancelled,
    /// A call of the guest has not ended that was given up.
    Quarantined,
}

/// What time has brought about.
#[derive(Debug)]
pub(super) enum Expired {
    /// A vCPU gets an answer.
    Answer(Due),
    /// A call has taken too long, or has not ended even so.
    Overdue(u32, Overdue),
}

/// Calls that are under way in one guest.
#[derive(Debug)]
pub(super) struct Calls {
    /// How long a call may hold its vCPU at a time.
    hold: Duration,
    state: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<u32, Pending>,
    next: u32,
    /// In the secure world, and given up.
    strays: HashSet<u32>,
    /// Memory for requests that no call uses: at most one for each call that may be under way, for another is only asked for when
    /// there is none.
    pages: Vec<RequestPage>,
    told: Told,
}

impl Calls {
    /// None yet. Each may hold its vCPU for so long at a time.
    pub(super) fn new(hold: Duration) -> Self {
        Self {
            hold,
            state: Mutex::default(),
        }
    }

    /// A call begins; its number. None when `most` are under way.
    pub(super) fn begin(&self, held: Held, room: Room, most: u32, about: About) -> Option<u32> {
        let now = Instant::now();
        let mut table = self.lock();
        if u32::try_from(table.calls.len()).unwrap_or(u32::MAX) >= most {
            return None;
        }
        let mut id = table.next;
        while table.calls.contains_key(&id) || table.strays.contains(&id) {
            id = id.wrapping_add(1);
        }
        table.next = id.wrapping_add(1);
        // There are fewer calls than keys.
        let taken = |key: &u32| table.calls.values().any(|call| call.key == *key);
        let key = (1..=KEYS).find(|key| !taken(key))?;
        let pending = Pending {
            state: State::Held {
                held,
                until: now + self.hold,
            },
            key,
            room,
            page: None,
            allocating: false,
            since: now,
            deadline: about.timeout.and_then(|timeout| now.checked_add(timeout)),
            cancelled: false,
            cancel_id: about.cancel_id,
            session: about.session,
            unwanted: false,
            running: false,
            ending: false,
            application: None,
        };
        table.calls.insert(id, pending);
        Some(id)
    }

    /// The secure world is about to begin with it, unless it must not.
    pub(super) fn start(&self, id: u32, application: Uuid) -> Result<(), Stop> {
        let mut table = self.lock();
        if let Some(stop) = table.stop(id) {
            return Err(stop);
        }
        if let Some(pending) = table.calls.get_mut(&id) {
            pending.running = true;
            pending.application = Some(application);
        }
        Ok(())
    }

    /// Why it must not begin in the secure world.
    pub(super) fn stop(&self, id: u32) -> Option<Stop> {
        self.lock().stop(id)
    }

    /// The secure world has ended it. True if that ends the guest's quarantine.
    pub(super) fn left(&self, id: u32) -> bool {
        let mut table = self.lock();
        if let Some(pending) = table.calls.get_mut(&id) {
            pending.running = false;
        }
        table.strays.remove(&id) && table.strays.is_empty()
    }

    /// Calls that were given up and are still in the secure world.
    pub(super) fn strays(&self) -> usize {
        self.lock().strays.len()
    }

    /// The secure world works at it.
    pub(super) fn is_running(&self, id: u32) -> bool {
        let table = self.lock();
        let pending = table.calls.get(&id);
        table.strays.contains(&id) || pending.is_some_and(|pending| pending.running)
    }

    /// Its answer is going to be written; false if it was given up, and nothing of the guest's may be written any more.
    pub(super) fn ending(&self, id: u32) -> bool {
        let mut table = self.lock();
        let Some(pending) = table.calls.get_mut(&id) else {
            return false;
        };
        if pending.is_over() {
            return false;
        }
        pending.ending = true;
        true
    }

    /// It has ended. Gives the vCPU to answer, if one stands still for it.
    pub(super) fn end(&self, id: u32, reply: &Reply) -> Option<Due> {
        let mut table = self.lock();
        let Table { calls, told, .. } = &mut *table;
        let pending = calls.get_mut(&id)?;
        match pending.state {
            State::Held { held, .. } => {
                let answer = pending.finish(reply);
                table.forget(id);
                Some(Due { held, answer })
            }
            State::Ended(_) => None,
            _ => {
                pending.over(reply, told);
                None
            }
        }
    }

    /// The guest takes notifications from now on, or none any more. What a call waits for must then not be waited for.
    pub(super) fn notify(&self, taken: bool) {
        self.lock().told.taken = taken;
    }

    /// Tells a guest that waits for calls of an earlier life of this program: whichever those are.
    pub(super) fn tell_all(&self) {
        let told = &mut self.lock().told;
        told.taken = true;
        (1..=KEYS).for_each(|key| told.tell(key));
    }

    /// What the guest has not been told yet.
    pub(super) fn fetch(&self) -> Answer {
        let keys = &mut self.lock().told.keys;
        let value = keys.pop_front();
        let more = !keys.is_empty();
        Answer::Notification { value, more }
    }

    /// The guest is to be interrupted: there is something to fetch that it does not know of. Told once.
    pub(super) fn interrupts(&self) -> bool {
        std::mem::take(&mut self.lock().told.interrupt)
    }

    /// A vCPU comes back to a call. Gives it an answer, unless it is held.
    pub(super) fn resume(
        &self,
        held: Held,
        resume: Resume,
        allocated: impl FnOnce(Resume) -> Option<(ShmRef, Arc<Region>, u64)>,
    ) -> Option<Due> {
        let now = Instant::now();
        let id = resume.thread;
        let mut table = self.lock();
        let due = |answer| Some(Due { held, answer });
        let Table { calls, told, .. } = &mut *table;
        let Some(pending) = calls.get_mut(&id) else {
            return due(ReturnCode::BadResume.into());
        };
        if matches!(pending.state, State::Held { .. }) {
            return due(ReturnCode::BadResume.into());
        }
        if std::mem::take(&mut pending.allocating) {
            let page = allocated(resume);
            pending.page = page.map(|(shm_ref, memory, offset)| RequestPage {
                shm_ref,
                memory,
                offset,
            });
        }
        if let State::Ended(reply) = &pending.state {
            let reply = **reply;
            let answer = pending.finish(&reply);
            table.forget(id);
            return due(answer);
        }
        let slept = match pending.state {
            State::Asleep {
                since,
                milliseconds,
            } => now - since >= Duration::from_millis(u64::from(milliseconds)) / 2,
            State::Waiting { since } => now - since >= TOO_SOON,
            // A guest without memory to ask it in stays held for a while.
            _ => pending.page.is_some(),
        };
        if slept && let Some(answer) = pending.ask(id, now, told.taken) {
            return due(answer);
        }
        // A signal keeps the guest's program from sleeping: without this it would come again and again. Or there is no way to ask.
        pending.state = State::Held {
            held,
            until: now + self.hold,
        };
        None
    }

    /// What the time has come for, and when it will come next.
    pub(super) fn expire(&self, now: Instant) -> (Vec<Expired>, Option<Instant>) {
        let mut table = self.lock();
        let mut expired = Vec::new();
        let mut next: Option<Instant> = None;
        let mut ended = Vec::new();
        let Table {
            calls,
            strays,
            pages,
            told,
            ..
        } = &mut *table;
        for (id, pending) in calls {
            let overdue = pending.overdue(now, told);
            if let Some(Overdue::GivenUp { due, running, .. }) = &overdue {
                ended.extend(due.is_some().then_some(*id));
                strays.extend(running.then_some(*id));
                expired.extend(overdue.map(|overdue| Expired::Overdue(*id, overdue)));
                continue;
            }
            expired.extend(overdue.map(|overdue| Expired::Overdue(*id, overdue)));
            if let State::Held { held, until } = pending.state {
                if until > now {
                    next = sooner(next, until);
                } else {
                    if pending.page.is_none() && !pending.room.for_requests {
                        pending.page = pages.pop();
                    }
                    match pending.ask(*id, now, told.taken) {
                        Some(answer) => expired.push(Expired::Answer(Due { held, answer })),
                        // It stays held: there is no way to ask.
                        None => {
                            let until = now + self.hold;
                            pending.state = State::Held { held, until };
                            next = sooner(next, until);
                        }
                    }
                }
            }
            // Nothing is left to do for one that ends.
            let open = !pending.is_over() && !pending.ending;
            if let Some(deadline) = pending.deadline.filter(|_| open) {
                next = sooner(next, deadline);
            }
        }
        for id in ended {
            table.forget(id);
        }
        (expired, next)
    }

    /// A guest cancels what it means with this. Calls that wait do not begin: true if there are any, and they are to be woken. Gives
    /// those that the secure world works at.
    pub(super) fn cancel(&self, session: SessionId, cancel_id: u32) -> (bool, Vec<u32>) {
        let mut table = self.lock();
        let (mut waiting, mut running) = (false, Vec::new());
        for (id, pending) in &mut table.calls {
            if pending.session != Some(session) || pending.cancel_id != cancel_id {
                continue;
            }
            if pending.running {
                running.push(*id);
            } else {
                pending.unwanted = true;
                waiting = true;
            }
        }
        (waiting, running)
    }

    /// Every call that the secure world works at and somebody waits for, with its session.
    pub(super) fn all_running(&self) -> Vec<(SessionId, u32)> {
        let table = self.lock();
        let running = |pending: &Pending| pending.running && !pending.is_over();
        let calls = table.calls.iter().filter(|(_, pending)| running(pending));
        calls
            .filter_map(|(id, pending)| pending.session.map(|session| (session, *id)))
            .collect()
    }

    /// Memory for requests that the guest wants back; busy while calls are under way.
    pub(super) fn give_back(&self) -> Answer {
        let mut table = self.lock();
        if !table.calls.is_empty() {
            return ReturnCode::Busy.into();
        }
        match table.pages.pop() {
            Some(page) => Answer::CachedShm(page.shm_ref),
            None => ReturnCode::NotAvailable.into(),
        }
    }

    /// Forgets all: those that the secure world works at are given up. Gives the vCPUs that stand still.
    pub(super) fn clear(&self) -> Vec<Held> {
        let mut table = self.lock();
        let all = std::mem::take(&mut *table);
        table.strays = all.strays;
        let running = all.calls.iter().filter(|(_, pending)| pending.running);
        table.strays.extend(running.map(|(id, _)| *id));
        drop(table);
        let held = all.calls.into_values().filter_map(|call| match call.state {
            State::Held { held, .. } => Some(held),
            _ => None,
        });
        held.collect()
    }

    /// How many are under way.
    pub(super) fn count(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        crate::lock(&self.state)
    }
}

impl Table {
    fn stop(&self, id: u32) -> Option<Stop> {
        match self.calls.get(&id) {
            None => Some(Stop::GivenUp),
            Some(pending) if pending.is_over() => Some(Stop::GivenUp),
            Some(pending) if pending.unwanted => Some(Stop::Cancelled),
            Some(_) if !self.strays.is_empty() => Some(Stop::Quarantined),
            Some(_) => None,
        }
    }

    fn forget(&mut self, id: u32) {
        let page = self.calls.remove(&id).and_then(|pending| pending.page);
        if self.pages.len() < MOST_CALLS as usize {
            self.pages.extend(page);
        }
    }
}

fn sooner(next: Option<Instant>, at: Instant) -> Option<Instant> {
    Some(next.map_or(at, |next| next.min(at)))
}
