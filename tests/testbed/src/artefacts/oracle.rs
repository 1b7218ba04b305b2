//! What the oracle boots: Xen, its symbols, the bare-metal guest as Xen takes it, and device trees of QEMU's machines.

use std::path::PathBuf;

use super::error::{Error, Result};
use super::key::Key;
use super::{Part, Workshop, host, rust, tools, xen};
use crate::dtc;
use crate::process::Run;

const RECIPE: u32 = 1;
const GUEST: &str = "guest.bin";
const TREE: &str = "machine.dts";

/// Everything that does not differ from layout to layout.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// The hypervisor.
    pub(crate) xen: PathBuf,
    /// The same with symbols; a hypervisor that somebody brought along has none.
    pub(crate) symbols: Option<PathBuf>,
    /// The guest, a flat arm64 image.
    pub(crate) guest: PathBuf,
    /// QEMU's program.
    pub(crate) qemu: PathBuf,
}

/// Gets and builds what is missing.
pub(crate) fn oracle(workshop: &Workshop) -> Result<Oracle> {
    host::ensure(workshop)?;
    let xen = Part::get("AVPS_BED_XEN", || xen::artefact(workshop))?;
    let symbols = match &xen {
        Part::Built(artefact) => Some(artefact.file(xen::SYMBOLS)),
        Part::Brought(_) => None,
    };
    Ok(Oracle {
        xen: xen.file(xen::FILE),
        symbols,
        guest: guest(workshop)?,
        qemu: host::qemu(workshop)?,
    })
}

/// The guest as one flat piece: Xen copies a file into the domain, and jumps to its first byte.
pub(crate) fn guest(workshop: &Workshop) -> Result<PathBuf> {
    let built = rust::rust_binaries(workshop, &[rust::ORACLE_GUEST.name])?;
    let program = built
        .first()
        .ok_or_else(|| Error::Host("the oracle's guest was not built".to_owned()))?;
    let objcopy = format!("{}objcopy", tools::CROSS_PREFIX);
    let mut key = Key::new(RECIPE);
    key.file("program", program)?
        .value("objcopy", &tools::first_line(&objcopy, "--version")?);
    let artefact = workshop.tree.ensure("oracle-guest", &key, |build| {
        Run::new(&objcopy)
            .args(["-O", "binary"])
            .arg(program)
            .arg(build.out.join(GUEST))
            .log(&build.log)
            .run()
            .map_err(Error::child("making a flat image of the oracle's guest"))
    })?;
    Ok(artefact.file(GUEST))
}

/// The device tree that QEMU makes for a machine, as source. `arguments` are those of the machine alone.
pub(crate) fn machine_tree(
    workshop: &Workshop,
    qemu: &std::path::Path,
    machine: &str,
    arguments: &[String],
) -> Result<PathBuf> {
    let program = qemu.display().to_string();
    let mut key = Key::new(RECIPE);
    key.value("qemu", &tools::first_line(&program, "--version")?)
        .value("machine", machine);
    for argument in arguments {
        key.value("argument", argument);
    }
    let artefact = workshop.tree.ensure("device-tree", &key, |build| {
        let binary = build.work.join("machine.dtb");
        // QEMU's option parser ends a value at a comma; a doubled one stands for itself.
        let path = binary.display().to_string().replace(',', ",,");
        Run::new(qemu)
            .args(["-nodefaults", "-display", "none", "-M"])
            .arg(format!("{machine},dumpdtb={path}"))
            .args(arguments)
            .log(&build.log)
            .run()
            .map_err(Error::child("asking QEMU for its device tree"))?;
        dtc::decompile(&binary, &build.out.join(TREE))
            .map_err(Error::child("reading QEMU's device tree"))
    })?;
    Ok(artefact.file(TREE))
}
