//! Files of Debian's archive, downloaded once, resumed after an interruption, checked by size and SHA-256.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::error::{Error, Result};
use super::index::Remote;
use super::key::hash_file;
use super::lock::Lock;
use super::mirror::Mirror;
use super::store::{create, remove};
use crate::process::{self, Run};
use crate::progress::{Step, size};

/// Files from this size on are fetched with curl where it is present: it resumes without the server's help.
const LARGE: u64 = 8 << 20;
const POLL: Duration = Duration::from_millis(300);
/// A server that says nothing for this long, in seconds, is given up.
const PATIENCE: &str = "30";
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// The folder of downloaded files.
#[derive(Debug)]
pub(crate) struct Downloads {
    folder: PathBuf,
    /// Asked in this order.
    mirrors: Vec<Mirror>,
}

impl Downloads {
    /// Files in `folder`, created when first needed.
    pub(crate) fn new(folder: PathBuf, mirrors: Vec<Mirror>) -> Self {
        Self { folder, mirrors }
    }

    /// Where a file is or will be: its name carries its hash, so that two versions never meet.
    pub(crate) fn path(&self, remote: &Remote) -> PathBuf {
        self.folder.join(format!(
            "{}-{}",
            &remote.sha256[..16.min(remote.sha256.len())],
            remote.file
        ))
    }

    /// Whether the file is here, by size.
    pub(crate) fn has(&self, remote: &Remote) -> bool {
        self.path(remote)
            .metadata()
            .is_ok_and(|metadata| metadata.len() == remote.size)
    }

    /// Gets all files, in order; each one's content has been checked when this returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] naming the first file that could not be had.
    pub(crate) fn fetch(&self, remotes: &[Remote], step: &Step) -> Result<Vec<PathBuf>> {
        create(&self.folder)?;
        step.state("checking downloads");
        let mut missing = Vec::new();
        for remote in remotes {
            if !self.is_sound(remote)? {
                missing.push(remote);
            }
        }
        if !missing.is_empty() {
            let _lock = Lock::take(&self.folder.join("lock"), "downloads")?;
            missing.retain(|remote| !self.has(remote));
            self.fetch_from_mirrors(missing, step)?;
        }
        Ok(remotes.iter().map(|remote| self.path(remote)).collect())
    }

    fn is_sound(&self, remote: &Remote) -> Result<bool> {
        let path = self.path(remote);
        if !self.has(remote) {
            return Ok(false);
        }
        if hash_file(&path)? == remote.sha256 {
            return Ok(true);
        }
        remove(&path)?;
        Ok(false)
    }

    fn fetch_from_mirrors(&self, mut missing: Vec<&Remote>, step: &Step) -> Result<()> {
        let mut failed = Ok(());
        for mirror in &self.mirrors {
            let here = |remote: &&Remote| Remote {
                uri: mirror.place(&remote.uri),
                ..(*remote).clone()
            };
            let here: Vec<Remote> = missing.iter().map(here).collect();
            failed = self.download(&here.iter().collect::<Vec<_>>(), step);
            missing.retain(|remote| !self.has(remote));
            match failed {
                Err(Error::Unavailable { .. }) if !missing.is_empty() => {}
                _ => break,
            }
        }
        failed
    }

    fn download(&self, missing: &[&Remote], step: &Step) -> Result<()> {
        let (large, small): (Vec<&Remote>, Vec<&Remote>) =
            missing.iter().partition(|remote| remote.size >= LARGE);
        let mut reason = String::new();
        if !small.is_empty() {
            reason = self.with_progress(&small, step, || self.with_apt(&small))?;
        }
        for remote in large {
            let from = [remote];
            if process::in_path("curl") {
                self.with_progress(&from, step, || self.with_curl(remote))?;
                self.settle(remote)?;
            }
            if !self.has(remote) {
                reason = self.with_progress(&from, step, || self.with_apt(&from))?;
            }
            self.settle(remote)?;
        }
        for remote in missing {
            self.settle(remote)?;
        }
        match missing.iter().find(|remote| !self.has(remote)) {
            None => Ok(()),
            Some(remote) => Err(Error::Unavailable {
                what: remote.file.clone(),
                reason,
            }),
        }
    }

    /// Moves a complete partial file into place; a wrong one is removed.
    fn settle(&self, remote: &Remote) -> Result<()> {
        let partial = self.partial(remote);
        if partial
            .metadata()
            .is_ok_and(|metadata| metadata.len() >= remote.size)
        {
            if hash_file(&partial)? == remote.sha256 {
                let path = self.path(remote);
                std::fs::rename(&partial, &path).map_err(Error::io("put into place", &path))?;
            } else {
                remove(&partial)?;
            }
        }
        Ok(())
    }

    /// Fetches with apt's own downloader; returns what it said about failures.
    fn with_apt(&self, remotes: &[&Remote]) -> Result<String> {
        let mut run = Run::new(APT_HELPER).args([
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Acquire::Retries=3",
            "download-file",
        ]);
        for remote in remotes {
            run = run
                .arg(&remote.uri)
                .arg(self.partial(remote))
                .arg(format!("SHA256:{}", remote.sha256));
        }
        said(run)
    }

    fn with_curl(&self, remote: &Remote) -> Result<String> {
        said(
            Run::new("curl")
                .args([
                    "--fail",
                    "--silent",
                    "--show-error",
                    "--location",
                    "--retry",
                    "3",
                    "--connect-timeout",
                    PATIENCE,
                    "--speed-limit",
                    "1",
                    "--speed-time",
                    PATIENCE,
                    "--continue-at",
                    "-",
                    "--output",
                ])
                .arg(self.partial(remote))
                .arg(&remote.uri),
        )
    }

    fn with_progress(
        &self,
        remotes: &[&Remote],
        step: &Step,
        work: impl FnOnce() -> Result<String>,
    ) -> Result<String> {
        let total: u64 = remotes.iter().map(|remote| remote.size).sum();
        let partials: Vec<PathBuf> = remotes.iter().map(|remote| self.partial(remote)).collect();
        let what = match remotes {
            [one] => one.file.clone(),
            many => format!("{} files", many.len()),
        };
        let (stop, stopped) = channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while stopped
                    .recv_timeout(POLL)
                    .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    let have = partials.iter().map(|path| length(path)).sum();
                    step.state(format!(
                        "downloading {what}: {} of {}",
                        size(have),
                        size(total)
                    ));
                }
            });
            let result = work();
            let _ = stop.send(());
            result
        })
    }

    fn partial(&self, remote: &Remote) -> PathBuf {
        let mut name = self.path(remote).into_os_string();
        name.push(".part");
        PathBuf::from(name)
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Runs a downloader; its failure is not an error here, since other ways may be left. Returns its last words.
fn said(run: Run) -> Result<String> {
    let mut last = String::from("the download ended early");
    let keep = |line: &str| {
        if line.starts_with("E: Failed") || line.starts_with("curl:") {
            last = line.to_owned();
        }
    };
    match run.lines(keep) {
        Err(process::Error::Interrupted) => Err(Error::Interrupted),
        Err(error @ process::Error::Start { .. }) => Ok(error.to_string()),
        Ok(()) | Err(_) => Ok(last),
    }
}

#[cfg(test)]
mod tests {
    use super::Downloads;
    use crate::artefacts::index::Remote;
    use crate::artefacts::key::hash;
    use crate::artefacts::mirror::Mirror;
    use crate::progress::Step;

    fn served(content: &[u8], folder: &std::path::Path) -> Remote {
        let origin = folder.join("origin.bin");
        std::fs::write(&origin, content).unwrap();
        Remote {
            uri: format!("file://{}", origin.display()),
            file: "origin.bin".to_owned(),
            size: content.len() as u64,
            sha256: hash(content),
        }
    }

    #[test]
    fn a_damaged_download_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::new(folder.path().join("downloads"), vec![Mirror::debian()]);
        let remote = served(b"right", folder.path());
        std::fs::create_dir(folder.path().join("downloads")).unwrap();
        std::fs::write(downloads.path(&remote), b"wrong").unwrap();
        assert!(downloads.has(&remote), "the size alone fits");
        assert!(!downloads.is_sound(&remote).unwrap());
        assert!(!downloads.path(&remote).exists());
    }

    #[test]
    fn a_complete_partial_file_is_taken_only_with_the_right_content() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::new(folder.path().to_path_buf(), vec![Mirror::debian()]);
        let remote = served(b"right", folder.path());
        for (content, taken) in [(&b"righ"[..], false), (b"wrong", false), (b"right", true)] {
            std::fs::write(downloads.partial(&remote), content).unwrap();
            downloads.settle(&remote).unwrap();
            assert_eq!(downloads.has(&remote), taken, "{content:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_had_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let downloads = Downloads::new(folder.path().join("downloads"), vec![Mirror::debian()]);
        let mut remote = served(b"right", folder.path());
        remote.uri = format!("file://{}/absent", folder.path().display());
        let error = downloads
            .fetch(&[remote], &Step::begin("test", "fetching"))
            .unwrap_err();
        assert!(error.to_string().contains("origin.bin"), "{error}");
    }
}
