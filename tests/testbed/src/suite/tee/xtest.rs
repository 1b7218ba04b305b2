//! OP-TEE's own test suite, run in a domain, and what it says of each of its cases.

use super::super::{Context, Failed, ensure};
use agent::client::Remote;
use std::time::Duration;

/// Precedes and ends the list of results.
const RULE: &str = "+----";
const HEAD: &str = "Result of testsuite ";
const ABORTED: &str = "Test suite was ABORTED";

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// With what is said of it.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

/// A case, without those within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) verdict: Verdict,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Results {
    pub(super) cases: Vec<Case>,
}

impl Results {
    /// Names of the cases that ran.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().map(|case| case.name.as_str())
    }

    /// Cases that passed.
    pub(super) fn passed(&self) -> usize {
        self.count(|verdict| *verdict == Verdict::Passed)
    }

    /// Cases that failed.
    pub(super) fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.verdict)).count()
    }
}

/// Runs those regression cases whose names hold one of `wanted`, or all without. `seen` is told of each that begins. What was
/// said stays with the run's logs.
pub(super) fn run(
    context: &Context,
    caller: &Remote,
    wanted: &[&str],
    limit: Duration,
    seen: impl Fn(&str),
) -> Result<Results, Failed> {
    let argv = ["xtest", "-t", "regression"].iter().chain(wanted);
    let (mut said, mut told) = (Vec::new(), 0);
    let ended = caller
        .command(argv.copied())
        .time(limit)
        .stream(|_, bytes| {
            said.extend(bytes);
            while let Some(line) = next_line(&said, &mut told) {
                if let Some(title) = String::from_utf8_lossy(line).strip_prefix("* ") {
                    seen(title);
                }
            }
            Ok(())
        });
    let log = format!("xtest-{}.log", caller.name());
    std::fs::write(context.bed().logs().join(log), &said)?;
    let exit = ended?;
    let text = String::from_utf8_lossy(&said);
    let results = read(&text).map_err(|why| {
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Failed(format!(
            "xtest in {} {exit}: {why}: {}",
            caller.name(),
            last.join(" | ")
        ))
    })?;
    ensure(exit.success() == (results.failed() == 0), || {
        format!("xtest {exit}, with {} cases failed", results.failed())
    })?;
    Ok(results)
}

/// The line that begins at `at`, if it is complete.
fn next_line<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = text.get(*at..)?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    if line.len() == rest.len() {
        return None;
    }
    *at += line.len() + 1;
    Some(line)
}

/// Reads what xtest prints. An error says why this is not the whole of a run.
fn read(text: &str) -> Result<Results, String> {
    let mut results = Results::default();
    let (mut listing, mut counted) = (false, None);
    for line in text.lines().map(str::trim_end) {
        if line.starts_with(HEAD) {
            listing = true;
        } else if listing && line.starts_with(RULE) {
            listing = false;
        } else if listing {
            results.cases.extend(case(line));
        } else if line == ABORTED {
            return Err("it gave up".to_owned());
        } else if let Some(counts) = counts(line) {
            counted = Some(counts);
        }
    }
    let listed = (results.cases.len(), results.failed());
    match counted {
        None => Err("it did not come to its end".to_owned()),
        Some(counted) if counted != listed => Err(format!(
            "it counts {} cases of which {} failed, and lists {} and {}",
            counted.0, counted.1, listed.0, listed.1
        )),
        Some(_) => Ok(results),
    }
}

/// `regression_1004 OK`; a case within one has a dot in its name, and is listed only when it failed.
fn case(line: &str) -> Option<Case> {
    let (name, said) = line.split_once(' ')?;
    let verdict = match said.split_once(' ').unwrap_or((said, "")) {
        ("OK", _) => Verdict::Passed,
        ("FAILED", said) => Verdict::Failed(said.to_owned()),
        ("SKIPPED:", why) => Verdict::Skipped(why.to_owned()),
        _ => return None,
    };
    (!name.contains('.')).then(|| Case {
        name: name.to_owned(),
        verdict,
    })
}

/// `3 test cases of which 1 failed`.
fn counts(line: &str) -> Option<(usize, usize)> {
    let (all, failed) = line.strip_suffix(" failed")?.split_once(" of which ")?;
    let all = all
        .strip_suffix(" test cases")
        .or(all.strip_suffix(" test case"))?;
    Some((all.parse().ok()?, failed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Verdict, next_line, read};

    const TEXT: &str = "\
Run test suite with level=0

TEE test application started over default TEE instance
######################################################
#
# regression
#
######################################################

* regression_1001 Core self tests
  regression_1001 OK
o regression_1004.2 Invoke command
+-----------------------------------------------------
Result of testsuite regression filtered by \"1001\":
Result of testsuite regression filtered by \"1004\":
regression_1001 OK
regression_1004 FAILED first error at regression_1000.c:77
regression_1004.2 FAILED first error at regression_1000.c:77
regression_1033 SKIPPED: \"no such device\"
+-----------------------------------------------------
36 subtests of which 1 failed
3 test cases of which 1 failed
105 test cases were skipped
TEE test application done!
";

    #[test]
    fn each_case_is_read_with_its_verdict() {
        let results = read(TEXT).unwrap();
        let names: Vec<&str> = results.names().collect();
        assert_eq!(
            names,
            ["regression_1001", "regression_1004", "regression_1033"]
        );
        assert_eq!((results.passed(), results.failed()), (1, 1));
        assert_eq!(
            results.cases[1].verdict,
            Verdict::Failed("first error at regression_1000.c:77".to_owned())
        );
    }

    #[test]
    fn half_a_run_is_no_run() {
        let (half, _) = TEXT.split_once("+---").unwrap();
        assert!(read(half).unwrap_err().contains("its end"));
        let fewer = TEXT.replace("regression_1001 OK\nregression_1004", "regression_1004");
        assert!(read(&fewer).unwrap_err().contains("lists 2 and 1"));
        let aborted = TEXT.replace("36 subtests", "Test suite was ABORTED\n36 subtests");
        assert!(read(&aborted).is_err());
    }

    #[test]
    fn only_whole_lines_are_told() {
        let mut at = 0;
        let text = b"one\n\ntw";
        assert_eq!(next_line(text, &mut at), Some(&b"one"[..]));
        assert_eq!(next_line(text, &mut at), Some(&b""[..]));
        assert_eq!(next_line(text, &mut at), None);
        assert_eq!(next_line(b"one\n\ntwo\n", &mut at), Some(&b"two"[..]));
    }
}
