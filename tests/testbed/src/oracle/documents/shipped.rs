//! Documents that ship, on QEMU's machine.

use super::machine;
use crate::failure::Failure;
use crate::oracle::Oracle;
use crate::paths;
use platform::{Analysis, Files, Plan};
use std::io;

/// The plan of a document in `configs/`. The machine's device tree that it names is QEMU's.
///
/// # Errors
/// When it cannot be read, has findings, or is for another machine.
pub(crate) fn shipped(oracle: &Oracle, file: &str) -> Result<Plan, Failure> {
    let path = paths::workspace().join("configs").join(file);
    let failed = |what: &str| Failure::new(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&e.to_string()))?;
    let plan = |analysis: Analysis| {
        let plan = analysis.plan;
        plan.ok_or_else(|| failed("it has findings; see avpsctl check"))
    };
    let first = plan(platform::analyse(&text, "/"))?;
    let machine = machine(&first).ok_or_else(|| failed("it is not for QEMU's machine"))?;
    let tree = MachineTree(oracle.tree(&machine)?);
    plan(platform::analyse_in(&text, "/", &tree))
}

/// The one file there is.
struct MachineTree(Vec<u8>);

impl Files for MachineTree {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        if path.ends_with(".dtb") {
            Ok(self.0.clone())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
