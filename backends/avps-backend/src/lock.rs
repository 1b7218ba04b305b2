//! One holder per domain.
//!
//! The lock is an flock on a file below `/run`, so that it ends with the process however it dies. The pid
//! in the file is for people and messages only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The lock's usual place.
pub(crate) const DEFAULT_PATH: &str = "/run/avps/backend.lock";

/// Held for as long as this process is the holder.
#[derive(Debug)]
pub(crate) struct HolderLock {
    _file: File,
}

/// Why the lock was not got.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Somebody else is the holder.
    #[error(
        "avps-backend is already running in this domain (process {pid}); stop that one first, one domain has one holder"
    )]
    Running {
        /// Process id as written by the other holder, or "unknown".
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

impl HolderLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`LockError::Running`] when another process has it.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
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
            .open(path)
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
                return Err(LockError::Running { pid });
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
    fn a_second_holder_is_told_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/backend.lock");
        let first = HolderLock::take(&path).unwrap();
        let error = HolderLock::take(&path).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        assert!(HolderLock::take(&path).is_ok());
    }
}
