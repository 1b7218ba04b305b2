//! `cargo xtask build` and `cargo xtask clean`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::error::{Error, Result};
use super::groups::{ALL, LINUX, OPTEE, OPTEE_SOURCE, TF_A, USERLAND, XEN};
use super::lock::Lock;
use super::store::{Artefact, remove};
use super::tee::{self, ffa, firmware, signed};
use super::{Workshop, bed, headers, host, key, linux, notices, rust, userland, xen};
use crate::failure::Failure;
use crate::paths;
use crate::progress::{duration, size};

/// What can be asked for by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The hypervisor.
    Xen,
    /// The kernel of dom0 and guests.
    Linux,
    /// Debian's programs for dom0 and guests.
    Userland,
    /// This workspace's programs for arm64.
    Programs,
    /// The secure world: TF-A and OP-TEE, and the programs that call it.
    Tee,
    /// TF-A and OP-TEE for calls by FF-A.
    TeeFfa,
}

/// Options of `cargo xtask build`.
#[derive(Args)]
pub(crate) struct Build {
    /// Only these [default: all, and the images that a boot loads].
    parts: Vec<Part>,
    /// Try again to get the pinned versions where the archive did not have them and others stand in.
    #[arg(long)]
    refresh: bool,
    /// Jobs of a compilation [default: number of processors].
    #[arg(long, short, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(crate) fn run(self) -> std::result::Result<ExitCode, Failure> {
        let begun = Instant::now();
        let workshop = Workshop::with(self.jobs.map(usize::from), self.refresh);
        let rows = if self.parts.is_empty() {
            let bed = bed(&workshop)?;
            let mut rows = vec![
                Row::part("xen", &bed.xen),
                Row::part("linux", &bed.linux),
                Row::artefact(&bed.userland),
            ];
            rows.push(Row::file("dom0 initramfs", &bed.dom0));
            rows.push(Row::file("guest initramfs", &bed.guest));
            rows
        } else {
            some(&workshop, &self.parts)?
        };
        if self.json {
            println!("{}", json(&rows, begun.elapsed()));
        } else {
            table(&rows, begun.elapsed());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn some(workshop: &Workshop, parts: &[Part]) -> Result<Vec<Row>> {
    host::ensure(workshop)?;
    let mut rows = Vec::new();
    for part in parts {
        match part {
            Part::Xen => rows.push(Row::artefact(&xen::artefact(workshop)?)),
            Part::Linux => rows.push(Row::artefact(&linux::artefact(workshop)?)),
            Part::Userland => rows.push(Row::artefact(&userland::artefact(workshop)?)),
            Part::Tee => {
                rows.push(Row::artefact(&firmware::artefact(workshop)?));
                rows.push(Row::artefact(&tee::userland::artefact(workshop)?));
            }
            Part::TeeFfa => rows.push(Row::artefact(&ffa::artefact(workshop)?)),
            Part::Programs => {
                let names = rust::BINARIES.map(|binary| binary.name);
                let binaries = rust::rust_binaries(workshop, &names)?;
                rows.extend(
                    names
                        .iter()
                        .zip(&binaries)
                        .map(|(name, path)| Row::file(name, path)),
                );
            }
        }
    }
    Ok(rows)
}

/// One line of the report.
#[derive(Clone)]
struct Row {
    name: String,
    bytes: u64,
    /// How long it took to build, and whether this run did; cached images and programs do not know.
    built: Option<(Duration, bool)>,
    place: PathBuf,
}

impl Row {
    fn artefact(artefact: &Artefact) -> Self {
        Self {
            name: artefact.name.clone(),
            bytes: artefact.size,
            built: Some((Duration::from_secs_f64(artefact.seconds), artefact.fresh)),
            place: artefact.path.clone(),
        }
    }

    fn part(name: &str, part: &super::Part) -> Self {
        match part {
            super::Part::Built(artefact) => Self::artefact(artefact),
            super::Part::Brought(path) => Self::file(name, path),
        }
    }

    fn file(name: &str, path: &Path) -> Self {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        Self {
            name: name.to_owned(),
            bytes,
            built: None,
            place: path.to_path_buf(),
        }
    }
}

fn table(rows: &[Row], total: Duration) {
    println!(
        "{:<16} {:>10} {:>14}  {:<7} place",
        "artefact", "size", "build time", ""
    );
    for row in rows {
        let (time, how) = match row.built {
            Some((time, fresh)) => (duration(time), if fresh { "built" } else { "cached" }),
            None => (String::new(), ""),
        };
        println!(
            "{:<16} {:>10} {time:>14}  {how:<7} {}",
            row.name,
            size(row.bytes),
            row.place.display()
        );
    }
    for notice in notices::all() {
        println!("notice: {notice}");
    }
    println!("ready after {}", duration(total));
}

fn json(rows: &[Row], total: Duration) -> serde_json::Value {
    let mut figures = serde_json::Map::new();
    figures.insert("seconds".to_owned(), total.as_secs_f64().into());
    for row in rows {
        let name = row.name.replace(' ', "-");
        figures.insert(format!("{name}.bytes"), row.bytes.into());
        if let Some((time, fresh)) = row.built {
            figures.insert(format!("{name}.build_seconds"), time.as_secs_f64().into());
            figures.insert(format!("{name}.built"), u8::from(fresh).into());
        }
    }
    let places = rows.iter().map(|row| row.place.display().to_string());
    let notes: Vec<String> = notices::all().into_iter().chain(places).collect();
    serde_json::json!({ "name": "build", "passed": true, "figures": figures, "notes": notes })
}

/// Options of `cargo xtask clean`.
#[derive(Args)]
pub(crate) struct Clean {
    /// Remove the whole cache, downloads too.
    #[arg(long)]
    all: bool,
}

impl Clean {
    pub(crate) fn run(self) -> std::result::Result<ExitCode, Failure> {
        let workshop = Workshop::open();
        let (kept, downloads) = if self.all {
            Default::default()
        } else {
            used(&workshop)?
        };
        let mut freed = sweep(workshop.store.root(), self.all, &kept, &downloads)?;
        if self.all {
            freed += discard(&paths::tree_target())?;
        }
        println!(
            "{} freed in {}",
            size(freed),
            workshop.store.root().display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Artefacts and downloads that this tree uses, found without the network.
fn used(workshop: &Workshop) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let mut downloads = BTreeSet::new();
    let mut keep = |pins: &[super::Pin]| {
        let paths = pins.iter().map(|pin| workshop.downloads.path(&pin.remote));
        downloads.extend(
            paths.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        );
    };
    for group in ALL {
        keep(&workshop.files_of(group)?);
    }
    let present = names(workshop.store.root());
    let mut artefacts = BTreeSet::new();
    // A key asks the compiler for its version: a machine without one has built nothing.
    let mut add = |name: &str, key: &dyn Fn() -> Result<key::Key>| -> Result<()> {
        if present.iter().any(|other| is_of(other, name)) {
            artefacts.insert(format!("{name}-{}", key()?.id()));
        }
        Ok(())
    };
    let (xen, linux) = (workshop.files_of(&XEN)?, workshop.files_of(&LINUX)?);
    let (tf_a, optee) = (workshop.files_of(&TF_A)?, workshop.files_of(&OPTEE)?);
    let optee_source = workshop.files_of(&OPTEE_SOURCE)?;
    let userland_files = userland::files(&xen, &workshop.files_of(&USERLAND)?);
    let client = tee::userland::files(&optee);
    add("xen", &|| xen::key(&xen))?;
    add("xen-changed", &|| xen::changed_key(&xen))?;
    add("userland", &|| Ok(userland::key(&userland_files)))?;
    add("linux", &|| linux::key(&linux))?;
    add("firmware", &|| {
        firmware::key(&firmware::files(&tf_a, &optee))
    })?;
    add("firmware-ffa", &|| {
        ffa::key(&ffa::files(&tf_a, &optee_source, &optee))
    })?;
    add("tee-userland", &|| Ok(tee::userland::key(&client)))?;
    add("tee-signed", &|| {
        Ok(signed::key(&signed::files(&optee), &client))
    })?;
    add("xen-headers", &|| headers::key(workshop))?;
    if let Some((pins, key)) = rust::used(workshop)? {
        keep(&pins);
        artefacts.insert(format!("rust-std-{}", key.id()));
    }
    Ok((artefacts, downloads))
}

/// Whether `id` is an artefact called `name`.
fn is_of(id: &str, name: &str) -> bool {
    is_artefact(id) && id.rsplit_once('-').is_some_and(|(start, _)| start == name)
}

/// Removes what is neither kept nor in use by another run; returns how many bytes that freed.
fn sweep(
    root: &Path,
    all: bool,
    kept: &BTreeSet<String>,
    downloads: &BTreeSet<String>,
) -> Result<u64> {
    let mut freed = 0;
    for folder in [root.to_path_buf(), root.join("work"), root.join("tmp")] {
        for name in names(&folder) {
            if !is_artefact(&name) || kept.contains(&name) {
                continue;
            }
            let Some(_lock) = Lock::try_take(&root.join("locks").join(format!("{name}.lock")))?
            else {
                println!("{name} is being worked on by another run: left alone");
                continue;
            };
            freed += discard(&folder.join(&name))?;
        }
    }
    if let Some(_lock) = Lock::try_take(&root.join("downloads/lock"))? {
        for name in names(&root.join("downloads")) {
            let file = name.trim_end_matches(".part");
            if name != "lock" && !downloads.contains(file) {
                freed += discard(&root.join("downloads").join(&name))?;
            }
        }
    }
    if all {
        for name in ["apt", "apt-backports", "cargo", "pins", "logs"] {
            freed += discard(&root.join(name))?;
        }
    }
    Ok(freed)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// `name-0123456789abcdef`.
fn is_artefact(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(_, id)| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn discard(path: &Path) -> Result<u64> {
    let bytes = if path.is_dir() {
        super::tools::bytes_below(path)?
    } else {
        path.symlink_metadata().map_or(0, |metadata| metadata.len())
    };
    // An artefact without its manifest is no artefact: an interruption here leaves nothing that looks whole.
    remove(&path.join(super::manifest::FILE)).or_else(|error| match error {
        Error::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
            Ok(())
        }
        error => Err(error),
    })?;
    remove(path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::sweep;
    use crate::artefacts::lock::Lock;
    use std::collections::BTreeSet;

    #[test]
    fn only_what_nobody_uses_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        };
        for name in [
            "xen-00000000000000aa",
            "xen-00000000000000bb",
            "linux-00000000000000cc",
        ] {
            put(&format!("{name}/product"));
        }
        put("downloads/kept.deb");
        put("downloads/old.deb");
        put("downloads/older.deb.part");
        put("pins/xen.json");
        let _other_run = Lock::take(
            &root.path().join("locks/linux-00000000000000cc.lock"),
            "linux",
        )
        .unwrap();
        let kept = BTreeSet::from(["xen-00000000000000aa".to_owned()]);
        let freed = sweep(
            root.path(),
            false,
            &kept,
            &BTreeSet::from(["kept.deb".to_owned()]),
        )
        .unwrap();
        assert_eq!(freed, 15);
        let there = |path: &str| root.path().join(path).exists();
        assert!(there("xen-00000000000000aa/product") && !there("xen-00000000000000bb"));
        assert!(
            there("linux-00000000000000cc/product"),
            "another run is working on it"
        );
        assert!(
            there("downloads/kept.deb")
                && !there("downloads/old.deb")
                && !there("downloads/older.deb.part")
        );
        assert!(there("pins/xen.json"));
    }
}
