//! One guest: each call wakes one of its threads, which takes it from the ring, carries it out and answers it, while the others
//! wait for the next. So a short call costs no hand-over, and a long one keeps nobody waiting but its caller.
//!
//! A guest that called again soon after its last answer is expected to do so once more: the thread that answered it looks at the
//! ring itself for a while, instead of being put to sleep and woken ([`PollGuard`]).

mod calls;
mod closing;
mod commands;
mod dispatcher;
mod ending;
mod fast;
mod journal;
mod memory;
mod pending;
mod polling;
mod sessions;
#[cfg(test)]
mod tests;
mod transfer;
mod waker;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tee_device::Tee;
use xen::device_model::set_irq_level;
use xen::{DomId, DomainInfo, EventChannels, EventPort, Monitor, PrivCmd, Vcpus};

use crate::audit::Event;
use crate::rights::Rights;
use crate::world::Foreign;
use crate::{Attachment, Shared, lock};

use dispatcher::{Dispatcher, Parts, Taken, Work, registers};
use ending::Ending;
use journal::Journal;
use memory::GuestShared;
use pending::{Due, Held};
use polling::PollGuard;
use waker::Waker;

/// Calls that any guest may have under way at most.
pub(crate) const MOST_CALLS: u32 = 8;

/// Why a guest that has ended is let go.
pub(crate) const GONE: &str = "the domain is gone";

/// A guest whose calls come here.
#[derive(Debug)]
pub(crate) struct Guest {
    domid: DomId,
    name: String,
    privcmd: PrivCmd,
    evtchn: Arc<EventChannels>,
    /// None once the guest is gone.
    monitor: Mutex<Option<Monitor>>,
    waker: Waker,
    /// Read while a call is taken, until it is among those that are under way.
    taking: RwLock<()>,
    ended: AtomicBool,
    vcpus: u32,
    polling: PollGuard,
    dispatcher: Arc<Dispatcher>,
    ending: Arc<Ending<Arc<Guest>>>,
}

/// A thread of a guest's.
struct Worker {
    vcpus: Vcpus,
    ports: Vec<EventPort>,
    /// When it has let a vCPU go on, and has not looked for a call since.
    answered: Option<Instant>,
    /// The ring's channel wakes nobody because of it.
    watching: bool,
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
    System(#[from] io::Error),
}

impl Guest {
    /// Takes over the calls of a guest.
    ///
    /// # Errors
    /// [`AttachError`]; the guest is left as it was.
    pub(crate) fn attach(
        shared: &Arc<Shared>,
        domid: DomId,
        name: &str,
        uuid: &str,
        rights: Rights,
    ) -> Result<Arc<Self>, AttachError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let counters = Arc::default();
        let privcmd = PrivCmd::open_counted(Arc::clone(&counters))?;
        let evtchn = Arc::new(EventChannels::open()?);
        let tee = Tee::open(&shared.device)?;
        let vcpus = DomainInfo::of(&privcmd, domid)?.vcpus;
        let waker = Waker::new(evtchn.as_fd())?;
        let journal = Journal::open(&shared.journals, domid, uuid)?;
        let foreign = Foreign {
            privcmd: privcmd.clone(),
            domid,
        };
        let memory = GuestShared::new(Box::new(foreign), journal);
        let interrupt = interrupt(&privcmd, domid, &rights);
        let finish = |guest: Arc<Self>| guest.dispatcher.finish();
        let ending = Arc::new(Ending::start(format!("end {domid}"), finish)?);
        let monitor = Monitor::attach(&privcmd, &evtchn, domid, vcpus)?;
        let parts = Parts {
            attachment: Attachment(LAST.fetch_add(1, Ordering::Relaxed)),
            domid,
            name: name.to_owned(),
            rights,
            interrupt,
            tee: Arc::new(tee),
            memory,
            first_session: first_session(),
            counters,
        };
        let dispatcher = Dispatcher::new(shared, parts);
        if interrupt.is_some() && dispatcher.memory.notifies() {
            dispatcher.calls.tell_all();
        }
        let guest = Arc::new(Self {
            domid,
            name: name.to_owned(),
            privcmd,
            evtchn,
            monitor: Mutex::new(Some(monitor)),
            waker,
            taking: RwLock::default(),
            ended: AtomicBool::new(false),
            vcpus,
            polling: PollGuard::new(shared.polling),
            dispatcher,
            ending,
        });
        // Calls that were given up keep their threads while the secure world has not ended them.
        let threads = MOST_CALLS as usize + shared.threads + 1;
        if let Err(error) = guest.start(threads) {
            guest.end("there are no threads for it");
            return Err(error.into());
        }
        guest.dispatcher.record(&Event::Attached);
        guest.interrupt();
        Ok(guest)
    }

    fn start(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        for number in 0..threads {
            let guest = Arc::clone(self);
            std::thread::Builder::new()
                .name(format!("guest {}.{number}", self.domid))
                .spawn(move || guest.run())?;
        }
        Ok(())
    }

    /// Other rights from now on. Sessions that they do not allow are closed.
    pub(crate) fn set_rights(&self, rights: Rights) {
        self.dispatcher.set_rights(rights);
    }

    /// The guest is gone, or this program ends. The secure world is not called here: a thread gives back what the guest has there,
    /// and its context ends there as soon as its last call has ended.
    pub(crate) fn end(self: Arc<Self>, why: &'static str) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        self.dispatcher.record(&Event::Detached(why));
        self.waker.end();
        // Whoever was taking a call has: none begins any more.
        drop(self.taking.write().unwrap_or_else(PoisonError::into_inner));
        let answers = self.dispatcher.close_down(why == GONE);
        if let Ok(mut vcpus) = Vcpus::new(&self.privcmd, self.domid) {
            for due in answers {
                self.answer(due, &mut vcpus);
            }
        }
        drop(lock(&self.monitor).take());
        // With this reference: dropping the last one closes the context of the secure world.
        let ending = Arc::clone(&self.ending);
        ending.begin(self);
    }

    fn run(self: Arc<Self>) {
        let vcpus = match Vcpus::new(&self.privcmd, self.domid) {
            Ok(vcpus) => vcpus,
            Err(error) => {
                self.dispatcher.record(&Event::Trouble(error.to_string()));
                return;
            }
        };
        let mut worker = Worker {
            vcpus,
            ports: Vec::new(),
            answered: None,
            watching: false,
        };
        while let Some(work) = self.next(&mut worker) {
            if let Some(due) = self.dispatcher.work(work) {
                self.answer(due, &mut worker.vcpus);
                worker.answered = Some(Instant::now());
            }
            self.interrupt();
        }
    }

    /// Takes calls from the ring and answers those that need nobody, until one needs somebody. None at the end.
    fn next(&self, worker: &mut Worker) -> Option<Work> {
        loop {
            let taking = self.taking.read().unwrap_or_else(PoisonError::into_inner);
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            let stop = lock(&self.monitor).as_mut().and_then(Monitor::take);
            let Some(stop) = stop else {
                drop(taking);
                self.expire(&mut worker.vcpus);
                if !self.watched(worker) {
                    self.wait(&mut worker.ports);
                }
                continue;
            };
            let taken = if stop.privileged_call {
                self.polling.called();
                self.called(stop.vcpu, &mut worker.vcpus)
            } else {
                // Nobody asked for it: the vCPU goes on.
                self.let_go(stop.vcpu);
                None
            };
            drop(taking);
            match taken {
                Some(Taken::Work(work)) => {
                    // Its other vCPUs may call meanwhile.
                    if worker.watching && self.vcpus > 1 {
                        worker.watching = false;
                        self.hear();
                    }
                    // One notification may be for several calls.
                    if self.is_more() {
                        self.waker.another();
                    }
                    self.expire(&mut worker.vcpus);
                    return Some(work);
                }
                Some(Taken::Answered(due)) => {
                    self.answer(due, &mut worker.vcpus);
                    worker.answered = Some(Instant::now());
                }
                Some(Taken::Held) | None => {}
            }
        }
    }

    /// There is a call in the ring.
    fn is_more(&self) -> bool {
        lock(&self.monitor).as_ref().is_some_and(Monitor::is_more)
    }

    /// Looks for a call that is likely to come soon. True if there may be one: false, and the channel wakes threads again.
    fn watched(&self, worker: &mut Worker) -> bool {
        if let Some(answered) = worker.answered.take()
            && let Some(soon) = self.polling.pays()
        {
            worker.watching |= self.deafen();
            while worker.watching
                && answered.elapsed() < soon
                && !self.ended.load(Ordering::Relaxed)
            {
                if self.is_more() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        // What came before the channel was heard again is only in the ring.
        let watching = std::mem::take(&mut worker.watching);
        if watching {
            self.hear();
        }
        watching
    }

    /// The channel wakes nobody, because of the caller; false if that is so because of another thread.
    fn deafen(&self) -> bool {
        self.waker
            .deafen(self.evtchn.as_fd())
            .unwrap_or_else(|error| {
                self.trouble(error.to_string());
                false
            })
    }

    /// The channel wakes threads again.
    fn hear(&self) {
        let heard = self.waker.hear(self.evtchn.as_fd(), || {
            self.unmask(&mut Vec::new()).map_err(io::Error::other)
        });
        if let Err(error) = heard {
            self.trouble(error.to_string());
        }
    }

    /// Does what the time has come for, and sees that a thread is woken for what comes next.
    fn expire(&self, vcpus: &mut Vcpus) {
        let (answers, next) = self.dispatcher.expire();
        // The thread that watches for their calls may be the one that works for them.
        if !answers.is_empty() {
            self.hear();
        }
        for due in answers {
            self.answer(due, vcpus);
        }
        self.interrupt();
        if let Some(next) = next
            && let Err(error) = self.waker.at(next)
        {
            self.trouble(error.to_string());
        }
    }

    /// Has the guest fetch what it does not know yet.
    fn interrupt(&self) {
        if let Some(interrupt) = self.dispatcher.interrupt
            && self.dispatcher.calls.interrupts()
            && let Err(error) = set_irq_level(&self.privcmd, self.domid, interrupt, true)
        {
            // The guest is gone; the daemon will find out.
            tracing::debug!("domain {}: {error}", self.domid);
        }
    }

    fn called(&self, vcpu: u32, vcpus: &mut Vcpus) -> Option<Taken> {
        match vcpus.context(vcpu) {
            Ok(context) => Some(self.dispatcher.called(Held { vcpu, context })),
            // The guest is gone; the daemon will find out.
            Err(error) => {
                tracing::debug!("domain {}: {error}", self.domid);
                None
            }
        }
    }

    /// Waits until there may be something to do.
    fn wait(&self, ports: &mut Vec<EventPort>) {
        if !self.waker.wait() {
            return;
        }
        ports.clear();
        if let Err(error) = self.unmask(ports) {
            self.trouble(error.to_string());
        }
    }

    /// Takes what the channel has raised, so that it raises the next event. `ports` is empty, and room for that.
    fn unmask(&self, ports: &mut Vec<EventPort>) -> xen::Result<()> {
        self.evtchn.pending(ports)?;
        self.evtchn.unmask(ports)
    }

    /// Tells that something is wrong here, and is in no hurry to meet it again.
    fn trouble(&self, text: String) {
        self.dispatcher.record(&Event::Trouble(text));
        std::thread::sleep(Duration::from_millis(100));
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
            Ok(()) => {
                self.polling.answered();
                self.let_go(held.vcpu);
            }
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

    /// What it does at the moment.
    pub(crate) fn report(&self) -> tee_report::Guest {
        let dispatcher = &self.dispatcher;
        let (regions, shared_bytes) = dispatcher.memory.totals();
        let sessions = dispatcher.sessions.all().into_iter();
        tee_report::Guest {
            domid: self.domid.get(),
            name: self.name.clone(),
            rights: tee_report::Rights {
                interrupt: dispatcher.interrupt,
                ..dispatcher.rights().told()
            },
            sessions: sessions
                .map(|(id, session)| tee_report::Session {
                    id: id.0,
                    application: session.opened.application.to_string(),
                    given_up: session.dead,
                })
                .collect(),
            calls: dispatcher.calls.count(),
            quarantined_by: dispatcher.calls.strays(),
            regions,
            shared_bytes,
            counters: dispatcher.counters.snapshot(),
        }
    }
}

/// The interrupt of the guest's rights, if it has such a one: a guest that waits for one that never comes would wait for long.
fn interrupt(privcmd: &PrivCmd, domid: DomId, rights: &Rights) -> Option<u32> {
    let interrupt = rights.interrupt?;
    // A level that it has already changes nothing.
    match set_irq_level(privcmd, domid, interrupt, false) {
        Ok(()) => Some(interrupt),
        Err(error) => {
            tracing::warn!(
                "domain {domid}: interrupt {interrupt} cannot be used, so it asks again and again while a call lasts: {error}"
            );
            None
        }
    }
}

/// Sessions of an earlier life of this program must not be taken for others: numbers begin somewhere else each time.
fn first_session() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Numbers of one life are far fewer than the milliseconds it lasts.
    since.map_or(1, |since| (since.as_millis() % u128::from(u32::MAX)) as u32)
}
