//! Trusted applications of OP-TEE's test suite, signed under other UUIDs: the same code for each guest, with objects of its own.
//!
//! OP-TEE's own script signs them, with the key that Debian signed them with.

use std::path::Path;

use super::super::error::{Error, Result};
use super::super::groups::{OPTEE, Part};
use super::super::host;
use super::super::key::Key;
use super::super::pins::Pin;
use super::super::store::{Artefact, Build, create};
use super::super::{Workshop, tools};
use super::userland;
use crate::process::Run;

/// The key in OP-TEE's package for developers.
pub(super) const SIGNING_KEY: &str =
    "usr/lib/optee-os-dev/vexpress-qemu_armv8a-virtualized/keys/default_ta.pem";
/// The script in it.
const SIGN: &str = "usr/lib/optee-os-dev/vexpress-qemu_armv8a-virtualized/scripts/sign_encrypt.py";
/// Those who get applications of their own.
pub(crate) const NUMBERS: std::ops::RangeInclusive<u8> = 2..=4;

const RECIPE: u32 = 1;
/// Start of a signed file, and the kind that holds an application and is signed with the key itself
/// (optee_os: core/include/signed_hdr.h).
const MAGIC: u32 = 0x4f54_5348;
const BOOTSTRAP_TA: u32 = 1;
/// Bytes of that file's header without hash and signature, and of what follows these: a UUID and a version.
const HEADER: usize = 20;
const IDENTITY: usize = 20;

/// The UUID under which an application is signed for `number`.
pub(crate) fn uuid(application: &str, number: u8) -> String {
    // A UUID's third group begins with its version, and its last is often an address: the second has neither.
    let mut groups: Vec<String> = application.split('-').map(str::to_owned).collect();
    if let Some(group) = groups.get_mut(1) {
        *group = format!("a{number:03x}");
    }
    groups.join("-")
}

/// Applications that were signed for each of [`NUMBERS`], by their own UUIDs; the file of one is [`file`].
pub(crate) fn applications(artefact: &Artefact) -> Result<Vec<String>> {
    userland::named(&artefact.file(&NUMBERS.start().to_string()))
}

/// Where in the artefact the application signed for `number` is.
pub(crate) fn file(application: &str, number: u8) -> String {
    format!("{number}/{application}.ta")
}

/// The package with the key and the script.
pub(crate) fn files(optee: &[Pin]) -> Vec<Pin> {
    OPTEE.part(optee, Part::Signing)
}

/// Everything that could change what is signed: also the files of [`userland`].
pub(crate) fn key(pins: &[Pin], userland: &[Pin]) -> Key {
    let mut key = Key::new(RECIPE);
    for pin in pins.iter().chain(userland) {
        pin.add_to(&mut key);
    }
    key
}

/// The signed files.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&OPTEE, |optee| {
        let userland = userland::of(workshop, optee)?;
        let pins = files(optee);
        let key = key(&pins, &userland::files(optee));
        workshop.store.ensure("tee-signed", &key, |build| {
            let applications = userland.file(userland::TREE).join(userland::APPLICATIONS);
            recipe(workshop, &pins, &applications, build)
        })
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], applications: &Path, build: &Build) -> Result<()> {
    let python = host::python_for_optee(workshop)?;
    let unpacked = build.work.join("developers");
    create(&unpacked)?;
    for file in workshop.fetch(pins, &build.step)? {
        tools::unpack_deb(&file, &unpacked, &build.log)?;
    }
    for number in NUMBERS {
        create(&build.out.join(number.to_string()))?;
    }
    let code = build.work.join("application.elf");
    for name in &userland::named(applications)? {
        let path = applications.join(format!("{name}.ta"));
        let signed = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let Some(bare) = code_of(&signed) else {
            continue;
        };
        std::fs::write(&code, bare).map_err(Error::io("write", &code))?;
        for number in NUMBERS {
            let uuid = uuid(name, number);
            build.step.state(format!("signing {uuid}"));
            Run::new(&python)
                .arg(unpacked.join(SIGN))
                .args(["sign-enc", "--uuid", &uuid, "--ta-version", "0", "--in"])
                .arg(&code)
                .arg("--key")
                .arg(unpacked.join(SIGNING_KEY))
                .arg("--out")
                .arg(build.out.join(file(name, number)))
                .log(&build.log)
                .run()
                .map_err(Error::child("signing an application"))?;
        }
    }
    Ok(())
}

/// The code in a signed file, unless it is of another kind: a key, or something signed with one.
fn code_of(signed: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(*signed.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_le_bytes(*signed.get(at..)?.first_chunk()?));
    if (word(0)?, word(4)?) != (MAGIC, BOOTSTRAP_TA) {
        return None;
    }
    let proof = usize::from(half(16)?) + usize::from(half(18)?);
    signed.get(HEADER + proof + IDENTITY..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guest_gets_uuids_of_its_own() {
        let storage = "b689f2a7-8adf-477a-9f99-32e90c0ad0a2";
        assert_eq!(uuid(storage, 2), "b689f2a7-a002-477a-9f99-32e90c0ad0a2");
        assert_ne!(uuid(storage, 3), uuid(storage, 2));
    }

    #[test]
    fn code_is_what_follows_hash_signature_and_identity() {
        let mut file = MAGIC.to_le_bytes().to_vec();
        file.extend(BOOTSTRAP_TA.to_le_bytes());
        file.extend([0; 8]);
        file.extend([2, 0, 3, 0]);
        file.extend([7; 5 + IDENTITY]);
        file.extend(b"\x7fELF");
        assert_eq!(code_of(&file), Some(&b"\x7fELF"[..]));
        assert_eq!(code_of(&file[..30]), None);
        file[4] = 3;
        assert_eq!(code_of(&file), None);
    }
}
