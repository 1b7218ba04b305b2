//! The hypervisor: built from Debian's source with Debian's configuration plus `xen/bed.config`.
//!
//! Only `xen/` is built; the tools are Debian's own binaries of the same version (see `userland`).

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::index::Remote;
use super::key::Key;
use super::pins::{Pin, first, pick, tarballs};
use super::store::{Artefact, Build, create, remove};
use super::{Workshop, apt, kconfig, tools};
use crate::paths;
use crate::process::Run;

/// The Xen release of the bed. Its tools' sonames and libxl's ABI carry it.
pub(crate) const RELEASE: &str = "4.20";
const SOURCE: &str = "xen";
const HYPERVISOR: &str = "xen-hypervisor-4.20-arm64";
const RECIPE: u32 = 2;

/// The hypervisor's file in its artefact; what QEMU loads as `-kernel`.
pub(crate) const FILE: &str = "xen";
/// The same hypervisor as ELF, with symbols.
pub(crate) const SYMBOLS: &str = "xen-syms";

/// Folder in its artefact that stands for Xen's source where policies are made: it holds those parts only.
pub(crate) const POLICY_SOURCE: &str = "source";
/// What policies are made of, in Xen's source.
const POLICY_PARTS: [&str; 2] = ["xen/xsm/flask/policy", "tools/flask/policy"];

fn request() -> Key {
    let mut key = Key::new(1);
    key.value("source", SOURCE).value("release", RELEASE);
    key
}

/// The chosen files: the source first, then the package that holds Debian's configuration, if it can be had.
pub(crate) fn pins(workshop: &Workshop) -> Result<Vec<Pin>> {
    workshop.pins.get("xen", &request(), |step| {
        workshop.apt.update()?;
        let source = source(workshop, step)?;
        let hypervisor = pick(
            &workshop.apt,
            &workshop.downloads,
            &[HYPERVISOR],
            apt::From::Anywhere,
            Some(&source.version),
            step,
        );
        match hypervisor {
            Ok(hypervisor) => Ok([vec![source], hypervisor].concat()),
            Err(Error::Unavailable { reason, .. }) => {
                step.note(&format!(
                    "Debian's configuration cannot be had ({reason}): using Xen's own default"
                ));
                Ok(vec![source])
            }
            Err(error) => Err(error),
        }
    })
}

/// The newest source on offer whose tarball can really be had, else the known one.
fn source(workshop: &Workshop, step: &crate::progress::Step) -> Result<Pin> {
    let prefix = format!("{RELEASE}.");
    let offered = tarballs(&workshop.apt, SOURCE, |version| {
        version.starts_with(&prefix)
    })?;
    let candidates = offered.chain([Ok(known())]);
    first(&workshop.downloads, SOURCE, candidates, step)
}

/// The source to use when the archive's files lag behind its indices, so that nothing on offer can be had. Its content
/// is that of Xen's commit c42374a1052a, `.gitarchive-info` apart.
fn known() -> Pin {
    let file = "xen_4.20.3+127-gc42374a105.orig.tar.xz";
    Pin {
        package: SOURCE.to_owned(),
        version: "4.20.3+127-gc42374a105-0+deb13u1".to_owned(),
        remote: Remote {
            uri: apt::in_pool(&format!("main/x/xen/{file}")),
            file: file.to_owned(),
            size: 4_961_352,
            sha256: "df0831854a55a8f31cb3cb85036f2edc928e2ef098d77f815f5714bfafac68f3".to_owned(),
        },
    }
}

fn options_path() -> PathBuf {
    paths::testbed().join("xen/bed.config")
}

/// What has been chosen before, if anything.
pub(crate) fn pinned(workshop: &Workshop) -> Option<Vec<Pin>> {
    workshop.pins.read("xen", &request())
}

/// Everything that could change what is built.
pub(crate) fn key(pins: &[Pin]) -> Result<Key> {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key.file("options", &options_path())?;
    for (tool, version) in tools::cross_compiler()? {
        key.value(tool, &version);
    }
    key.value("checkpolicy", &tools::first_line("checkpolicy", "-V")?);
    Ok(key)
}

/// Changes to Xen that ship in `configs/xen`, in order.
fn changes() -> Result<Vec<PathBuf>> {
    let mut files = tools::files_below(&paths::workspace().join("configs/xen"))?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "patch"));
    files.sort();
    Ok(files)
}

/// The hypervisor with the changes that ship in `configs/xen`; the same files as [`artefact`]'s.
pub(crate) fn changed(workshop: &Workshop) -> Result<Artefact> {
    workshop.choosing_anew_when_gone("xen", &request(), || {
        let (pins, changes) = (pins(workshop)?, changes()?);
        let key = changed_key(&pins)?;
        workshop.store.ensure("xen-changed", &key, |build| {
            recipe(workshop, &pins, &changes, build)
        })
    })
}

/// Everything that could change what [`changed`] builds.
pub(crate) fn changed_key(pins: &[Pin]) -> Result<Key> {
    let mut key = key(pins)?;
    for change in changes()? {
        key.file("change", &change)?;
    }
    Ok(key)
}

/// The built hypervisor: `xen`, `xen-syms`, `xen.config`, `xenpolicy`, and [`POLICY_SOURCE`].
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.choosing_anew_when_gone("xen", &request(), || {
        let pins = pins(workshop)?;
        workshop.store.ensure("xen", &key(&pins)?, |build| {
            recipe(workshop, &pins, &[], build)
        })
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], changes: &[PathBuf], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let tree = build.work.join("source");
    if !tree.is_dir() {
        build.step.state("unpacking the source");
        tools::unpack_tar(&files[0], &tree, &["--strip-components=1"], &build.log)?;
        for change in changes {
            Run::new("patch")
                .args(["-p1", "--forward", "-d"])
                .arg(&tree)
                .arg("-i")
                .arg(change)
                .log(&build.log)
                .run()
                .map_err(Error::child("changing Xen"))?;
        }
    }
    let xen = tree.join("xen");
    let options = read(&options_path())?;
    configure(&xen, files.get(1).map(PathBuf::as_path), &options, build)?;

    let finished = read(&xen.join(".config"))?;
    for option in kconfig::not_taken(&options, &finished) {
        build
            .step
            .note(&format!("option not available in this source: {option}"));
    }

    let mut files = 0_u32;
    make(&xen, workshop.jobs)
        .arg("build")
        .log(&build.log)
        .lines(|line| {
            if tools::is_compilation(line) {
                files += 1;
                build
                    .step
                    .state(format!("building (step 3 of 3)… {files} files"));
            }
        })
        .map_err(Error::child("building Xen"))?;

    for (from, to) in [
        ("xen", FILE),
        ("xen-syms", SYMBOLS),
        (".config", "xen.config"),
    ] {
        tools::copy(&xen.join(from), &build.out.join(to))?;
    }
    let policy = xen.join("xsm/flask/policy.bin");
    if policy.is_file() {
        tools::copy(&policy, &build.out.join("xenpolicy"))?;
    }
    for part in POLICY_PARTS {
        for file in tools::files_below(&tree.join(part))? {
            let inside = file.strip_prefix(&tree).unwrap_or(&file);
            let to = build.out.join(POLICY_SOURCE).join(inside);
            if let Some(folder) = to.parent() {
                create(folder)?;
            }
            tools::copy(&file, &to)?;
        }
    }
    Ok(())
}

fn configure(xen: &Path, hypervisor: Option<&Path>, options: &str, build: &Build) -> Result<()> {
    build.step.state("configuring (step 2 of 3)");
    let config = xen.join(".config");
    let base = match hypervisor {
        Some(package) => {
            let unpacked = build.work.join("debian");
            remove(&unpacked)?;
            create(&unpacked)?;
            tools::unpack_deb(package, &unpacked, &build.log)?;
            read(&unpacked.join(format!("boot/xen-{RELEASE}-arm64.config")))?
        }
        None => {
            make(xen, 1)
                .arg("defconfig")
                .log(&build.log)
                .run()
                .map_err(Error::child("configuring Xen"))?;
            read(&config)?
        }
    };
    std::fs::write(&config, kconfig::merge(&base, options)).map_err(Error::io("write", &config))?;
    make(xen, 1)
        .arg("olddefconfig")
        .log(&build.log)
        .run()
        .map_err(Error::child("configuring Xen"))
}

fn make(xen: &Path, jobs: usize) -> Run {
    tools::make(jobs)
        .arg("-C")
        .arg(xen)
        .arg("XEN_TARGET_ARCH=arm64")
        .arg(format!("CROSS_COMPILE={}", tools::CROSS_PREFIX))
        // The same input gives the same output, whoever builds it and when.
        .args([
            "XEN_BUILD_DATE=",
            "XEN_BUILD_TIME=",
            "XEN_BUILD_HOST=bed",
            "XEN_WHOAMI=avps",
            "XEN_DOMAIN=bed",
        ])
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io("read", path))
}
