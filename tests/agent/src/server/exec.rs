//! Runs a program for a request: its output streamed and bounded, its time limited.

use super::{Cancel, Input, Outbox, Outcome, Work, locked};
use crate::frame::{Frame, Kind};
use crate::message::{Exit, Program, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the end of the output is awaited after the program ended: a daemon it left behind may hold the pipe for ever. What is
/// in the pipe by then still goes to the host, however slow the way there is.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

pub(super) fn run(program: &Program, timeout_ms: u64, max_output: u64, work: Work) -> Outcome {
    let Work {
        id,
        out,
        input,
        cancel,
    } = work;
    let mut child = command(program)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run {:?}: {e}", program.argv))?;
    let began = Instant::now();
    if let Some(stdin) = child.stdin.take() {
        feed(input, stdin);
    }
    let over = Arc::new(AtomicBool::new(false));
    let pump = |kind, limit| Pump {
        id,
        kind,
        limit,
        out: out.clone(),
        over: Arc::clone(&over),
        dropped: Arc::default(),
        read: Arc::default(),
        passed: Arc::default(),
    };
    let (out_pump, err_pump) = (
        pump(Kind::Output, max_output),
        pump(Kind::ErrorOutput, max_output),
    );
    let dropped = [Arc::clone(&out_pump.dropped), Arc::clone(&err_pump.dropped)];
    let flows = [
        child.stdout.take().map(|pipe| out_pump.start(pipe)),
        child.stderr.take().map(|pipe| err_pump.start(pipe)),
    ];

    let ended = wait(&mut child, Duration::from_millis(timeout_ms), &cancel);
    let last = Instant::now() + LAST_OUTPUT;
    for flow in flows.into_iter().flatten() {
        flow.wait(last, &cancel);
    }
    over.store(true, Ordering::SeqCst);
    let (status, timed_out) =
        ended.map_err(|e| format!("waiting for {:?} failed: {e}", program.argv))?;
    let mut exit = exit(status, began);
    exit.timed_out = timed_out;
    exit.dropped = dropped.map(|count| count.load(Ordering::SeqCst));
    Ok(Reply::Exited(exit))
}

/// A command in a process group of its own, with the agent's environment and what the request adds.
pub(super) fn command(program: &Program) -> Result<Command, String> {
    let (name, arguments) = program
        .argv
        .split_first()
        .ok_or("the request names no program")?;
    let mut command = Command::new(name);
    command.args(arguments).envs(&program.env).process_group(0);
    command.current_dir(program.cwd.as_deref().unwrap_or("/"));
    Ok(command)
}

pub(super) fn exit(status: ExitStatus, began: Instant) -> Exit {
    Exit {
        code: status.code(),
        signal: status.signal(),
        ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..Exit::default()
    }
}

fn feed(input: Input, mut stdin: ChildStdin) {
    // Without a thread the program sees an end of input at once.
    let _ = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            while let Some(bytes) = input.next() {
                if stdin.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
}

fn wait(child: &mut Child, limit: Duration, cancel: &Cancel) -> io::Result<(ExitStatus, bool)> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [
            PollFd::new(&pidfd, PollFlags::IN),
            PollFd::new(&cancel.event, PollFlags::IN),
        ];
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok((child.wait()?, false));
        }
        if left.is_zero() || cancel.is_set() {
            // Ended meanwhile: then the group is gone and that is fine.
            let _ = kill_process_group(pid, Signal::KILL);
            return Ok((child.wait()?, left.is_zero()));
        }
    }
}

struct Pump {
    id: u32,
    kind: Kind,
    limit: u64,
    out: Outbox,
    over: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    /// Bytes read from the pipe. It is locked while more are read.
    read: Arc<Mutex<u64>>,
    /// Bytes of these that have gone on their way, or were dropped.
    passed: Arc<AtomicU64>,
}

/// A program's output on its way to the host.
struct Flow {
    pipe: Arc<File>,
    /// Ends with the output.
    end: Receiver<()>,
    read: Arc<Mutex<u64>>,
    passed: Arc<AtomicU64>,
}

impl Flow {
    /// Waits for the end of the output until `last`, and where it does not come, until what is in the pipe then has gone.
    fn wait(&self, last: Instant, cancel: &Cancel) {
        let left = last.saturating_duration_since(Instant::now());
        if self.end.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // Somebody else holds the pipe, or the way to the host is slow.
        let all = {
            let read = locked(&self.read);
            // A pipe that cannot be asked has nothing more.
            *read + ioctl_fionread(&*self.pipe).unwrap_or(0)
        };
        while self.passed.load(Ordering::SeqCst) < all && !cancel.is_set() {
            let slice = Duration::from_millis(20);
            if self.end.recv_timeout(slice) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl Pump {
    fn start(self, pipe: impl Into<OwnedFd>) -> Flow {
        let (done, end) = channel();
        let pipe = Arc::new(File::from(pipe.into()));
        let flow = Flow {
            pipe: Arc::clone(&pipe),
            end,
            read: Arc::clone(&self.read),
            passed: Arc::clone(&self.passed),
        };
        // Without a thread the stream counts as ended.
        let _ = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || {
                self.run(&pipe);
                drop(done);
            });
        flow
    }

    /// Reads what there is, once there is something; none at the end.
    fn read(&self, mut pipe: &File, buffer: &mut [u8]) -> io::Result<usize> {
        poll(&mut [PollFd::new(&pipe, PollFlags::IN)], None)?;
        let mut read = locked(&self.read);
        let count = pipe.read(buffer)?;
        *read += count as u64;
        Ok(count)
    }

    fn run(mut self, pipe: &File) {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let count = match self.read(pipe, &mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let keep = usize::try_from(self.limit).unwrap_or(usize::MAX).min(count);
            self.limit = self.limit.saturating_sub(count as u64);
            self.dropped
                .fetch_add((count - keep) as u64, Ordering::SeqCst);
            if keep > 0 && !self.over.load(Ordering::SeqCst) {
                let bytes = buffer.get(..keep).unwrap_or_default();
                if self
                    .out
                    .send(&Frame::new(0, self.kind, self.id, bytes))
                    .is_err()
                {
                    return;
                }
            }
            self.passed.fetch_add(count as u64, Ordering::SeqCst);
        }
    }
}
