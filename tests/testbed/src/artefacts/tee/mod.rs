//! The secure world of a machine: what it boots from, and what programs of the normal world need to call it.

pub(crate) mod ffa;
pub(crate) mod firmware;
pub(crate) mod signed;
pub(crate) mod userland;

use super::Workshop;
use super::error::Result;
use super::groups::OPTEE;
use super::store::Artefact;
use clap::ValueEnum;
use std::path::PathBuf;

/// How the normal world calls OP-TEE. It is built for one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Abi {
    /// By OP-TEE's own SMCs.
    Smc,
    /// By FF-A, where OP-TEE is the Secure Partition Manager.
    Ffa,
}

/// What QEMU loads as `-bios`, and the programs that call it, of one release; got and built as far as they are missing.
pub(crate) fn firmware(workshop: &Workshop, abi: Abi) -> Result<(PathBuf, Artefact)> {
    workshop.with_group(&OPTEE, |optee| {
        let firmware = match abi {
            Abi::Smc => firmware::of(workshop, optee)?,
            Abi::Ffa => ffa::of(workshop, optee)?,
        };
        Ok((
            firmware.file(firmware::FILE),
            userland::of(workshop, optee)?,
        ))
    })
}
