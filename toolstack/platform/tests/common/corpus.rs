//! The documents of the repository: those that ship, and fixtures.

use std::fs;
use std::path::{Path, PathBuf};

/// Their folder.
pub(crate) fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// Name and text of each file of a folder whose name ends so, in order.
pub(crate) fn documents(folder: &Path, ending: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            name.ends_with(ending)
                .then(|| (name, fs::read_to_string(&path).expect("readable")))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "nothing in {}", folder.display());
    found
}
