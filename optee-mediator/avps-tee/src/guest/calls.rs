//! Calls that are under way: who waits for them, and what the guest is told meanwhile.
//!
//! A vCPU that called is *held*: it stands still until it is answered. Short calls end so. After a while ([`Calls::new`]) the guest is asked to
//! wait instead, as a request of the TEE in the middle of the call; its other work goes on.
//!
//! A guest that takes notifications waits for one: each call has a key, and when it has ended an interrupt tells the guest to
//! fetch that. Another one is asked to sleep, and asked again when it comes back and the call has not ended. How long it sleeps
//! follows from how long the call has taken, so that a long call costs few SMCs and is noticed little later than it ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use optee_abi::limits::MAX_MESSAGE;
use optee_abi::message::rpc::{REQUEST_LEN, Request};
use optee_abi::smc::{Answer, Resume, ReturnCode, Rpc};
use optee_abi::{SessionId, ShmRef, Uuid};
use xen::vcpu::VcpuContext;

use super::MOST_CALLS;
use super::memory::Region;

/// Keys of notifications: from 1 to this. 0 has a meaning of its own.
pub(super) const KEYS: u32 = MOST_CALLS;
/// Shortest and longest sleep that a guest is asked for.
const SLEEP: (u32, u32) = (1, 50);
/// How long a guest waits for a notification before it looks whether it has missed one. Linux takes it for ticks, of which it has 100
/// to 1000 in a second.
const LOOK_AFTER: u32 = 250;
/// A guest that comes back sooner has found a notification that was not for this call.
const TOO_SOON: Duration = Duration::from_millis(100);
/// How long a call that was cancelled because it took too long may still take.
const GRACE: Duration = Duration::from_secs(1);

/// Where a message is in the guest's memory.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) memory: Arc<Region>,
    pub(super) offset: u64,
    /// Bytes of the message.
    pub(super) length: usize,
    /// There is room behind it for a request.
    pub(super) for_requests: bool,
}

/// A message as the guest is to find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) copy: [u8; MAX_MESSAGE],
    /// How much of it goes back.
    pub(super) length: usize,
}

/// A vCPU that stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) vcpu: u32,
    pub(super) context: VcpuContext,
}

/// Memory of the guest for requests of ours, allocated by it.
#[derive(Clone, Debug)]
struct Lent {
    shm_ref: ShmRef,
    memory: Arc<Region>,
    offset: u64,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and each begins with the large one"
)]
enum State {
    Held {
        held: Held,
        until: Instant,
    },
    /// The guest was asked to sleep so many milliseconds.
    Asleep {
        since: Instant,
        milliseconds: u32,
    },
    /// The guest was asked to wait for the call's notification.
    Waiting {
        since: Instant,
    },
    /// The guest was asked for memory for a request, which may bring an answer of its own.
    Allocating,
    /// It has ended, and the guest does not know yet.
    Ended(Box<Reply>),
}

#[derive(Debug)]
struct Pending {
    state: State,
    /// Of its notification; no two calls have the same.
    key: u32,
    room: Room,
    lent: Option<Lent>,
    /// The guest was asked for memory, and has not come back.
    allocating: bool,
    since: Instant,
    /// When it has taken too long, and whether it was cancelled for that.
    deadline: Option<Instant>,
    cancelled: bool,
    /// What the guest said to cancel it, and the session, once it is known.
    cancel_id: u32,
    session: Option<SessionId>,
    /// The secure world works at it.
    running: bool,
    /// Its answer is being written.
    ending: bool,
    application: Option<Uuid>,
}

/// A vCPU that gets an answer.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) held: Held,
    pub(super) answer: Answer,
}

/// What time has brought about.
#[derive(Debug)]
pub(super) enum Expired {
    /// A vCPU gets an answer.
    Answer(Due),
    /// A call has taken too long and is to be cancelled.
    Cancel {
        session: SessionId,
        id: u32,
        application: Option<Uuid>,
    },
    /// It has not ended even so: the guest was told, or is when it comes back.
    GivenUp {
        due: Option<Due>,
        application: Option<Uuid>,
        session: Option<SessionId>,
    },
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
    /// Memory for requests that no call uses.
    lent: Vec<Lent>,
    told: Told,
}

/// Notifications.
#[derive(Debug, Default)]
struct Told {
    /// The guest takes them.
    taken: bool,
    /// What it has not fetched.
    keys: VecDeque<u32>,
    /// It is to be interrupted.
    interrupt: bool,
}

impl Told {
    fn tell(&mut self, key: u32) {
        if !self.keys.contains(&key) {
            self.keys.push_back(key);
        }
        self.interrupt = true;
    }
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
    pub(super) fn begin(
        &self,
        held: Held,
        room: Room,
        most: u32,
        timeout: Option<Duration>,
        cancel_id: u32,
    ) -> Option<u32> {
        let now = Instant::now();
        let mut table = self.lock();
        if u32::try_from(table.calls.len()).unwrap_or(u32::MAX) >= most {
            return None;
        }
        let mut id = table.next;
        while table.calls.contains_key(&id) {
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
            lent: None,
            allocating: false,
            since: now,
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            cancelled: false,
            cancel_id,
            session: None,
            running: false,
            ending: false,
            application: None,
        };
        table.calls.insert(id, pending);
        Some(id)
    }

    /// The secure world begins with it; false if it was given up.
    pub(super) fn running(
        &self,
        id: u32,
        session: Option<SessionId>,
        application: Option<Uuid>,
    ) -> bool {
        let mut table = self.lock();
        let Some(pending) = table.calls.get_mut(&id) else {
            return false;
        };
        pending.running = true;
        pending.session = session;
        pending.application = application;
        !pending.is_over()
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

    /// Nobody waits for it any more.
    pub(super) fn is_over(&self, id: u32) -> bool {
        let table = self.lock();
        let pending = table.calls.get(&id);
        pending.is_none_or(Pending::is_over)
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
        lend: impl FnOnce(Resume) -> Option<(ShmRef, Arc<Region>, u64)>,
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
            let lent = lend(resume);
            pending.lent = lent.map(|(shm_ref, memory, offset)| Lent {
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
            _ => pending.lent.is_some(),
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
        let mut spare = table.lent.pop();
        let Table { calls, told, .. } = &mut *table;
        for (id, pending) in calls {
            let overdue = pending.overdue(*id, now, told);
            if let Some(Expired::GivenUp { due, .. }) = &overdue {
                ended.extend(due.is_some().then_some(*id));
                expired.extend(overdue);
                continue;
            }
            expired.extend(overdue);
            if let State::Held { held, until } = pending.state {
                if until > now {
                    next = sooner(next, until);
                } else {
                    if pending.lent.is_none() && !pending.room.for_requests {
                        pending.lent = spare.take();
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
        table.lent.extend(spare);
        for id in ended {
            table.forget(id);
        }
        (expired, next)
    }

    /// Calls of a session that the secure world works at and that a guest means with this.
    pub(super) fn meant(&self, session: SessionId, cancel_id: u32) -> Vec<u32> {
        let table = self.lock();
        let calls = table.calls.iter().filter(|(_, pending)| {
            pending.running && pending.session == Some(session) && pending.cancel_id == cancel_id
        });
        calls.map(|(id, _)| *id).collect()
    }

    /// Every call that the secure world works at, with its session.
    pub(super) fn all_running(&self) -> Vec<(SessionId, u32)> {
        let table = self.lock();
        let running = table.calls.iter().filter(|(_, pending)| pending.running);
        running
            .filter_map(|(id, pending)| pending.session.map(|session| (session, *id)))
            .collect()
    }

    /// Memory for requests that the guest wants back; busy while calls are under way.
    pub(super) fn give_back(&self) -> Answer {
        let mut table = self.lock();
        if !table.calls.is_empty() {
            return ReturnCode::Busy.into();
        }
        match table.lent.pop() {
            Some(lent) => Answer::CachedShm(lent.shm_ref),
            None => ReturnCode::NotAvailable.into(),
        }
    }

    /// Forgets all. Gives the vCPUs that stand still.
    pub(super) fn clear(&self) -> Vec<Held> {
        let all = std::mem::take(&mut *self.lock());
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
    fn forget(&mut self, id: u32) {
        let lent = self.calls.remove(&id).and_then(|pending| pending.lent);
        self.lent.extend(lent);
    }
}

impl Pending {
    /// Nobody waits for it any more.
    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// It has ended, and its vCPU does not stand still: a guest that waits is told.
    fn over(&mut self, reply: &Reply, told: &mut Told) {
        if matches!(self.state, State::Waiting { .. }) {
            told.tell(self.key);
        }
        self.state = State::Ended(Box::new(*reply));
    }

    /// What follows when it has taken too long: it is cancelled, and given up if that does not end it.
    fn overdue(&mut self, id: u32, now: Instant, told: &mut Told) -> Option<Expired> {
        let deadline = self.deadline?;
        if deadline > now || self.ending || self.is_over() {
            return None;
        }
        if !self.cancelled {
            self.cancelled = true;
            self.deadline = now.checked_add(GRACE);
            let session = self.session.filter(|_| self.running)?;
            return Some(Expired::Cancel {
                session,
                id,
                application: self.application,
            });
        }
        let reply = self.refusal();
        let due = if let State::Held { held, .. } = self.state {
            let answer = self.finish(&reply);
            Some(Due { held, answer })
        } else {
            self.over(&reply, told);
            None
        };
        Some(Expired::GivenUp {
            due,
            application: self.application,
            session: self.session,
        })
    }

    /// Writes the answer; what the guest finds in its registers.
    fn finish(&self, reply: &Reply) -> Answer {
        let bytes = reply.copy.get(..reply.length).unwrap_or_default();
        if self.room.memory.write(self.room.offset, bytes) {
            ReturnCode::Ok.into()
        } else {
            ReturnCode::BadAddress.into()
        }
    }

    /// A message that says that it took too long.
    fn refusal(&self) -> Reply {
        let mut copy = [0; MAX_MESSAGE];
        let length = self.room.length.min(copy.len());
        let bytes = copy.get_mut(..length).unwrap_or_default();
        // What the guest has there by now is its own affair: only result and origin are ours.
        if self.room.memory.read(self.room.offset, bytes) {
            optee_abi::message::refuse(
                bytes,
                optee_abi::TeeResult::TIMEOUT,
                optee_abi::Origin::COMMS,
            );
        }
        Reply { copy, length }
    }

    /// Asks the guest to wait for a notification, if it takes them, or to sleep; or for memory to ask it in.
    fn ask(&mut self, id: u32, now: Instant, notify: bool) -> Option<Answer> {
        let (request, state) = if notify {
            let wait = Request::Wait {
                key: self.key,
                timeout: LOOK_AFTER,
            };
            (wait, State::Waiting { since: now })
        } else {
            let elapsed = u32::try_from((now - self.since).as_millis()).unwrap_or(u32::MAX);
            let milliseconds = (elapsed / 4).clamp(SLEEP.0, SLEEP.1);
            let asleep = State::Asleep {
                since: now,
                milliseconds,
            };
            (Request::Suspend { milliseconds }, asleep)
        };
        let request = request.encode();
        let (written, shm_ref) = match &self.lent {
            _ if self.room.for_requests => {
                let behind = u64::try_from(self.room.length).unwrap_or(u64::MAX);
                let place = self.room.offset.saturating_add(behind);
                (self.room.memory.write(place, &request), None)
            }
            Some(lent) => (lent.memory.write(lent.offset, &request), Some(lent.shm_ref)),
            None => {
                self.state = State::Allocating;
                self.allocating = true;
                return Some(Answer::Rpc {
                    rpc: Rpc::Allocate {
                        size: REQUEST_LEN as u32,
                    },
                    thread: id,
                });
            }
        };
        if !written {
            return None;
        }
        self.state = state;
        Some(Answer::Rpc {
            rpc: Rpc::Command { shm_ref },
            thread: id,
        })
    }
}

fn sooner(next: Option<Instant>, at: Instant) -> Option<Instant> {
    Some(next.map_or(at, |next| next.min(at)))
}
