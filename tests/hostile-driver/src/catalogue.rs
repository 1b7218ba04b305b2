//! All attempts as one list, and how they are run: each in a process of its own, killed when it does not answer.
//!
//! So an attempt that hangs or crashes ends nothing but itself, and whatever it mapped or opened goes with it.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::attacker::{Attacker, Domains};
use crate::attempt::{Attempt, Expected, Outcome, Target, Verdict};
use crate::store::{self, Key, Request};
use crate::{control, device_model, events, grants, memory};

/// Longest time for one attempt.
const TIME: Duration = Duration::from_secs(20);

/// One attempt on one target.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    /// On Xen.
    Xen(&'static Attempt, Target, Expected),
    /// On a key in XenStore.
    Key(&'static Key),
    /// On XenStore itself.
    Store(&'static Request),
}

/// All of them, in the order they are run.
pub(crate) fn cases() -> Vec<Case> {
    let tables = [
        control::TABLE,
        memory::TABLE,
        grants::TABLE,
        events::TABLE,
        device_model::TABLE,
    ];
    let on_xen = tables.into_iter().flatten().flat_map(|attempt| {
        attempt
            .on
            .iter()
            .map(move |(target, expected)| Case::Xen(attempt, *target, *expected))
    });
    on_xen
        .chain(store::KEYS.iter().map(Case::Key))
        .chain(store::REQUESTS.iter().map(Case::Store))
        .collect()
}

impl Case {
    /// Unique name: the attempt's, and its target's.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Xen(attempt, target, _) => format!("{}@{}", attempt.name, target.name()),
            Self::Key(key) => key.name.to_owned(),
            Self::Store(request) => request.name.to_owned(),
        }
    }

    pub(crate) fn aim(self) -> &'static str {
        match self {
            Self::Xen(attempt, ..) => attempt.aim,
            Self::Key(key) => key.aim,
            Self::Store(request) => request.aim,
        }
    }

    pub(crate) fn expected(self) -> Expected {
        match self {
            Self::Xen(_, _, expected) => expected,
            Self::Key(key) => key.expected,
            Self::Store(_) => Expected::Refused,
        }
    }

    /// Does it in this process; `None` if the target is missing.
    ///
    /// # Errors
    /// A door that cannot be opened.
    pub(crate) fn run(self, domains: Domains) -> Result<Option<Verdict>, String> {
        let (attempt, target) = match self {
            Self::Key(key) => return Ok(store::try_key(key, &domains)),
            Self::Store(request) => return Ok(Some(store::try_request(request, &domains))),
            Self::Xen(attempt, target, _) => (attempt, target),
        };
        let Some(domain) = domains.number(target) else {
            return Ok(None);
        };
        let attacker = Attacker::open(domains)?;
        if attempt.harm && control::may_control(&attacker, domain).is_ok() {
            return Ok(Some(Verdict::failed(
                "not tried: this domain may ask for the target's state already, so nothing would stop the harm",
            )));
        }
        Ok(Some((attempt.how)(&attacker, domain)))
    }
}

/// What is told of an attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) aim: &'static str,
    pub(crate) expected: Expected,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// Runs a case in a process of its own. `arguments` are this program's that name the domains.
pub(crate) fn run_apart(case: Case, arguments: &[String]) -> Option<Report> {
    let verdict = match apart(&case.name(), arguments) {
        Ok(text) if text.trim() == "null" => return None,
        Ok(text) => serde_json::from_str(&text)
            .unwrap_or_else(|_| Verdict::failed(format!("the attempt's process said {text:?}"))),
        Err(problem) => Verdict::failed(problem),
    };
    Some(Report {
        name: case.name(),
        aim: case.aim(),
        expected: case.expected(),
        verdict,
    })
}

fn apart(name: &str, arguments: &[String]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(["one", name])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < TIME => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                // A process that is gone meanwhile needs no killing.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no answer within {} s", TIME.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
    }
    if status.success() {
        Ok(text)
    } else {
        Err(format!("the attempt's process ended with {status}"))
    }
}

/// Numbers over all reports.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    /// Attempts that must be refused.
    pub(crate) attacks: u32,
    /// Those that were.
    pub(crate) refused: u32,
    /// Those that succeeded.
    pub(crate) allowed: u32,
    /// Those whose outcome says nothing.
    pub(crate) failed: u32,
    /// Operations that must succeed.
    pub(crate) controls: u32,
    /// Those that did not.
    pub(crate) controls_failed: u32,
}

/// Counts, and names what is not as expected.
pub(crate) fn judge(reports: &[Report]) -> (Figures, Vec<String>) {
    let mut figures = Figures::default();
    let mut notes = Vec::new();
    for report in reports {
        match report.expected {
            Expected::Refused => {
                figures.attacks += 1;
                match report.verdict.outcome {
                    Outcome::Refused => figures.refused += 1,
                    Outcome::Allowed => figures.allowed += 1,
                    Outcome::Failed => figures.failed += 1,
                }
            }
            Expected::Control => {
                figures.controls += 1;
                figures.controls_failed += u32::from(!report.verdict.is(Expected::Control));
            }
            Expected::Limit | Expected::Any => {}
        }
        if !report.verdict.is(report.expected) {
            notes.push(format!("{}: {}", report.name, report.verdict.detail));
        }
    }
    (figures, notes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: BTreeSet<String> = cases().into_iter().map(Case::name).collect();
        assert_eq!(names.len(), cases().len());
    }

    #[test]
    fn what_harms_is_never_tried_on_a_control() {
        for case in cases() {
            if let Case::Xen(attempt, _, expected) = case {
                assert!(
                    !attempt.harm || expected == Expected::Refused,
                    "{}",
                    attempt.name
                );
            }
        }
    }

    #[test]
    fn a_failure_and_a_success_count_against_the_policy_alike() {
        let report = |expected, verdict| Report {
            name: "x".to_owned(),
            aim: "",
            expected,
            verdict,
        };
        let (figures, notes) = judge(&[
            report(Expected::Refused, Verdict::refused("")),
            report(Expected::Refused, Verdict::allowed("")),
            report(Expected::Refused, Verdict::failed("")),
            report(Expected::Control, Verdict::refused("")),
            report(Expected::Limit, Verdict::allowed("")),
        ]);
        let expected = Figures {
            attacks: 3,
            refused: 1,
            allowed: 1,
            failed: 1,
            controls: 1,
            controls_failed: 1,
        };
        assert_eq!(figures, expected);
        assert_eq!(notes.len(), 3);
    }
}
