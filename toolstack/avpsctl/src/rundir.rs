//! Files below `/run/avps`: who works on a platform, and which process supervises it.
//!
//! Both are locks on open files, not mere pid files: a lock ends with its process, however that
//! ended, so nothing stale is ever believed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// The usual folder.
pub const DEFAULT: &str = "/run/avps";
/// How long to wait for another avpsctl on the same platform.
const OTHER_FINISHES: Duration = Duration::from_secs(10);
/// How long a supervisor may take to end.
const SUPERVISOR_ENDS: Duration = Duration::from_secs(60);
/// How often a lock held by another process is tried. Linux has no way to wait for a file lock
/// that can be given up.
const RETRY: Duration = Duration::from_millis(50);

/// The folder.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

/// A lock that is held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl RunDir {
    /// Uses this folder, which is created when first needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        RunDir(path.into())
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the supervisor of a platform writes what it does.
    pub fn log(&self, platform: &str) -> PathBuf {
        self.0.join(format!("{platform}.log"))
    }

    fn file(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.0.join(name);
        let wanted = || format!("opening {}", path.display());
        fs::create_dir_all(&self.0).map_err(Error::io(wanted()))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(wanted()))?;
        Ok((file, path))
    }

    /// Takes a lock if it is free, and writes this process's number into the file.
    fn try_lock(&self, name: &str) -> Result<std::result::Result<Lock, String>> {
        let (mut file, path) = self.file(name)?;
        match file.try_lock() {
            Ok(()) => {
                write_pid(&mut file).map_err(Error::io(format!("writing {}", path.display())))?;
                Ok(Ok(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(holder(&mut file))),
            Err(TryLockError::Error(source)) => Err(Error::Io {
                wanted: format!("locking {}", path.display()),
                source,
            }),
        }
    }

    /// The right to change the domains of a platform. Waits a little for another who has it.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Interrupted`], or the system's.
    pub async fn lock(&self, platform: &str, cancel: &Cancel) -> Result<Lock> {
        let deadline = Instant::now() + OTHER_FINISHES;
        self.lock_until(platform, deadline, cancel).await
    }

    /// As [`RunDir::lock`], with a time limit.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Interrupted`], or the system's.
    pub async fn lock_until(
        &self,
        platform: &str,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Lock> {
        loop {
            let pid = match self.try_lock(&lock_file(platform))? {
                Ok(lock) => return Ok(lock),
                Err(pid) => pid,
            };
            if Instant::now() >= deadline {
                return Err(Error::Locked {
                    platform: platform.to_owned(),
                    pid,
                });
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::Interrupted),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Becomes the supervisor of a platform; `None` when there is one.
    ///
    /// # Errors
    /// The system's.
    pub fn become_supervisor(&self, platform: &str) -> Result<Option<Lock>> {
        Ok(self.try_lock(&supervisor_file(platform))?.ok())
    }

    /// The process that supervises a platform.
    pub fn supervisor(&self, platform: &str) -> Option<u32> {
        let mut file = File::open(self.0.join(supervisor_file(platform))).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => holder(&mut file).parse().ok(),
            _ => None,
        }
    }

    /// Ends the supervisor of a platform, if there is one, and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Supervisor`] when it does not end.
    pub async fn stop_supervisor(&self, platform: &str) -> Result<Option<u32>> {
        let Some(pid) = self.supervisor(platform) else {
            return Ok(None);
        };
        let fail = |reason: String| Error::Supervisor {
            platform: platform.to_owned(),
            reason,
        };
        let process = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| fail(format!("its process number {pid} is none")))?;
        match kill_process(process, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(fail(format!("cannot end process {pid}: {error}"))),
        }
        let deadline = Instant::now() + SUPERVISOR_ENDS;
        while self.supervisor(platform).is_some() {
            if Instant::now() >= deadline {
                return Err(fail(format!("process {pid} does not end")));
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(Some(pid))
    }

    /// Platforms that have a supervisor now, with its process, by name.
    pub fn supervisors(&self) -> Vec<(String, u32)> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let platform = name.strip_suffix(".supervisor")?;
                Some((platform.to_owned(), self.supervisor(platform)?))
            })
            .collect();
        found.sort();
        found
    }
}

/// Not `.lock`: daemons' locks in the same folder end so, and a platform may be called as one of them.
fn lock_file(platform: &str) -> String {
    format!("{platform}.platform")
}

fn supervisor_file(platform: &str) -> String {
    format!("{platform}.supervisor")
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The number in a lock file; it is only told to people, except where the lock proves it current.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_platform_is_changed_by_one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let run = RunDir::new(dir.path().join("deep/er"));
        let lock = run.lock("demo", &Cancel::never()).await.expect("free");
        let refused = run.lock("demo", &Cancel::never()).await;
        let own = std::process::id().to_string();
        assert!(matches!(refused, Err(Error::Locked { pid, .. }) if pid == own));
        run.lock("other", &Cancel::never())
            .await
            .expect("another platform is free");
        drop(lock);
        run.lock("demo", &Cancel::never())
            .await
            .expect("free again");
    }

    #[test]
    fn a_supervisor_that_died_is_not_believed_in() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let run = RunDir::new(dir.path());
        assert_eq!(run.supervisor("demo"), None);
        let lock = run.become_supervisor("demo").expect("works").expect("free");
        assert_eq!(run.supervisor("demo"), Some(std::process::id()));
        assert!(run.become_supervisor("demo").expect("works").is_none());
        assert_eq!(run.supervisors(), [("demo".to_owned(), std::process::id())]);
        drop(lock);
        assert_eq!(
            run.supervisor("demo"),
            None,
            "the file is still there, the lock is not"
        );
    }
}
