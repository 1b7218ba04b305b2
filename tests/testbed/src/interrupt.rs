//! Ctrl-C, SIGTERM and SIGHUP: end every child, then let the code that waits for it clean up.
//!
//! Children are started in process groups of their own and registered here, so that a signal to xtask
//! reaches a whole `make` tree or a QEMU, once, and in an orderly way: SIGTERM first, SIGKILL
//! after three seconds or at the second Ctrl-C. Nothing here ends a process that xtask did not start.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

const GRACE: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts the thread that waits for signals. Call once, before the first child.
pub(crate) fn install() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::new(format!("cannot watch for Ctrl-C: {error}")))?;
    thread::spawn(move || {
        for _signal in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                end_all(Signal::KILL);
            } else {
                end_all(Signal::TERM);
                thread::spawn(|| {
                    thread::sleep(GRACE);
                    end_all(Signal::KILL);
                });
            }
        }
    });
    Ok(())
}

/// Whether the user asked to stop. Long loops without a child look at it themselves.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// A child's process group, ended by Ctrl-C while this guard lives.
#[derive(Debug)]
pub(crate) struct Registration(Pid);

/// Registers the process group led by `child` (started with `process_group(0)`).
pub(crate) fn register(child: &std::process::Child) -> Registration {
    let pid = Pid::from_child(child);
    groups().push(pid);
    if interrupted() {
        end(pid, Signal::TERM);
    }
    Registration(pid)
}

impl Drop for Registration {
    fn drop(&mut self) {
        groups().retain(|pid| *pid != self.0);
    }
}

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    GROUPS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn end_all(signal: Signal) {
    for pid in groups().iter() {
        end(*pid, signal);
    }
}

fn end(group: Pid, signal: Signal) {
    // The group may be gone already: nothing to do then.
    let _ = kill_process_group(group, signal);
}
