//! libxl's bindings made anew from Xen's headers and compared with the checked-in ones, where libclang is there.

use super::case::Case;
use super::checks::{cargo, log};
use super::report::Report;
use crate::artefacts::{Workshop, headers};
use crate::process::Error;
use crate::progress::Step;
use std::path::PathBuf;
use std::time::Instant;

/// The check's name.
pub(super) const NAME: &str = "source: libxl's bindings are what Xen's headers give";

/// The C library's arm64 headers, which the generator reads.
const CROSS_HEADERS: &str = "/usr/aarch64-linux-gnu/include/stdint.h";

/// Runs it; what keeps it from being run is noted.
pub(super) fn run(report: &Report) -> Result<(), Error> {
    let Some(libclang) = libclang() else {
        report.note("libxl's bindings: not made anew (there is no libclang; Debian: libclang-dev)");
        return Ok(());
    };
    if !PathBuf::from(CROSS_HEADERS).exists() {
        report.note(format!(
            "libxl's bindings: not made anew ({CROSS_HEADERS} is not there; Debian: libc6-dev-arm64-cross)"
        ));
        return Ok(());
    }
    let folders = match headers::folders(&Workshop::open()) {
        Ok(folders) => folders,
        Err(crate::artefacts::error::Error::Interrupted) => return Err(Error::Interrupted),
        Err(error) => {
            report.note(format!(
                "libxl's bindings: not made anew (Xen's headers: {error})"
            ));
            return Ok(());
        }
    };
    let step = Step::begin("bindings", "making them anew");
    let began = Instant::now();
    let mut test = cargo(
        &log("bindings"),
        &["test", "--package", "libxl-sys", "--features", "bindgen"],
    )
    .env("LIBCLANG_PATH", libclang);
    for (release, folder) in folders {
        let variable = format!("AVPS_XEN_HEADERS_{}", release.replace('.', "_"));
        test = test.env(&variable, folder);
    }
    let failure = match test.run() {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        ended => ended.err().map(|error| error.to_string()),
    };
    drop(step);
    report.case(Case::new("source", NAME, began.elapsed(), failure));
    Ok(())
}

/// The folder of libclang: the user's choice, else Debian's newest.
fn libclang() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LIBCLANG_PATH") {
        return Some(path.into());
    }
    let mut folders: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix("llvm-")?.parse();
            Some((version.ok()?, entry.path().join("lib")))
        })
        .filter(|(_, folder)| folder.join("libclang.so.1").exists())
        .collect();
    folders.sort();
    folders.pop().map(|(_, folder)| folder)
}
