//! Licences, banned crates and sources, by cargo-deny: from the user's path, else installed once into the cache.

use super::case::Case;
use super::checks::{cargo, log};
use super::report::Report;
use crate::paths;
use crate::process::{Error, Run, in_path};
use crate::progress::Step;
use std::ffi::OsString;
use std::time::Instant;

/// The check's name.
pub(super) const NAME: &str = "source: licences, banned crates and sources are as deny.toml says";
const ADVISORIES: &str = "source: no crate has a known advisory";

/// Runs it; what cannot be run is noted.
pub(super) fn run(report: &Report) -> Result<(), Error> {
    let Some(path) = program(report)? else {
        return Ok(());
    };
    let deny = |name: &str, what: &[&str]| {
        let mut arguments = vec!["deny", "check"];
        arguments.extend(what);
        cargo(&log(name), &arguments).env("PATH", &path).run()
    };
    let began = Instant::now();
    let failure = match deny("deny", &["licenses", "bans", "sources"]) {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        ended => ended.err().map(|error| error.to_string()),
    };
    report.case(Case::new("source", NAME, began.elapsed(), failure));

    let began = Instant::now();
    match deny("advisories", &["advisories"]) {
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(_) if no_database() => {
            report.note("advisories: not checked (their database could not be fetched)")
        }
        ended => {
            let failure = ended.err().map(|error| error.to_string());
            report.case(Case::new("source", ADVISORIES, began.elapsed(), failure));
        }
    }
    Ok(())
}

fn no_database() -> bool {
    let said = std::fs::read_to_string(log("advisories")).unwrap_or_default();
    said.contains("failed to fetch advisory database")
        || said.contains("failed to load advisory database")
}

/// The search path with which `cargo deny` is found; `None` when it cannot be had.
fn program(report: &Report) -> Result<Option<OsString>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if in_path("cargo-deny") {
        return Ok(Some(path));
    }
    let root = paths::cache().join("tools");
    let bin = root.join("bin");
    if !bin.join("cargo-deny").is_file() {
        let step = Step::begin("cargo-deny", "building, once");
        let installed = Run::new("cargo")
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(&root)
            .arg("cargo-deny")
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(std::env::temp_dir())
            .log(log("cargo-deny"))
            .run();
        match installed {
            Ok(()) => step.done("installed"),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(_) => {
                report.note(format!(
                    "licences: not checked (cargo-deny is not there and could not be installed, see {})",
                    log("cargo-deny").display()
                ));
                return Ok(None);
            }
        }
    }
    let mut folders = vec![bin];
    folders.extend(std::env::split_paths(&path));
    Ok(std::env::join_paths(folders).ok())
}
