//! `cargo xtask test`: the gate, or everything.

use super::groups::{GROUPS, Group, Lane};
use super::history::{self, Past};
use super::junit;
use super::kept::Kept;
use super::report::{GroupTime, Report};
use super::run::{Run, Tier};
use crate::artefacts::notices;
use crate::failure::{FAILED, Failure, INTERRUPTED};
use crate::paths;
use crate::process::Error;
use crate::progress::duration;
use clap::Args;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

/// How much less the lane beside the bed gets of this host's cores, as a nice value.
const NICE: i32 = 10;

/// Run the tests: formatting, lints, licences, unit tests, then Xen on QEMU.
///
/// Without options this is the gate: what CI runs, and what every change must pass. It takes at most 25 minutes on two
/// cores once everything is built. `--full` adds the long cases and proofs. With a filter, all cases whose name holds that
/// text run, whichever tier they are in.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                          the gate
  cargo xtask test \"restart: a worker\"      all cases whose name holds this text
  cargo xtask test --full                   everything; interrupted, it goes on where it stopped
  cargo xtask test --full --only \"OP-TEE\"   groups whose name contains this text
  cargo xtask test --history                past runs and their flaky cases

Exit codes: 0 all passed, 1 a case failed, 2 usage, 3 this host cannot run it, 130 interrupted.
JUnit's report is target/bed/junit.xml.")]
pub(crate) struct TestCommand {
    /// Only cases whose name holds this text.
    filter: Option<String>,
    /// Everything: the gate, its long cases, and the long proofs (up to 150 minutes). Groups that have passed for the same
    /// source are taken from the earlier run.
    #[arg(long, conflicts_with_all = ["filter", "unit_only", "bed_only"])]
    full: bool,
    /// With --full: run every group again.
    #[arg(long, requires = "full")]
    again: bool,
    /// Only groups whose name holds this text; --list prints the groups.
    #[arg(long, value_name = "GROUP")]
    only: Option<String>,
    /// Only what needs no Xen.
    #[arg(long, conflicts_with = "bed_only")]
    unit_only: bool,
    /// Only what runs in the bed.
    #[arg(long)]
    bed_only: bool,
    /// Print groups and the names of their cases.
    #[arg(long)]
    list: bool,
    /// Print past runs of this user: tier, cases, time, flaky cases.
    #[arg(long, conflicts_with = "list")]
    history: bool,
    /// How many cases of the whole run get a second try, in a fresh boot, when they fail. Both tries are reported.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    second_tries: u32,
    /// One JSON object on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
}

impl TestCommand {
    /// Runs them; exit code 1 when one failed.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if self.list {
            return self.print_list();
        }
        if self.history {
            return history::print(self.json);
        }
        let began = Instant::now();
        let tier = if self.full { Tier::Full } else { Tier::Gate };
        let run = Run::new(
            Report::new(self.json),
            tier,
            self.filter.clone(),
            self.second_tries,
        );
        let kept = self.full.then(|| Kept::open(self.again)).flatten();
        if self.full && kept.is_none() {
            run.report
                .note("results of groups are not kept: git cannot tell what the source is");
        }
        let groups: Vec<&Group> = GROUPS.iter().filter(|group| self.wants(group)).collect();
        let ended = lanes(&run, kept.as_ref(), &groups);
        for notice in notices::all() {
            run.report.note(notice);
        }
        write_junit(&run.report)?;
        if !self.is_partial() {
            history::add(&Past::of(&run, began.elapsed()));
        }
        run.report.finish(began.elapsed());
        ended?;
        if run.report.cases().is_empty() {
            return Err(Failure::new(
                "no case has such a name; `cargo xtask test --list` prints them",
            ));
        }
        Ok(if run.report.sum().failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }

    fn wants(&self, group: &Group) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| group.name.contains(only))
            && !(self.unit_only && group.needs_xen())
            && (group.needs_xen() || !self.bed_only)
    }

    /// Such a run says nothing about the whole.
    fn is_partial(&self) -> bool {
        self.filter.is_some() || self.only.is_some() || self.unit_only || self.bed_only
    }

    fn print_list(&self) -> Result<ExitCode, Failure> {
        let mut text = String::new();
        for group in GROUPS.iter().filter(|group| self.wants(group)) {
            let lane = match group.lane {
                Lane::Bed => "",
                Lane::Beside => ", beside the bed",
            };
            text.push_str(&format!(
                "{}: {} min in the gate, {} min in full{lane}\n",
                group.name, group.gate, group.full
            ));
            for name in group.names()? {
                let tier = match super::tiers::moved(&name) {
                    Some(moved) => format!(" [full; the gate has \"{}\"]", moved.covered_by),
                    None if group.gate == 0 => " [full]".to_owned(),
                    None => String::new(),
                };
                text.push_str(&format!("  {name}{tier}\n"));
            }
        }
        crate::print(&text);
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs both lanes at once. The first failure that concerns the whole run is returned once both have ended.
fn lanes(run: &Run, kept: Option<&Kept>, groups: &[&Group]) -> Result<(), Failure> {
    let lane = |wanted: Lane| {
        groups
            .iter()
            .filter(move |group| group.lane == wanted)
            .try_for_each(|group| one(run, kept, group))
    };
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            // Linux has a nice value for each thread; what it starts inherits it. Without it the lanes are only less apart.
            let _ = rustix::process::setpriority_process(None, NICE);
            lane(Lane::Beside)
        });
        let bed = lane(Lane::Bed);
        let beside = beside.join().unwrap_or_else(|_| {
            Err(Failure::new(
                "the lane beside the bed panicked; its message is above",
            ))
        });
        bed.and(beside)
    })
}

fn one(run: &Run, kept: Option<&Kept>, group: &Group) -> Result<(), Failure> {
    let run = run.of_group(group.name);
    if run.tier == Tier::Gate && group.gate == 0 && run.filter.is_none() {
        run.report.skip(group.names()?.len());
        return Ok(());
    }
    if let Some(earlier) = kept.and_then(|kept| kept.of(group.name)) {
        let (count, when) = (earlier.cases.len(), &earlier.when);
        run.report
            .aside(&format!("{}: {count} cases passed at {when}", group.name));
        run.report.note(format!(
            "{}: taken from the run of the same source at {when}",
            group.name
        ));
        for case in earlier.cases {
            run.report.quiet_case(case);
        }
        run.report.group(GroupTime {
            name: group.name,
            time: earlier.time,
            budget: Some(group.budget(run.tier)),
        });
        return Ok(());
    }
    let time = group.run(&run)?;
    let cases = run.report.own_cases();
    if let Some(kept) = kept
        && !cases.is_empty()
        && cases.iter().all(|case| case.failure().is_none())
    {
        kept.keep(group.name, &cases, time)
            .unwrap_or_else(|error| run.report.note(error));
    }
    if !cases.is_empty() {
        let partial = run.filter.is_some();
        run.report.group(GroupTime {
            name: group.name,
            time,
            budget: (!partial).then(|| group.budget(run.tier)),
        });
        run.report
            .aside(&format!("{}: {}", group.name, duration(time)));
    }
    Ok(())
}

pub(super) fn failure(error: Error) -> Failure {
    let code = if matches!(error, Error::Interrupted) {
        INTERRUPTED
    } else {
        FAILED
    };
    Failure {
        message: error.to_string(),
        code,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        failure(error)
    }
}

fn write_junit(report: &Report) -> Result<(), Failure> {
    let path = paths::tree_target().join("junit.xml");
    std::fs::create_dir_all(paths::tree_target())
        .and_then(|()| std::fs::write(&path, junit::document(&report.cases(), &report.notes())))
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}
