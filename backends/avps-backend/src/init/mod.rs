//! The first process of a driver domain: this program alone, without a shell, a service manager or any other file.
//!
//! It mounts what the holder needs, makes the RAM disks of the kernel's command line, starts `serve`, starts it again when
//! it ends, and reaps what is left behind. When the domain is to end, it first has the holder end every ioreq server: one that is
//! left keeps the domain's number occupied as long as its guest lives.
//!
//! Signals are busybox's: SIGUSR2 (`/sbin/poweroff`), SIGTERM (`/sbin/reboot`) and SIGINT (ctrl-alt-del); SIGUSR1, which is
//! `halt` there, powers off as well: a domain that only halts never ends for Xen.
//!
//! It never exits: Linux panics without its first process. Where it cannot go on it does exit, so that Xen sees a crash and the
//! toolstack acts.

mod disks;
mod mounts;
mod power;
mod say;
mod served;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::cli::{EXIT_CANNOT, EXIT_FAILED};
use power::Ending;
use say::{Urgency, say};
use served::{Serve, Served};
use words::Words;

pub(crate) use power::Face;

/// How long the holder may take to end the ioreq servers. Longer than it gives a worker that does not finish.
const GIVE_UP_PATIENCE: Duration = Duration::from_secs(12);
/// How long the kernel may take to end a process that is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// Without anything to wait for.
const IDLE: Duration = Duration::from_secs(3600);

/// Whether the kernel has started this program as a domain's first process. Words of its command line that the kernel does not
/// know are arguments then, so they decide nothing.
pub(crate) fn is_wanted(name: &str) -> bool {
    std::process::id() == 1 && name == "/init"
}

/// Everything the first process does. It returns only where it cannot go on.
pub(crate) fn run() -> ExitCode {
    if std::process::id() != 1 {
        let _ = writeln!(
            io::stderr(),
            "avps-backend: init is for the first process of a driver domain; serve is what runs elsewhere"
        );
        return ExitCode::from(EXIT_CANNOT);
    }
    match live() {
        Ok(never) => match never {},
        Err(error) => {
            say(Urgency::Error, &format!("cannot go on: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// What can happen to it.
enum Wake {
    Signal(i32),
    Timeout,
}

fn live() -> io::Result<std::convert::Infallible> {
    let signals = signals()?;
    // Afterwards ctrl-alt-del is SIGINT; a kernel that has no such keys refuses.
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    for complaint in mounts::mount_all() {
        say(Urgency::Warning, &complaint);
    }
    let words = Words::of_this_kernel();
    for complaint in &words.complaints {
        say(Urgency::Warning, complaint);
    }
    for (urgency, text) in disks::make(&words.disks) {
        say(urgency, &text);
    }
    let mut served = Served::new(Serve::of(&words));
    let ending = serve_until_told(&mut served, &signals)?;
    say(Urgency::Info, ending.text());
    give_up(&mut served, &signals)?;
    power::end(ending)
}

fn signals() -> io::Result<Receiver<i32>> {
    let mut caught = Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    let (sender, receiver) = sync_channel(16);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in caught.forever() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Keeps the holder running until the domain is to end.
fn serve_until_told(served: &mut Served, signals: &Receiver<i32>) -> io::Result<Ending> {
    loop {
        served.start_if_due(Instant::now());
        match wait(signals, served.until_due(Instant::now()).unwrap_or(IDLE))? {
            Wake::Signal(SIGCHLD) => {
                for (pid, status) in dead() {
                    served.died(pid, status, Instant::now());
                }
            }
            Wake::Signal(signal) => {
                if let Some(ending) = Ending::asked_by(signal) {
                    return Ok(ending);
                }
            }
            Wake::Timeout => {}
        }
    }
}

/// Has the holder end all ioreq servers, and waits for it, but not for ever.
fn give_up(served: &mut Served, signals: &Receiver<i32>) -> io::Result<()> {
    for (step, patience) in [
        (Served::give_up as fn(&Served), GIVE_UP_PATIENCE),
        (Served::kill, KILL_PATIENCE),
    ] {
        if !served.runs() {
            return Ok(());
        }
        step(served);
        let deadline = Instant::now().checked_add(patience);
        while served.runs() {
            let now = Instant::now();
            let left = deadline.map_or(Duration::ZERO, |by| by.saturating_duration_since(now));
            if left.is_zero() {
                say(Urgency::Warning, "the holder does not end");
                break;
            }
            if let Wake::Signal(SIGCHLD) = wait(signals, left)? {
                for (pid, status) in dead() {
                    served.ended(pid, status);
                }
            }
        }
    }
    Ok(())
}

fn wait(signals: &Receiver<i32>, patience: Duration) -> io::Result<Wake> {
    match signals.recv_timeout(patience) {
        Ok(signal) => Ok(Wake::Signal(signal)),
        Err(RecvTimeoutError::Timeout) => Ok(Wake::Timeout),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("signals are lost")),
    }
}

/// Reaps every process that has ended: the holder, and workers that a killed holder left.
fn dead() -> Vec<(Pid, WaitStatus)> {
    let mut dead = Vec::new();
    while let Ok(Some(found)) = rustix::process::wait(WaitOptions::NOHANG) {
        dead.push(found);
    }
    dead
}
