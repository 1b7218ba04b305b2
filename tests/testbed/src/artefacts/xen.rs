//! The hypervisor: built from Debian's source with Debian's configuration plus `xen/bed.config`.
//!
//! Only `xen/` is built; the tools are Debian's own binaries of the same version (see `userland`).

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::groups::{Part, XEN};
use super::key::Key;
use super::pins::Pin;
use super::store::{Artefact, Build, create, remove};
use super::{Workshop, kconfig, tools};
use crate::paths;
use crate::process::Run;

/// The Xen release of the bed. Its tools' sonames and libxl's ABI carry it.
pub(crate) const RELEASE: &str = "4.20";
const RECIPE: u32 = 2;

/// The hypervisor's file in its artefact; what QEMU loads as `-kernel`.
pub(crate) const FILE: &str = "xen";
/// The same hypervisor as ELF, with symbols.
pub(crate) const SYMBOLS: &str = "xen-syms";

/// Folder in its artefact that stands for Xen's source where policies are made: it holds those parts only.
pub(crate) const POLICY_SOURCE: &str = "source";
/// What policies are made of, in Xen's source.
const POLICY_PARTS: [&str; 2] = ["xen/xsm/flask/policy", "tools/flask/policy"];

fn options_path() -> PathBuf {
    paths::testbed().join("xen/bed.config")
}

/// Everything that could change what is built from these files of [`XEN`].
pub(crate) fn key(pins: &[Pin]) -> Result<Key> {
    let mut key = Key::new(RECIPE);
    for pin in &XEN.part(pins, Part::Hypervisor) {
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

/// The hypervisor with the changes that ship in `configs/xen`; the same files as [`of`] gives.
pub(crate) fn changed(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&XEN, |pins| {
        let changes = changes()?;
        let key = changed_key(pins)?;
        workshop.store.ensure("xen-changed", &key, |build| {
            recipe(workshop, pins, &changes, build)
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

/// The built hypervisor.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&XEN, |pins| of(workshop, pins))
}

/// The hypervisor built from these files of [`XEN`]: `xen`, `xen-syms`, `xen.config`, `xenpolicy`, and [`POLICY_SOURCE`].
pub(crate) fn of(workshop: &Workshop, pins: &[Pin]) -> Result<Artefact> {
    workshop.store.ensure("xen", &key(pins)?, |build| {
        recipe(workshop, pins, &[], build)
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], changes: &[PathBuf], build: &Build) -> Result<()> {
    let files = workshop.fetch(&XEN.part(pins, Part::Hypervisor), &build.step)?;
    let [source, package] = files.as_slice() else {
        return Err(Error::Host("Xen is made of two files".to_owned()));
    };
    let tree = build.work.join("source");
    if !tree.is_dir() {
        build.step.state("unpacking the source");
        tools::unpack_tar(source, &tree, &["--strip-components=1"], &build.log)?;
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
    configure(&xen, package, &options, build)?;

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

/// Debian's configuration from its package, with the bed's options.
fn configure(xen: &Path, package: &Path, options: &str, build: &Build) -> Result<()> {
    build.step.state("configuring (step 2 of 3)");
    let config = xen.join(".config");
    let unpacked = build.work.join("debian");
    remove(&unpacked)?;
    create(&unpacked)?;
    tools::unpack_deb(package, &unpacked, &build.log)?;
    let base = read(&unpacked.join(format!("boot/xen-{RELEASE}-arm64.config")))?;
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
