//! The workspace's unit tests, by `cargo test`.

use super::case::{Case, Verdict};
use super::checks::{cargo, log};
use super::run::Run;
use crate::failure::Failure;
use crate::process::Error;
use crate::progress::Step;
use std::time::{Duration, Instant};

/// Runs them all, or those whose name holds `filter`.
pub(super) fn run(run: &Run) -> Result<(), Failure> {
    let (report, filter) = (&run.report, run.filter.as_deref());
    let log = log("unit");
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    if let Some(filter) = filter {
        arguments.extend(["--", filter]);
    }
    let step = Step::begin("unit tests", "building");
    let began = Instant::now();
    let mut reader = Reader::default();
    let ended = cargo(&log, &arguments).lines(|line| {
        if let Some(state) = reader.line(line) {
            step.state(state);
        }
    });
    drop(step);
    let complaint = reader.complaint(filter.is_none());
    let Reader {
        cases,
        filtered,
        ignored,
        ..
    } = reader;
    let (count, failed) = (
        cases.len(),
        cases.iter().filter(|case| !case.passed()).count(),
    );
    for case in cases {
        report.quiet_case(case);
    }
    report.skip(filtered);
    if !ignored.is_empty() {
        report.note(format!("not run: {}", ignored.join(", ")));
    }
    if let Some(complaint) = complaint {
        report.case(Case::new(
            "unit",
            "unit: every result is read",
            began.elapsed(),
            Some(complaint),
        ));
    }
    match ended {
        Err(error @ Error::Interrupted) => Err(error.into()),
        // cargo fails when a test did; otherwise something could not be built.
        Err(error) if failed == 0 => {
            let failure = Some(error.to_string());
            let name = "unit: all tests build";
            report.case(Case::new("unit", name, began.elapsed(), failure));
            Ok(())
        }
        _ => {
            report.aside(&format!(
                "{} unit tests passed, {failed} failed; log: {}",
                count - failed,
                log.display()
            ));
            Ok(())
        }
    }
}

/// Reads what cargo test prints.
#[derive(Default)]
struct Reader {
    program: String,
    cases: Vec<Case>,
    filtered: usize,
    /// Tests that say themselves that they are not run.
    ignored: Vec<String>,
    /// Results that the programs count.
    counted: usize,
    /// The failed test whose output is being printed.
    output_of: Option<String>,
}

impl Reader {
    /// What is wrong with what was read: a result that is not read would be neither passed nor failed. Where `all` were wanted, none
    /// at all is wrong, too.
    fn complaint(&self, all: bool) -> Option<String> {
        let (read, counted) = (self.cases.len(), self.counted);
        if read != counted {
            return Some(format!(
                "{read} results were read, and the programs count {counted}"
            ));
        }
        (all && read == 0).then(|| "there is no result".to_owned())
    }

    /// Takes a line; returns what is being worked on when that changed.
    fn line(&mut self, line: &str) -> Option<String> {
        let trimmed = line.trim_start();
        if let Some(program) = running(trimmed) {
            self.output_of = None;
            self.program = program;
            return Some(format!("running {}", self.program));
        }
        if let Some(name) = trimmed
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.output_of = Some(format!("{}: {name}", self.program));
            return None;
        }
        if trimmed.starts_with("failures:") || trimmed.starts_with("test result: ") {
            self.output_of = None;
            let number = |words| number_before(trimmed, words).unwrap_or(0);
            self.filtered += number(" filtered out");
            self.counted += number(" passed") + number(" failed");
            return None;
        }
        if let Some(name) = &self.output_of {
            if let Some(case) = self.cases.iter_mut().find(|case| &case.name == name)
                && let Verdict::Failed(failure) = &mut case.verdict
                && failure.len() < 8192
            {
                failure.push_str(line);
                failure.push('\n');
            }
            return None;
        }
        if let Some((name, outcome)) = trimmed
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            let failure = match outcome.trim_end() {
                "ok" => None,
                "FAILED" => Some(String::new()),
                ignored if ignored.starts_with("ignored") => {
                    self.ignored.push(format!("{}: {name}", self.program));
                    return None;
                }
                _ => return None,
            };
            let name = format!(
                "{}: {}",
                self.program,
                name.trim_end_matches(" - should panic")
            );
            self.cases
                .push(Case::new("unit", name, Duration::ZERO, failure));
        }
        None
    }
}

/// The crate of `Running unittests src/lib.rs (target/debug/deps/agent-0123)` or `Doc-tests agent`.
fn running(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} documentation"));
    }
    let path = line
        .strip_prefix("Running ")?
        .rsplit_once('(')?
        .1
        .strip_suffix(')')?;
    let file = path.rsplit('/').next()?;
    Some(
        file.rsplit_once('-')
            .map_or(file, |(name, _)| name)
            .to_owned(),
    )
}

fn number_before(line: &str, words: &str) -> Option<usize> {
    let (before, _) = line.split_once(words)?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_their_crate_and_what_a_failure_said() {
        let mut reader = Reader::default();
        let text = "\
   Compiling agent v0.1.0
     Running unittests src/lib.rs (/t/debug/deps/agent-303f961f642e6229)
test frame::a ... ok
test frame::b - should panic ... ok
test frame::c ... FAILED
test frame::d ... ignored, a measurement

failures:

---- frame::c stdout ----
thread panicked at x.rs:1
left: 1

failures:
    frame::c

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.1s
   Doc-tests agent
test src/lib.rs - x (line 3) ... ok
test result::a ... ok
";
        for line in text.lines() {
            reader.line(line);
        }
        let names: Vec<&str> = reader.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "agent: frame::a",
                "agent: frame::b",
                "agent: frame::c",
                "agent documentation: src/lib.rs - x (line 3)",
                "agent documentation: result::a"
            ]
        );
        assert_eq!(
            reader.cases[2].failure(),
            Some("thread panicked at x.rs:1\nleft: 1\n\n")
        );
        assert_eq!(
            reader
                .cases
                .iter()
                .filter(|case| case.failure().is_some())
                .count(),
            1
        );
        assert_eq!(reader.filtered, 3);
        assert_eq!(reader.ignored, ["agent: frame::d"]);
    }

    #[test]
    fn a_result_that_is_not_read_is_no_success() {
        let complaint = |text: &str| {
            let mut reader = Reader::default();
            for line in text.lines() {
                reader.line(line);
            }
            [true, false].map(|all| reader.complaint(all).is_some())
        };
        let result = "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let good = format!("test a ... ok\ntest b ... ignored, why\n{result}\n");
        assert_eq!(complaint(&good), [false, false]);
        assert_eq!(complaint(&good.replace("... ok", ".. fine")), [true, true]);
        assert_eq!(complaint(""), [true, false]);
    }
}
