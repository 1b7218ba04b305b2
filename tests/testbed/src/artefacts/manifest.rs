//! What an artefact consists of, with sizes and SHA-256: how a corrupt or partial one is noticed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::key::{Key, hash_file};

/// The manifest's file name inside the artefact's folder.
pub(crate) const FILE: &str = "manifest.json";

/// Written last, before the artefact is renamed into place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The artefact's name without its hash.
    pub(crate) name: String,
    /// The key's lines: everything that could change the content.
    pub(crate) inputs: Vec<String>,
    /// How long it took to build, in seconds.
    pub(crate) seconds: f64,
    /// Every file and symbolic link, by path relative to the artefact's folder.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// One file or link of an artefact.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
        /// Of the content, hexadecimal.
        sha256: String,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// How closely [`Manifest::verify`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Presence, kind and size.
    Sizes,
    /// Content as well.
    Content,
}

impl Manifest {
    /// Describes what lies in `folder` now.
    pub(crate) fn describe(name: &str, key: &Key, seconds: f64, folder: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for path in walk(folder)? {
            let relative = relative(folder, &path);
            let metadata = path.symlink_metadata().map_err(Error::io("read", &path))?;
            let entry = if metadata.is_symlink() {
                let target = path.read_link().map_err(Error::io("read", &path))?;
                Entry::Link {
                    target: target.to_string_lossy().into_owned(),
                }
            } else {
                Entry::File {
                    size: metadata.len(),
                    mode: metadata.permissions().mode() & 0o7777,
                    sha256: hash_file(&path)?,
                }
            };
            entries.insert(relative, entry);
        }
        Ok(Self {
            name: name.to_owned(),
            inputs: key.lines().to_vec(),
            seconds,
            entries,
        })
    }

    /// Reads an artefact's manifest; `None` when there is none or it cannot be understood.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Writes the manifest into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::Io {
            wanted: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// The first thing that is wrong with the artefact, if any.
    pub(crate) fn verify(&self, folder: &Path, depth: Depth) -> Option<String> {
        for (relative, entry) in &self.entries {
            let path = folder.join(relative);
            let Ok(metadata) = path.symlink_metadata() else {
                return Some(format!("{relative} is missing"));
            };
            match entry {
                Entry::Link { target } => {
                    if path.read_link().ok().as_deref() != Some(Path::new(target)) {
                        return Some(format!("{relative} is not a link to {target}"));
                    }
                }
                Entry::File { size, sha256, .. } => {
                    if !metadata.is_file() {
                        return Some(format!("{relative} is not a file"));
                    }
                    if metadata.len() != *size {
                        return Some(format!(
                            "{relative} has {} bytes, not {size}",
                            metadata.len()
                        ));
                    }
                    if depth == Depth::Content && hash_file(&path).ok().as_ref() != Some(sha256) {
                        return Some(format!("the content of {relative} has changed"));
                    }
                }
            }
        }
        None
    }

    /// Sum of all files' sizes in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.entries
            .values()
            .map(|entry| match entry {
                Entry::File { size, .. } => *size,
                Entry::Link { .. } => 0,
            })
            .sum()
    }
}

/// All files and links below `folder`, sorted; the manifest itself is left out.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let entries = std::fs::read_dir(&current).map_err(Error::io("read", &current))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &current))?;
            let kind = entry
                .file_type()
                .map_err(Error::io("read", &entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path() != folder.join(FILE) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Depth, Manifest};
    use crate::artefacts::key::Key;

    fn artefact() -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("boot")).unwrap();
        std::fs::write(folder.path().join("boot/xen"), "hypervisor").unwrap();
        std::os::unix::fs::symlink("boot/xen", folder.path().join("xen")).unwrap();
        let manifest = Manifest::describe("xen", &Key::new(1), 1.5, folder.path()).unwrap();
        manifest.write(folder.path()).unwrap();
        (folder, manifest)
    }

    #[test]
    fn an_untouched_artefact_is_sound_after_being_read_back() {
        let (folder, manifest) = artefact();
        let read = Manifest::read(folder.path()).unwrap();
        assert_eq!(read.entries, manifest.entries);
        assert_eq!(read.size(), 10);
        assert_eq!(read.verify(folder.path(), Depth::Content), None);
    }

    #[test]
    fn a_missing_a_short_and_a_changed_file_are_noticed() {
        let (folder, manifest) = artefact();
        let file = folder.path().join("boot/xen");
        std::fs::write(&file, "hypervisoR").unwrap();
        assert_eq!(manifest.verify(folder.path(), Depth::Sizes), None);
        assert!(
            manifest
                .verify(folder.path(), Depth::Content)
                .unwrap()
                .contains("changed")
        );
        std::fs::write(&file, "hyper").unwrap();
        assert!(
            manifest
                .verify(folder.path(), Depth::Sizes)
                .unwrap()
                .contains("5 bytes, not 10")
        );
        std::fs::remove_file(&file).unwrap();
        assert!(
            manifest
                .verify(folder.path(), Depth::Sizes)
                .unwrap()
                .contains("missing")
        );
    }

    #[test]
    fn a_link_that_points_elsewhere_is_noticed() {
        let (folder, manifest) = artefact();
        std::fs::remove_file(folder.path().join("xen")).unwrap();
        std::os::unix::fs::symlink("boot/other", folder.path().join("xen")).unwrap();
        assert!(
            manifest
                .verify(folder.path(), Depth::Sizes)
                .unwrap()
                .contains("not a link")
        );
    }

    #[test]
    fn a_damaged_manifest_is_no_manifest() {
        let (folder, _) = artefact();
        std::fs::write(folder.path().join(super::FILE), "{").unwrap();
        assert!(Manifest::read(folder.path()).is_none());
    }
}
