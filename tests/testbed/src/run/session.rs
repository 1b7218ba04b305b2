//! A bed that stays: started once, used by many short commands, for trying things out.
//!
//! `cargo xtask bed start` leaves a process behind that owns the bed; it ends with `bed stop`, when the machine is
//! switched off from inside, or after its life time. `session.json` below `target/bed` says where it is.

use super::bed::Bed;
use super::media::Media;
use super::qemu::Machine;
use super::{Error, Result};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::paths;
use agent::client::{Client, Remote, proxy};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a command needs to find the session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The owning process.
    pub(crate) pid: u32,
    /// Where it listens for requests.
    pub(crate) socket: PathBuf,
    /// Where it listens for the wish to stop.
    pub(crate) stop: PathBuf,
    /// Its logs.
    pub(crate) logs: PathBuf,
    /// Seconds the boot took.
    pub(crate) boot_seconds: f64,
}

fn file() -> PathBuf {
    paths::tree_target().join("session.json")
}

impl Session {
    /// The running session of this tree, if there is one.
    pub(crate) fn find() -> Option<Self> {
        let session: Self = serde_json::from_slice(&fs::read(file()).ok()?).ok()?;
        UnixStream::connect(&session.stop)
            .is_ok()
            .then_some(session)
    }

    /// The running session, or the advice to start one.
    pub(crate) fn need() -> std::result::Result<Self, Failure> {
        Self::find().ok_or_else(|| {
            Failure::new("no bed is running for this tree. Start one: cargo xtask bed start")
        })
    }

    /// Connects to it.
    pub(crate) fn connect(&self) -> Result<Client> {
        let stream =
            UnixStream::connect(&self.socket).map_err(Error::io("connect to", &self.socket))?;
        let reader = stream.try_clone().map_err(Error::io("use", &self.socket))?;
        let client = Client::new(reader, stream).map_err(Error::io("use", &self.socket))?;
        client.wait_hello(Duration::from_secs(10))?;
        Ok(client)
    }

    /// dom0's agent, or a guest's.
    pub(crate) fn remote(&self, guest: Option<&str>) -> Result<Remote> {
        let dom0 = self.connect()?.dom0();
        let Some(name) = guest else { return Ok(dom0) };
        let domid = dom0.command(["xl", "domid", name]).text()?;
        let domid = domid
            .trim()
            .parse()
            .map_err(|_| agent::client::Error::Protocol {
                who: "xl domid".into(),
                what: format!("{domid:?}"),
            })?;
        Ok(dom0.attach(domid, name, Duration::from_secs(30))?)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&self) -> bool {
        // One connection is the wish; a session that is gone refuses it.
        let Ok(stream) = UnixStream::connect(&self.stop) else {
            return true;
        };
        let sent = std::io::Write::write_all(&mut &stream, b"stop");
        let until = Instant::now() + Duration::from_secs(30);
        while sent.is_ok() && Instant::now() < until {
            if UnixStream::connect(&self.stop).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

/// What the owning process does: boots, serves, ends.
pub(crate) fn own(
    media: &Media,
    machine: &Machine,
    life: Duration,
) -> std::result::Result<ExitCode, Failure> {
    let began = Instant::now();
    // The terminal of whoever started it may go away.
    rustix::process::setsid()
        .map_err(|e| Failure::new(format!("cannot leave the terminal: {e}")))?;
    let bed = Bed::boot(media, machine, "session")?;
    let listen = |name: &str| {
        let path = bed.socket(name);
        UnixListener::bind(&path)
            .map(|listener| (listener, path.clone()))
            .map_err(Error::io("listen on", &path))
    };
    let ((requests, socket), (stops, stop)) = (listen("session")?, listen("stop")?);
    let session = Session {
        pid: std::process::id(),
        socket,
        stop,
        logs: bed.logs().to_path_buf(),
        boot_seconds: (bed.times().xen + bed.times().dom0).as_secs_f64(),
    };
    let wanted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&wanted);
    let failed = |e: std::io::Error| Failure::new(format!("cannot start a thread: {e}"));
    std::thread::Builder::new()
        .name("stop".into())
        .spawn(move || wait_for_stop(&stops, &flag))
        .map_err(failed)?;
    let client = bed.client().clone();
    std::thread::Builder::new()
        .name("requests".into())
        .spawn(move || serve(&requests, &client))
        .map_err(failed)?;

    let path = file();
    let text = serde_json::to_vec_pretty(&session).map_err(|e| Failure::new(e.to_string()))?;
    write(&path, &text)?;
    while !wanted.load(Ordering::SeqCst) && began.elapsed() < life && !interrupted() {
        if bed.wait(Duration::from_millis(100)) {
            break;
        }
    }
    // Another session may have taken its place.
    if Session::find().is_some_and(|other| other.pid == session.pid) {
        let _ = fs::remove_file(&path);
    }
    if bed.alive() && !interrupted() {
        bed.poweroff();
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .map_err(Error::io("write", path))
}

fn wait_for_stop(stops: &UnixListener, wanted: &AtomicBool) {
    for stream in stops.incoming().flatten() {
        let mut wish = [0; 4];
        if std::io::Read::read_exact(&mut &stream, &mut wish).is_ok() && &wish == b"stop" {
            wanted.store(true, Ordering::SeqCst);
        }
    }
}

fn serve(requests: &UnixListener, client: &Client) {
    for stream in requests.incoming().flatten() {
        let client = client.clone();
        std::thread::spawn(move || {
            let ended = stream
                .try_clone()
                .and_then(|reader| proxy(&client, reader, stream));
            if let Err(e) = ended {
                eprintln!("a connection ended: {e}");
            }
        });
    }
}
