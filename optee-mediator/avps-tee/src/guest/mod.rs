//! One guest: each call wakes one of its threads, which takes it from the ring, carries it out and answers it, while the others
//! wait for the next. So a short call costs no hand-over, and a long one keeps nobody waiting but its caller.
//!
//! A guest that called again soon after its last answer is expected to do so once more: the thread that answered it looks at the
//! ring itself for a while, instead of being put to sleep and woken ([`Watch`]).

mod bell;
mod calls;
mod desk;
mod fast;
mod journal;
mod memory;
mod sessions;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tee_device::Tee;
use xen::device_model::set_irq_level;
use xen::{DomId, DomainInfo, EventChannels, EventPort, Monitor, PrivCmd, Vcpus};

use crate::audit::{Event, Recorder};
use crate::counters::Counters;
use crate::rights::{Pace, Rights};
use crate::world::Foreign;
use crate::{Attachment, Shared, lock};

use bell::Bell;
use calls::{Calls, Due, Held};
use desk::{Desk, Taken, Work, registers};
use journal::Journal;
use memory::Registered;
use sessions::Sessions;

/// Calls that any guest may have under way at most.
pub(crate) const MOST_CALLS: u32 = 8;

/// How long a thread looks for a guest's next call itself, and how soon that must have come the last time: so many times as long
/// as the last call took, and not longer than this.
const SOON: (u32, Duration) = (4, Duration::from_millis(4));

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
    bell: Bell,
    /// Read while a call is taken, until it is among those that are under way.
    taking: RwLock<()>,
    ended: AtomicBool,
    vcpus: u32,
    watch: Watch,
    desk: Desk,
}

/// Whether it pays to look at the ring itself.
#[derive(Debug)]
struct Watch {
    allowed: bool,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    called: Option<Instant>,
    answered: Option<Instant>,
    /// The next call is soon if it comes within this.
    soon: Duration,
    /// The last one was.
    was_soon: bool,
}

impl Watch {
    fn new(allowed: bool) -> Self {
        Self {
            allowed,
            times: Mutex::default(),
        }
    }

    fn called(&self) {
        let (mut times, now) = (lock(&self.times), Instant::now());
        times.was_soon = times
            .answered
            .is_some_and(|answered| now - answered < times.soon);
        times.called = Some(now);
    }

    fn answered(&self) {
        let (mut times, now) = (lock(&self.times), Instant::now());
        let (factor, most) = SOON;
        if let Some(called) = times.called.take() {
            times.soon = most.min((now - called) * factor);
        }
        times.answered = Some(now);
    }

    /// How long after an answer it pays to look for the next call.
    fn pays(&self) -> Option<Duration> {
        let times = lock(&self.times);
        (self.allowed && times.was_soon).then_some(times.soon)
    }
}

/// A thread of a guest's.
struct Hand {
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
        let bell = Bell::new(evtchn.as_fd())?;
        let journal = Journal::open(&shared.journals, domid, uuid)?;
        let foreign = Foreign {
            privcmd: privcmd.clone(),
            domid,
        };
        let memory = Registered::new(Box::new(foreign), journal);
        let interrupt = interrupt(&privcmd, domid, &rights);
        let calls = Calls::new(shared.hold);
        if interrupt.is_some() && memory.notifies() {
            calls.tell_all();
        }
        let monitor = Monitor::attach(&privcmd, &evtchn, domid, vcpus)?;
        let guest = Arc::new(Self {
            domid,
            name: name.to_owned(),
            privcmd,
            evtchn,
            monitor: Mutex::new(Some(monitor)),
            bell,
            taking: RwLock::default(),
            ended: AtomicBool::new(false),
            vcpus,
            watch: Watch::new(shared.polling),
            desk: Desk {
                shared: Arc::clone(shared),
                attachment: Attachment(LAST.fetch_add(1, Ordering::Relaxed)),
                rights: RwLock::new(Arc::new(rights)),
                pace: Mutex::new(Pace::new(Instant::now())),
                interrupt,
                tee: Arc::new(tee),
                memory,
                sessions: Sessions::new(first_session()),
                calls,
                recorder: Recorder::new(domid, name),
                counters: Counters::new(counters),
            },
        });
        // Calls that were given up keep their threads while the secure world has not ended them.
        let threads = MOST_CALLS as usize + shared.turns + 1;
        for number in 0..threads {
            let guest = Arc::clone(&guest);
            std::thread::Builder::new()
                .name(format!("guest {domid}.{number}"))
                .spawn(move || guest.run())?;
        }
        guest.desk.record(&Event::Attached);
        guest.interrupt();
        Ok(guest)
    }

    /// Other rights from now on. What is open stays open.
    pub(crate) fn set_rights(&self, rights: Rights) {
        self.desk.set_rights(rights);
    }

    /// The guest is gone, or this program ends. Its sessions end with its context, as soon as its last call has ended.
    pub(crate) fn end(&self, why: &'static str) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        self.desk.record(&Event::Detached(why));
        self.bell.end();
        // Whoever was taking a call has: none begins any more.
        drop(self.taking.write().unwrap_or_else(PoisonError::into_inner));
        let answers = self.desk.close_down(why == GONE);
        if let Ok(mut vcpus) = Vcpus::new(&self.privcmd, self.domid) {
            for due in answers {
                self.answer(due, &mut vcpus);
            }
        }
        drop(lock(&self.monitor).take());
    }

    fn run(self: Arc<Self>) {
        let vcpus = match Vcpus::new(&self.privcmd, self.domid) {
            Ok(vcpus) => vcpus,
            Err(error) => {
                self.desk.record(&Event::Trouble(error.to_string()));
                return;
            }
        };
        let mut hand = Hand {
            vcpus,
            ports: Vec::new(),
            answered: None,
            watching: false,
        };
        while let Some(work) = self.next(&mut hand) {
            if let Some(due) = self.desk.work(work) {
                self.answer(due, &mut hand.vcpus);
                hand.answered = Some(Instant::now());
            }
            self.interrupt();
        }
    }

    /// Takes calls from the ring and answers those that need nobody, until one needs somebody. None at the end.
    fn next(&self, hand: &mut Hand) -> Option<Work> {
        loop {
            let taking = self.taking.read().unwrap_or_else(PoisonError::into_inner);
            if self.ended.load(Ordering::SeqCst) {
                return None;
            }
            let stop = lock(&self.monitor).as_mut().and_then(Monitor::take);
            let Some(stop) = stop else {
                drop(taking);
                self.expire(&mut hand.vcpus);
                if !self.watched(hand) {
                    self.wait(&mut hand.ports);
                }
                continue;
            };
            let taken = if stop.privileged_call {
                self.watch.called();
                self.called(stop.vcpu, &mut hand.vcpus)
            } else {
                // Nobody asked for it: the vCPU goes on.
                self.let_go(stop.vcpu);
                None
            };
            drop(taking);
            match taken {
                Some(Taken::Work(work)) => {
                    // Its other vCPUs may call meanwhile.
                    if hand.watching && self.vcpus > 1 {
                        hand.watching = false;
                        self.hear();
                    }
                    // One notification may be for several calls.
                    if self.is_more() {
                        self.bell.another();
                    }
                    self.expire(&mut hand.vcpus);
                    return Some(work);
                }
                Some(Taken::Answered(due)) => {
                    self.answer(due, &mut hand.vcpus);
                    hand.answered = Some(Instant::now());
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
    fn watched(&self, hand: &mut Hand) -> bool {
        if let Some(answered) = hand.answered.take()
            && let Some(soon) = self.watch.pays()
        {
            hand.watching |= self.deafen();
            while hand.watching && answered.elapsed() < soon && !self.ended.load(Ordering::Relaxed)
            {
                if self.is_more() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        // What came before the channel was heard again is only in the ring.
        let watching = std::mem::take(&mut hand.watching);
        if watching {
            self.hear();
        }
        watching
    }

    /// The channel wakes nobody, because of the caller; false if that is so because of another thread.
    fn deafen(&self) -> bool {
        self.bell
            .deafen(self.evtchn.as_fd())
            .unwrap_or_else(|error| {
                self.trouble(error.to_string());
                false
            })
    }

    /// The channel wakes threads again.
    fn hear(&self) {
        let heard = self.bell.hear(self.evtchn.as_fd(), || {
            self.unmask(&mut Vec::new()).map_err(io::Error::other)
        });
        if let Err(error) = heard {
            self.trouble(error.to_string());
        }
    }

    /// Does what the time has come for, and sees that a thread is woken for what comes next.
    fn expire(&self, vcpus: &mut Vcpus) {
        let (answers, next) = self.desk.expire();
        // The thread that watches for their calls may be the one that works for them.
        if !answers.is_empty() {
            self.hear();
        }
        for due in answers {
            self.answer(due, vcpus);
        }
        self.interrupt();
        if let Some(next) = next
            && let Err(error) = self.bell.at(next)
        {
            self.trouble(error.to_string());
        }
    }

    /// Has the guest fetch what it does not know yet.
    fn interrupt(&self) {
        if let Some(interrupt) = self.desk.interrupt
            && self.desk.calls.interrupts()
            && let Err(error) = set_irq_level(&self.privcmd, self.domid, interrupt, true)
        {
            // The guest is gone; the daemon will find out.
            tracing::debug!("domain {}: {error}", self.domid);
        }
    }

    fn called(&self, vcpu: u32, vcpus: &mut Vcpus) -> Option<Taken> {
        match vcpus.context(vcpu) {
            Ok(context) => Some(self.desk.called(Held { vcpu, context })),
            // The guest is gone; the daemon will find out.
            Err(error) => {
                tracing::debug!("domain {}: {error}", self.domid);
                None
            }
        }
    }

    /// Waits until there may be something to do.
    fn wait(&self, ports: &mut Vec<EventPort>) {
        if !self.bell.wait() {
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
        self.desk.record(&Event::Trouble(text));
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
                self.watch.answered();
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
        let desk = &self.desk;
        let (regions, shared_bytes) = desk.memory.totals();
        let sessions = desk.sessions.all().into_iter();
        tee_report::Guest {
            domid: self.domid.get(),
            name: self.name.clone(),
            rights: tee_report::Rights {
                interrupt: desk.interrupt,
                ..desk.rights().told()
            },
            sessions: sessions
                .map(|(id, session)| tee_report::Session {
                    id: id.0,
                    application: session.application.to_string(),
                    given_up: session.dead,
                })
                .collect(),
            calls: desk.calls.count(),
            regions,
            shared_bytes,
            counters: desk.counters.snapshot(),
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
