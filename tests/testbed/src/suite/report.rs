//! Results as they come, and their sum. Several lanes report at once.

use super::case::Case;
use super::style::Style;
use crate::progress::{self, duration};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a group of cases took.
#[derive(Clone, Debug)]
pub(super) struct GroupTime {
    /// The group's name.
    pub(super) name: &'static str,
    /// Its time, without building what it boots.
    pub(super) time: Duration,
    /// The time it may take; `None` when only some of its cases ran.
    pub(super) budget: Option<Duration>,
}

/// Collects results and prints each. Clones share what is collected.
#[derive(Clone)]
pub(super) struct Report {
    style: Style,
    /// With `--json`, lines go to standard error and one object at the end to standard output.
    json: bool,
    /// The group that reports.
    group: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// With the group that each belongs to.
    cases: Vec<(&'static str, Case)>,
    skipped: usize,
    lost_timers: usize,
    notes: Vec<String>,
    logs: Vec<String>,
    groups: Vec<GroupTime>,
    building: Duration,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) flaky: usize,
    pub(super) skipped: usize,
    /// Machines in which a CPU lost its timer.
    pub(super) lost_timers: usize,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(json: bool) -> Self {
        Self {
            style: Style::stdout(),
            json,
            group: "",
            state: Arc::default(),
        }
    }

    /// The same report, for the cases of a group.
    pub(super) fn of_group(&self, group: &'static str) -> Self {
        Self {
            group,
            ..self.clone()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, line: &str) {
        // The unit tests of this crate are read line by line, and a line of theirs looks like a result.
        if cfg!(test) {
            return;
        }
        progress::above(|| {
            // A reader that closed its end has seen enough; the exit code still tells.
            let _ = if self.json {
                writeln!(std::io::stderr(), "{line}")
            } else {
                writeln!(std::io::stdout(), "{line}")
            };
        });
    }

    /// A result.
    pub(super) fn case(&self, case: Case) {
        let word = if case.passed() {
            self.style.good("ok")
        } else if case.flaky().is_some() {
            self.style.warn("flaky")
        } else {
            self.style.bad("FAILED")
        };
        let mut text = format!("test {} ... {word} ({})", case.name, duration(case.time));
        let seen = case.failure().or_else(|| case.flaky());
        for line in seen.iter().flat_map(|text| text.lines()) {
            text.push_str(&format!("\n    {line}"));
        }
        self.print(&text);
        self.state().cases.push((self.group, case));
    }

    /// A result that is only counted: a passed unit test, of which there are many.
    pub(super) fn quiet_case(&self, case: Case) {
        if case.passed() {
            self.state().cases.push((self.group, case));
        } else {
            self.case(case);
        }
    }

    /// Cases that the filter or the tier left out.
    pub(super) fn skip(&self, count: usize) {
        self.state().skipped += count;
    }

    /// A line below the last result.
    pub(super) fn aside(&self, text: &str) {
        self.print(&self.style.faint(&format!("    {text}")));
    }

    /// Something that the reader must know at the end.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.state().notes.push(text.into());
    }

    /// A machine in which a CPU lost its timer: QEMU's fault, and counted.
    pub(super) fn lost_timer(&self, logs: &str) {
        let mut state = self.state();
        state.lost_timers += 1;
        state.notes.push(format!(
            "a CPU of the emulated machine lost its timer (logs: {logs})"
        ));
    }

    /// Where a boot's logs are.
    pub(super) fn logs(&self, folder: impl Into<String>) {
        self.state().logs.push(folder.into());
    }

    /// The time of a group.
    pub(super) fn group(&self, group: GroupTime) {
        self.state().groups.push(group);
    }

    /// Time in which something was built that the machines boot.
    pub(super) fn built(&self, time: Duration) {
        self.state().building += time;
    }

    /// All results.
    pub(super) fn cases(&self) -> Vec<Case> {
        let state = self.state();
        state.cases.iter().map(|(_, case)| case.clone()).collect()
    }

    /// What the reader must know at the end.
    pub(super) fn notes(&self) -> Vec<String> {
        self.state().notes.clone()
    }

    /// The results of this group.
    pub(super) fn own_cases(&self) -> Vec<Case> {
        let state = self.state();
        let own = state.cases.iter().filter(|(group, _)| *group == self.group);
        own.map(|(_, case)| case.clone()).collect()
    }

    /// How many cases ended how, so far.
    pub(super) fn sum(&self) -> Sum {
        let state = self.state();
        let count = |is: fn(&Case) -> bool| state.cases.iter().filter(|(_, case)| is(case)).count();
        Sum {
            passed: count(Case::passed),
            failed: count(|case| case.failure().is_some()),
            flaky: count(|case| case.flaky().is_some()),
            skipped: state.skipped,
            lost_timers: state.lost_timers,
        }
    }

    /// The end: failures once more, times, notes, and the sum on a line of its own.
    pub(super) fn finish(&self, total: Duration) {
        let sum = self.sum();
        let state = self.state();
        let mut lines = vec![String::new()];
        let list = |lines: &mut Vec<String>, title: String, is: fn(&Case) -> bool| {
            let cases = state.cases.iter().map(|(_, case)| case);
            let mut names = cases.filter(|case| is(case)).peekable();
            if names.peek().is_some() {
                lines.push(title);
                lines.extend(names.map(|case| format!("  {}", case.name)));
            }
        };
        let failed = self.style.bad("Failed:");
        list(&mut lines, failed, |case| case.failure().is_some());
        let flaky = self.style.warn("Flaky (failed, then passed):");
        list(&mut lines, flaky, |case| case.flaky().is_some());
        if sum.failed + sum.flaky > 0 {
            let logs = state.logs.iter();
            lines.extend(logs.map(|log| format!("  logs: {log}")));
        }
        for group in &state.groups {
            lines.push(self.time(group));
        }
        if state.building.as_secs() > 0 {
            lines.push(format!("{:<24} {}", "build", duration(state.building)));
        }
        lines.push(format!("{:<24} {}", "total", duration(total)));
        let notes = state.notes.iter();
        lines.extend(notes.map(|note| self.style.warn(&format!("note: {note}"))));
        lines.push(String::new());
        lines.push(format!(
            "{} flaky, {} lost timers",
            sum.flaky, sum.lost_timers
        ));
        let mut closing = format!("{} passed, {} failed", sum.passed, sum.failed);
        if sum.skipped > 0 {
            closing.push_str(&format!(", {} skipped", sum.skipped));
        }
        lines.push(closing);
        for line in lines {
            self.print(&line);
        }
        if self.json {
            println!("{}", json(&state, sum, total));
        }
    }

    fn time(&self, group: &GroupTime) -> String {
        let line = format!("{:<24} {}", group.name, duration(group.time));
        match group.budget {
            None => line,
            Some(budget) if group.time <= budget => format!("{line} of {}", duration(budget)),
            Some(budget) => self
                .style
                .warn(&format!("{line} of {}  over its budget", duration(budget))),
        }
    }
}

fn json(state: &State, sum: Sum, total: Duration) -> serde_json::Value {
    let mut figures = serde_json::Map::new();
    for (name, count) in [
        ("cases", sum.passed + sum.failed + sum.flaky),
        ("passed", sum.passed),
        ("failed", sum.failed),
        ("flaky", sum.flaky),
        ("skipped", sum.skipped),
        ("lost_timers", sum.lost_timers),
    ] {
        figures.insert(name.into(), count.into());
    }
    figures.insert("minutes".into(), (total.as_secs_f64() / 60.0).into());
    for group in &state.groups {
        let name = format!("seconds.{}", group.name);
        figures.insert(name, group.time.as_secs_f64().into());
    }
    let mut notes = state.notes.clone();
    for (_, case) in &state.cases {
        if case.failure().is_some() {
            notes.push(format!("failed: {}", case.name));
        } else if let Some(seen) = case.flaky() {
            let first = seen.lines().next().unwrap_or_default();
            notes.push(format!("flaky: {}: {first}", case.name));
        }
    }
    serde_json::json!({
        "name": "test", "passed": sum.failed == 0, "figures": figures, "notes": notes,
    })
}

#[cfg(test)]
mod tests {
    use super::super::case::Verdict;
    use super::*;

    #[test]
    fn a_flaky_case_is_counted_as_flaky_and_not_as_passed() {
        let report = Report::new(true);
        let mut first = Case::new("bed", "a: b", Duration::ZERO, None);
        first.verdict = Verdict::Flaky("seen".into());
        report.case(first);
        report.case(Case::new("bed", "a: b (second try)", Duration::ZERO, None));
        report.case(Case::new("bed", "c", Duration::ZERO, Some("bad".into())));
        let sum = report.sum();
        assert_eq!((sum.passed, sum.failed, sum.flaky), (1, 1, 1));
        let object = json(&report.state(), sum, Duration::from_secs(90));
        assert_eq!(object["passed"], false);
        assert_eq!(object["figures"]["cases"], 3);
        assert_eq!(object["figures"]["flaky"], 1);
        assert_eq!(object["figures"]["minutes"], 1.5);
        assert_eq!(object["notes"][0], "flaky: a: b: seen");
    }
}
