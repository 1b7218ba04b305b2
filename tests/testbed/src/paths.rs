//! Where things are: the source tree this xtask was built from, and the user's cache.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root folder.
///
/// Cargo sets `CARGO_MANIFEST_DIR` for `cargo run`; a binary started by hand falls back to where it was built.
pub(crate) fn workspace() -> PathBuf {
    let testbed = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    testbed
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .to_path_buf()
}

/// This very program, to be started once more.
///
/// Not by its path: cargo may have replaced the file since this process began (`cargo test` builds xtask again).
pub(crate) fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("xtask");
    command
}

/// This crate's folder: kernel and Xen configurations lie below it.
pub(crate) fn testbed() -> PathBuf {
    workspace().join("tests/testbed")
}

/// `target/bed` of the workspace (below `CARGO_TARGET_DIR` where that is set): what belongs to this tree alone.
pub(crate) fn tree_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("bed")
}

/// `$XDG_CACHE_HOME/avps`, else `~/.cache/avps`, else (no home) a folder below `target`.
pub(crate) fn cache() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map_or_else(|| tree_target().join("cache"), |base| base.join("avps"))
}
