//! The holder: owns XenStore, the ioreq servers, the event channels and the images; serves nothing itself.
//!
//! One loop takes all decisions, on events that small threads bring ([`event`]). For each guest there is one
//! worker process, which gets everything it needs as file descriptors and may die at any moment. The
//! holder reads nothing that a guest can write: not its memory, not its XenStore nodes.
//!
//! On SIGTERM workers finish what is in flight and end; ioreq servers and the devices' XenStore states
//! are left as they are, and the servers' numbers stay in XenStore, so that the next holder takes the
//! devices of running guests over. A guest that touches a device meanwhile waits. On SIGUSR1, when the whole domain is about to
//! end, devices and ioreq servers are given up first ([`leaving`]).

mod awaited;
mod departed;
mod devices;
mod event;
mod guest;
mod leaving;
#[cfg(feature = "probe")]
pub(crate) mod probe;
mod process;
mod records;
mod reports;
pub(crate) mod restart;
mod server;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use thiserror::Error;
use xen::{DomId, PrivCmd};

use self::awaited::Awaited;
use self::event::Event;
use self::guest::{Device, Guest};
use self::records::Records;
use self::reports::Pending;
use crate::adopt::Rule;
use crate::cli::{LogLevel, Polling, SandboxMode, Serve};
use crate::ipc::{FrameError, message};
use crate::parameters::BlockParameters;
use crate::store::folder::DeviceKey;
use crate::store::{Store, StoreError};
use daemon::lock::{Lock, LockError};
use daemon::rate::RateLimit;
use daemon::socket::{self, SocketError};

/// How often things that only time changes are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long workers may take to finish when the daemon ends.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The lock's place: one holder per domain.
const LOCK: &str = "/run/avps/backend.lock";

/// Why the daemon could not start, or go on.
#[derive(Debug, Error)]
pub(crate) enum HolderError {
    /// There is a holder already.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// XenStore.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Xen's devices.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The statistics socket.
    #[error(transparent)]
    Stats(#[from] SocketError),
    /// A thread could not be made.
    #[error("the thread {name:?} could not be started: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Signals.
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    /// A worker could not be started.
    #[error("a worker process could not be started: {0}")]
    Spawn(io::Error),
    /// A worker cannot be spoken to.
    #[error("a worker could not be spoken to: {0}")]
    Channel(FrameError),
}

impl HolderError {
    /// This host, or this moment, cannot do it: nothing is wrong with the program's work.
    pub(crate) fn is_cannot(&self) -> bool {
        matches!(
            self,
            HolderError::Lock(_)
                | HolderError::Store(StoreError::Unreachable(_) | StoreError::OwnDomain(_))
                | HolderError::Xen(xen::Error::Open { .. })
                | HolderError::Stats(SocketError::Bind { .. })
        )
    }
}

/// The loop's state.
struct Holder {
    store: Store,
    /// The connection broke; a new one is tried for each tick.
    store_lost: bool,
    xen: PrivCmd,
    records: Records,
    rules: Vec<Rule>,
    log_level: LogLevel,
    sandbox: SandboxMode,
    tuning: message::Tuning,
    /// What was last said to be missing of it: the same for each worker, as a rule, and told once.
    sandbox_told: Option<Vec<String>>,
    started: Instant,
    events: SyncSender<Event>,
    guests: BTreeMap<DomId, Guest>,
    devices: BTreeMap<DeviceKey, Device>,
    /// Folders to be read.
    dirty: BTreeSet<DeviceKey>,
    /// All folders are to be listed.
    rescan: bool,
    /// Devices whose windows are ours and whose images are to be opened.
    opening: VecDeque<(DeviceKey, BlockParameters)>,
    /// Folders of domains that are not there (yet, or any more), since when.
    orphans: BTreeMap<DeviceKey, Instant>,
    /// Devices whose image is not there yet.
    awaited: BTreeMap<DeviceKey, Awaited>,
    generation: u64,
    reports: Vec<Pending>,
    question: u64,
    stopping: bool,
    /// Every device is being given up; workers that are not done by then are ended.
    leaving: Option<Instant>,
    chatter: RateLimit,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What keeps it from starting; a running daemon ends only by signal.
pub(crate) fn run(serve: Serve) -> Result<(), HolderError> {
    // The order gives the clearest message: no Xen at all comes before everything else.
    let store = Store::open()?;
    let xen = PrivCmd::open()?;
    let lock = Lock::take("avps-backend", Path::new(LOCK))?;
    let listener = socket::listen(&serve.socket)?;

    let (events, queue) = sync_channel(event::QUEUE);
    event::feed_signals(&events)?;
    event::feed_reports(listener, &events)?;
    event::feed_store(&store, &events)?;
    tracing::info!(
        "avps-backend {} serves devices of domain {}",
        env!("CARGO_PKG_VERSION"),
        store.own()
    );
    for rule in &serve.adopt {
        tracing::info!("adoption rule: {rule}");
    }

    let mut holder = Holder {
        store,
        store_lost: false,
        xen,
        records: Records::new(records::FOLDER),
        rules: serve.adopt,
        log_level: serve.log_level,
        sandbox: serve.sandbox,
        tuning: message::Tuning {
            polling: serve.polling == Polling::Auto,
            copy_limit: serve.copy_limit,
        },
        sandbox_told: None,
        started: Instant::now(),
        events,
        guests: BTreeMap::new(),
        devices: BTreeMap::new(),
        dirty: BTreeSet::new(),
        rescan: true,
        opening: VecDeque::new(),
        orphans: BTreeMap::new(),
        awaited: BTreeMap::new(),
        generation: 0,
        reports: Vec::new(),
        question: 0,
        stopping: false,
        leaving: None,
        chatter: RateLimit::new(20, Duration::from_secs(10)),
    };
    holder.forget_dead_servers();
    holder.settle(&queue);
    holder.store.announce()?;
    if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
        tracing::warn!("systemd was not told that the daemon is ready: {error}");
    }
    tracing::info!("ready");

    let result = holder.serve(&queue);
    // Fails only when it is gone already.
    let _ = std::fs::remove_file(&serve.socket);
    drop(lock);
    result
}

impl Holder {
    fn serve(&mut self, queue: &Receiver<Event>) -> Result<(), HolderError> {
        loop {
            if self.stopping && self.guests.values().all(|guest| guest.worker.is_none()) {
                tracing::info!("ended");
                return Ok(());
            }
            if self.has_left() {
                tracing::info!("ended, nothing is served any more");
                return Ok(());
            }
            match queue.recv_timeout(self.until_next_deadline(Instant::now())) {
                Ok(event) => {
                    self.take(event);
                    self.take_waiting(queue);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Not possible while we hold a sender ourselves.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.settle(queue);
            self.tick(Instant::now());
        }
    }

    /// Takes what has happened meanwhile: one change in XenStore makes many events, and one look is enough.
    fn take_waiting(&mut self, queue: &Receiver<Event>) {
        for event in queue.try_iter().take(event::QUEUE) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Store(path) => self.changed(&path),
            Event::Introductions => self.look_for_introduced(),
            Event::Releases => self.look_for_dead(),
            Event::StoreLost(reason) => {
                if !self.store_lost && !self.stopping {
                    tracing::error!(
                        "the connection to XenStore is lost ({reason}): devices go on, but none is added or removed until it is back"
                    );
                }
                self.store_lost = true;
            }
            Event::Worker { generation, notice } => self.heard(generation, notice),
            Event::WorkerGone { generation, how } => self.worker_gone(generation, &how),
            Event::Report(answer) => self.report_wanted(answer),
            Event::Terminate => self.terminate(),
            Event::GiveUp => self.give_up(),
        }
    }

    /// Reads what has to be read, until nothing is left to read.
    ///
    /// Windows come before images: a guest that nobody told to wait may run already, and an access that no ioreq server claims
    /// ends its kernel; one that is claimed waits. Opening an image can take long, so what has happened meanwhile is looked at
    /// after each.
    fn settle(&mut self, queue: &Receiver<Event>) {
        while !(self.stopping || self.leaving.is_some() || self.store_lost) {
            if std::mem::take(&mut self.rescan) {
                match self.store.devices() {
                    Ok(found) => {
                        self.dirty.extend(found);
                        self.dirty.extend(self.devices.keys().copied());
                    }
                    Err(error) => tracing::error!("device folders cannot be listed: {error}"),
                }
            }
            if let Some(key) = self.dirty.pop_first() {
                self.examine(key);
            } else if let Some((key, parameters)) = self.opening.pop_front() {
                self.open_now(key, parameters);
                self.take_waiting(queue);
            } else {
                return;
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        self.tend_workers(now);
        self.finish_reports(now);
        self.tend_leaving(now);
        if self.stopping || self.leaving.is_some() {
            return;
        }
        self.tend_awaited(now);
        if self.store_lost {
            self.reconnect();
        } else {
            self.tend_leftovers(now);
        }
    }

    fn reconnect(&mut self) {
        let opened = Store::open().map_err(HolderError::from).and_then(|store| {
            event::feed_store(&store, &self.events)?;
            store.announce()?;
            Ok(store)
        });
        match opened {
            Ok(store) => {
                tracing::info!("the connection to XenStore is back");
                self.store = store;
                self.store_lost = false;
                self.rescan = true;
                self.look_for_dead();
            }
            Err(error) => tracing::debug!("XenStore is still away: {error}"),
        }
    }

    fn terminate(&mut self) {
        if self.stopping {
            for guest in self.guests.values() {
                if let Some(worker) = &guest.worker {
                    worker.kill();
                }
            }
            return;
        }
        self.stopping = true;
        tracing::info!(
            "ending: workers finish what is in flight; devices of running guests wait for the next start"
        );
        if let Err(error) = self.store.withdraw() {
            tracing::warn!("the ready key could not be removed: {error}");
        }
        let by = Instant::now().checked_add(STOP_PATIENCE);
        for guest in self.guests.values_mut() {
            guest.start_at = None;
            workers::stop(guest, by);
        }
    }

    fn until_next_deadline(&self, now: Instant) -> Duration {
        let mut deadlines = Vec::new();
        for guest in self.guests.values() {
            deadlines.extend(guest.start_at);
            deadlines.extend(guest.worker.as_ref().and_then(|worker| worker.stop_by));
        }
        deadlines.extend(self.reports.iter().map(Pending::deadline));
        deadlines.extend(self.awaited.values().map(Awaited::next));
        deadlines.extend(self.leaving);
        let leftovers = !self.orphans.is_empty()
            || self
                .devices
                .values()
                .any(|device| device.closed_at.is_some());
        if self.store_lost || leftovers {
            deadlines.extend(now.checked_add(TICK));
        }
        match deadlines.into_iter().min() {
            Some(deadline) => deadline.saturating_duration_since(now),
            None => Duration::from_secs(3600),
        }
    }
}
