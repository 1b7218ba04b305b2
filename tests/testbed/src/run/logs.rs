//! Logs of a run: dom0's files are copied to the host while the bed runs, so that a crash loses none.

use super::folder::runs;
use super::{Error, Result};
use crate::failure::Failure;
use agent::client::{Follower, Remote};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

const TAIL_LINES: usize = 15;
const TAIL_BYTES: u64 = 8192;
/// How long the last pieces of the logs are waited for.
const LAST: Duration = Duration::from_secs(10);

/// The last lines of a log, indented, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() || bytes.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut out = format!("\n{name} ends with:");
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
        out.push_str("\n  | ");
        out.push_str(line);
    }
    out
}

/// Copies dom0's logs to the run's folder.
pub(crate) struct Keeper {
    stop: Box<dyn Fn() + Send>,
    ended: Receiver<()>,
}

impl Keeper {
    /// Begins.
    pub(crate) fn start(dom0: &Remote, folder: &Path) -> Result<Self> {
        let follower = dom0.follow(agent::LOG_DIR)?;
        let stop = Box::new(follower.stopper());
        let folder = folder.to_path_buf();
        let (done, ended) = channel();
        std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || {
                keep(follower, &folder);
                drop(done);
            })
            .map_err(Error::io("follow", Path::new(agent::LOG_DIR)))?;
        Ok(Self { stop, ended })
    }

    /// Fetches the rest and ends; a dom0 that no longer answers is not waited for long.
    pub(crate) fn finish(self) {
        (self.stop)();
        if self.ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            eprintln!("warning: dom0 does not answer, the end of its logs is missing");
        }
    }
}

fn keep(mut follower: Follower, folder: &Path) {
    let mut names = HashMap::new();
    while let Some(chunk) = follower.next_chunk() {
        let Some(path) = names
            .entry(chunk.path.clone())
            .or_insert_with(|| place(folder, &chunk.path))
        else {
            continue;
        };
        let written = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&*path)
            .and_then(|mut file| {
                if chunk.offset == 0 {
                    file.set_len(0)?;
                }
                file.seek(SeekFrom::Start(chunk.offset))?;
                file.write_all(&chunk.bytes)
            });
        if let Err(e) = written {
            eprintln!("warning: the log {} is incomplete: {e}", path.display());
        }
    }
    for path in names.values().flatten() {
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("guest-"))
        {
            strip_packets(path);
        }
    }
}

/// `bed/x.log` becomes `x.log`, `xen/console/guest-a.log` becomes `guest-a.log`; `None` for a name from outside.
fn place(folder: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path);
    if !relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let short = ["bed", "xen/console"]
        .iter()
        .find_map(|prefix| relative.strip_prefix(prefix).ok());
    let target = folder.join(short.unwrap_or(relative));
    // The write that follows says what is wrong.
    let _ = fs::create_dir_all(target.parent()?);
    Some(target)
}

/// Removes the control channel's packets from a guest's console.
fn strip_packets(path: &Path) {
    let Ok(bytes) = fs::read(path) else { return };
    let text = String::from_utf8_lossy(&bytes);
    let mut kept = String::with_capacity(text.len());
    let mut blank = false;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        let line = match line.find("~B.").or_else(|| line.find("~A.")) {
            Some(at) => line.get(..at).unwrap_or_default(),
            None => line,
        };
        // Each packet brings an empty line of its own.
        if line.is_empty() && blank {
            continue;
        }
        blank = line.is_empty();
        kept.push_str(line);
        kept.push('\n');
    }
    if let Err(e) = fs::write(path, kept) {
        eprintln!("warning: {}: {e}", path.display());
    }
}

/// Lists the runs' logs, or shows one.
#[derive(clap::Args)]
pub(crate) struct Logs {
    /// Log to show, by any part of its name: `xen-console`, `dom0-dmesg`, `guest-cockpit`, `backend`.
    name: Option<String>,
    /// Run to look at, by any part of its name; the latest without.
    #[arg(long)]
    run: Option<String>,
    /// List all runs.
    #[arg(long)]
    all: bool,
}

impl Logs {
    /// Prints to standard output.
    pub(crate) fn run(self) -> std::result::Result<ExitCode, Failure> {
        let runs = runs();
        let mut out = std::io::stdout().lock();
        let mut print =
            |text: &str| writeln!(out, "{text}").map_err(|e| Failure::new(e.to_string()));
        if self.all {
            for run in &runs {
                print(&run.display().to_string())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let named = |run: &&PathBuf| {
            self.run.as_deref().is_none_or(|part| {
                run.file_name()
                    .is_some_and(|name| name.to_string_lossy().contains(part))
            })
        };
        let Some(run) = runs.iter().rev().find(named) else {
            let hint =
                "There are no logs of such a run. `cargo xtask logs --all` lists those there are.";
            return Err(Failure::new(hint));
        };
        let mut files = Vec::new();
        list(run, &mut files);
        files.sort();
        let Some(name) = &self.name else {
            print(&run.display().to_string())?;
            for file in &files {
                let size = fs::metadata(file).map_or(0, |data| data.len());
                let name = file.strip_prefix(run).unwrap_or(file).display().to_string();
                print(&format!("  {name:<32} {:>10}", crate::progress::size(size)))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let mut found = false;
        for file in files.iter().filter(|file| {
            file.strip_prefix(run)
                .is_ok_and(|path| path.display().to_string().contains(name.as_str()))
        }) {
            found = true;
            let bytes =
                fs::read(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
            print(&format!("── {}", file.display()))?;
            print(&String::from_utf8_lossy(&bytes))?;
        }
        if found {
            Ok(ExitCode::SUCCESS)
        } else {
            Err(Failure::new(format!(
                "no log in {} has {name:?} in its name",
                run.display()
            )))
        }
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files)
        } else {
            files.push(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_the_control_channel_do_not_stay_in_a_guests_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest-a.log");
        fs::write(
            &path,
            "[ 0.1] one\n\n~B.d.1.2.3.aGk.00000000\n\n~B.a.1\n[ 0.2] two\n",
        )
        .unwrap();
        strip_packets(&path);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "[ 0.1] one\n\n[ 0.2] two\n"
        );
    }

    #[test]
    fn a_log_named_to_leave_the_folder_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(place(dir.path(), "../x"), None);
        assert_eq!(place(dir.path(), "/etc/x"), None);
        assert_eq!(
            place(dir.path(), "bed/dom0-dmesg.log"),
            Some(dir.path().join("dom0-dmesg.log"))
        );
    }
}
