//! Files below `/run/avps`: who works on a platform, and which process supervises it.
//!
//! Both are locks on open files, not mere pid files: a lock ends with its process, however that
//! ended, so nothing stale is ever believed.
//!
//! Whoever may open a file may lock it, so only root may. And to ask whether a lock is held means
//! to try it, which can keep another process from taking it. So nobody tries the lock by which a
//! process becomes the supervisor but those who want to be it. The others try the supervisor's
//! *notice*: a file that it locks before anybody can see it, and that its successor replaces.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Permissions of every file here.
const MODE: u32 = 0o600;
/// End of the name of a supervisor's notice.
const NOTICE: &str = ".supervising";

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

/// The supervisor's place, held until dropped.
#[derive(Debug)]
pub struct Role {
    _lock: Lock,
    _notice: File,
}

/// What a supervisor says of itself. The number of a process is given again when it has ended, its start makes it one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Notice {
    pid: u32,
    /// In ticks since the machine was started.
    started: u64,
}

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
            .mode(MODE)
            .open(&path)
            .map_err(Error::io(wanted()))?;
        Ok((file, path))
    }

    fn notice_path(&self, platform: &str) -> PathBuf {
        self.0.join(format!("{platform}{NOTICE}"))
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
    pub fn become_supervisor(&self, platform: &str) -> Result<Option<Role>> {
        let Ok(lock) = self.try_lock(&supervisor_file(platform))? else {
            return Ok(None);
        };
        let path = self.notice_path(platform);
        let notice = put_up(&path).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(Some(Role {
            _lock: lock,
            _notice: notice,
        }))
    }

    /// The process that supervises a platform.
    pub fn supervisor(&self, platform: &str) -> Option<u32> {
        self.notice(platform).map(|notice| notice.pid)
    }

    fn notice(&self, platform: &str) -> Option<Notice> {
        let mut file = File::open(self.notice_path(platform)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Notice::read(&mut file),
            _ => None,
        }
    }

    /// Ends the supervisor of a platform, if there is one, and waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Supervisor`] when it does not end.
    pub async fn stop_supervisor(&self, platform: &str) -> Result<Option<u32>> {
        let Some(notice) = self.notice(platform) else {
            return Ok(None);
        };
        let pid = notice.pid;
        let fail = |reason: String| Error::Supervisor {
            platform: platform.to_owned(),
            reason,
        };
        let cannot = |error: io::Error| fail(format!("cannot end process {pid}: {error}"));
        let Some(process) = notice.process().map_err(|error| cannot(error.into()))? else {
            return Ok(None);
        };
        match pidfd_send_signal(&process, Signal::TERM) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(cannot(error.into())),
        }
        let wait = move || ends(&process, SUPERVISOR_ENDS);
        let waited = tokio::task::spawn_blocking(wait).await;
        match waited.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(true) => Ok(Some(pid)),
            Ok(false) => Err(fail(format!("process {pid} does not end"))),
            Err(error) => Err(cannot(error)),
        }
    }

    /// Platforms that have a supervisor now, with its process, by name.
    pub fn supervisors(&self) -> Vec<(String, u32)> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let platform = name.strip_suffix(NOTICE)?;
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

/// Makes this process's notice, locked before it can be seen under this path.
fn put_up(path: &Path) -> io::Result<File> {
    let mut unseen = path.as_os_str().to_owned();
    unseen.push(".new");
    // What a process left that was killed here; nobody else makes one, since the supervisor's lock is held.
    match fs::remove_file(&unseen) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&unseen)?;
    file.lock()?;
    let pid = std::process::id();
    let started = start_of(pid)?;
    writeln!(file, "{pid} {started}")?;
    fs::rename(&unseen, path)?;
    Ok(file)
}

impl Notice {
    fn read(file: &mut File) -> Option<Notice> {
        let mut text = String::new();
        file.take(64).read_to_string(&mut text).ok()?;
        let mut words = text.split_whitespace();
        Some(Notice {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
        })
    }

    /// The process, if it is there. Another one that got its number is not it.
    fn process(self) -> rustix::io::Result<Option<OwnedFd>> {
        let number = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(number) = number else {
            return Ok(None);
        };
        let process = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at after the descriptor was opened: a process that has the number now, and the start, is the one that is open.
        let is_it = start_of(self.pid).is_ok_and(|started| started == self.started);
        Ok(is_it.then_some(process))
    }
}

/// Waits until a process has ended, and with it its locks. `false` when it has not after this time.
fn ends(process: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
            Ok(ended) => return Ok(ended > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// When a process was started, in ticks since the machine was (proc_pid_stat(5), field 22).
fn start_of(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, and may hold anything.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let start = after.split_whitespace().nth(19);
    start
        .and_then(|start| start.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The number in a lock file, which is only told to people.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests;
