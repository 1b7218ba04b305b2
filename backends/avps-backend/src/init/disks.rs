//! RAM disks: scratch space that guests get as disks, and that is gone with the domain.
//!
//! Each is a sparse file: memory is taken as guests write. The file system they lie on takes half of the domain's memory at most
//! (Linux's default for tmpfs), and a write beyond that is an I/O error for the guest, not the end of the domain.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use super::say::Urgency;

/// Where they are; a file system of its own.
pub(super) const FOLDER: &str = "/run/disks";
/// Sizes are multiples of this; bytes.
const SECTOR: u64 = 512;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// A disk as the kernel's command line names it: `NAME:SIZE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RamDisk {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl FromStr for RamDisk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, size) = text
            .split_once(':')
            .ok_or("a RAM disk is NAME:SIZE, for example scratch:64M")?;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.starts_with('.')
            || !name.chars().all(good)
        {
            return Err(format!(
                "the name of a RAM disk is made of letters, digits, dots, dashes and underscores, not \"{name}\""
            ));
        }
        let bytes = size_in_bytes(size)
            .filter(|bytes| *bytes > 0 && bytes.is_multiple_of(SECTOR))
            .ok_or_else(|| {
                format!("the size of a RAM disk is a number with K, M or G (powers of 1024), in whole sectors of {SECTOR} bytes, not \"{size}\"")
            })?;
        Ok(Self {
            name: name.to_owned(),
            bytes,
        })
    }
}

fn size_in_bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(number.len()..)? {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Makes the disks, and tells what became of each.
pub(super) fn make(disks: &[RamDisk]) -> Vec<(Urgency, String)> {
    let folder = Path::new(FOLDER);
    let mut lines: Vec<_> = disks.iter().map(|disk| make_one(folder, disk)).collect();
    let wanted = disks
        .iter()
        .map(|disk| disk.bytes)
        .fold(0, u64::saturating_add);
    let room = rustix::fs::statvfs(folder).map(|all| all.f_blocks.saturating_mul(all.f_frsize));
    if let Ok(room) = room
        && wanted > room
    {
        lines.push((
            Urgency::Warning,
            format!(
                "RAM disks want {wanted} bytes and have {room}: writes beyond fail; give this domain more memory"
            ),
        ));
    }
    lines
}

fn make_one(folder: &Path, disk: &RamDisk) -> (Urgency, String) {
    let path = folder.join(&disk.name);
    match sparse(&path, disk.bytes) {
        Ok(_) => (
            Urgency::Info,
            format!("RAM disk {}, {} bytes", path.display(), disk.bytes),
        ),
        Err(error) => (
            Urgency::Error,
            format!("RAM disk {} cannot be made: {error}", path.display()),
        ),
    }
}

fn sparse(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.set_len(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn names_that_are_paths_and_sizes_that_are_no_disks_are_refused() {
        for bad in [
            "",
            "a",
            "a:",
            ":64M",
            "../x:64M",
            "a/b:64M",
            ".a:64M",
            "a:0",
            "a:511",
            "a:64X",
            "a:-1M",
            "a:18446744073709551615G",
            "a:1.5G",
            "a:64M:ro",
            "a b:1M",
        ] {
            assert!(bad.parse::<RamDisk>().is_err(), "{bad:?}");
        }
        let disk: RamDisk = "scratch-1.img:3K".parse().unwrap();
        assert_eq!((disk.name.as_str(), disk.bytes), ("scratch-1.img", 3072));
    }

    #[test]
    fn a_disk_has_its_size_and_takes_no_memory_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let disk: RamDisk = "big:8G".parse().unwrap();
        let (urgency, text) = make_one(folder.path(), &disk);
        assert_eq!(urgency, Urgency::Info, "{text}");
        let made = std::fs::metadata(folder.path().join("big")).unwrap();
        assert_eq!(made.len(), 8 << 30);
        assert_eq!(made.blocks(), 0);
        // The same again is not silently another's disk.
        assert_eq!(make_one(folder.path(), &disk).0, Urgency::Error);
    }
}
