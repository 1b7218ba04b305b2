//! The host's tools, as recipes use them: compilers, make, tar, dpkg-deb, copying.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::{Error, Result};
use super::store::{create, remove};
use crate::process::Run;

/// Prefix of the arm64 cross compiler and binutils.
pub(crate) const CROSS_PREFIX: &str = "aarch64-linux-gnu-";

/// The first line a program prints about itself.
pub(crate) fn first_line(program: &str, arg: &str) -> Result<String> {
    let output = Run::new(program)
        .arg(arg)
        .output()
        .map_err(Error::child(format!("asking {program} for its version")))?;
    Ok(output.lines().next().unwrap_or_default().to_owned())
}

/// Names and versions of the cross compiler's parts, asked once per run.
pub(crate) fn cross_compiler() -> Result<Vec<(&'static str, String)>> {
    static ANSWER: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return Ok(answer.clone());
    }
    let mut answer = Vec::new();
    for tool in ["gcc", "ld"] {
        answer.push((
            tool,
            first_line(&format!("{CROSS_PREFIX}{tool}"), "--version")?,
        ));
    }
    Ok(ANSWER.get_or_init(|| answer).clone())
}

/// `make` with this many jobs, and none of the variables that change a build from outside.
pub(crate) fn make(jobs: usize) -> Run {
    let mut run = Run::new("make").arg(format!("-j{jobs}"));
    for variable in [
        "ARCH",
        "CROSS_COMPILE",
        "CFLAGS",
        "LDFLAGS",
        "KCFLAGS",
        "MAKEFLAGS",
        "MFLAGS",
    ] {
        run = run.env_remove(variable);
    }
    run
}

/// Whether a line of a kernel-style build says that a file is being compiled.
pub(crate) fn is_compilation(line: &str) -> bool {
    ["  CC ", "  AS ", "  LD ", "  AR "]
        .iter()
        .any(|prefix| line.starts_with(prefix))
}

/// Unpacks a tarball into `folder`, which appears complete or not at all.
pub(crate) fn unpack_tar(
    tarball: &Path,
    folder: &Path,
    options: &[&str],
    log: &Path,
) -> Result<()> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".part");
    let partial = Path::new(&partial);
    remove(partial)?;
    create(partial)?;
    Run::new("tar")
        .arg("--extract")
        .arg("--no-same-owner")
        .arg("--file")
        .arg(tarball)
        .arg("--directory")
        .arg(partial)
        .args(options)
        .log(log)
        .run()
        .map_err(Error::child(format!("unpacking {}", tarball.display())))?;
    std::fs::rename(partial, folder).map_err(Error::io("put into place", folder))
}

/// Unpacks a Debian package's files into `folder`, over what is there.
pub(crate) fn unpack_deb(package: &Path, folder: &Path, log: &Path) -> Result<()> {
    Run::new("dpkg-deb")
        .arg("--extract")
        .arg(package)
        .arg(folder)
        .log(log)
        .run()
        .map_err(Error::child(format!("unpacking {}", package.display())))
}

/// Copies a file, and creates the folder it goes to.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        create(folder)?;
    }
    std::fs::copy(from, to)
        .map(drop)
        .map_err(Error::io("copy", from))
}

/// All regular files and links below a folder.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current)
            .map_err(Error::io("read", &current))?
            .flatten()
        {
            let kind = entry
                .file_type()
                .map_err(Error::io("read", &entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// The sizes of all files below a folder, in bytes.
pub(crate) fn bytes_below(folder: &Path) -> Result<u64> {
    let files = files_below(folder)?;
    let sizes = files
        .iter()
        .filter_map(|file| file.symlink_metadata().ok())
        .map(|metadata| metadata.len());
    Ok(sizes.sum())
}

/// The file names (without folders) of everything below a folder.
pub(crate) fn names_below(folder: &Path) -> Result<BTreeSet<String>> {
    let name = |path: PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    Ok(files_below(folder)?.into_iter().filter_map(name).collect())
}

/// Moves everything in one folder into another, keeping what is there already.
pub(crate) fn move_contents(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in std::fs::read_dir(from)
        .map_err(Error::io("read", from))?
        .flatten()
    {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() && !entry.path().is_symlink() {
            move_contents(&entry.path(), &target)?;
        } else if target.symlink_metadata().is_err() {
            std::fs::rename(entry.path(), &target).map_err(Error::io("move", &target))?;
        }
    }
    Ok(())
}
