//! TF-A with OP-TEE inside: what the processor of a machine with a secure world starts with.
//!
//! TF-A is built from Debian's source, for Debian packages it for no board of QEMU's; OP-TEE is Debian's own binary for QEMU,
//! in the variant that keeps apart the domains of a hypervisor. It has room for two of them, of which dom0 is one.

use std::path::Path;

use super::super::error::{Error, Result};
use super::super::groups::{OPTEE, Part, TF_A};
use super::super::key::Key;
use super::super::pins::Pin;
use super::super::store::{Artefact, Build, create};
use super::super::{Workshop, tools};

/// What QEMU loads as `-bios`.
pub(crate) const FILE: &str = "firmware.bin";
/// Physical address at which TF-A enters the normal world. It does not load what is there; it leaves the address of the
/// board's device tree in x0, as Linux and Xen want it.
pub(crate) const NORMAL_WORLD: u64 = 0x6000_0000;

const RECIPE: u32 = 1;
/// OP-TEE's core, in files as TF-A loads them, and what TF-A's build calls them.
pub(super) const CORE: [(&str, &str); 3] = [
    ("BL32", "tee-header_v2.bin"),
    ("BL32_EXTRA1", "tee-pager_v2.bin"),
    ("BL32_EXTRA2", "tee-pageable_v2.bin"),
];
/// These files in OP-TEE's package.
const OPTEE_FILES: &str = "usr/lib/optee/vexpress-qemu_armv8a-virtualized";
/// Where TF-A's first stage looks for the others, in bytes from the start of the file.
const PACKAGE_AT: usize = 256 << 10;

/// TF-A's source and OP-TEE's package.
pub(crate) fn files(tf_a: &[Pin], optee: &[Pin]) -> Vec<Pin> {
    [tf_a.to_vec(), OPTEE.part(optee, Part::SecureWorld)].concat()
}

/// Everything that could change what is built from [`files`].
pub(crate) fn key(pins: &[Pin]) -> Result<Key> {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key.value("entry", &format!("{NORMAL_WORLD:#x}"));
    for (tool, version) in tools::cross_compiler()? {
        key.value(tool, &version);
    }
    Ok(key)
}

/// The firmware.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&OPTEE, |optee| of(workshop, optee))
}

/// The firmware with these files of [`OPTEE`].
pub(super) fn of(workshop: &Workshop, optee: &[Pin]) -> Result<Artefact> {
    workshop.with_group(&TF_A, |tf_a| {
        let pins = files(tf_a, optee);
        workshop.store.ensure("firmware", &key(&pins)?, |build| {
            recipe(workshop, &pins, build)
        })
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let [source, package] = files.as_slice() else {
        return Err(Error::Host("firmware is made of two files".to_owned()));
    };
    let unpacked = build.work.join("optee");
    create(&unpacked)?;
    tools::unpack_deb(package, &unpacked, &build.log)?;
    let optee = unpacked.join(OPTEE_FILES);
    self::build(workshop, source, &optee, &["SPD=opteed".to_owned()], build)
}

/// Builds TF-A from its source with [`CORE`] from a folder, and joins what it is made of. `dispatcher` are the options that
/// say how calls of the normal world are handed on.
pub(super) fn build(
    workshop: &Workshop,
    tarball: &Path,
    optee: &Path,
    dispatcher: &[String],
    build: &Build,
) -> Result<()> {
    let tree = build.work.join("source");
    if !tree.is_dir() {
        build.step.state("unpacking the source");
        tools::unpack_tar(tarball, &tree, &["--strip-components=1"], &build.log)?;
    }
    build.step.state("building");
    let optee = CORE.map(|(name, file)| format!("{name}={}", optee.join(file).display()));
    let objects = build.work.join("objects");
    tools::make(workshop.jobs)
        .arg("-C")
        .arg(&tree)
        .arg(format!("BUILD_BASE={}", objects.display()))
        .arg(format!("CROSS_COMPILE={}", tools::CROSS_PREFIX))
        .args(["PLAT=qemu", "QEMU_USE_GIC_DRIVER=QEMU_GICV3"])
        .args(dispatcher)
        .args(["BL32_RAM_LOCATION=tdram", "ARM_LINUX_KERNEL_AS_BL33=1"])
        .arg(format!("PRELOADED_BL33_BASE={NORMAL_WORLD:#x}"))
        .args(optee)
        // Compilers younger than the source warn of more.
        .arg("E=0")
        // The same input gives the same output, whoever builds it and when.
        .args(["BUILD_STRING=bed", "BUILD_MESSAGE_TIMESTAMP=\"\""])
        .args(["bl1", "fip"])
        .log(&build.log)
        .lines(|line| {
            if tools::is_compilation(line) {
                build.step.state(format!("building… {}", line.trim()));
            }
        })
        .map_err(Error::child("building TF-A"))?;
    let built = objects.join("qemu/release");
    join(
        &built.join("bl1.bin"),
        &built.join("fip.bin"),
        &build.out.join(FILE),
        build,
    )
}

/// TF-A's first stage, and the package of all others where that looks for it.
fn join(start: &Path, package: &Path, to: &Path, build: &Build) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).map_err(Error::io("read", path));
    let (mut whole, package) = (read(start)?, read(package)?);
    if whole.len() > PACKAGE_AT {
        return Err(Error::Product {
            what: "TF-A".to_owned(),
            problem: format!("its first stage is larger than {PACKAGE_AT} bytes"),
            log: build.log.clone(),
        });
    }
    whole.resize(PACKAGE_AT, 0);
    whole.extend(package);
    std::fs::write(to, whole).map_err(Error::io("write", to))
}
