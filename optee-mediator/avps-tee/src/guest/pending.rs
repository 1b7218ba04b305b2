//! One call that is under way: whether its vCPU stands still, and what the guest is told meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use optee_abi::limits::MAX_MESSAGE;
use optee_abi::message::rpc::{REQUEST_LEN, Request};
use optee_abi::smc::{Answer, ReturnCode, Rpc};
use optee_abi::{SessionId, ShmRef, Uuid};
use xen::vcpu::VcpuContext;

use super::memory::Region;

/// Shortest and longest sleep that a guest is asked for.
const SLEEP: (u32, u32) = (1, 50);
/// How long a guest waits for a notification before it looks whether it has missed one. Linux takes it for ticks, of which it has 100
/// to 1000 in a second.
const LOOK_AFTER: u32 = 250;
/// A guest that comes back sooner has found a notification that was not for this call.
pub(super) const TOO_SOON: Duration = Duration::from_millis(100);
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

/// Memory of the guest for requests of ours, allocated by it. Its driver keeps it allocated from one call to the next.
#[derive(Clone, Debug)]
pub(super) struct RequestPage {
    pub(super) shm_ref: ShmRef,
    pub(super) memory: Arc<Region>,
    pub(super) offset: u64,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and each begins with the large one"
)]
pub(super) enum State {
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
pub(super) struct Pending {
    pub(super) state: State,
    /// Of its notification; no two calls have the same.
    pub(super) key: u32,
    pub(super) room: Room,
    pub(super) page: Option<RequestPage>,
    /// The guest was asked for memory, and has not come back.
    pub(super) allocating: bool,
    pub(super) since: Instant,
    /// When it has taken too long, and whether it was cancelled for that.
    pub(super) deadline: Option<Instant>,
    pub(super) cancelled: bool,
    /// What the guest says to cancel it, and in which session; whether it has, before the secure world began.
    pub(super) cancel_id: u32,
    pub(super) session: Option<SessionId>,
    pub(super) unwanted: bool,
    /// The secure world works at it.
    pub(super) running: bool,
    /// Its answer is being written.
    pub(super) ending: bool,
    pub(super) application: Option<Uuid>,
}

/// A vCPU that gets an answer.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) held: Held,
    pub(super) answer: Answer,
}

/// What follows for a call that has taken too long.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and each is taken apart at once"
)]
pub(super) enum Overdue {
    /// It is to be cancelled.
    Cancel {
        session: SessionId,
        application: Option<Uuid>,
    },
    /// It has not ended even so: the guest is told, or is when it comes back.
    GivenUp {
        due: Option<Due>,
        application: Option<Uuid>,
        session: Option<SessionId>,
        /// The secure world still works at it.
        running: bool,
    },
}

/// Notifications.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The guest takes them.
    pub(super) taken: bool,
    /// What it has not fetched.
    pub(super) keys: VecDeque<u32>,
    /// It is to be interrupted.
    pub(super) interrupt: bool,
}

impl Told {
    pub(super) fn tell(&mut self, key: u32) {
        if !self.keys.contains(&key) {
            self.keys.push_back(key);
        }
        self.interrupt = true;
    }
}

impl Pending {
    /// Nobody waits for it any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// It has ended, and its vCPU does not stand still: a guest that waits is told.
    pub(super) fn over(&mut self, reply: &Reply, told: &mut Told) {
        if matches!(self.state, State::Waiting { .. }) {
            told.tell(self.key);
        }
        self.state = State::Ended(Box::new(*reply));
    }

    /// What follows when it has taken too long: it is cancelled, and given up if that does not end it.
    pub(super) fn overdue(&mut self, now: Instant, told: &mut Told) -> Option<Overdue> {
        let deadline = self.deadline?;
        if deadline > now || self.ending || self.is_over() {
            return None;
        }
        if !self.cancelled {
            self.cancelled = true;
            self.deadline = now.checked_add(GRACE);
            let session = self.session.filter(|_| self.running)?;
            return Some(Overdue::Cancel {
                session,
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
        Some(Overdue::GivenUp {
            due,
            application: self.application,
            session: self.session.filter(|_| self.running),
            running: self.running,
        })
    }

    /// Writes the answer; what the guest finds in its registers.
    pub(super) fn finish(&self, reply: &Reply) -> Answer {
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
    pub(super) fn ask(&mut self, id: u32, now: Instant, notify: bool) -> Option<Answer> {
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
        let (written, shm_ref) = match &self.page {
            _ if self.room.for_requests => {
                let behind = u64::try_from(self.room.length).unwrap_or(u64::MAX);
                let place = self.room.offset.saturating_add(behind);
                (self.room.memory.write(place, &request), None)
            }
            Some(page) => (page.memory.write(page.offset, &request), Some(page.shm_ref)),
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
