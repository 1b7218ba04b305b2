//! libxl's bindings generated again from Xen's headers and compared with the checked-in ones.

use super::case::Case;
use super::checks::{cargo, log};
use super::report::Report;
use crate::artefacts::{self, Workshop, headers, host};
use crate::process::Error;
use crate::progress::Step;
use std::path::PathBuf;
use std::time::Instant;

/// The check's name.
pub(super) const NAME: &str = "source: libxl's bindings are what Xen's headers give";

/// The C library's arm64 headers, which the generator reads.
const CROSS_HEADERS: &str = "/usr/aarch64-linux-gnu/include/stdint.h";

/// Has libclang and the headers that it brings along.
const LIBCLANG_PACKAGE: &str = "libclang-dev";

/// Runs it. Where it cannot be run it has failed: nobody knows whether the bindings still fit.
pub(super) fn run(report: &Report) -> Result<(), Error> {
    let began = Instant::now();
    let (libclang, folders) = match needs()? {
        Ok(needs) => needs,
        Err(why) => {
            let failure = Some(format!("not generated again: {why}"));
            report.case(Case::new("source", NAME, began.elapsed(), failure));
            return Ok(());
        }
    };
    let step = Step::begin("bindings", "generating them again");
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

/// libclang's folder and Xen's headers, or what is missing.
type Needs = (PathBuf, Vec<(&'static str, PathBuf)>);

fn needs() -> Result<Result<Needs, String>, Error> {
    let workshop = Workshop::open();
    if libclang().is_none() {
        match host::install(&workshop, &[LIBCLANG_PACKAGE], &[]) {
            Err(artefacts::error::Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => return Ok(Err(error.to_string())),
            Ok(()) => {}
        }
    }
    let Some(libclang) = libclang() else {
        let why =
            format!("there is no libclang. Install it with: apt-get install {LIBCLANG_PACKAGE}");
        return Ok(Err(why));
    };
    if !PathBuf::from(CROSS_HEADERS).exists() {
        return Ok(Err(format!(
            "{CROSS_HEADERS} is not there. Install it with: apt-get install libc6-dev-arm64-cross"
        )));
    }
    match headers::folders(&workshop) {
        Ok(folders) => Ok(Ok((libclang, folders))),
        Err(artefacts::error::Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => Ok(Err(format!("Xen's headers: {error}"))),
    }
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
