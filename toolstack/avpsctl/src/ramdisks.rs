//! Files that the document leaves to this program: a driver domain's ramdisk, made of `avps-backend`, and the partial device tree by
//! which a guest finds the OP-TEE that avps-tee plays for it.
//!
//! libxl reads them from a file while it builds the domain. The file is made just before that, below the run directory, and
//! removed as soon as nobody needs it. Its name is made of its content, so that processes that want the same share it; each of them
//! holds a lock on it, which ends with the process however that ends: what a killed one left, the next one finds unlocked and removes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use platform::Finding;
use platform::emit::partial;
use platform::plan::{DomainPlan, Plan};
use platform::rules;
use ramdisk::driver;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Where the static `avps-backend` may be, first choice first.
const PROGRAMS: [&str; 2] = ["/usr/lib/avps/avps-backend", "/usr/bin/avps-backend"];
/// Begin and end of their names.
const RAMDISK: (&str, &str) = ("ramdisk-", ".cpio");
const TREE: (&str, &str) = ("tree-", ".dtb");
/// A file that is still being written.
const UNFINISHED: &str = ".part";

/// Makes them.
#[derive(Debug, Clone)]
pub struct Ramdisks {
    folder: PathBuf,
    programs: Vec<PathBuf>,
}

/// Such a file, which is there until this is dropped.
#[derive(Debug)]
pub struct Ramdisk {
    path: PathBuf,
    file: File,
}

impl Ramdisks {
    /// Keeps files in `folder` while they are needed, and finds `avps-backend` in the usual places.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Ramdisks {
            folder: folder.into(),
            programs: PROGRAMS.map(PathBuf::from).into(),
        }
    }

    /// The same, with `avps-backend` in this place only.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.programs = vec![program.into()];
        self
    }

    /// The archive.
    ///
    /// # Errors
    /// [`Error::NoRamdisk`]: there is no `avps-backend`, or it cannot be the only program of a domain.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let (path, program) = self.program()?;
        driver::write(&program, Vec::new()).map_err(|error| unfit(&path, &error))
    }

    fn program(&self) -> Result<(PathBuf, Vec<u8>)> {
        for path in &self.programs {
            match fs::read(path) {
                Ok(program) => return Ok((path.clone(), program)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unfit(path, &error)),
            }
        }
        let places: Vec<_> = self
            .programs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Err(Error::NoRamdisk(format!(
            "there is no {}",
            places.join(", and no ")
        )))
    }

    /// What stands in the way of the ramdisks of a plan, each at its domain. Not yet located in the text.
    pub fn findings(&self, plan: &Plan) -> Vec<Finding> {
        let domains = plan.domains.iter().enumerate();
        let mut wanted = domains
            .filter(|(_, domain)| domain.ramdisk_generated)
            .peekable();
        if wanted.peek().is_none() {
            return Vec::new();
        }
        let checked = self.program().and_then(|(path, program)| {
            driver::check(&program).map_err(|error| unfit(&path, &error))
        });
        let Err(error) = checked else {
            return Vec::new();
        };
        wanted
            .map(|(index, domain)| {
                let message = format!("domain \"{}\": {error}", domain.name);
                let at = format!("domain[{index}].kind");
                Finding::new(&rules::RAMDISK_FILE, at, message)
                    .label("has no ramdisk of its own")
                    .help(HELP)
            })
            .collect()
    }

    /// The ramdisk of a domain that has none of its own and gets one.
    ///
    /// # Errors
    /// As [`Ramdisks::archive`]; no room, or no right to write.
    pub fn of(&self, domain: &DomainPlan) -> Result<Option<Ramdisk>> {
        if !domain.ramdisk_generated {
            return Ok(None);
        }
        let archive = self.archive()?;
        let kept = self.keep(RAMDISK, &archive).map_err(Error::io(format!(
            "writing the ramdisk of \"{}\" ({} KiB) into {}",
            domain.name,
            archive.len().div_ceil(1024),
            self.folder.display()
        )))?;
        Ok(Some(kept))
    }

    /// The partial device tree of a domain that needs one and has none of its own. `interrupt`: see [`partial::of_mediated`].
    ///
    /// # Errors
    /// No room, or no right to write.
    pub fn tree(&self, domain: &DomainPlan, interrupt: Option<u32>) -> Result<Option<Ramdisk>> {
        let Some(dtb) = partial::of_mediated(domain, interrupt) else {
            return Ok(None);
        };
        let kept = self.keep(TREE, &dtb).map_err(Error::io(format!(
            "writing the partial device tree of \"{}\" into {}",
            domain.name,
            self.folder.display()
        )))?;
        Ok(Some(kept))
    }

    fn keep(&self, kind: (&str, &str), archive: &[u8]) -> io::Result<Ramdisk> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(name_of(kind, archive));
        let _turn = turn(&self.folder)?;
        self.remove_leftovers(&path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write(&path, archive)?,
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        Ok(Ramdisk { path, file })
    }

    /// Writes the file under another name, and gives it its own when it is complete.
    fn write(&self, path: &Path, archive: &[u8]) -> io::Result<File> {
        let unfinished =
            self.folder
                .join(format!("{}{}{UNFINISHED}", RAMDISK.0, std::process::id()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        let written = file
            .write_all(archive)
            .and_then(|()| fs::rename(&unfinished, path));
        if let Err(error) = written {
            // Not there any more, at worst.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Ok(file)
    }

    /// Removes what processes left that were killed: nobody holds a lock on it.
    fn remove_leftovers(&self, but: &Path) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = [RAMDISK, TREE].iter().any(|(prefix, ending)| {
                name.starts_with(prefix) && (name.ends_with(ending) || name.ends_with(UNFINISHED))
            });
            let path = entry.path();
            if ours
                && path != but
                && let Ok(file) = File::open(&path)
            {
                remove_unlocked(&file, &path);
            }
        }
    }
}

impl Ramdisk {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ramdisk {
    fn drop(&mut self) {
        // Without a turn it stays for the next process to remove.
        let Some(Ok(_turn)) = self.path.parent().map(turn) else {
            return;
        };
        if self.file.unlock().is_ok() {
            remove_unlocked(&self.file, &self.path);
        }
    }
}

/// What helps a document that leaves the ramdisk to this program.
pub(crate) const HELP: &str = "install the static avps-backend as /usr/lib/avps/avps-backend, or name a ramdisk: ramdisk = \"….cpio\"; \
     ramdisk = \"none\" is for a kernel that brings its own";

fn unfit(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::NoRamdisk(format!("{}: {why}", path.display()))
}

fn name_of((prefix, ending): (&str, &str), archive: &[u8]) -> String {
    format!("{prefix}{:x}{ending}", Sha256::digest(archive))
}

/// Waits until nobody else makes or removes ramdisks in a folder, which is what is locked.
fn turn(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    file.lock()?;
    Ok(file)
}

/// Whether this open file is what the path leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(path)) => id(file) == id(path),
        _ => false,
    }
}

/// Removes a file that no process needs. What cannot be removed is tried again by the next one.
fn remove_unlocked(file: &File, path: &Path) {
    if file.try_lock().is_ok() && is_at(file, path) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::static_program;
    use std::collections::BTreeSet;

    struct Bench {
        folder: tempfile::TempDir,
        ramdisks: Ramdisks,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("temporary folder");
            let program = folder.path().join("avps-backend");
            fs::write(&program, static_program()).expect("written");
            let ramdisks = Ramdisks::new(folder.path().join("run")).with_program(program);
            Bench { folder, ramdisks }
        }

        fn program(&self) -> PathBuf {
            self.folder.path().join("avps-backend")
        }

        fn files(&self) -> BTreeSet<String> {
            let entries = fs::read_dir(self.folder.path().join("run"));
            let entries = entries.into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        }

        fn keep(&self) -> Ramdisk {
            let archive = self.ramdisks.archive().expect("fit");
            self.ramdisks.keep(RAMDISK, &archive).expect("room")
        }
    }

    #[test]
    fn a_ramdisk_is_there_while_anybody_needs_it_and_no_longer() {
        let bench = Bench::new();
        let first = bench.keep();
        let second = bench.keep();
        assert_eq!(first.path(), second.path());
        assert_eq!(bench.files().len(), 1);
        drop(first);
        let kept = fs::read(second.path()).expect("still there");
        assert_eq!(kept, bench.ramdisks.archive().expect("fit"));
        drop(second);
        assert_eq!(bench.files(), BTreeSet::new());
    }

    #[test]
    fn another_program_is_another_ramdisk_and_disturbs_no_other() {
        let bench = Bench::new();
        let old = bench.keep();
        let mut program = static_program();
        program.extend(b"newer");
        fs::write(bench.program(), program).expect("written");
        let new = bench.keep();
        assert_ne!(old.path(), new.path());
        assert!(old.path().exists() && new.path().exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else_is() {
        let bench = Bench::new();
        let run = bench.folder.path().join("run");
        fs::create_dir_all(&run).expect("made");
        for name in [
            "ramdisk-00.cpio",
            "ramdisk-7-00.part",
            "demo.lock",
            "demo.log",
        ] {
            fs::write(run.join(name), "").expect("written");
        }
        drop(bench.keep());
        let left = ["demo.lock", "demo.log"].map(str::to_owned);
        assert_eq!(bench.files(), left.into());
    }

    #[test]
    fn many_at_once_each_find_it_whole() {
        let bench = Bench::new();
        let archive = bench.ramdisks.archive().expect("fit");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let kept = bench.ramdisks.keep(RAMDISK, &archive).expect("kept");
                        let content = fs::read(kept.path()).expect("there");
                        assert!(content == archive, "{} bytes", content.len());
                    }
                });
            }
        });
        assert_eq!(bench.files(), BTreeSet::new());
    }

    #[test]
    fn a_folder_without_room_is_told_and_nothing_half_written_stays() {
        let bench = Bench::new();
        // A file in the folder's place, as no test can fill a disk.
        fs::write(bench.folder.path().join("run"), "").expect("written");
        let mut plan = crate::tests::plan();
        plan.domains[0].ramdisk_generated = true;
        let error = bench.ramdisks.of(&plan.domains[0]).expect_err("no folder");
        let text = error.to_string();
        assert!(text.contains("writing the ramdisk of \"a\" ("), "{text}");
        assert!(text.contains("run"), "{text}");
    }

    #[test]
    fn a_missing_or_unfit_program_is_found_at_its_domain() {
        let bench = Bench::new();
        let mut plan = crate::tests::plan();
        assert!(bench.ramdisks.findings(&plan).is_empty());
        plan.domains[1].ramdisk_generated = true;
        assert!(bench.ramdisks.findings(&plan).is_empty());
        for (program, why) in [(Some("#!/bin/sh"), "no ELF program"), (None, "there is no")] {
            match program {
                Some(text) => fs::write(bench.program(), text).expect("written"),
                None => fs::remove_file(bench.program()).expect("removed"),
            }
            let found = bench.ramdisks.findings(&plan);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].at, "domain[1].kind");
            assert!(found[0].message.contains(why), "{}", found[0].message);
        }
    }
}
