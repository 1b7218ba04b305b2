//! Where a guest's calls are judged and carried out. Nothing here knows how they come and how they are answered: registers in,
//! registers out.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use optee_abi::limits::{MAX_MESSAGE, PAGE_SIZE};
use optee_abi::message::rpc::REQUEST_LEN;
use optee_abi::message::{Verdict, refuse};
use optee_abi::smc::{Answer, Call, Registers, Resume, ReturnCode};
use optee_abi::{Command, Ipa, Message, Origin, SessionId, ShmRef};

use super::MOST_CALLS;
use super::calls::{Calls, Due, Expired, Held, Reply, Room};
use super::fast;
use super::memory::{MemoryError, Region, Registered};
use super::sessions::Sessions;
use crate::audit::{Event, Recorder};
use crate::counters::{Counters, count, raise};
use crate::rights::{Pace, Rights};
use crate::world::SecureWorld;
use crate::{Attachment, Shared};

/// One guest's desk.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) attachment: Attachment,
    pub(super) rights: RwLock<Arc<Rights>>,
    pub(super) pace: Mutex<Pace>,
    /// By which the guest is told that there is a notification.
    pub(super) interrupt: Option<u32>,
    pub(super) tee: Arc<dyn SecureWorld>,
    pub(super) memory: Registered,
    pub(super) sessions: Sessions,
    pub(super) calls: Calls,
    pub(super) recorder: Recorder,
    pub(super) counters: Counters,
}

/// A message to be carried out.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: u32,
    pub(super) message: Message,
    pub(super) reply: Reply,
}

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is answered.
    Answered(Due),
    /// It is to be carried out; its vCPU is held meanwhile.
    Work(Work),
    /// Its vCPU is held for a call that is under way.
    Held,
}

impl Desk {
    /// A vCPU has called.
    pub(super) fn called(&self, held: Held) -> Taken {
        count(&self.counters.smcs);
        let call = Call::parse(&registers(&held));
        let rights = self.rights();
        let answered = |answer| Taken::Answered(Due { held, answer });
        if matches!(call, Call::ExchangeCapabilities { .. }) {
            // A driver begins, and has not said so yet.
            self.notify(false);
        }
        if let Some(answer) = fast::answer(&call, rights.concurrency, self.interrupt.is_some()) {
            return answered(answer);
        }
        let place = match call {
            Call::DisableShmCache => return answered(self.calls.give_back()),
            Call::GetAsyncNotifValue => return answered(self.calls.fetch()),
            Call::EnableAsyncNotif => {
                self.notify(true);
                return answered(ReturnCode::Ok.into());
            }
            Call::ReturnFromRpc(resume) => {
                let lend = |resume| self.lend(resume);
                let due = self.calls.resume(held, resume, lend);
                return due.map_or(Taken::Held, Taken::Answered);
            }
            Call::WithArg { arg } => self.page_of(arg).map(|memory| (memory, 0, false)),
            Call::WithRpcArg { arg } => self.page_of(arg).map(|memory| (memory, 0, true)),
            Call::WithRegisteredArg { shm_ref, offset } => {
                let aligned = u64::from(offset).is_multiple_of(optee_abi::limits::MESSAGE_ALIGN);
                let memory = self.memory.get(shm_ref).filter(|_| aligned);
                memory.map(|memory| (memory, u64::from(offset), true))
            }
            _ => None,
        };
        let Some((memory, offset, for_requests)) = place else {
            self.record(&Event::Malformed("a message that is nowhere".into()));
            return answered(ReturnCode::BadAddress.into());
        };
        match self.begin(held, memory, offset, for_requests, &rights) {
            Ok(work) => Taken::Work(work),
            Err(answer) => answered(answer),
        }
    }

    /// The guest takes notifications, or none any more.
    pub(super) fn notify(&self, taken: bool) {
        self.calls.notify(taken);
        self.memory.notify(taken);
    }

    /// Copies a message, once, and takes it apart.
    fn begin(
        &self,
        held: Held,
        memory: Arc<Region>,
        offset: u64,
        for_requests: bool,
        rights: &Rights,
    ) -> Result<Work, Answer> {
        let bad_address = || Answer::from(ReturnCode::BadAddress);
        let there = memory.size.saturating_sub(offset);
        let length = usize::try_from(there).unwrap_or(usize::MAX);
        let mut copy = [0; MAX_MESSAGE];
        let bytes = copy
            .get_mut(..length.min(MAX_MESSAGE))
            .ok_or_else(bad_address)?;
        if !memory.read(offset, bytes) {
            return Err(bad_address());
        }
        count(&self.counters.messages);
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.record(&Event::Malformed(error.to_string()));
                return Err(match error.verdict() {
                    Verdict::Call(code) => code.into(),
                    Verdict::Message(result) => {
                        refuse(bytes, result, Origin::COMMS);
                        let header = bytes.get(..optee_abi::limits::HEADER_LEN);
                        if header.is_some_and(|header| memory.write(offset, header)) {
                            ReturnCode::Ok.into()
                        } else {
                            bad_address()
                        }
                    }
                });
            }
        };
        let length = message.len();
        let wanted = length.saturating_add(REQUEST_LEN);
        if for_requests && there < u64::try_from(wanted).unwrap_or(u64::MAX) {
            return Err(bad_address());
        }
        let room = Room {
            memory,
            offset,
            length,
            for_requests,
        };
        let cancel_id = match message.command {
            Command::OpenSession { cancel_id, .. } | Command::Invoke { cancel_id, .. } => cancel_id,
            _ => 0,
        };
        let most = rights.concurrency.min(MOST_CALLS);
        let id = self
            .calls
            .begin(held, room, most, rights.timeout(), cancel_id)
            .ok_or(Answer::from(ReturnCode::ThreadLimit))?;
        Ok(Work {
            id,
            message,
            reply: Reply { copy, length },
        })
    }

    /// A page that a call names; none where there is none.
    fn page_of(&self, address: Ipa) -> Option<Arc<Region>> {
        if !address.is_page_aligned() {
            return None;
        }
        self.memory.page(address).ok().map(Arc::new)
    }

    /// Memory that the guest has allocated for requests.
    fn lend(&self, resume: Resume) -> Option<(ShmRef, Arc<Region>, u64)> {
        let allocation = resume.allocation()?;
        let page = self.memory.page(allocation.address).ok()?;
        let offset = allocation.address.offset();
        let end = offset.saturating_add(REQUEST_LEN as u64);
        (end <= PAGE_SIZE).then(|| (allocation.shm_ref, Arc::new(page), offset))
    }

    /// Carries a message out. Gives the vCPU to answer, if one still stands for it.
    pub(super) fn work(&self, work: Work) -> Option<Due> {
        let id = work.id;
        let reply = self.carry_out(work)?;
        self.calls.end(id, &reply)
    }

    /// Does what the time has come for: vCPUs to answer, and when it comes next.
    pub(super) fn expire(&self) -> (Vec<Due>, Option<Instant>) {
        let (expired, next) = self.calls.expire(Instant::now());
        let mut answers = Vec::new();
        for expired in expired {
            match expired {
                Expired::Answer(due) => {
                    count(&self.counters.sleeps);
                    answers.push(due);
                }
                Expired::Cancel {
                    session,
                    id,
                    application,
                } => {
                    if let Some(application) = application {
                        self.record(&Event::TimedOut(application));
                    }
                    self.cancel_later(session, id);
                }
                Expired::GivenUp {
                    due,
                    application,
                    session,
                } => {
                    if let Some(application) = application {
                        self.record(&Event::GivenUp(application));
                    }
                    if let Some(session) = session {
                        self.sessions.give_up(session);
                    }
                    self.shared.slots.wake();
                    answers.extend(due);
                }
            }
        }
        (answers, next)
    }

    /// Asks the secure world to end a call. That takes one of its threads, which may take time: nobody waits for it.
    fn cancel_later(&self, session: SessionId, id: u32) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let tee = Arc::clone(&self.tee);
        let started = std::thread::Builder::new()
            .name("cancel".into())
            .spawn(move || tee.cancel(session.host, id));
        if let Err(error) = started {
            let text = format!("a call cannot be cancelled: {error}");
            self.record(&Event::Trouble(text));
        }
    }

    /// No call begins any more: gives everything back. Answers for vCPUs that stand still, of which the guest's driver makes a
    /// communication error.
    pub(super) fn close_down(&self, for_good: bool) -> Vec<Due> {
        for (session, id) in self.calls.all_running() {
            self.cancel_later(session, id);
        }
        let held = self.calls.clear();
        self.memory.clear(for_good);
        self.shared.slots.wake();
        self.shared.pool.forget(self.attachment);
        self.shared.slots.forget(self.attachment);
        let answer = ReturnCode::NotAvailable.into();
        held.into_iter().map(|held| Due { held, answer }).collect()
    }

    /// Other rights from now on, if these are others. What is open stays open.
    pub(super) fn set_rights(&self, rights: Rights) {
        let mut current = self.rights.write().unwrap_or_else(PoisonError::into_inner);
        if **current == rights {
            return;
        }
        *current = Arc::new(rights);
        drop(current);
        self.record(&Event::Rights);
    }

    pub(super) fn rights(&self) -> Arc<Rights> {
        let rights = self.rights.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rights)
    }

    pub(super) fn record(&self, event: &Event) {
        if matches!(event, Event::Denied(..)) {
            count(&self.counters.denied);
        }
        self.recorder.record(&self.shared.audit, event);
    }

    pub(super) fn memory_refused(&self, error: &MemoryError) {
        match error {
            MemoryError::Denied(denied) => self.record(&Event::Denied(None, *denied)),
            error => self.record(&Event::Malformed(error.to_string())),
        }
    }

    pub(super) fn took(&self, time: Duration) {
        raise(&self.counters.longest_call_us, time);
    }
}

/// The registers of a call.
pub(super) fn registers(held: &Held) -> Registers {
    let mut registers = Registers::default();
    for (register, value) in registers.0.iter_mut().zip(held.context.x) {
        *register = value;
    }
    registers
}
