//! Files to and from the host.

use super::{Outcome, Work};
use crate::frame::{Frame, Kind};
use crate::message::Reply;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes beside the file and renames: a program that runs from it is not disturbed.
pub(super) fn put(path: &str, mode: u32, work: Work) -> Outcome {
    let target = Path::new(path);
    let mut part = PathBuf::from(target).into_os_string();
    part.push(format!(".part{}", work.id));
    let written = write_part(target, Path::new(&part), mode, &work)
        .and_then(|bytes| fs::rename(&part, target).map(|()| bytes));
    match written {
        Ok(bytes) => Ok(Reply::Done { bytes }),
        Err(e) => {
            // It may not even exist.
            let _ = fs::remove_file(&part);
            Err(format!("cannot write {path}: {e}"))
        }
    }
}

fn write_part(target: &Path, part: &Path, mode: u32, work: &Work) -> std::io::Result<u64> {
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(part)?;
    let mut bytes = 0;
    while let Some(chunk) = work.input.next() {
        file.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    if work.cancel.is_set() {
        return Err(std::io::ErrorKind::Interrupted.into());
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(bytes)
}

pub(super) fn get(path: &str, work: &Work) -> Outcome {
    let read = |e| format!("cannot read {path}: {e}");
    let mut file = File::open(path).map_err(read)?;
    let mut buffer = vec![0; 32 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(read)?;
        if count == 0 {
            return Ok(Reply::Done { bytes });
        }
        if work.cancel.is_set() {
            return Err(format!("reading {path} was given up"));
        }
        bytes += count as u64;
        let chunk = buffer.get(..count).unwrap_or_default();
        work.out
            .send(&Frame::new(0, Kind::Output, work.id, chunk))
            .map_err(|e| e.to_string())?;
    }
}
