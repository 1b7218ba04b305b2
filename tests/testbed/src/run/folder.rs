//! The folders of one run: logs that stay, sockets that vanish.

use super::{Error, Result};
use crate::paths;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs whose logs are kept.
const KEPT: usize = 20;

/// Begins the names of socket folders; the owner's process id follows.
const PREFIX: &str = "avps-bed-";

/// Where all runs' logs are.
pub(crate) fn all_logs() -> PathBuf {
    paths::tree_target().join("logs")
}

/// The folders of one run.
#[derive(Debug)]
pub(crate) struct Folder {
    logs: PathBuf,
    sockets: tempfile::TempDir,
}

impl Folder {
    /// Folders for a run of this kind: `demo`, `test`, `session`.
    pub(crate) fn new(kind: &str) -> Result<Self> {
        let all = all_logs();
        prune(&all);
        let logs = all.join(format!(
            "{}-{kind}-{}",
            stamp(SystemTime::now()),
            std::process::id()
        ));
        Self::at(logs)
    }

    /// Folders for a run that logs to this place.
    pub(super) fn at(logs: PathBuf) -> Result<Self> {
        fs::create_dir_all(&logs).map_err(Error::io("create", &logs))?;
        let temporary = std::env::temp_dir();
        remove_abandoned(&temporary);
        // A socket's path may have 107 bytes: below the workspace it could be too long.
        let sockets = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir()
            .map_err(Error::io("create a folder in", &temporary))?;
        Ok(Self { logs, sockets })
    }

    /// The run's logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// A log of this run.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    /// A socket of this run.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }
}

/// All runs' folders, the oldest first.
pub(crate) fn runs() -> Vec<PathBuf> {
    let mut runs: Vec<PathBuf> = fs::read_dir(all_logs())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    runs.sort();
    runs
}

fn prune(all: &Path) {
    let runs = runs();
    for run in runs.iter().take(runs.len().saturating_sub(KEPT)) {
        if run.starts_with(all) && !run.join(super::qemu::PID_FILE).exists() {
            // Another xtask may be removing it as well.
            let _ = fs::remove_dir_all(run);
        }
    }
}

/// Removes socket folders whose owner was killed before it could.
fn remove_abandoned(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .map(|(pid, _)| pid);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another user's folder is not ours to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `20261123-053012`, in UTC.
fn stamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// `2026-11-23 05:30`, in UTC.
pub(crate) fn minute(time: SystemTime) -> String {
    let stamp = stamp(time);
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{} {}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13)
    )
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, by eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::{remove_abandoned, stamp};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn only_folders_of_dead_runs_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (own, dead) = (
            format!("avps-bed-{}-x", std::process::id()),
            "avps-bed-4194305-x",
        );
        for name in [own.as_str(), dead, "avps-bed", "other-4194305-x"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        remove_abandoned(dir.path());
        assert!(!dir.path().join(dead).exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn runs_are_named_by_their_time_in_utc() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_827_696), "20000229-123456");
        assert_eq!(at(1_798_761_599), "20261231-235959");
    }
}
