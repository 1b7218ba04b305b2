//! Device trees, from source to what is loaded and back.

use crate::process::{Error, Run};
use std::path::Path;

/// Compiles source.
pub(crate) fn compile(from: &Path, to: &Path) -> Result<(), Error> {
    run("dts", "dtb", from, to)
}

/// Writes a device tree as source.
pub(crate) fn decompile(from: &Path, to: &Path) -> Result<(), Error> {
    run("dtb", "dts", from, to)
}

fn run(is: &str, becomes: &str, from: &Path, to: &Path) -> Result<(), Error> {
    Run::new("dtc")
        .args(["-q", "-I", is, "-O", becomes, "-o"])
        .arg(to)
        .arg(from)
        .output()
        .map(drop)
}
