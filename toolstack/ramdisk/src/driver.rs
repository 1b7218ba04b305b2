//! A driver domain's file system: `avps-backend`, and what a kernel wants to find.
//!
//! The program is `/init`. Linux runs `/sbin/poweroff` and `/sbin/reboot` when Xen's toolstack asks a domain to end
//! (drivers/xen/manage.c, kernel/reboot.c): both are the same program, which knows by its name what to do.

use std::io::{self, Write};

use crate::Unfit;
use crate::cpio::Cpio;
use crate::elf;

/// Where the program is.
const INIT: &str = "init";
/// Other names of it.
const LINKS: [&str; 2] = ["sbin/poweroff", "sbin/reboot"];
/// Mount points.
const FOLDERS: [(&str, u32); 5] = [
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("run", 0o755),
    ("tmp", 0o1777),
];

/// Why there is no such archive.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The program cannot run there.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the archive with `program`, a static `avps-backend` for 64-bit Arm, to `to`.
///
/// # Errors
/// [`DriverError::Unfit`] before anything is written, or what writing says.
pub fn write<W: Write>(program: &[u8], to: W) -> Result<W, DriverError> {
    check(program)?;
    let mut cpio = Cpio::new(to);
    for (folder, mode) in FOLDERS {
        cpio.folder(folder, mode)?;
    }
    // Open before anything is mounted: what the program says first is seen.
    cpio.character_device("dev/console", 0o600, 5, 1)?;
    cpio.character_device("dev/null", 0o666, 1, 3)?;
    cpio.file(INIT, 0o755, program)?;
    for link in LINKS {
        cpio.link(link, "/init")?;
    }
    Ok(cpio.finish()?)
}

/// Whether a program can be the one.
///
/// # Errors
/// Why it cannot.
pub fn check(program: &[u8]) -> Result<(), Unfit> {
    elf::check(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::program;
    use std::process::{Command, Stdio};

    fn archive() -> Vec<u8> {
        write(&program(183, &[1]), Vec::new()).unwrap()
    }

    #[test]
    fn the_kernel_finds_its_init_its_console_and_the_two_programs_that_end_a_domain() {
        let mut child = Command::new("cpio")
            .args(["-tvn"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cpio is among the packages that the bed needs");
        child.stdin.take().unwrap().write_all(&archive()).unwrap();
        let output = child.wait_with_output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        let line = |end: &str| {
            let mut lines = listing.lines();
            lines
                .find(|line| line.ends_with(end))
                .unwrap_or_else(|| panic!("no {end} in\n{listing}"))
        };
        assert!(line(" init").starts_with("-rwxr-xr-x"));
        assert!(line(" sbin/poweroff -> /init").starts_with('l'));
        assert!(line(" sbin/reboot -> /init").starts_with('l'));
        assert!(line(" dev/console").starts_with("crw-------"));
        for folder in ["proc", "sys", "run", "tmp", "dev"] {
            assert!(line(&format!(" {folder}")).starts_with('d'));
        }
    }

    #[test]
    fn the_same_program_gives_the_same_archive() {
        assert_eq!(archive(), archive());
    }

    #[test]
    fn a_program_that_could_not_run_there_gives_no_archive() {
        let mut to = Vec::new();
        let error = write(&program(62, &[1]), &mut to).unwrap_err();
        assert!(matches!(error, DriverError::Unfit(Unfit::Machine)));
        assert!(to.is_empty());
    }
}
