//! Programs that call OP-TEE: its supplicant, its test suite, and the trusted applications that this loads.
//!
//! Debian's arm64 binaries, unpacked (never installed). All are of the release of Debian's OP-TEE: it runs only what was signed with
//! the key that Debian built it with, which an OP-TEE that is built here is given as well. They are a tree of their own, for dom0
//! and guests of machines that have a secure world; nothing else grows by them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::groups::{OPTEE, Part};
use super::super::initramfs::Program;
use super::super::key::Key;
use super::super::pins::Pin;
use super::super::store::{Artefact, Build, create, remove};
use super::super::userland::needed_libraries;
use super::super::{Workshop, tools};

/// The tree in the artefact.
pub(crate) const TREE: &str = "tree";
/// Where trusted applications are in it.
pub(super) const APPLICATIONS: &str = "usr/lib/optee_armtz";

const RECIPE: u32 = 1;

/// Documentation, and libraries that nothing here needs.
const TRIMMED: [&str; 6] = [
    "etc",
    "usr/lib/aarch64-linux-gnu/engines-3",
    "usr/lib/aarch64-linux-gnu/libssl.so.3",
    "usr/lib/aarch64-linux-gnu/ossl-modules",
    "usr/lib/systemd",
    "usr/share",
];

/// What these need and dom0 has: guests, where all else is static, are given it as well.
const LIBRARIES: [(&str, &str); 5] = [
    ("usr/lib", "ld-linux-aarch64.so.1"),
    ("usr/lib/aarch64-linux-gnu", "libc.so.6"),
    ("usr/lib/aarch64-linux-gnu", "libm.so.6"),
    ("usr/lib/aarch64-linux-gnu", "libz.so.1"),
    ("usr/lib/aarch64-linux-gnu", "libzstd.so.1"),
];

/// Its packages.
pub(crate) fn files(optee: &[Pin]) -> Vec<Pin> {
    OPTEE.part(optee, Part::Client)
}

/// Everything that could change what is built from [`files`].
pub(crate) fn key(pins: &[Pin]) -> Key {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key.value("trimmed", &TRIMMED.join(" "));
    key
}

/// The tree, to be unpacked beside dom0's or a guest's.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&OPTEE, |optee| of(workshop, optee))
}

/// The tree with these files of [`OPTEE`].
pub(super) fn of(workshop: &Workshop, optee: &[Pin]) -> Result<Artefact> {
    let pins = files(optee);
    workshop.store.ensure("tee-userland", &key(&pins), |build| {
        recipe(workshop, &pins, build)
    })
}

/// UUIDs of the trusted applications in it.
pub(crate) fn applications(artefact: &Artefact) -> Result<Vec<String>> {
    named(&artefact.file(TREE).join(APPLICATIONS))
}

/// UUIDs of the applications in a folder.
pub(super) fn named(folder: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let uuid = name.to_str().and_then(|name| name.strip_suffix(".ta"));
        all.extend(uuid.map(str::to_owned));
    }
    all.sort();
    Ok(all)
}

/// Libraries for guests, from dom0's tree.
pub(crate) fn libraries(dom0: &Path) -> Vec<Program> {
    let place = |(folder, name): (&str, &str)| {
        let path = format!("{folder}/{name}");
        Program::new(dom0.join(&path), path)
    };
    LIBRARIES.map(place).into()
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let tree: PathBuf = build.out.join(TREE);
    create(&tree)?;
    for (pin, file) in pins.iter().zip(&files) {
        build.step.state(format!("unpacking {}", pin.package));
        tools::unpack_deb(file, &tree, &build.log)?;
    }
    for path in TRIMMED {
        remove(&tree.join(path))?;
    }
    let mut missing: BTreeSet<String> = needed_libraries(&tree)?;
    for (_, library) in LIBRARIES {
        missing.remove(library);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    Err(Error::Product {
        what: "OP-TEE's userland".to_owned(),
        problem: format!("it lacks {}", missing.join(", ")),
        log: build.log.clone(),
    })
}
