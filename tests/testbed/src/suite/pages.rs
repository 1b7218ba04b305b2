//! Commands in pages, run as a reader would run them.

use super::case::Case;
use super::checks::{cargo, log};
use super::guests::{self, DOCUMENTS};
use super::report::Report;
use super::run::Run;
use super::tee::page as tee;
use super::{Context, Failed, Outcome, Test, ensure};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::pages::commands::{Place, Script, scripts};
use crate::pages::{self, PAGES};
use crate::paths;
use crate::process;
use crate::progress::Step;
use std::path::Path;
use std::time::{Duration, Instant};

/// The case of the commands that run on this host.
const HOST: &str = "pages: commands for this host print what the pages show";
/// The case of the commands that boot machines.
const BOOTS: &str = "pages: commands that boot a machine print what the pages show";

/// Longest time of one block of commands.
const TIME: Duration = Duration::from_secs(150);
/// Before the exit code of a block.
const CODE: &str = "exit code of the block:";

/// The cases that need neither dom0 nor a guest of the bed.
pub(super) fn names() -> Vec<String> {
    [BOOTS, HOST].map(str::to_owned).to_vec()
}

/// Runs those that are wanted. What boots a machine comes first: it makes sure that QEMU is there.
pub(super) fn run(run: &Run) -> Result<(), Failure> {
    if run.wants_or_skips(BOOTS) {
        boots(&run.report)?;
    }
    if run.wants_or_skips(HOST) {
        host(&run.report)?;
    }
    Ok(())
}

/// The tests that run in the bed's dom0.
pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "pages: commands for dom0 print what the pages show",
        240,
        |context| {
            guests::backend(&context.dom0())?;
            in_dom0(context, Place::Dom0)?;
            guests::nothing_left(&context.dom0())
        },
    )]
}

/// The test that runs where dom0 has an OP-TEE.
pub(super) fn tee_test() -> Test {
    Test::new(
        "pages: commands for a dom0 with OP-TEE print what the pages show",
        180,
        |context| {
            tee::prepare(context)?;
            in_dom0(context, Place::Tee)?;
            guests::nothing_left(&context.dom0())
        },
    )
}

/// Runs the blocks for this host, and tells how many commands run where.
fn host(report: &Report) -> Result<(), process::Error> {
    let step = Step::begin("pages", "building the programs");
    let began = Instant::now();
    let build = "build --quiet --package avpsctl --package avps-backend --package avps-tee";
    let build: Vec<&str> = build.split(' ').collect();
    let outcome = match cargo(&log("pages"), &build).run() {
        Err(process::Error::Interrupted) => return Err(process::Error::Interrupted),
        Err(error) => Err(Failed(error.to_string())),
        Ok(()) => {
            step.state("running their commands");
            on_this_host(report)
        }
    };
    drop(step);
    if interrupted() {
        return Err(process::Error::Interrupted);
    }
    let failure = outcome.err().map(|Failed(seen)| seen);
    report.case(Case::new("pages", HOST, began.elapsed(), failure));
    Ok(())
}

fn on_this_host(report: &Report) -> Outcome {
    let all = all()?;
    let programs = paths::tree_target().with_file_name("debug");
    for page in PAGES {
        let scratch = tempfile::tempdir()?;
        let configs = paths::workspace().join("configs");
        std::os::unix::fs::symlink(configs, scratch.path().join("configs"))?;
        for script in all.iter().filter(|script| script.page == page) {
            if script.place == Place::Host {
                judge(script, &run_here(script, scratch.path(), &programs)?)?;
            }
        }
    }
    for line in summary(&all) {
        report.aside(&line);
    }
    Ok(())
}

/// How many blocks run where, and why others do not.
fn summary(all: &[Script]) -> Vec<String> {
    let count = |place| all.iter().filter(|script| script.place == place).count();
    let (host, dom0) = (count(Place::Host), count(Place::Dom0));
    let (tee, bed, not) = (count(Place::Tee), count(Place::Bed), count(Place::Nowhere));
    let mut lines = vec![format!(
        "blocks of commands in pages: {host} run on this host, {dom0} in dom0, {tee} beside OP-TEE, {bed} boot a machine, {not} do not run:"
    )];
    let reasons = all.iter().filter_map(|script| {
        let reason = script.reason.as_deref()?;
        Some(format!("  {}: {reason}", script.at))
    });
    lines.extend(reasons);
    lines
}

fn all() -> Result<Vec<Script>, Failed> {
    let pages = pages::read().map_err(Failed)?;
    scripts(&pages).map_err(Failed)
}

/// What a block prints, then its exit code.
fn run_here(script: &Script, scratch: &Path, programs: &Path) -> Result<String, Failed> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = process::Run::new("bash")
        .args(["-c", &wrapped("bash -euo pipefail"), &script.text])
        .current_dir(scratch)
        .env("PATH", format!("{}:{path}", programs.display()))
        // Findings are drawn with the characters that the page shows.
        .env("LC_ALL", "C.UTF-8")
        .output()?;
    Ok(output)
}

/// A shell's line that runs its first argument and tells its exit code.
fn wrapped(shell: &str) -> String {
    format!("exec 2>&1 < /dev/null; {shell} -c \"$0\"; echo \"{CODE} $?\"")
}

fn judge(script: &Script, output: &str) -> Outcome {
    let (printed, code) = output.rsplit_once(CODE).ok_or_else(|| {
        Failed(format!(
            "{}: the block was not run to its end: {output}",
            script.at
        ))
    })?;
    let wanted = if script.fails { "1" } else { "0" };
    ensure(code.trim() == wanted, || {
        let (at, code) = (&script.at, code.trim());
        format!("{at}: exit code {code} instead of {wanted}; it printed\n{printed}")
    })?;
    script
        .differs(printed)
        .map_or(Ok(()), |differs| Err(Failed(differs)))
}

/// Runs the blocks for a dom0, where each document of `configs` is in the working directory and has its images.
fn in_dom0(context: &Context, place: Place) -> Outcome {
    let dom0 = context.dom0();
    let configs = paths::workspace().join("configs");
    for entry in std::fs::read_dir(&configs)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| name.ends_with(".avps.toml")) {
            dom0.put_file(&path, &format!("{DOCUMENTS}/{name}"))?;
        }
    }
    context.sh(&format!(
        "for image in $(sed -n 's/^image = \"\\(\\/var\\/.*\\)\"/\\1/p' {DOCUMENTS}/*.avps.toml); do \
         mkdir -p ${{image%/*}} && truncate -s 16M $image; done"
    ))?;
    let mut count = 0;
    for script in all()?.iter().filter(|script| script.place == place) {
        let output = dom0
            .command(["sh", "-c", &wrapped("sh -eu"), &script.text])
            .cwd(DOCUMENTS)
            .time(context.within(TIME))
            .output()?;
        judge(script, &output.text())?;
        count += 1;
    }
    context.note(format!("{count} blocks of commands"));
    ensure(count > 0, || "no page has a command for this machine")
}

/// Runs the blocks that boot machines.
fn boots(report: &Report) -> Result<(), Failure> {
    let step = Step::begin("pages", "cargo xtask demo");
    let began = Instant::now();
    let outcome = all().and_then(|all| {
        let all: Vec<&Script> = all
            .iter()
            .filter(|script| script.place == Place::Bed)
            .collect();
        all.iter().try_for_each(|script| boot(script))?;
        ensure(!all.is_empty(), || "no page has such a command")
    });
    step.done("done");
    if interrupted() {
        return Err(process::Error::Interrupted.into());
    }
    let failure = outcome.err().map(|Failed(seen)| seen);
    report.case(Case::new("pages", BOOTS, began.elapsed(), failure));
    Ok(())
}

/// This very program stands in for `cargo xtask`: cargo would wait for a build that is under way.
fn boot(script: &Script) -> Outcome {
    for line in script.text.lines() {
        let words = line.split('#').next().unwrap_or_default();
        let words = words.trim().strip_prefix("cargo xtask ");
        let words =
            words.ok_or_else(|| Failed(format!("{}: not cargo xtask: {line}", script.at)))?;
        let output = process::Run::new("/proc/self/exe")
            .args(words.split_whitespace())
            .output()?;
        if let Some(differs) = script.differs(&output) {
            return Err(Failed(differs));
        }
    }
    Ok(())
}
