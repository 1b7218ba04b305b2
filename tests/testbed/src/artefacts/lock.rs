//! File locks between runs of xtask.
//!
//! The lock's descriptor is inherited by the children that work under it: when xtask is killed with a `make` still
//! running, the lock stays taken until that `make` has ended, so that no second run enters its folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use super::error::{Error, Result};
use crate::interrupt;
use crate::progress::Step;

const POLL: Duration = Duration::from_millis(100);

/// Held until dropped (and until every child started meanwhile has ended).
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for its holder. `what` is shown while waiting.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self> {
        let file = open(path)?;
        let mut step = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Self::held(file, path),
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
            Ok(()) => Self::held(file, path).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }

    fn held(file: File, path: &Path) -> Result<Self> {
        fcntl_setfd(&file, FdFlags::empty())
            .map_err(|errno| Error::io("lock", path)(errno.into()))?;
        Ok(Self { _file: file })
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
    use std::process::Command;

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
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        drop(lock);
        let while_running = Lock::try_take(&path).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            while_running.is_none(),
            "the lock was free while the child still worked"
        );
        assert!(becomes_free(&path));
    }

    /// Children of tests that run at the same time inherit this lock too, for a moment.
    fn becomes_free(path: &std::path::Path) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            Lock::try_take(path).unwrap().is_some()
        })
    }
}
