//! Programs in the background: started, waited for, signalled, with their output in a file.

use super::{Cancel, Outcome, exec, locked};
use crate::message::{Exit, Program, Reply};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Processes {
    known: Mutex<HashMap<u32, Arc<Spawned>>>,
}

#[derive(Default)]
struct Spawned {
    exit: Mutex<Option<Result<Exit, String>>>,
    ended: Condvar,
}

impl Processes {
    pub(super) fn spawn(&self, program: &Program, log: &str) -> Outcome {
        if let Some(dir) = std::path::Path::new(log).parent() {
            std::fs::create_dir_all(dir)
                .map_err(|e| format!("cannot make the folder of {log}: {e}"))?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|e| format!("cannot write the log {log}: {e}"))?;
        let second = log.try_clone().map_err(|e| e.to_string())?;
        let mut child = exec::command(program)?
            .stdin(std::process::Stdio::null())
            .stdout(log)
            .stderr(second)
            .spawn()
            .map_err(|e| format!("cannot run {:?}: {e}", program.argv))?;
        let began = Instant::now();
        let pid = child.id();
        let spawned = Arc::new(Spawned::default());
        locked(&self.known).insert(pid, Arc::clone(&spawned));
        std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || {
                let ended = child
                    .wait()
                    .map(|status| exec::exit(status, began))
                    .map_err(|e| e.to_string());
                *locked(&spawned.exit) = Some(ended);
                spawned.ended.notify_all();
            })
            .map_err(|e| {
                format!(
                    "{:?} runs as {pid}, but nobody can wait for it: {e}",
                    program.argv
                )
            })?;
        Ok(Reply::Spawned { pid })
    }

    pub(super) fn wait(&self, pid: u32, timeout_ms: u64, cancel: &Cancel) -> Outcome {
        let spawned = self.find(pid)?;
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        let mut exit = locked(&spawned.exit);
        loop {
            if let Some(ended) = exit.clone() {
                drop(exit);
                locked(&self.known).remove(&pid);
                return ended.map(Reply::Exited);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel.is_set() {
                return Err(format!("process {pid} still runs after {timeout_ms} ms"));
            }
            let slice = left.min(Duration::from_millis(200));
            exit = spawned
                .ended
                .wait_timeout(exit, slice)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(super) fn kill(&self, pid: u32, signal: i32, only: bool) -> Outcome {
        let spawned = self.find(pid)?;
        let exit = locked(&spawned.exit);
        if exit.is_some() {
            return Err(format!("process {pid} has already ended"));
        }
        let signal =
            Signal::from_named_raw(signal).ok_or_else(|| format!("there is no signal {signal}"))?;
        let target = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("not a process id")?;
        let sent = if only {
            kill_process(target, signal)
        } else {
            kill_process_group(target, signal)
        };
        sent.map_err(|e| format!("cannot send signal {} to {pid}: {e}", signal.as_raw()))?;
        Ok(Reply::Done { bytes: 0 })
    }

    fn find(&self, pid: u32) -> Result<Arc<Spawned>, String> {
        locked(&self.known)
            .get(&pid)
            .cloned()
            .ok_or_else(|| format!("no process {pid} was started here"))
    }
}
