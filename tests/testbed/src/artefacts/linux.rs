//! Linux for dom0, driver domains and guests: one Image, from Debian's source and `kernel/core.config`.
//!
//! Debian's own kernels have XEN_VIRTIO off, so that their guests cannot use grants with virtio.

use std::path::PathBuf;

use super::apt::compare;
use super::error::{Error, Result};
use super::groups::LINUX;
use super::key::Key;
use super::pins::{Pin, pick};
use super::store::{Artefact, Build, create};
use super::{Workshop, apt, kconfig, tools};
use crate::paths;
use crate::process::Run;
use crate::progress::Step;

/// The uncompressed image in the artefact.
pub(crate) const FILE: &str = "Image";

const RECIPE: u32 = 1;
/// The first release with every virtio driver that this project needs.
const WANTED: &str = "7.2";
/// What the bed cannot do without; anything else that is missing is only noted.
const ESSENTIAL: [&str; 8] = [
    "CONFIG_XEN=",
    "CONFIG_XEN_DOM0=",
    "CONFIG_XEN_VIRTIO=",
    "CONFIG_XEN_PRIVCMD=",
    "CONFIG_XEN_GNTDEV=",
    "CONFIG_VIRTIO_MMIO=",
    "CONFIG_VIRTIO_BLK=",
    "CONFIG_DEVTMPFS=",
];
/// Lines of the build's output, for the percentage: measured with 7.2.
const STEPS: u32 = 1740;
/// Large, and not looked at by an arm64 build.
const NOT_UNPACKED: [&str; 5] = [
    "--exclude=*/Documentation/devicetree",
    "--exclude=*/Documentation/translations",
    "--exclude=*/tools/testing",
    "--exclude=*/drivers/gpu/drm/amd/include/asic_reg",
    "--exclude=*/tools/perf",
];

/// The newest `linux-source-*` of sid from 7.2 on, else Debian 13's.
pub(crate) fn choose(workshop: &Workshop, step: &Step) -> Result<Vec<Pin>> {
    let release = |package: &str| package.trim_start_matches("linux-source-").to_owned();
    let mut packages = workshop.apt.search("^linux-source-[0-9]")?;
    packages.sort_by(|one, two| compare(&release(two), &release(one)));
    let mut last = Error::Unavailable {
        what: "Linux's source".to_owned(),
        reason: "no suite offers it".to_owned(),
    };
    for package in &packages {
        let from = if compare(&release(package), WANTED).is_ge() {
            apt::From::Sid
        } else {
            apt::From::Trixie
        };
        match pick(
            &workshop.apt,
            &workshop.downloads,
            &[package],
            from,
            |_| true,
            step,
        ) {
            Ok(pins) => {
                if from == apt::From::Trixie {
                    step.note(&format!("no Linux {WANTED} to be had, using {package}: some virtio drivers are missing"));
                }
                return Ok(pins);
            }
            Err(error @ Error::Unavailable { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn options_path() -> PathBuf {
    paths::testbed().join("kernel/core.config")
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
    Ok(key)
}

/// The built kernel: `Image`, `linux.config`, `System.map`.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&LINUX, |pins| {
        workshop
            .store
            .ensure("linux", &key(pins)?, |build| recipe(workshop, pins, build))
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let source = build.work.join("source");
    if !source.is_dir() {
        build.step.state("unpacking the source (step 1 of 3)");
        let package = build.work.join("package");
        create(&package)?;
        tools::unpack_deb(&files[0], &package, &build.log)?;
        let tarball = package.join(format!("usr/src/{}.tar.xz", pins[0].package));
        let options: Vec<&str> = NOT_UNPACKED
            .into_iter()
            .chain(["--strip-components=1"])
            .collect();
        tools::unpack_tar(&tarball, &source, &options, &build.log)?;
        super::store::remove(&package)?;
    }

    build.step.state("configuring (step 2 of 3)");
    let objects = build.work.join("objects");
    create(&objects)?;
    let options_path = options_path();
    let options =
        std::fs::read_to_string(&options_path).map_err(Error::io("read", &options_path))?;
    let config = objects.join(".config");
    make(workshop, &source, &objects)
        .arg(format!("KCONFIG_ALLCONFIG={}", options_path.display()))
        .arg("allnoconfig")
        .log(&build.log)
        .run()
        .map_err(Error::child("configuring Linux"))?;
    let finished = std::fs::read_to_string(&config).map_err(Error::io("read", &config))?;
    let missing = kconfig::not_taken(&options, &finished);
    if !missing.is_empty() {
        build.step.note(&format!(
            "options not available in this source: {}",
            missing.join(", ")
        ));
    }
    if let Some(absent) = ESSENTIAL
        .iter()
        .find(|option| !finished.lines().any(|line| line.starts_with(**option)))
    {
        return Err(Error::Product {
            what: "Linux's configuration".to_owned(),
            problem: format!("{}y did not take", absent),
            log: build.log.clone(),
        });
    }

    let mut steps = 0_u32;
    make(workshop, &source, &objects)
        .arg("Image")
        .log(&build.log)
        .lines(|line| {
            if line.starts_with("  ") {
                steps += 1;
                let percent = (steps * 100 / STEPS).min(99);
                build.step.state(format!(
                    "building (step 3 of 3)… {percent} %, {steps} of ~{STEPS} steps"
                ));
            }
        })
        .map_err(Error::child("building Linux"))?;

    tools::copy(
        &objects.join("arch/arm64/boot/Image"),
        &build.out.join(FILE),
    )?;
    tools::copy(&objects.join("System.map"), &build.out.join("System.map"))?;
    tools::copy(&config, &build.out.join("linux.config"))
}

fn make(workshop: &Workshop, source: &std::path::Path, objects: &std::path::Path) -> Run {
    tools::make(workshop.jobs)
        .arg("-C")
        .arg(source)
        .arg(format!("O={}", objects.display()))
        .arg("ARCH=arm64")
        .arg(format!("CROSS_COMPILE={}", tools::CROSS_PREFIX))
        // The same input gives the same output, whoever builds it and when.
        .args([
            "KBUILD_BUILD_USER=avps",
            "KBUILD_BUILD_HOST=bed",
            "KBUILD_BUILD_TIMESTAMP=2026-01-01",
        ])
}
