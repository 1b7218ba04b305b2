//! Results of the full tier's groups, kept so that an interrupted run goes on where it stopped.
//!
//! They hold for one state of the source: every file that git knows or would add. Only groups without a failed case are kept.

use super::case::Case;
use crate::paths;
use crate::process::Run;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where results for this source are.
pub(super) struct Kept {
    folder: PathBuf,
}

/// A group's results.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Earlier {
    /// When it ended, UTC.
    pub(super) when: String,
    /// What it took.
    pub(super) time: Duration,
    /// Its cases.
    pub(super) cases: Vec<Case>,
}

impl Kept {
    /// The results for this source; with `again` they are forgotten first. `None` when git does not know this folder.
    pub(super) fn open(again: bool) -> Option<Self> {
        let all = paths::tree_target().join("full");
        let folder = all.join(source(&paths::workspace())?);
        // Results of other sources are of no use.
        for other in fs::read_dir(&all).into_iter().flatten().flatten() {
            if again || other.path() != folder {
                // What cannot be removed is not read either: its name is another source's.
                let _ = fs::remove_dir_all(other.path());
            }
        }
        Some(Self { folder })
    }

    /// What a group gave for this source, if it ran to its end and nothing failed.
    pub(super) fn of(&self, group: &str) -> Option<Earlier> {
        serde_json::from_slice(&fs::read(self.file(group)).ok()?).ok()
    }

    /// Keeps a group's results.
    pub(super) fn keep(&self, group: &str, cases: &[Case], time: Duration) -> Result<(), String> {
        let earlier = Earlier {
            when: super::history::now(),
            time,
            cases: cases.to_vec(),
        };
        let file = self.file(group);
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let part = file.with_extension("part");
            fs::write(&part, serde_json::to_vec(&earlier)?)?;
            fs::rename(&part, &file)
        };
        write().map_err(|e: std::io::Error| {
            format!(
                "the results of {group} are not kept: cannot write {}: {e}",
                file.display()
            )
        })
    }

    fn file(&self, group: &str) -> PathBuf {
        let name: String = group
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        self.folder.join(format!("{name}.json"))
    }
}

/// What the source is: a hash over names and contents.
fn source(root: &Path) -> Option<String> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listed = Run::new("git")
        .args(arguments)
        .current_dir(root)
        .output()
        .ok()?;
    let mut names: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update([0]);
        // A file that was removed and not committed yet is listed, too.
        if let Ok(content) = fs::read(root.join(name)) {
            hash.update(u64::try_from(content.len()).ok()?.to_le_bytes());
            hash.update(&content);
        }
    }
    let digest = hash.finalize();
    Some(
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_hold_for_the_source_they_came_from() {
        let dir = tempfile::tempdir().expect("a folder");
        let git = |arguments: &[&str]| {
            let run = Run::new("git").args(arguments).current_dir(dir.path());
            run.output().expect("git")
        };
        git(&["init", "--quiet"]);
        fs::write(dir.path().join("a"), "1").expect("a file");
        let one = source(dir.path()).expect("a source");
        assert_eq!(source(dir.path()).as_ref(), Some(&one));
        fs::write(dir.path().join("a"), "2").expect("a file");
        assert_ne!(source(dir.path()), Some(one));
    }

    #[test]
    fn a_group_is_kept_and_found_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = Kept {
            folder: dir.path().join("x"),
        };
        assert!(kept.of("driver, changed Xen").is_none());
        let case = Case::new("bed", "a: b", Duration::from_secs(2), None);
        kept.keep("driver, changed Xen", &[case], Duration::from_secs(3))
            .expect("kept");
        let earlier = kept.of("driver, changed Xen").expect("found");
        assert_eq!(earlier.cases.len(), 1);
        assert_eq!(earlier.time, Duration::from_secs(3));
        assert!(kept.of("driver").is_none());
    }
}
