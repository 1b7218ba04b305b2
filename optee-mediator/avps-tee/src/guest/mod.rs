//! One guest: its calls are taken from the ring by whichever of its threads leads, and carried out by that same thread, while
//! another one leads on. So a short call costs no hand-over, and a long one keeps nobody waiting but its caller.

mod calls;
mod fast;
mod journal;
mod memory;
mod sessions;
mod work;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use optee_abi::limits::{MAX_MESSAGE, PAGE_SIZE};
use optee_abi::message::{Verdict, refuse};
use optee_abi::smc::{Answer, Call, Registers, ReturnCode};
use optee_abi::{Ipa, Message, Origin};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tee_device::Tee;
use xen::{DomId, EventChannels, EventPort, Monitor, PrivCmd, Vcpus};

use crate::audit::{Event, Recorder};
use crate::counters::{Counters, count, raise};
use crate::rights::{Pace, Rights};
use crate::{Attachment, World};

use calls::{Calls, Due, Expired, Held, Reply, Room};
use journal::Journal;
use memory::{MemoryError, Region, Registered};
use sessions::Sessions;

/// Calls that any guest may have under way at most.
pub(crate) const MOST_CALLS: u32 = 8;

/// Why a guest that has ended is let go.
pub(crate) const GONE: &str = "the domain is gone";

/// Everything that a guest's threads share.
#[derive(Debug)]
pub(crate) struct Guest {
    world: Arc<World>,
    attachment: Attachment,
    domid: DomId,
    name: String,
    privcmd: PrivCmd,
    evtchn: Arc<EventChannels>,
    /// None once the guest is gone.
    monitor: Mutex<Option<Monitor>>,
    /// Whoever has it takes calls from the ring.
    lead: Mutex<Vec<EventPort>>,
    /// Wakes the one that leads.
    wake: std::os::fd::OwnedFd,
    ended: AtomicBool,
    rights: RwLock<Arc<Rights>>,
    pace: Mutex<Pace>,
    tee: Tee,
    memory: Registered,
    sessions: Sessions,
    calls: Calls,
    recorder: Recorder,
    pub(crate) counters: Counters,
}

/// A message to be carried out.
struct Work {
    id: u32,
    message: Message,
    reply: Reply,
}

/// Why a guest cannot be mediated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// Xen.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The secure world.
    #[error(transparent)]
    Tee(#[from] tee_device::Error),
    /// The system.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl Guest {
    /// Takes over the calls of a guest.
    ///
    /// # Errors
    /// [`AttachError`]; the guest is left as it was.
    pub(crate) fn attach(
        world: &Arc<World>,
        domid: DomId,
        name: &str,
        uuid: &str,
        rights: Rights,
    ) -> Result<Arc<Self>, AttachError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let counters = Arc::default();
        let privcmd = PrivCmd::open_counted(Arc::clone(&counters))?;
        let evtchn = Arc::new(EventChannels::open()?);
        let tee = Tee::open(&world.device)?;
        let vcpus = xen::device_model::vcpu_count(&privcmd, domid)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)?;
        let journal = Journal::open(&world.journals, domid, uuid)?;
        let memory = Registered::new(&privcmd, domid, journal);
        let monitor = Monitor::attach(&privcmd, &evtchn, domid, vcpus)?;
        let now = Instant::now();
        let guest = Arc::new(Self {
            world: Arc::clone(world),
            attachment: Attachment(LAST.fetch_add(1, Ordering::Relaxed)),
            domid,
            name: name.to_owned(),
            memory,
            privcmd,
            evtchn,
            monitor: Mutex::new(Some(monitor)),
            lead: Mutex::default(),
            wake,
            ended: AtomicBool::new(false),
            rights: RwLock::new(Arc::new(rights)),
            pace: Mutex::new(Pace::new(now)),
            tee,
            sessions: Sessions::new(first_session()),
            calls: Calls::default(),
            recorder: Recorder::new(domid, name),
            counters: Counters::new(counters),
        });
        // Calls that were given up keep their threads while the secure world has not ended them.
        let threads = MOST_CALLS as usize + world.turns + 1;
        for number in 0..threads {
            let guest = Arc::clone(&guest);
            std::thread::Builder::new()
                .name(format!("guest {domid}.{number}"))
                .spawn(move || guest.run())?;
        }
        guest.record(&Event::Attached);
        Ok(guest)
    }

    /// Other rights from now on. What is open stays open.
    pub(crate) fn set_rights(&self, rights: Rights) {
        let mut current = self.rights.write().unwrap_or_else(PoisonError::into_inner);
        if **current == rights {
            return;
        }
        *current = Arc::new(rights);
        drop(current);
        self.record(&Event::Rights);
    }

    /// The guest is gone, or this program ends. Its sessions end with its context, as soon as its last call has ended.
    pub(crate) fn end(&self, why: &'static str) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        self.record(&Event::Detached(why));
        // Full when it was written to before: it is readable then.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        // Whoever leads has stopped: no call begins any more.
        drop(lock(&self.lead));
        for (session, id) in self.calls.all_running() {
            self.cancel_later(session, id);
        }
        let held = self.calls.clear();
        if let Ok(mut vcpus) = Vcpus::new(&self.privcmd, self.domid) {
            for held in held {
                // The guest's driver makes a communication error of it.
                let answer = ReturnCode::NotAvailable.into();
                self.answer(Due { held, answer }, &mut vcpus);
            }
        }
        drop(lock(&self.monitor).take());
        self.memory.clear(why == GONE);
        self.world.slots.wake();
        self.world.pool.forget(self.attachment);
        self.world.slots.forget(self.attachment);
    }

    fn run(self: Arc<Self>) {
        let mut vcpus = match Vcpus::new(&self.privcmd, self.domid) {
            Ok(vcpus) => vcpus,
            Err(error) => {
                self.record(&Event::Trouble(error.to_string()));
                return;
            }
        };
        while let Some(work) = self.lead(&mut vcpus) {
            let id = work.id;
            let reply = self.carry_out(work);
            if let Some(due) = reply.and_then(|reply| self.calls.end(id, &reply)) {
                self.answer(due, &mut vcpus);
            }
        }
    }

    /// Takes calls from the ring and answers those that need nobody, until one needs somebody.
    fn lead(&self, vcpus: &mut Vcpus) -> Option<Work> {
        let mut ports = lock(&self.lead);
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            let taken = lock(&self.monitor).as_mut().and_then(Monitor::take);
            match taken {
                Some(stop) if stop.privileged_call => {
                    if let Some(work) = self.called(stop.vcpu, vcpus) {
                        return Some(work);
                    }
                }
                // Nobody asked for it: the vCPU goes on.
                Some(stop) => self.let_go(stop.vcpu),
                None => {
                    let next = self.expire(vcpus);
                    self.sleep(next, &mut ports);
                }
            }
        }
    }

    /// Waits for the ring, or until the time comes.
    fn sleep(&self, until: Option<Instant>, ports: &mut Vec<EventPort>) {
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let channel = self.evtchn.as_fd();
        let mut fds = [
            PollFd::new(&channel, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted by a signal.
            return;
        }
        ports.clear();
        let read = self
            .evtchn
            .pending(ports)
            .and_then(|_| self.evtchn.unmask(ports));
        if let Err(error) = read {
            self.record(&Event::Trouble(error.to_string()));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A vCPU has called. Answers, or gives what is to be done.
    fn called(&self, vcpu: u32, vcpus: &mut Vcpus) -> Option<Work> {
        count(&self.counters.smcs);
        let context = match vcpus.context(vcpu) {
            Ok(context) => context,
            Err(error) => {
                // The guest is gone; the daemon will find out.
                tracing::debug!("domain {}: {error}", self.domid);
                return None;
            }
        };
        let held = Held { vcpu, context };
        let call = Call::parse(&registers(&held));
        let rights = self.rights();
        let due = |answer| Due { held, answer };
        if let Some(answer) = fast::answer(&call, rights.concurrency) {
            self.answer(due(answer), vcpus);
            return None;
        }
        let room = match call {
            Call::DisableShmCache => {
                self.answer(due(self.calls.give_back()), vcpus);
                return None;
            }
            Call::ReturnFromRpc(resume) => {
                let lend = |resume| self.lend(resume);
                if let Some(due) = self.calls.resume(held, resume, lend) {
                    self.answer(due, vcpus);
                }
                return None;
            }
            Call::WithArg { arg } => self.page_of(arg).map(|memory| (memory, 0, false)),
            Call::WithRpcArg { arg } => self.page_of(arg).map(|memory| (memory, 0, true)),
            Call::WithRegisteredArg { shm_ref, offset } => {
                let aligned = u64::from(offset) % optee_abi::limits::MESSAGE_ALIGN == 0;
                let memory = self.memory.get(shm_ref).filter(|_| aligned);
                memory.map(|memory| (memory, u64::from(offset), true))
            }
            _ => None,
        };
        let Some((memory, offset, for_requests)) = room else {
            self.record(&Event::Malformed("a message that is nowhere".into()));
            self.answer(due(ReturnCode::BadAddress.into()), vcpus);
            return None;
        };
        match self.begin(held, memory, offset, for_requests, &rights) {
            Ok(work) => Some(work),
            Err(answer) => {
                self.answer(due(answer), vcpus);
                None
            }
        }
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
        let length = usize::try_from(there)
            .unwrap_or(usize::MAX)
            .min(MAX_MESSAGE);
        let mut copy = [0; MAX_MESSAGE];
        let bytes = copy.get_mut(..length).ok_or_else(bad_address)?;
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
        let request = optee_abi::message::rpc::REQUEST_LEN as u64;
        if for_requests && there < request.saturating_add(length as u64) {
            return Err(bad_address());
        }
        let room = Room {
            memory,
            offset,
            length,
            for_requests,
        };
        let cancel_id = match message.command {
            optee_abi::Command::OpenSession { cancel_id, .. }
            | optee_abi::Command::Invoke { cancel_id, .. } => cancel_id,
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
    fn lend(
        &self,
        resume: optee_abi::smc::Resume,
    ) -> Option<(optee_abi::ShmRef, Arc<Region>, u64)> {
        let allocation = resume.allocation()?;
        let page = self.memory.page(allocation.address).ok()?;
        let offset = allocation.address.offset();
        let end = offset.saturating_add(optee_abi::message::rpc::REQUEST_LEN as u64);
        (end <= PAGE_SIZE).then(|| (allocation.shm_ref, Arc::new(page), offset))
    }

    /// Does what the time has come for; when it comes next.
    fn expire(&self, vcpus: &mut Vcpus) -> Option<Instant> {
        let (expired, next) = self.calls.expire(Instant::now());
        for expired in expired {
            match expired {
                Expired::Answer(due) => {
                    count(&self.counters.sleeps);
                    self.answer(due, vcpus);
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
                    self.world.slots.wake();
                    if let Some(due) = due {
                        self.answer(due, vcpus);
                    }
                }
            }
        }
        next
    }

    /// Asks the secure world to end a call. That takes one of its threads, which may take time: nobody waits for it.
    fn cancel_later(&self, session: optee_abi::SessionId, id: u32) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let Ok(tee) = self.tee.again() else {
            return;
        };
        let started = std::thread::Builder::new()
            .name("cancel".into())
            .spawn(move || tee.cancel(session.host, id));
        if let Err(error) = started {
            self.record(&Event::Trouble(format!(
                "a call cannot be cancelled: {error}"
            )));
        }
    }

    /// Answers a vCPU and lets it go on behind its SMC.
    fn answer(&self, due: Due, vcpus: &mut Vcpus) {
        let Due { held, answer } = due;
        let mut context = held.context;
        let mut registers = registers(&held);
        answer.apply(&mut registers);
        for (register, value) in context.x.iter_mut().zip(registers.0) {
            *register = value;
        }
        context.pc = context.pc.wrapping_add(4);
        match vcpus.set_context(held.vcpu, &context) {
            Ok(()) => self.let_go(held.vcpu),
            // The guest is gone; the daemon will find out.
            Err(error) => tracing::debug!("domain {}: {error}", self.domid),
        }
    }

    fn let_go(&self, vcpu: u32) {
        if let Some(monitor) = lock(&self.monitor).as_mut()
            && let Err(error) = monitor.answer(vcpu)
        {
            tracing::debug!("domain {}: {error}", self.domid);
        }
    }

    fn rights(&self) -> Arc<Rights> {
        let rights = self.rights.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rights)
    }

    fn record(&self, event: &Event) {
        if matches!(event, Event::Denied(..)) {
            count(&self.counters.denied);
        }
        self.recorder.record(&self.world.audit, event);
    }

    fn memory_refused(&self, error: &MemoryError) {
        match error {
            MemoryError::Denied(denied) => self.record(&Event::Denied(None, *denied)),
            error => self.record(&Event::Malformed(error.to_string())),
        }
    }

    /// What it does at the moment.
    pub(crate) fn report(&self) -> tee_report::Guest {
        let (regions, shared_bytes) = self.memory.totals();
        let rights = self.rights();
        tee_report::Guest {
            domid: self.domid.get(),
            name: self.name.clone(),
            rights: tee_report::Rights {
                applications: rights
                    .applications
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                sessions: rights.sessions,
                shared_memory_bytes: rights.shared_memory_bytes,
                rate: rights.rate,
                concurrency: rights.concurrency,
                timeout_ms: rights.timeout_ms,
                weight: rights.weight,
            },
            sessions: self
                .sessions
                .all()
                .into_iter()
                .map(|(id, session)| tee_report::Session {
                    id: id.0,
                    application: session.application.to_string(),
                    given_up: session.dead,
                })
                .collect(),
            calls: self.calls.count(),
            regions,
            shared_bytes,
            counters: self.counters.snapshot(),
        }
    }

    fn longest(&self, held: Duration) {
        raise(&self.counters.longest_call_us, held);
    }
}

fn registers(held: &Held) -> Registers {
    let mut registers = Registers::default();
    for (register, value) in registers.0.iter_mut().zip(held.context.x) {
        *register = value;
    }
    registers
}

/// Sessions of an earlier life of this program must not be taken for others: numbers begin somewhere else each time.
fn first_session() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Two thirds of a day's milliseconds fit; numbers of one life are far fewer than the milliseconds it lasts.
    since.map_or(1, |since| (since.as_millis() % u128::from(u32::MAX)) as u32)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
