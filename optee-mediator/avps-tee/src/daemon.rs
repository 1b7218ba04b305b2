//! The daemon: attaches to guests that are to be mediated, and lets go of those that are not any more.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use daemon::lock::{Lock, LockError};
use daemon::socket::{self, SocketError};
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use xen::{DomId, DomainInfo, PrivCmd};
use xenstore::Watch;

use crate::cli::{Arguments, Polling};
use crate::guest::{self, Guest};
use crate::identities::Identities;
use crate::permits::Permits;
use crate::pool::Pool;
use crate::store::{Store, Wanted};
use crate::{Shared, audit};
use tee_report::{self as report, Report};

/// How often an attempt that failed is made again.
const AGAIN: Duration = Duration::from_secs(2);
/// Events that wait at most; more of the same are one.
const QUEUE: usize = 64;
/// The lock's place: one daemon per machine.
const LOCK: &str = "/run/avps/tee.lock";

/// What guests have registered, for the next life of this program.
const JOURNALS: &str = "/run/avps/tee";

/// Why the daemon could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// Another one runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Nobody could ask what it does.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A file, a thread.
    #[error("cannot use {what}: {source}")]
    System {
        /// What.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// XenStore.
    #[error("XenStore: {0}")]
    Store(#[from] xenstore::Error),
    /// Xen.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The secure world.
    #[error(transparent)]
    Tee(#[from] tee_device::Error),
}

impl DaemonError {
    /// This host, or this moment, cannot do it: nothing is wrong with the program's work.
    pub(crate) fn is_cannot(&self) -> bool {
        matches!(
            self,
            Self::Lock(_)
                | Self::Socket(SocketError::Bind { .. })
                | Self::Xen(xen::Error::Open { .. })
                | Self::Tee(_)
        )
    }
}

/// What the loop is told.
enum Event {
    /// Something in XenStore changed.
    Changed,
    /// XenStore cannot be heard any more.
    Lost(xenstore::Error),
    /// Somebody asks.
    Asked(std::os::unix::net::UnixStream),
    /// The end.
    Stop,
}

/// Runs until a signal ends it.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub(crate) fn run(arguments: &Arguments) -> Result<(), DaemonError> {
    // Whoever looks after this process is gone: nobody would start it again.
    let parent = rustix::process::getppid();
    let told = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    told.map_err(|error| DaemonError::System {
        what: "the death of this process's parent".into(),
        source: error.into(),
    })?;
    if rustix::process::getppid() != parent {
        return Ok(());
    }
    let privcmd = PrivCmd::open()?;
    // Told at once, not when the first guest comes.
    drop(tee_device::Tee::open(&arguments.device)?);
    let store = Store::open()?;
    let listener = socket::listen(&arguments.socket)?;
    let (events, queue) = sync_channel(QUEUE);
    feed(&events, &store, listener)?;
    let threads = usize::from(arguments.threads);
    let mut daemon = Daemon {
        privcmd,
        shared: Arc::new(Shared {
            device: arguments.device.clone(),
            journals: JOURNALS.into(),
            threads,
            hold: Duration::from_millis(arguments.hold.into()),
            polling: arguments.polling == Polling::Auto,
            permits: Permits::new(threads),
            pool: Pool::new(arguments.buffers.into(), threads),
            identities: Identities::new(&arguments.identities),
            audit: audit::Audit::default(),
        }),
        store,
        guests: BTreeMap::new(),
        failed: BTreeMap::new(),
    };
    daemon.settle()?;
    daemon.store.announce(true)?;
    if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
        tracing::warn!("systemd was not told that the daemon is ready: {error}");
    }
    tracing::info!("avps-tee {} is ready", env!("CARGO_PKG_VERSION"));
    let outcome = daemon.serve(&queue);
    for (domid, guest) in std::mem::take(&mut daemon.guests) {
        guest.end("avps-tee ends");
        // A guest that is gone needs no telling.
        let _ = daemon.store.tell(domid, "stopped", None);
    }
    let _ = daemon.store.announce(false);
    // Fails only when it is gone already.
    let _ = std::fs::remove_file(&arguments.socket);
    outcome
}

struct Daemon {
    privcmd: PrivCmd,
    shared: Arc<Shared>,
    store: Store,
    guests: BTreeMap<DomId, Arc<Guest>>,
    /// Guests that could not be attached to, and why.
    failed: BTreeMap<DomId, String>,
}

impl Daemon {
    fn serve(&mut self, queue: &Receiver<Event>) -> Result<(), DaemonError> {
        loop {
            let event = if self.failed.is_empty() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(AGAIN)
            };
            match event {
                Ok(Event::Changed) | Err(RecvTimeoutError::Timeout) => self.settle()?,
                Ok(Event::Asked(client)) => {
                    if let Err(error) = socket::answer(client, &self.report()) {
                        tracing::debug!("a client went away: {error}");
                    }
                }
                Ok(Event::Lost(error)) => return Err(error.into()),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Compares what is with what is wanted.
    fn settle(&mut self) -> Result<(), DaemonError> {
        let wanted = self.store.wanted()?;
        let gone: Vec<DomId> = self
            .guests
            .keys()
            .copied()
            .filter(|domid| !wanted.contains_key(domid) || !self.is_alive(*domid))
            .collect();
        for domid in gone {
            if let Some(guest) = self.guests.remove(&domid) {
                guest.end(guest::GONE);
            }
        }
        self.failed.retain(|domid, _| wanted.contains_key(domid));
        for (domid, wanted) in wanted {
            let Wanted { name, uuid, rights } = wanted;
            if !self.is_alive(domid) {
                continue;
            }
            let outcome = match rights {
                Ok(rights) => match self.guests.get(&domid) {
                    Some(guest) => {
                        guest.set_rights(rights);
                        continue;
                    }
                    None => Guest::attach(&self.shared, domid, &name, &uuid, rights)
                        .map_err(|error| error.to_string()),
                },
                // Rights that were in force before stay so.
                Err(error) => Err(format!("its rights are not understood: {error}")),
            };
            match outcome {
                Ok(guest) => {
                    self.guests.insert(domid, guest);
                    self.failed.remove(&domid);
                    self.store.tell(domid, "ready", None)?;
                }
                Err(error) => self.tell_failure(domid, &name, error)?,
            }
        }
        Ok(())
    }

    fn tell_failure(&mut self, domid: DomId, name: &str, error: String) -> Result<(), DaemonError> {
        let before = self.failed.get(&domid).map(String::as_str);
        if before != Some(error.as_str()) {
            tracing::error!("{name} (domain {domid}) cannot be mediated: {error}");
            let state = if self.guests.contains_key(&domid) {
                "ready"
            } else {
                "error"
            };
            self.store.tell(domid, state, Some(&error))?;
        }
        self.failed.insert(domid, error);
        Ok(())
    }

    /// Whether Xen knows it and it has not ended: what is dying has no registers to read any more. Where Xen does not say, it is:
    /// attaching to it tells why not.
    fn is_alive(&self, domid: DomId) -> bool {
        match DomainInfo::of(&self.privcmd, domid) {
            Ok(info) => !info.ended,
            Err(error) => !error.is_no_such_domain(),
        }
    }

    fn report(&self) -> Report {
        Report {
            schema: report::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            turns: self.shared.threads,
            guests: self.guests.values().map(|guest| guest.report()).collect(),
            leaving: self.leaving(),
            audit: self.shared.audit.entries(),
        }
    }
}

impl Daemon {
    /// Guests that have ended and have calls in the secure world.
    fn leaving(&self) -> Vec<report::Leaving> {
        let leaving = self.shared.permits.leaving().into_iter();
        leaving
            .map(|guest| report::Leaving {
                domid: guest.domid,
                name: guest.name,
                calls: guest.calls,
            })
            .collect()
    }
}

/// Threads that bring events.
fn feed(
    events: &SyncSender<Event>,
    store: &Store,
    listener: UnixListener,
) -> Result<(), DaemonError> {
    for watch in store.watches()? {
        let events = events.clone();
        start("xenstore", move || watched(&watch, &events))?;
    }
    let asked = events.clone();
    start("socket", move || {
        for client in listener.incoming().flatten() {
            if asked.send(Event::Asked(client)).is_err() {
                return;
            }
        }
    })?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|source| DaemonError::System {
        what: "signals".into(),
        source,
    })?;
    let stop = events.clone();
    start("signals", move || {
        if signals.forever().next().is_some() {
            // The loop has ended already.
            let _ = stop.send(Event::Stop);
        }
    })
}

fn watched(watch: &Watch, events: &SyncSender<Event>) {
    loop {
        let event = match watch.recv() {
            Ok(_) => Event::Changed,
            Err(error) => Event::Lost(error),
        };
        // A burst of changes is one.
        while let Ok(Some(_)) = watch.try_recv() {}
        let lost = matches!(event, Event::Lost(_));
        if events.send(event).is_err() || lost {
            return;
        }
    }
}

fn start(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), DaemonError> {
    let started = thread::Builder::new().name(name.into()).spawn(body);
    started.map(drop).map_err(|source| DaemonError::System {
        what: format!("a thread for {name}"),
        source,
    })
}

/// Takes the lock: there is one daemon.
///
/// # Errors
/// [`DaemonError::Lock`] when another process has it.
pub(crate) fn take_lock() -> Result<Lock, DaemonError> {
    Ok(Lock::take("avps-tee", Path::new(LOCK))?)
}
