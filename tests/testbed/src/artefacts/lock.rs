//! File locks between runs of xtask.
//!
//! The lock's descriptor is inherited by the children that the thread which holds it starts by [`crate::process::Run`]: when xtask is
//! killed with a `make` still running, the lock stays taken until that `make` has ended, so that no second run enters its folder.
//! Children of other threads, such as a machine that runs beside a build, do not get it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions, TryLockError};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};

use super::error::{Error, Result};
use crate::interrupt;
use crate::progress::Step;

const POLL: Duration = Duration::from_millis(100);

thread_local! {
    /// Descriptors of the locks that this thread holds.
    static HELD: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
}

/// Held until dropped (and until every child that works under it has ended). It stays in its thread.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    stays: PhantomData<*const ()>,
}

impl Lock {
    /// Takes the lock, waiting for its holder. `what` is shown while waiting.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self> {
        let file = open(path)?;
        let mut step = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self::held(file)),
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
            Ok(()) => Ok(Some(Self::held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }

    fn held(file: File) -> Self {
        HELD.with_borrow_mut(|held| held.push(file.as_raw_fd()));
        Self {
            file,
            stays: PhantomData,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|fd| *fd != self.file.as_raw_fd()));
    }
}

/// Lets a child inherit the locks that this thread holds.
pub(crate) fn inherit(command: &mut Command) {
    let held = HELD.with_borrow(Vec::clone);
    if held.is_empty() {
        return;
    }
    let keep = move || {
        for fd in &held {
            // SAFETY: the lock is open: its thread starts this child, and drops it later.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only; nothing is allocated.
    unsafe { command.pre_exec(keep) };
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
    use super::{Lock, inherit};
    use std::process::{Child, Command};

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
        let mut child = sleeps();
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

    #[test]
    fn a_child_of_another_thread_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xen.lock");
        let lock = Lock::take(&path, "xen").unwrap();
        let mut child = std::thread::spawn(sleeps).join().unwrap();
        drop(lock);
        let is_free = becomes_free(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_free, "a child that does not work under the lock kept it");
    }

    /// A child as [`crate::process::Run`] starts them.
    fn sleeps() -> Child {
        let mut command = Command::new("sleep");
        inherit(command.arg("60"));
        command.spawn().unwrap()
    }

    /// Children of tests that run at the same time have this lock too, until they run their own program.
    fn becomes_free(path: &std::path::Path) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            Lock::try_take(path).unwrap().is_some()
        })
    }
}
