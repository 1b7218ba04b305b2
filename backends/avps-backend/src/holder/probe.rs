//! The holder's part of a played take-over: handles, a worker, one attack, its end.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use xen::{DomId, EventChannels, EventPort, GrantDevice, PrivCmd};

use super::HolderError;
use super::event::{self, Event};
use super::process::Worker;
use crate::cli::LogLevel;
use crate::ipc::{Notice, Order, message};
use crate::probe::{Attack, Attempt, attempts, own_guest};

/// How long one attack may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How a worker ends that made a forbidden call.
const FORBIDDEN: &str = "SIGSYS";

/// Tries everything; one entry per attack, in the order tried.
///
/// # Errors
/// The handles or the workers cannot be had.
pub(crate) fn run(attack: &Attack) -> Result<Value, HolderError> {
    let no_domain = xen::Error::Argument("no such domain number");
    let guest = DomId::new(attack.guest).ok_or(no_domain)?;
    let mut missing = Value::Null;
    let mut outcomes = Vec::new();
    let mut all = attempts(&attack.file);
    all.insert(0, own_guest());
    for (number, mut attempt) in (1..).zip(all) {
        let stage = Stage::set().map_err(HolderError::Spawn)?;
        stage.prepare(&mut attempt);
        attempt.victim = attack.victim;
        attempt.frame = attack.frame;
        let end = play(guest, number, attack, &attempt)?;
        if let Some(lacks) = end.missing {
            missing = json!(lacks);
        }
        outcomes.push(json!({"attack": attempt.name, "outcome": end.outcome, "how": end.how}));
    }
    Ok(json!({
        "schema": "avps-backend-probe/1",
        "guest": attack.guest,
        "victim": attack.victim,
        "sandbox": attack.sandbox.word(),
        "sandbox_lacks": missing,
        "attacks": outcomes,
    }))
}

/// How one attack ended.
struct End {
    outcome: &'static str,
    how: String,
    missing: Option<Vec<String>>,
}

fn play(guest: DomId, number: u64, attack: &Attack, attempt: &Attempt) -> Result<End, HolderError> {
    let handles = Handles::open(guest)?;
    let (events, queue) = sync_channel(event::QUEUE);
    let worker = Worker::start(guest, number, LogLevel::Error, attack.sandbox, &events)?;
    let order = Order::Start {
        guest: message::Guest {
            domid: guest.get(),
            ioserv: 0,
            ports: vec![handles.port.get()],
            memory_kib: 0,
        },
        slots: Vec::new(),
        tuning: message::Tuning::default(),
    };
    let fds = [handles.privcmd.as_fd(), handles.event_channels.as_fd()];
    let send = |order: &Order, fds: &[_]| {
        worker
            .channel
            .send(order, fds)
            .map_err(HolderError::Channel)
    };
    send(&order, &fds)?;
    send(&Order::Attack(attempt.clone()), &[handles.grants.as_fd()])?;
    drop(handles);
    let end = follow(&queue);
    worker.kill();
    Ok(end)
}

/// Listens to a worker until it has ended.
fn follow(queue: &Receiver<Event>) -> End {
    let mut missing = None;
    let mut answer = None;
    let mut gone = None;
    while gone.is_none() {
        match queue.recv_timeout(PATIENCE) {
            Ok(Event::Worker { notice, .. }) => match notice {
                Notice::Confined { missing: lacks } => missing = Some(lacks),
                Notice::Attacked { refused } => answer = Some(refused),
                Notice::Fatal { reason } => answer = Some(Some(format!("not tried: {reason}"))),
                _ => {}
            },
            Ok(Event::WorkerGone { how, .. }) => gone = Some(how),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let (outcome, how) = match (answer, gone) {
        (Some(Some(refused)), _) if refused.starts_with("not tried") => ("failed", refused),
        (Some(Some(refused)), _) => ("refused", refused),
        (Some(None), _) => ("possible", "it succeeded".to_owned()),
        (None, Some(how)) if how.contains(FORBIDDEN) => ("killed", how),
        // Nothing said and no failure: another program is in its place.
        (None, Some(how)) if how.contains("exit status: 0") => ("possible", how),
        (None, Some(how)) => ("failed", how),
        (None, None) => ("failed", "no answer".to_owned()),
    };
    End {
        outcome,
        how,
        missing,
    }
}

/// What a worker of the guest is given.
struct Handles {
    privcmd: PrivCmd,
    event_channels: EventChannels,
    port: EventPort,
    grants: GrantDevice,
}

impl Handles {
    fn open(guest: DomId) -> Result<Self, HolderError> {
        let event_channels = EventChannels::open()?;
        let port = event_channels.bind_unbound(guest)?;
        event_channels.restrict(guest)?;
        let privcmd = PrivCmd::open()?;
        privcmd.restrict(guest)?;
        Ok(Self {
            privcmd,
            event_channels,
            port,
            grants: GrantDevice::open()?,
        })
    }
}

/// Things that may be harmed: a file, a place for mounts, a socket, a process.
struct Stage {
    folder: PathBuf,
    _listener: UnixListener,
    process: Child,
}

impl Stage {
    fn set() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("avps-probe-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("place"))?;
        std::fs::write(folder.join("file"), "secret")?;
        let listener = UnixListener::bind(folder.join("socket"))?;
        let process = Command::new("sleep").arg("1000").spawn()?;
        Ok(Self {
            folder,
            _listener: listener,
            process,
        })
    }

    fn prepare(&self, attempt: &mut Attempt) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        attempt.file = path("file");
        attempt.place = path("place");
        attempt.socket = path("socket");
        attempt.process = i32::try_from(self.process.id()).unwrap_or(i32::MAX);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whatever the attack has left of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let place: &Path = &self.folder.join("place");
        let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
