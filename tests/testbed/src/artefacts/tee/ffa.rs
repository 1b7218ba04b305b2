//! The same for calls by FF-A: OP-TEE is the Secure Partition Manager at S-EL1 (SPMC), and TF-A has the dispatcher to it (SPMD).
//!
//! No binary of Debian's knows FF-A, so both are built from Debian's sources. Only the core of OP-TEE is: applications are those of
//! Debian's package of its test suite. The key that they are signed with is in its package for developers, and is not that of later
//! releases.

use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::groups::{OPTEE, OPTEE_SOURCE, Part, TF_A};
use super::super::key::Key;
use super::super::pins::Pin;
use super::super::store::{Artefact, Build, create};
use super::super::{Workshop, host, tools};
use super::firmware;
use super::signed::SIGNING_KEY;

const RECIPE: u32 = 1;
/// What OP-TEE is built as: like Debian's binary for machines with a hypervisor, and the Secure Partition Manager in addition.
const OPTIONS: [&str; 9] = [
    "PLATFORM=vexpress-qemu_armv8a",
    "CFG_ARM64_core=y",
    "CFG_ARM_GICV3=y",
    "CFG_USER_TA_TARGETS=ta_arm64",
    "CFG_BUILD_IN_TREE_TA=n",
    "CFG_TEE_CORE_LOG_LEVEL=3",
    "CFG_NS_VIRTUALIZATION=y",
    "CFG_VIRT_GUEST_COUNT=2",
    "CFG_CORE_SEL1_SPMC=y",
];
/// How TF-A hands calls on (TF-A: docs/getting_started/build-options.rst).
const DISPATCHER: [&str; 3] = ["SPD=spmd", "SPMD_SPM_AT_SEL2=0", "SPMC_OPTEE=1"];
/// What TF-A is told of OP-TEE (TF-A: plat/common/plat_spmd_manifest.c). Xen wants FF-A 1.1 at least.
const MANIFEST: &str = "\
/dts-v1/;
/ {
	compatible = \"arm,ffa-core-manifest-1.0\";
	#address-cells = <2>;
	#size-cells = <1>;
	attribute {
		spmc_id = <0x8000>;
		maj_ver = <1>;
		min_ver = <1>;
		exec_state = <0>;
		load_address = <0 0x0e100000>;
		entrypoint = <0 0x0e100000>;
		binary_size = <0x00080000>;
	};
};
";
/// Time that OP-TEE's version tells, in seconds: 1 January 2026.
const TIME: u32 = 1_767_225_600;

/// TF-A's source, OP-TEE's, and the package with the key.
pub(crate) fn files(tf_a: &[Pin], source: &[Pin], optee: &[Pin]) -> Vec<Pin> {
    let signing = OPTEE.part(optee, Part::Signing);
    [tf_a.to_vec(), source.to_vec(), signing].concat()
}

/// Everything that could change what is built from [`files`].
pub(crate) fn key(pins: &[Pin]) -> Result<Key> {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key.value("entry", &format!("{:#x}", firmware::NORMAL_WORLD))
        .value("optee", &OPTIONS.join(" "))
        .value("dispatcher", &DISPATCHER.join(" "))
        .value("manifest", MANIFEST);
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
        workshop.with_group(&OPTEE_SOURCE, |source| {
            let pins = files(tf_a, source, optee);
            workshop
                .store
                .ensure("firmware-ffa", &key(&pins)?, |build| {
                    recipe(workshop, &pins, build)
                })
        })
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let ([_, pin, _], [source, optee, developers]) = (pins, files.as_slice()) else {
        return Err(Error::Host("firmware is made of three files".to_owned()));
    };
    let unpacked = build.work.join("developers");
    create(&unpacked)?;
    tools::unpack_deb(developers, &unpacked, &build.log)?;
    let signing_key = unpacked.join(SIGNING_KEY);
    let optee = optee_core(workshop, optee, &pin.version, &signing_key, build)?;
    let manifest = build.work.join("spmc-manifest.dts");
    std::fs::write(&manifest, MANIFEST).map_err(Error::io("write", &manifest))?;
    let mut dispatcher = DISPATCHER.map(str::to_owned).to_vec();
    dispatcher.push(format!("QEMU_TOS_FW_CONFIG_DTS={}", manifest.display()));
    firmware::build(workshop, source, &optee, &dispatcher, build)
}

/// Builds OP-TEE's core; the folder in which [`firmware::CORE`] is.
fn optee_core(
    workshop: &Workshop,
    tarball: &Path,
    version: &str,
    signing_key: &Path,
    build: &Build,
) -> Result<PathBuf> {
    let python = host::python_for_optee(workshop)?;
    let (tree, objects) = (build.work.join("optee"), build.work.join("optee-objects"));
    if !tree.is_dir() {
        build.step.state("unpacking OP-TEE's source");
        tools::unpack_tar(tarball, &tree, &["--strip-components=1"], &build.log)?;
    }
    build.step.state("building OP-TEE");
    let core = objects.join("core");
    let mut files = 0_u32;
    tools::make(workshop.jobs)
        .arg("-C")
        .arg(&tree)
        .arg(format!("O={}", objects.display()))
        .arg(format!("CROSS_COMPILE={}", tools::CROSS_PREFIX))
        .arg(format!("PYTHON3={}", python.display()))
        .args(OPTIONS)
        .arg(format!("TA_SIGN_KEY={}", signing_key.display()))
        // The same input gives the same output, whoever builds it and when.
        .arg(format!("TEE_IMPL_VERSION={version}"))
        .arg(format!("SOURCE_DATE_EPOCH={TIME}"))
        .arg("CFG_OS_REV_REPORTS_GIT_SHA1=n")
        .args(firmware::CORE.map(|(_, file)| core.join(file)))
        .log(&build.log)
        .lines(|line| {
            if tools::is_compilation(line) {
                files += 1;
                build.step.state(format!("building OP-TEE… {files} files"));
            }
        })
        .map_err(Error::child("building OP-TEE"))?;
    Ok(core)
}
