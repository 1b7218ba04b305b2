//! File locks between runs of xtask.
//!
//! The lock's descriptor is [`Inherited`] by the children that work under it: when xtask is killed with a `make` still running, the
//! lock stays taken until that `make` has ended, so that no second run enters its folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::error::{Error, Result};
use crate::interrupt;
use crate::process::Inherited;
use crate::progress::Step;

const POLL: Duration = Duration::from_millis(100);

/// Held until dropped (and until every child that works under it has ended). It stays in its thread.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Inherited,
}

impl Lock {
    /// Takes the lock, waiting for its holder. `what` is shown while waiting.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self> {
        let file = open(path)?;
        let mut step = None;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        _file: Inherited::new(file),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    step.get_or_insert_with(|| {
                        Step::begin(what, "waiting for another run that is working on it")
                    });
                    if interrupt::interrupted() {
                        return Err(Error::Interrupted);
                    }
                    std::thread::sleep(POLL);
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
            }
        }
    }

    /// Takes the lock only if nobody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                _file: Inherited::new(file),
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::Lock;
    use crate::process::Run;
    use rustix::process::{Pid, Signal, kill_process};

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/xen.lock");
        let first = Lock::take(&path, "xen").unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(first);
        assert!(becomes_free(&path));
    }

    #[test]
    fn a_child_left_behind_keeps_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xen.lock");
        let lock = Lock::take(&path, "xen").unwrap();
        let child = sleeps();
        drop(lock);
        let while_running = Lock::try_take(&path).unwrap();
        kill_process(child, Signal::KILL).unwrap();
        assert!(
            while_running.is_none(),
            "the lock was free while the child still worked"
        );
        assert!(becomes_free(&path));
    }

    #[test]
    fn a_child_of_another_thread_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xen.lock");
        let lock = Lock::take(&path, "xen").unwrap();
        let child = std::thread::spawn(sleeps).join().unwrap();
        drop(lock);
        let is_free = becomes_free(&path);
        kill_process(child, Signal::KILL).unwrap();
        assert!(is_free, "a child that does not work under the lock kept it");
    }

    /// A child that a command has left behind.
    fn sleeps() -> Pid {
        let line = "sleep 60 > /dev/null 2>&1 & echo $!";
        let pid = Run::new("sh").args(["-c", line]).output().unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Children of tests that run at the same time have this lock too, until they run their own program.
    fn becomes_free(path: &std::path::Path) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            Lock::try_take(path).unwrap().is_some()
        })
    }
}
