//! Where a guest's calls are judged and carried out. Nothing here knows how they come and how they are answered: registers in,
//! registers out.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use optee_abi::limits::{MAX_MESSAGE, PAGE_SIZE};
use optee_abi::message::rpc::REQUEST_LEN;
use optee_abi::message::{Verdict, refuse};
use optee_abi::smc::{Answer, Call, Registers, Resume, ReturnCode};
use optee_abi::{Command, Ipa, Message, Origin, ShmRef};
use xen::DomId;

use super::MOST_CALLS;
use super::calls::{About, Calls};
use super::fast;
use super::memory::{GuestShared, MemoryError, Region};
use super::pending::{Due, Held, Reply, Room};
use super::sessions::Sessions;
use crate::audit::{Event, Recorder};
use crate::counters::{Counters, count, raise};
use crate::rights::{Pace, Rights};
use crate::world::SecureWorld;
use crate::{Attachment, Shared};

/// One guest's dispatcher.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    /// For threads that outlast a call.
    pub(super) me: Weak<Dispatcher>,
    pub(super) domid: DomId,
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) attachment: Attachment,
    pub(super) rights: RwLock<Arc<Rights>>,
    pub(super) pace: Mutex<Pace>,
    /// By which the guest is told that there is a notification.
    pub(super) interrupt: Option<u32>,
    pub(super) tee: Arc<dyn SecureWorld>,
    pub(super) memory: GuestShared,
    pub(super) sessions: Sessions,
    pub(super) calls: Calls,
    /// A thread closes sessions that nobody wants any more.
    pub(super) closing: AtomicBool,
    pub(super) recorder: Recorder,
    pub(super) counters: Counters,
}

/// What a dispatcher is made of.
pub(super) struct Parts {
    pub(super) attachment: Attachment,
    pub(super) domid: DomId,
    pub(super) name: String,
    pub(super) rights: Rights,
    pub(super) interrupt: Option<u32>,
    pub(super) tee: Arc<dyn SecureWorld>,
    pub(super) memory: GuestShared,
    /// Where numbers of sessions begin.
    pub(super) first_session: u32,
    pub(super) counters: Arc<xen::Counters>,
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

impl Dispatcher {
    /// For a guest that is attached. It has an account from here on, until [`Dispatcher::close_down`] and [`Dispatcher::finish`].
    pub(super) fn new(shared: &Arc<Shared>, parts: Parts) -> Arc<Self> {
        shared.permits.attach(parts.attachment);
        shared.pool.attach(parts.attachment);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            recorder: Recorder::new(parts.domid, &parts.name),
            domid: parts.domid,
            name: parts.name,
            shared: Arc::clone(shared),
            attachment: parts.attachment,
            rights: RwLock::new(Arc::new(parts.rights)),
            pace: Mutex::new(Pace::new(Instant::now())),
            interrupt: parts.interrupt,
            tee: parts.tee,
            memory: parts.memory,
            sessions: Sessions::new(parts.first_session),
            calls: Calls::new(shared.hold),
            closing: AtomicBool::new(false),
            counters: Counters::new(parts.counters),
        })
    }

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
                let allocated = |resume| self.allocated(resume);
                let due = self.calls.resume(held, resume, allocated);
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
        let (cancel_id, session) = match message.command {
            Command::OpenSession { cancel_id, .. } => (cancel_id, None),
            Command::Invoke {
                cancel_id, session, ..
            } => (cancel_id, Some(session)),
            _ => (0, None),
        };
        let about = About {
            timeout: rights.timeout(),
            cancel_id,
            session,
        };
        let most = rights.concurrency.min(MOST_CALLS);
        let id = self
            .calls
            .begin(held, room, most, about)
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
    fn allocated(&self, resume: Resume) -> Option<(ShmRef, Arc<Region>, u64)> {
        let allocation = resume.allocation()?;
        let page = self.memory.page(allocation.address).ok()?;
        let offset = allocation.address.offset();
        let end = offset.saturating_add(REQUEST_LEN as u64);
        (end <= PAGE_SIZE).then(|| (allocation.shm_ref, Arc::new(page), offset))
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
