//! Past runs of this user: how long they took and which of their cases were flaky.

use super::run::Run;
use crate::failure::Failure;
use crate::paths;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Runs that are remembered.
const KEPT: usize = 200;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    /// When it ended, UTC.
    pub(super) when: String,
    /// `gate` or `full`.
    pub(super) tier: String,
    /// The commit, and whether the source differed from it.
    pub(super) commit: String,
    /// Wall-clock minutes.
    pub(super) minutes: f64,
    pub(super) passed: usize,
    /// Names of cases that failed.
    pub(super) failed: Vec<String>,
    /// Names of cases that failed and then passed.
    pub(super) flaky: Vec<String>,
    /// Machines in which a CPU lost its timer.
    pub(super) lost_timers: usize,
}

impl Past {
    /// What is remembered of a run.
    pub(super) fn of(run: &Run, time: Duration) -> Self {
        let sum = run.report.sum();
        let cases = run.report.cases();
        let names = |is: fn(&super::case::Case) -> bool| {
            let these = cases.iter().filter(|case| is(case));
            these.map(|case| case.name.clone()).collect()
        };
        Self {
            when: now(),
            tier: run.tier.name().to_owned(),
            commit: commit(),
            minutes: time.as_secs_f64() / 60.0,
            passed: sum.passed,
            failed: names(|case| case.failure().is_some()),
            flaky: names(|case| case.flaky().is_some()),
            lost_timers: sum.lost_timers,
        }
    }
}

/// Now, UTC, to the minute.
pub(super) fn now() -> String {
    crate::run::folder::minute(SystemTime::now())
}

fn commit() -> String {
    let describe = crate::process::Run::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(paths::workspace())
        .output();
    describe.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn file() -> PathBuf {
    paths::cache().join("runs.jsonl")
}

/// Remembers a run. One that cannot be remembered has ended all the same.
pub(super) fn add(past: &Past) {
    if let Err(error) = add_to(&file(), past) {
        eprintln!("this run is not remembered: {error}");
    }
}

fn add_to(file: &Path, past: &Past) -> io::Result<()> {
    let mut runs = read(file);
    runs.push(past.clone());
    let mut text = String::new();
    for run in runs.iter().skip(runs.len().saturating_sub(KEPT)) {
        text.push_str(&serde_json::to_string(run)?);
        text.push('\n');
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = file.with_extension(format!("part-{}", std::process::id()));
    fs::write(&part, text)?;
    fs::rename(&part, file)
}

/// Lines of another release are left out.
fn read(file: &Path) -> Vec<Past> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Prints them, the oldest first, and how often each case was flaky.
pub(super) fn print(json: bool) -> Result<ExitCode, Failure> {
    let runs = read(&file());
    let mut flaky: BTreeMap<&str, usize> = BTreeMap::new();
    for name in runs.iter().flat_map(|run| &run.flaky) {
        *flaky.entry(name).or_default() += 1;
    }
    if json {
        crate::print(&format!(
            "{}\n",
            serde_json::json!({"runs": runs, "flaky": flaky})
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for run in &runs {
        text.push_str(&format!(
            "{}  {:<4}  {:>6.1} min  {} passed, {} failed, {} flaky, {} lost timers  {}\n",
            run.when,
            run.tier,
            run.minutes,
            run.passed,
            run.failed.len(),
            run.flaky.len(),
            run.lost_timers,
            run.commit
        ));
        for (word, names) in [("failed", &run.failed), ("flaky", &run.flaky)] {
            for name in names {
                text.push_str(&format!("    {word}: {name}\n"));
            }
        }
    }
    text.push_str(&format!("{} runs in {}\n", runs.len(), file().display()));
    for (name, times) in flaky {
        text.push_str(&format!("flaky {times} times: {name}\n"));
    }
    crate::print(&text);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_remembered_and_their_number_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("cache/runs.jsonl");
        let mut past = Past {
            when: "2026-01-01 00:00".into(),
            tier: "gate".into(),
            commit: "abc".into(),
            minutes: 1.5,
            passed: 3,
            failed: vec![],
            flaky: vec!["a: b".into()],
            lost_timers: 0,
        };
        for number in 0..KEPT + 5 {
            past.passed = number;
            add_to(&file, &past).expect("written");
        }
        let runs = read(&file);
        assert_eq!(runs.len(), KEPT);
        assert_eq!(runs.last(), Some(&past));
        assert_eq!(runs.first().map(|run| run.passed), Some(5));
    }
}
