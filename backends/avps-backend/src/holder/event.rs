//! What the holder's loop waits for, and the threads that bring it.
//!
//! Each source has a thread that does nothing but wait; all decisions are taken in one place, one after the
//! other. The queue between them is bounded: a source that brings too much waits.

use std::os::unix::net::UnixListener;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use xenstore::Watch;

use super::HolderError;
use crate::ipc::Notice;
use crate::store::Store;
use crate::store::folder::Class;
use backend_stats::Report;
use daemon::socket;

/// Events that may wait for the loop.
pub(super) const QUEUE: usize = 256;
/// Stack of a waiting thread in bytes.
pub(super) const STACK: usize = 128 * 1024;
/// How long a client of the statistics socket waits for the loop.
const REPORT_PATIENCE: Duration = Duration::from_secs(4);

/// One thing that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Something at or below this XenStore path is different.
    Store(String),
    /// A domain has become known to XenStore.
    Introductions,
    /// A domain went away.
    Releases,
    /// The connection to XenStore broke.
    StoreLost(String),
    /// A worker says something.
    Worker {
        /// Which worker, over all guests and restarts.
        generation: u64,
        /// What it says.
        notice: Notice,
    },
    /// A worker is dead and reaped: the kernel has taken back all it held.
    WorkerGone {
        /// Which worker.
        generation: u64,
        /// How it ended, for people.
        how: String,
    },
    /// Somebody asks for the counters.
    Report(SyncSender<Report>),
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGUSR1: this domain is about to end.
    GiveUp,
}

/// A thread of its own, small and named.
pub(super) fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), HolderError> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(body)
        .map(|_| ())
        .map_err(|source| HolderError::Thread { name, source })
}

/// Starts to watch XenStore.
pub(super) fn feed_store(store: &Store, events: &SyncSender<Event>) -> Result<(), HolderError> {
    for class in Class::ALL {
        feed_watch(store.watch_class(class)?, events, Event::Store)?;
    }
    feed_watch(store.watch_introductions()?, events, |_| {
        Event::Introductions
    })?;
    feed_watch(store.watch_releases()?, events, |_| Event::Releases)
}

fn feed_watch(
    watch: Watch,
    events: &SyncSender<Event>,
    event: impl Fn(String) -> Event + Send + 'static,
) -> Result<(), HolderError> {
    let events = events.clone();
    spawn("xenstore", move || {
        loop {
            let next = match watch.recv() {
                Ok(found) => event(found.path),
                Err(error) => {
                    // Fails only when the loop has ended.
                    let _ = events.send(Event::StoreLost(error.to_string()));
                    return;
                }
            };
            if events.send(next).is_err() {
                return;
            }
        }
    })
}

/// Starts to wait for the signals that end the daemon.
pub(super) fn feed_signals(events: &SyncSender<Event>) -> Result<(), HolderError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(HolderError::Signals)?;
    let events = events.clone();
    spawn("signals", move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGUSR1 => Event::GiveUp,
                _ => Event::Terminate,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })
}

/// Starts to answer the statistics socket, one client at a time.
pub(super) fn feed_reports(
    listener: UnixListener,
    events: &SyncSender<Event>,
) -> Result<(), HolderError> {
    let events = events.clone();
    spawn("stats", move || {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) => {
                    // Out of descriptors, most likely: worth waiting for.
                    tracing::warn!("a statistics client could not be accepted: {error}");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            let (sender, report) = sync_channel(1);
            if events.send(Event::Report(sender)).is_err() {
                return;
            }
            if let Ok(report) = report.recv_timeout(REPORT_PATIENCE)
                && let Err(error) = socket::answer(client, &report)
            {
                tracing::debug!("a statistics client went away: {error}");
            }
        }
    })
}
