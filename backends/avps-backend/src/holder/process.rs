//! A worker as a process: started, spoken to, ended, reaped.
//!
//! A worker is this same program again, with one end of a socket pair as its standard input and nothing
//! else inherited: every descriptor of the holder is close-on-exec, those it was started with included. A thread reads what the worker says;
//! when the socket ends, for whatever reason, that thread makes sure the process is dead and reaps it
//! before it tells. So "gone" means that the kernel has taken back everything the worker held.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use xen::DomId;

use super::HolderError;
use super::event::{Event, spawn};
use crate::cli::{LogLevel, SandboxMode};
use crate::ipc::{Channel, FrameError, Notice};

/// Pause after a notice that a guest can cause at will, so that no guest can keep the holder busy.
const GUEST_NOTICE_PAUSE: Duration = Duration::from_millis(20);

/// How the kernel ends a process for a forbidden system call.
const SIGSYS: i32 = Signal::SYS.as_raw();

/// A worker that was started and is not yet reaped.
#[derive(Debug)]
pub(super) struct Worker {
    /// Which worker, over all guests and restarts.
    pub(super) generation: u64,
    /// Process id, for people.
    pub(super) pid: u32,
    /// When it said it was ready.
    pub(super) ready_since: Option<Instant>,
    /// Parts of its sandbox it could not have, once it has told.
    pub(super) missing: Option<Vec<String>>,
    /// When its patience ends after it was told to stop.
    pub(super) stop_by: Option<Instant>,
    /// To speak to it.
    pub(super) channel: Channel,
    handle: OwnedFd,
}

impl Worker {
    /// Starts a worker for a guest. What it says arrives as [`Event`]s with `generation`.
    ///
    /// # Errors
    /// Out of processes, descriptors or memory.
    pub(super) fn start(
        guest: DomId,
        generation: u64,
        log_level: LogLevel,
        sandbox: SandboxMode,
        events: &SyncSender<Event>,
    ) -> Result<Self, HolderError> {
        keep_descriptors();
        let (channel, theirs) = Channel::pair().map_err(HolderError::Channel)?;
        let reading = channel.try_clone().map_err(HolderError::Channel)?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("avps-backend")
            .args(["worker", "--guest", &guest.to_string()])
            .args(["--log-level", log_level.word()])
            .args(["--sandbox", sandbox.word()])
            .env_clear()
            .envs(std::env::var_os("TERM").map(|terminal| ("TERM", terminal)))
            .current_dir("/")
            // Not in the terminal's foreground group: Ctrl-C is for the holder, who stops workers in order.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(HolderError::Spawn)?;
        let pid = child.id();
        let handle = match open_handle(&child) {
            Ok(handle) => handle,
            Err(error) => {
                end(&mut child);
                return Err(error);
            }
        };
        let events = events.clone();
        let reader = spawn("worker", move || read(child, &reading, generation, &events));
        if let Err(error) = reader {
            // The closure was dropped with the child in it: ended and reaped here instead.
            let _ = pidfd_send_signal(&handle, Signal::KILL);
            let _ = waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED);
            return Err(error);
        }
        Ok(Self {
            generation,
            pid,
            ready_since: None,
            missing: None,
            stop_by: None,
            channel,
            handle,
        })
    }

    /// Ends the process at once.
    pub(super) fn kill(&self) {
        // Fails only when it is dead already.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

/// Whatever the holder was started with stays with the holder.
fn keep_descriptors() {
    static COMPLAINT: Once = Once::new();
    if let Err(error) = confinement::keep_from_children() {
        COMPLAINT.call_once(|| {
            tracing::warn!(
                "workers may inherit descriptors that this daemon was started with: {error}"
            );
        });
    }
}

fn open_handle(child: &Child) -> Result<OwnedFd, HolderError> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| HolderError::Spawn(std::io::ErrorKind::InvalidData.into()))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| HolderError::Spawn(error.into()))
}

fn read(mut child: Child, channel: &Channel, generation: u64, events: &SyncSender<Event>) {
    let mut reason = None;
    loop {
        match channel.receive::<Notice>() {
            Ok(Some((notice, fds))) => {
                // No notice carries descriptors; what a worker sends anyway is closed here.
                drop(fds);
                let pause = matches!(notice, Notice::Driver { .. } | Notice::NeedsReset { .. });
                if events.send(Event::Worker { generation, notice }).is_err() {
                    break;
                }
                if pause {
                    thread::sleep(GUEST_NOTICE_PAUSE);
                }
            }
            Ok(None) => break,
            Err(error) => {
                reason = Some(error);
                break;
            }
        }
    }
    let status = end(&mut child);
    let how = describe(status, reason.as_ref());
    // Fails only when the loop has ended.
    let _ = events.send(Event::WorkerGone { generation, how });
}

/// Gives a process that has closed its socket a moment to exit by itself, then ends it.
fn end(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..50 {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    child.wait().ok()
}

fn describe(status: Option<ExitStatus>, reason: Option<&FrameError>) -> String {
    let ended = match status {
        Some(status) if status.signal() == Some(SIGSYS) => {
            format!("{status}: it made a system call that its sandbox forbids")
        }
        Some(status) => status.to_string(),
        None => "unknown exit status".to_owned(),
    };
    match reason {
        Some(reason) => format!("{ended}, after {reason}"),
        None => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_by_itself_is_ended_and_reaped() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let status = end(&mut child).unwrap();
        assert!(!status.success());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_worker_that_talks_nonsense_is_ended_and_told() {
        let (channel, theirs) = Channel::pair().unwrap();
        // A process that writes what is no message, then stays.
        let child = Command::new("sh")
            .args(["-c", "echo nonsense >&0; exec sleep 1000"])
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let (events, queue) = std::sync::mpsc::sync_channel(4);
        read(child, &channel, 7, &events);
        match queue.try_recv() {
            Ok(Event::WorkerGone { generation: 7, how }) => {
                assert!(
                    how.contains("malformed") || how.contains("version"),
                    "{how}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_death_of_a_worker_is_told_with_its_signal() {
        let (channel, theirs) = Channel::pair().unwrap();
        let child = Command::new("sh")
            .args(["-c", "kill -9 $$"])
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let (events, queue) = std::sync::mpsc::sync_channel(4);
        read(child, &channel, 1, &events);
        match queue.try_recv() {
            Ok(Event::WorkerGone { how, .. }) => assert!(how.contains("SIGKILL"), "{how}"),
            other => panic!("{other:?}"),
        }
    }
}
