//! Each device's record: what the next worker must know, in a small file that outlives workers and holders.
//!
//! The files lie on a tmpfs, with all their memory allocated: a full disk cannot hit a worker in the middle of its
//! work. A name holds the domain's number and its `vm` key, so that a number used again finds no foreign record. The
//! holder never reads what workers write there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use transport_xen::RECORD_BYTES;
use xen::DomId;

use crate::store::folder::DeviceKey;

/// The folder's usual place.
pub(super) const FOLDER: &str = "/run/avps/devices";

/// The folder of records.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

/// One device's record.
#[derive(Debug)]
pub(super) struct RecordFile {
    /// To be handed to workers.
    pub(super) file: File,
    path: PathBuf,
}

impl Records {
    /// Records in `folder`, which need not exist yet.
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// A device's record: what its earlier worker left there, or a new one. A domain without a `vm` key cannot be told
    /// from one that had its number before, so its devices begin anew with each holder.
    ///
    /// # Errors
    /// No space, or no right to write there.
    pub(super) fn open(&self, key: DeviceKey, vm: Option<&str>) -> io::Result<RecordFile> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let path = self.folder.join(name(key, vm));
        if vm.is_none() {
            remove(&path);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RECORD_BYTES)
            .inspect_err(|_| remove(&path))?;
        Ok(RecordFile { file, path })
    }

    /// Removes the records of domains that are gone.
    pub(super) fn sweep(&self, owner: impl Fn(DomId) -> Owner) {
        // Absent before the first device.
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let guest = file_name
                .split('-')
                .next()
                .and_then(|number| DomId::new(number.parse().ok()?));
            let keep = match guest.map_or(Owner::Gone, &owner) {
                Owner::Gone => false,
                Owner::Unknown => true,
                Owner::Lives(vm) => file_name.ends_with(&identity(vm.as_deref())),
            };
            if !keep {
                tracing::debug!("record {} removed", entry.path().display());
                remove(&entry.path());
            }
        }
    }
}

/// Whose a domain's number is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody's.
    Gone,
    /// It cannot be told now.
    Unknown,
    /// A domain's, with this `vm` key.
    Lives(Option<String>),
}

impl RecordFile {
    /// The device is gone.
    pub(super) fn remove(self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("the record {} stays: {error}", path.display());
    }
}

fn name(key: DeviceKey, vm: Option<&str>) -> String {
    format!(
        "{}-{}-{}{}",
        key.guest,
        key.class.folder(),
        key.device,
        identity(vm)
    )
}

/// What of the `vm` key (`/vm/<uuid>`) goes into a file's name.
fn identity(vm: Option<&str>) -> String {
    let text: String = vm
        .and_then(|vm| vm.rsplit('/').next())
        .unwrap_or("unnamed")
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
        .take(64)
        .collect();
    format!("@{text}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::folder::Class;

    fn key(guest: u16) -> DeviceKey {
        DeviceKey {
            guest: DomId::new(guest).unwrap(),
            class: Class::VirtioDisk,
            device: 51712,
        }
    }

    fn byte(record: &RecordFile) -> u8 {
        let mut byte = [0];
        record.file.read_exact_at(&mut byte, 9).unwrap();
        byte[0]
    }

    #[test]
    fn a_later_holder_finds_the_record_of_the_same_domain_only() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path().join("devices"));
        let first = records.open(key(3), Some("/vm/one")).unwrap();
        assert_eq!(first.file.metadata().unwrap().len(), RECORD_BYTES);
        first.file.write_all_at(&[7], 9).unwrap();
        drop(first);
        let again = records.open(key(3), Some("/vm/one")).unwrap();
        assert_eq!(byte(&again), 7);
        assert_eq!(byte(&records.open(key(3), Some("/vm/two")).unwrap()), 0);
        again.remove();
        assert_eq!(byte(&records.open(key(3), Some("/vm/one")).unwrap()), 0);

        let unnamed = records.open(key(4), None).unwrap();
        unnamed.file.write_all_at(&[7], 9).unwrap();
        assert_eq!(byte(&records.open(key(4), None).unwrap()), 0);
    }

    #[test]
    fn records_of_the_dead_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        records.sweep(|_| Owner::Gone);
        for (guest, vm) in [(3, "/vm/a"), (4, "/vm/b"), (5, "/vm/c"), (6, "/vm/d")] {
            records.open(key(guest), Some(vm)).unwrap();
        }
        std::fs::write(folder.path().join("stray"), "").unwrap();
        records.sweep(|guest| match guest.get() {
            3 => Owner::Lives(Some("/vm/a".to_owned())),
            4 => Owner::Lives(Some("/vm/another".to_owned())),
            6 => Owner::Unknown,
            _ => Owner::Gone,
        });
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["3-virtio_disk-51712@a", "6-virtio_disk-51712@d"]);
    }

    #[test]
    fn no_vm_key_leads_out_of_the_folder() {
        assert_eq!(name(key(3), Some("/vm/../..")), "3-virtio_disk-51712@");
        assert_eq!(name(key(3), Some("a b\u{0}/é.x")), "3-virtio_disk-51712@x");
    }
}
