//! `cargo xtask bench start`: how long the backend needs from its start until it serves, and what it then has resident.
//!
//! On this host, without emulation: `avps-backend vhost-user` until its socket answers the protocol, and a worker, which
//! needs no Xen to confine itself, until its first message.

use super::bench::Figures;
use super::vhost_user::backend;
use super::{Failed, ensure};
use crate::failure::Failure;
use crate::interrupt::{self, Registration, interrupted};
use crate::process::Error;
use crate::progress::Step;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the image.
const IMAGE: u64 = 64 << 20;
/// Whoever is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts to connect: a twentieth of a millisecond is lost in what is measured.
const RETRY: Duration = Duration::from_micros(50);

/// Measures `cases` starts of each.
pub(super) fn run(cases: u32) -> Result<Figures, Failure> {
    let program = backend(true)?;
    let step = Step::begin("starts", "measuring");
    let measured = measure(&program, cases, &step);
    if interrupted() {
        return Err(super::test::failure(Error::Interrupted));
    }
    let figures = measured.map_err(|Failed(seen)| Failure::new(seen))?;
    step.done("measured");
    Ok(figures)
}

fn measure(program: &Path, cases: u32, step: &Step) -> Result<Figures, Failed> {
    let folder = tempfile::tempdir()?;
    File::create(folder.path().join("image"))?.set_len(IMAGE)?;
    let mut figures = Figures::default();
    let (mut vhost_user, mut worker) = (Starts::default(), Starts::default());
    for number in 0..cases {
        ensure(!interrupted(), || "interrupted")?;
        step.state(format!("{number} of {cases}"));
        vhost_user.add(start_vhost_user(program, folder.path())?);
        let (start, missing) = start_worker(program)?;
        worker.add(start);
        if number == 0 && !missing.is_empty() {
            let missing = missing.join(", ");
            let note = format!("This host does not let a worker be confined in full: {missing}.");
            figures.notes.push(note);
        }
    }
    vhost_user.tell("vhost_user", &mut figures);
    worker.tell("worker", &mut figures);
    figures.notes.push(
        "Wall-clock time of this host, release build, program file in the page cache: from the program's start until \
         its socket answered GET_FEATURES, and until the confined worker's first message."
            .into(),
    );
    Ok(figures)
}

/// One start.
struct Start {
    ready: Duration,
    rss_kib: f64,
}

/// A series of starts.
#[derive(Default)]
struct Starts {
    ready_ms: Vec<f64>,
    rss_kib: Vec<f64>,
}

impl Starts {
    fn add(&mut self, start: Start) {
        self.ready_ms.push(start.ready.as_secs_f64() * 1e3);
        self.rss_kib.push(start.rss_kib);
    }

    fn tell(self, name: &str, figures: &mut Figures) {
        figures.series(&format!("{name}.ready_ms"), self.ready_ms);
        figures.series(&format!("{name}.rss_kib"), self.rss_kib);
    }
}

/// A process that ends with its measurement.
struct Process {
    child: Child,
    _registration: Registration,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failed> {
        let child = command
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let _registration = interrupt::register(&child);
        Ok(Self {
            child,
            _registration,
        })
    }

    fn rss_kib(&self) -> Result<f64, Failed> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| Failed(format!("it ended at once: {status}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_vhost_user(program: &Path, folder: &Path) -> Result<Start, Failed> {
    let socket = folder.join("socket");
    // Left by its predecessor, which was killed.
    if socket.exists() {
        std::fs::remove_file(&socket)?;
    }
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(["vhost-user", "--socket"]).arg(&socket);
    command.arg("--image").arg(folder.join("image"));
    let mut process = Process::start(command.stdin(Stdio::null()))?;
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => {
                let ended = process.child.try_wait()?;
                ensure(ended.is_none() && began.elapsed() < PATIENCE, || {
                    format!("avps-backend vhost-user does not serve: {error}; ended: {ended:?}")
                })?;
            }
        }
        std::thread::sleep(RETRY);
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    ask_features(&mut stream)?;
    let ready = began.elapsed();
    Ok(Start {
        ready,
        rss_kib: process.rss_kib()?,
    })
}

/// VHOST_USER_GET_FEATURES, and the bit of protocol version 1 (VIRTIO_F_VERSION_1) in the answer.
///
/// Message header (vhost-user specification, "Message Specification"): request, flags, payload size; 32 bits each.
fn ask_features(stream: &mut (impl Read + Write)) -> Result<u64, Failed> {
    const GET_FEATURES: u32 = 1;
    const VERSION: u32 = 1;
    const REPLY: u32 = 1 << 2;
    const SIZE: u32 = 8;
    let header = |flags: u32, size: u32| {
        let words = [GET_FEATURES, flags, size];
        words.map(u32::to_ne_bytes).concat()
    };
    stream.write_all(&header(VERSION, 0))?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure(answer[..] == header(VERSION | REPLY, SIZE), || {
        format!("the answer to GET_FEATURES begins with {answer:?}")
    })?;
    let mut features = [0; SIZE as usize];
    stream.read_exact(&mut features)?;
    let features = u64::from_ne_bytes(features);
    ensure(features & (1 << 32) != 0, || {
        format!("features {features:#x} have no VIRTIO_F_VERSION_1")
    })?;
    Ok(features)
}

/// A worker as the holder starts it, with `/dev/null` in place of Xen's devices; and the parts of its sandbox it lacks.
fn start_worker(program: &Path) -> Result<(Start, Vec<String>), Failed> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(["worker", "--guest", "3", "--sandbox", "best-effort"]);
    let process = Process::start(command.stdin(Stdio::from(theirs)))?;
    // `command` keeps the worker's end of the socket: without it, the worker's end shows here.
    drop(command);
    let order = json!({"start": {
        "guest": {"domid": 3, "ioserv": 1, "ports": [1], "memory_kib": 0},
        "slots": [{"slot": 0, "base": 0x200_0000, "irq": 33}],
        "tuning": {"polling": true, "copy_limit": null},
    }})
    .to_string();
    // Version, number of descriptors, length of the text.
    let mut header = vec![1, 0, 2, 0];
    header.extend(u32::try_from(order.len())?.to_le_bytes());
    let handles = [null.as_fd(), null.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure(
        control.push(SendAncillaryMessage::ScmRights(&handles)),
        || "no room for descriptors",
    )?;
    let parts = [IoSlice::new(&header), IoSlice::new(order.as_bytes())];
    sendmsg(&ours, &parts, &mut control, SendFlags::NOSIGNAL)?;

    let limit = Timespec::try_from(PATIENCE)?;
    let answers = poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&limit))?;
    ensure(answers > 0, || "a worker said nothing")?;
    let mut packet = vec![0; 70_000];
    let (length, _) = recv(&ours, &mut packet[..], RecvFlags::empty())?;
    let ready = began.elapsed();
    let said: Value = serde_json::from_slice(packet.get(8..length).unwrap_or_default())?;
    let missing = said["confined"]["missing"].as_array();
    let missing = missing.ok_or_else(|| Failed(format!("a worker said {said}")))?;
    let missing = missing
        .iter()
        .filter_map(|part| part.as_str().map(str::to_owned))
        .collect();
    let start = Start {
        ready,
        rss_kib: process.rss_kib()?,
    };
    Ok((start, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`ask_features`] makes of an answer.
    fn asked(answer: &[u8]) -> Result<u64, Failed> {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answer).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let seen = ask_features(&mut ours);
        let mut question = [0; 12];
        theirs.read_exact(&mut question).unwrap();
        assert_eq!(question, [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        seen
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_an_answer_of_the_protocol_ends_a_measurement() {
        let header = [1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0];
        let good = [&header[..], &[1, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(asked(&good).unwrap(), 0x1_0000_0001);
        let old = [&header[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(asked(&old).is_err());
        let mut other = good.clone();
        other[0] = 2;
        assert!(asked(&other).is_err());
        assert!(asked(&good[..15]).is_err());
        assert!(asked(&[]).is_err());
    }
}
