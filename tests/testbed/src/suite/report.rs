//! Results as they come, and their sum.

use super::parts::Part;
use super::style::Style;
use crate::progress::duration;
use std::io::Write;
use std::time::Duration;

/// One result.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The part it belongs to: `format`, `unit`, `bed` …
    pub(super) suite: &'static str,
    /// Its name; unique within the suite.
    pub(super) name: String,
    /// How long it took.
    pub(super) time: Duration,
    /// What was seen, when it failed.
    pub(super) failure: Option<String>,
}

/// Collects results and prints each.
pub(super) struct Report {
    style: Style,
    /// With `--json`, lines go to standard error and one object at the end to standard output.
    json: bool,
    cases: Vec<Case>,
    skipped: usize,
    notes: Vec<String>,
    parts: Vec<(Part, Duration)>,
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(json: bool) -> Self {
        let style = Style::stdout();
        Self {
            style,
            json,
            cases: Vec::new(),
            skipped: 0,
            notes: Vec::new(),
            parts: Vec::new(),
        }
    }

    fn print(&self, line: &str) {
        // A reader that closed its end has seen enough; the exit code still tells.
        let _ = if self.json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }

    /// A result.
    pub(super) fn case(&mut self, case: Case) {
        let (passed, time) = (case.failure.is_none(), duration(case.time));
        let word = if passed {
            self.style.good("ok")
        } else {
            self.style.bad("FAILED")
        };
        self.print(&format!("test {} ... {word} ({time})", case.name));
        for line in case.failure.iter().flat_map(|text| text.lines()) {
            self.print(&format!("    {line}"));
        }
        self.cases.push(case);
    }

    /// A result that is only counted: a passed unit test, of which there are many.
    pub(super) fn quiet_case(&mut self, case: Case) {
        if case.failure.is_some() {
            self.case(case)
        } else {
            self.cases.push(case)
        }
    }

    /// Tests that the filter left out.
    pub(super) fn skip(&mut self, count: usize) {
        self.skipped += count;
    }

    /// A line below the last result.
    pub(super) fn aside(&self, text: &str) {
        self.print(&self.style.faint(&format!("    {text}")));
    }

    /// Something that the reader must know at the end: what was not run, and why.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The time of a part.
    pub(super) fn part(&mut self, part: Part, time: Duration) {
        self.parts.push((part, time));
    }

    /// All results.
    pub(super) fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Results that failed.
    pub(super) fn failed(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.failure.is_some())
            .count()
    }

    /// The end: failures once more, times, notes, and the sum on a line of its own.
    pub(super) fn finish(&mut self, logs: &[String]) {
        let failed = self.failed();
        let passed = self.cases.len() - failed;
        if failed > 0 {
            self.print("");
            self.print(&self.style.bad("Failed:"));
            for case in self.cases.iter().filter(|case| case.failure.is_some()) {
                self.print(&format!("  {}", case.name));
            }
            for log in logs {
                self.print(&format!("  logs: {log}"));
            }
        }
        if !self.parts.is_empty() {
            self.print("");
            for (part, time) in &self.parts {
                let over = part.budget().is_some_and(|budget| *time > budget);
                let budget = part
                    .budget()
                    .map(|budget| format!(" of {}", duration(budget)))
                    .unwrap_or_default();
                let line = format!("{:<12} {}{budget}", part.title(), duration(*time));
                self.print(&if over {
                    self.style.warn(&format!("{line}  over its budget"))
                } else {
                    line
                });
            }
        }
        for note in &self.notes {
            self.print(&self.style.warn(&format!("note: {note}")));
        }
        self.print("");
        let mut sum = format!("{passed} passed, {failed} failed");
        if self.skipped > 0 {
            sum.push_str(&format!(", {} skipped", self.skipped));
        }
        self.print(&sum);
        if self.json {
            self.print_json(passed, failed);
        }
    }

    fn print_json(&self, passed: usize, failed: usize) {
        let mut figures = serde_json::Map::new();
        for (name, count) in [
            ("passed", passed),
            ("failed", failed),
            ("skipped", self.skipped),
        ] {
            figures.insert(name.into(), count.into());
        }
        for (part, time) in &self.parts {
            figures.insert(
                format!("seconds.{}", part.title()),
                time.as_secs_f64().into(),
            );
        }
        let mut notes = self.notes.clone();
        notes.extend(
            self.cases
                .iter()
                .filter(|case| case.failure.is_some())
                .map(|case| format!("failed: {}", case.name)),
        );
        let object = serde_json::json!({
            "name": "test", "passed": failed == 0, "figures": figures, "notes": notes,
        });
        println!("{object}");
    }
}
