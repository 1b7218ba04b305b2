//! Links for busybox's applets, without running it: it is an arm64 binary, and this host may not be arm64.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::error::{Error, Result};
use super::store::create;

/// Applets that belong into `sbin`; all others go to `bin`. Where they lie matters only to those who give a path.
const SYSTEM: [&str; 12] = [
    "blkid", "fdisk", "fsck", "halt", "ifconfig", "ip", "losetup", "modprobe", "poweroff",
    "reboot", "route", "sysctl",
];

/// Links every applet of `/usr/bin/busybox` in `tree`; programs that are there already stay.
pub(crate) fn install(tree: &Path) -> Result<()> {
    let binary = tree.join("usr/bin/busybox");
    let content = std::fs::read(&binary).map_err(Error::io("read", &binary))?;
    let applets = applets(&content).ok_or_else(|| {
        Error::Host(format!(
            "the list of applets was not found in {}: is it busybox?",
            binary.display()
        ))
    })?;
    for applet in applets {
        let folder = if SYSTEM.contains(&applet.as_str()) {
            "usr/sbin"
        } else {
            "usr/bin"
        };
        let (path, other) = (
            tree.join(folder).join(&applet),
            tree.join("usr/sbin").join(&applet),
        );
        if path.symlink_metadata().is_ok() || other.symlink_metadata().is_ok() {
            continue;
        }
        create(&tree.join(folder))?;
        symlink("/usr/bin/busybox", &path).map_err(Error::io("link", &path))?;
    }
    Ok(())
}

/// The applet names: a sorted table of NUL-terminated strings that begins with `[` and `[[`.
fn applets(binary: &[u8]) -> Option<Vec<String>> {
    const START: &[u8] = b"[\0[[\0";
    let starts = binary
        .windows(START.len())
        .enumerate()
        .filter(|(_, window)| *window == START);
    starts
        .filter_map(|(start, _)| binary.get(start..))
        .map(table)
        .find(|names| {
            ["sh", "mount", "cat"]
                .iter()
                .all(|known| names.iter().any(|name| name == known))
        })
}

/// The NUL-terminated names up to the first that cannot be one.
fn table(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .take_while(|name| {
            !name.is_empty() && name.len() <= 24 && name.iter().all(u8::is_ascii_graphic)
        })
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{applets, install};

    const BINARY: &[u8] =
        b"\x7fELF..2[\x002[\0[\0[[\0other\0\0ae [\0[[\0cat\0losetup\0mount\0sh\0zcat\0\0more\0";

    #[test]
    fn the_applet_table_is_found_and_ends_where_it_ends() {
        assert_eq!(
            applets(BINARY).unwrap(),
            ["[", "[[", "cat", "losetup", "mount", "sh", "zcat"]
        );
        assert_eq!(applets(b"\x7fELF nothing of the kind"), None);
        assert_eq!(applets(b"\0[\0[[\0unrelated\0\0"), None);
    }

    #[test]
    fn links_never_replace_a_real_program() {
        let tree = tempfile::tempdir().unwrap();
        let bin = tree.path().join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("busybox"), BINARY).unwrap();
        std::fs::write(bin.join("mount"), "a real one").unwrap();
        install(tree.path()).unwrap();
        assert_eq!(std::fs::read(bin.join("mount")).unwrap(), b"a real one");
        assert_eq!(
            bin.join("sh").read_link().unwrap().to_str(),
            Some("/usr/bin/busybox")
        );
        assert!(tree.path().join("usr/sbin/losetup").is_symlink());
    }
}
