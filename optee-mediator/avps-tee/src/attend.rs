//! The process that looks after the daemon, and starts it again when it has died.
//!
//! A process that is killed while one of its threads is in the secure world does not end before that call does, which may be long;
//! its other threads are gone at once, and guests' calls with them. Whoever waited for its end would leave them standing. This
//! process makes no such calls: it sees that the daemon's first thread is gone, and starts the next one, which takes over.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::EXIT_CANNOT;

/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(5);
/// A daemon that lived shorter than this is not started again at once.
const SHORT: Duration = Duration::from_secs(1);

/// Starts the daemon, and starts it again for as long as no signal ends this process. Gives the exit code of a daemon that could not
/// start.
///
/// # Errors
/// It cannot be started at all.
pub(crate) fn run() -> io::Result<u8> {
    let stop = signals()?;
    // Killed, and still in the secure world.
    let mut dying: Vec<Child> = Vec::new();
    loop {
        dying.retain_mut(|daemon| matches!(daemon.try_wait(), Ok(None)));
        let began = Instant::now();
        let mut daemon = start()?;
        match watch(&mut daemon, &stop)? {
            End::Stopped => return Ok(0),
            End::Gone(Some(status)) if status.code() == Some(EXIT_CANNOT.into()) => {
                return Ok(EXIT_CANNOT);
            }
            End::Gone(status) => {
                let how = status.map_or("killed".to_owned(), |status| status.to_string());
                tracing::error!("the daemon has ended ({how}), and is started again");
                dying.push(daemon);
            }
        }
        if began.elapsed() < SHORT && stopped(&stop, SHORT) {
            return Ok(0);
        }
    }
}

enum End {
    /// A signal has ended both.
    Stopped,
    /// It has ended by itself; without a status it is still in the secure world.
    Gone(Option<ExitStatus>),
}

fn start() -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("avps-tee")
        .args(std::env::args_os().skip(1))
        .arg("--attended")
        // Ctrl-C is for this process, which stops the daemon in order.
        .process_group(0)
        .spawn()
}

fn watch(daemon: &mut Child, stop: &Receiver<()>) -> io::Result<End> {
    loop {
        if stopped(stop, LOOK) {
            end(daemon)?;
            return Ok(End::Stopped);
        }
        if let Some(status) = daemon.try_wait()? {
            return Ok(End::Gone(Some(status)));
        }
        if is_dying(daemon.id()) {
            return Ok(End::Gone(None));
        }
    }
}

/// Ends the daemon in order, or else by force.
fn end(daemon: &mut Child) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    if let Some(pid) = Pid::from_raw(daemon.id().cast_signed()) {
        // It may have ended by now.
        let _ = kill_process(pid, Signal::TERM);
    }
    while daemon.try_wait()?.is_none() && !is_dying(daemon.id()) {
        if Instant::now() > until {
            return daemon.kill();
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether a process's first thread has ended (Linux: Documentation/filesystems/proc.rst, the state behind the name in `stat`).
fn is_dying(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn signals() -> io::Result<Receiver<()>> {
    let (tell, told) = sync_channel(1);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                // Told already.
                let _ = tell.try_send(());
            }
        })?;
    Ok(told)
}

/// Waits; true if a signal came.
fn stopped(stop: &Receiver<()>, time: Duration) -> bool {
    !matches!(stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_not_waited_for_is_seen_to_have_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_dying(child.id()));
        child.kill().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while !is_dying(child.id()) {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(is_dying(u32::MAX));
    }

    #[test]
    fn a_daemon_that_is_told_to_end_does_and_one_that_does_not_listen_is_ended() {
        let (_tell, never) = sync_channel(1);
        let mut daemon = Command::new("true").spawn().unwrap();
        let end = watch(&mut daemon, &never).unwrap();
        assert!(matches!(end, End::Gone(_)));
        let (tell, told) = sync_channel(1);
        tell.send(()).unwrap();
        let mut daemon = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(matches!(watch(&mut daemon, &told).unwrap(), End::Stopped));
        daemon.wait().unwrap();
    }
}
