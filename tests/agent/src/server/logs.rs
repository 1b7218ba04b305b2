//! Follows the log files of this machine, so that the host has them even when the machine dies.

use super::{Outcome, Work};
use crate::frame::{Frame, Kind};
use crate::message::{LogChunk, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
const CHUNK: usize = 32 * 1024;
/// No file is followed further: a guest may write its console full.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Until cancelled; what was written before the cancel is still sent.
pub(super) fn follow(dir: &str, work: &Work) -> Outcome {
    let root = Path::new(dir);
    let mut sent = HashMap::new();
    let mut bytes = 0;
    loop {
        let last = work.cancel.is_set();
        let mut files = Vec::new();
        list(root, &mut files, 0);
        for file in files {
            let offset = sent.entry(file.clone()).or_insert(0);
            // A file may vanish between listing and reading.
            let before = *offset;
            let _ = send_new(root, &file, offset, work);
            bytes += *offset - before;
        }
        if last {
            return Ok(Reply::Done { bytes });
        }
        let mut fds = [PollFd::new(&work.cancel.event, PollFlags::IN)];
        // Interrupted or not, the next round looks again.
        let _ = poll(&mut fds, Some(&EVERY));
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(kind) if kind.is_dir() && depth < 4 => list(&entry.path(), files, depth + 1),
            _ => {}
        }
    }
}

fn send_new(root: &Path, path: &Path, offset: &mut u64, work: &Work) -> io::Result<()> {
    let size = fs::metadata(path)?.len().min(MAX_FILE);
    if size < *offset {
        *offset = 0;
    }
    if size == *offset {
        return Ok(());
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(*offset))?;
    let name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    while *offset < size {
        let mut bytes = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        let chunk = LogChunk {
            path: name.clone(),
            offset: *offset,
            bytes,
        };
        work.out
            .send(&Frame::new(0, Kind::Output, work.id, chunk.encode()))?;
        *offset += chunk.bytes.len() as u64;
    }
    Ok(())
}
