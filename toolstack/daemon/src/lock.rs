//! One daemon of a kind in a domain.
//!
//! The lock is an flock on a file below `/run`, so that it ends with the process however it dies. The pid
//! in the file is for people and messages only. Whoever may open the file may lock it: only the daemon's user may.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of the file.
const MODE: u32 = 0o600;

/// Held for as long as this process is the daemon.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "{program} is already running in this domain (process {pid}); stop that one first, there is one for all guests"
    )]
    Running {
        /// What is locked.
        program: &'static str,
        /// Process id as written by the other one, or "unknown".
        pid: String,
    },
    /// The file cannot be made or locked.
    #[error("the lock file {path} cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of this program, without waiting.
    ///
    /// # Errors
    /// [`LockError::Running`] when another process has it.
    pub fn take(program: &'static str, path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(path)
            .map_err(failed)?;
        file.set_permissions(Permissions::from_mode(MODE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.take(20).read_to_string(&mut pid);
                let pid = match (read, pid.trim()) {
                    (Ok(_), text) if !text.is_empty() => text.to_owned(),
                    _ => "unknown".to_owned(),
                };
                return Err(LockError::Running { program, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/some.lock");
        let first = Lock::take("some", &path).unwrap();
        let error = Lock::take("some", &path).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        assert!(Lock::take("some", &path).is_ok());
    }

    #[test]
    fn nobody_else_may_open_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.lock");
        // Made by a release that let everybody read it.
        std::fs::write(&path, "1\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = Lock::take("some", &path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
