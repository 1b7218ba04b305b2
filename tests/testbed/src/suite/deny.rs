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
/// What is installed where the user has none.
const RELEASE: &str = "cargo-deny@0.20.2";

/// Runs both checks. Without cargo-deny both have failed. Without a database, advisories are skipped.
pub(super) fn run(report: &Report) -> Result<(), Error> {
    let began = Instant::now();
    let path = match program()? {
        Ok(path) => path,
        Err(why) => {
            for name in [NAME, ADVISORIES] {
                report.case(case(name, began, Some(why.clone())));
            }
            return Ok(());
        }
    };
    let deny = |name: &str, options: &[&str], what: &[&str]| {
        let arguments = [&["deny"], options, &["check"], what].concat();
        match cargo(&log(name), &arguments).env("PATH", &path).run() {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            ended => Ok(ended.map_err(|error| error.to_string())),
        }
    };
    let began = Instant::now();
    let failure = deny("deny", &[], &["licenses", "bans", "sources"])?.err();
    report.case(case(NAME, began, failure));

    let began = Instant::now();
    let said = || std::fs::read_to_string(log("advisories")).unwrap_or_default();
    let (mut ended, mut text) = (deny("advisories", &[], &["advisories"])?, said());
    if has_no_database(&ended, &text) {
        // Without a network: the database as it was fetched last.
        ended = deny("advisories", &["--offline"], &["advisories"])?;
        text = said();
        if ended.is_ok() {
            report.note("advisories: checked with the database that was fetched last");
        }
    }
    if has_no_database(&ended, &text) {
        // It comes from outside and says nothing about this source: such a run has one case less, and tells so.
        report.skip(1);
        report.note(
            "advisories: not checked, because their database could not be fetched and none was fetched before",
        );
    } else {
        report.case(case(ADVISORIES, began, ended.err()));
    }
    Ok(())
}

fn case(name: &str, began: Instant, failure: Option<String>) -> Case {
    Case::new("source", name, began.elapsed(), failure)
}

/// Whether the check failed because there is nothing to check with.
fn has_no_database(ended: &Result<(), String>, said: &str) -> bool {
    let words = [
        "failed to fetch advisory database",
        "failed to load advisory database",
        // With --offline, and none there.
        "failed to get 'FETCH_HEAD' metadata",
    ];
    ended.is_err() && words.iter().any(|words| said.contains(words))
}

/// The search path with which `cargo deny` is found, or why it cannot be had.
fn program() -> Result<Result<OsString, String>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if in_path("cargo-deny") {
        return Ok(Ok(path));
    }
    let root = paths::cache().join("tools");
    let bin = root.join("bin");
    if !bin.join("cargo-deny").is_file() {
        let step = Step::begin("cargo-deny", "building, once");
        let installed = Run::new("cargo")
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(&root)
            .arg(RELEASE)
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(std::env::temp_dir())
            .log(log("cargo-deny"))
            .run();
        match installed {
            Ok(()) => step.done("installed"),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(_) => {
                return Ok(Err(format!(
                    "not checked: cargo-deny is not there and could not be installed (log: {}). \
                     Install it with: cargo install --locked {RELEASE}",
                    log("cargo-deny").display()
                )));
            }
        }
    }
    let mut folders = vec![bin];
    folders.extend(std::env::split_paths(&path));
    Ok(std::env::join_paths(folders).map_err(|error| format!("not checked: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_database_is_told_from_a_finding() {
        let failed = || Err("exit status: 1".to_owned());
        let fetch = "error: failed to fetch advisory database https://x";
        assert!(has_no_database(&failed(), fetch));
        let offline = "[ERROR] failed to get 'FETCH_HEAD' metadata: failed to get HEAD timestamp";
        assert!(has_no_database(&failed(), offline));
        assert!(!has_no_database(&failed(), "error[vulnerability]: x"));
        // It went on with what was there.
        assert!(!has_no_database(&Ok(()), fetch));
    }
}
