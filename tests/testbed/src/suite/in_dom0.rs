//! The tests of crate `in-dom0`, each as a test of the bed.

use super::{Context, Failed, Outcome, Test};
use crate::failure::Failure;
use crate::paths;
use crate::process::Run;
use agent::client::Output;
use serde::Deserialize;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

#[derive(Deserialize)]
struct Answer {
    name: String,
    passed: bool,
    reason: Option<String>,
}

/// What the program, built for this host, says that it holds.
pub(super) fn tests() -> Result<Vec<Test>, Failure> {
    let listed = Run::new("cargo")
        .args(["run", "--quiet", "--package", "in-dom0", "--", "--list"])
        .current_dir(paths::workspace())
        .output()
        .map_err(|e| Failure::new(format!("cannot list the tests of in-dom0: {e}")))?;
    let tests: Vec<Test> = listed
        .lines()
        .filter(|line| !line.is_empty())
        .map(test)
        .collect();
    if tests.is_empty() {
        return Err(Failure::new("in-dom0 lists no tests"));
    }
    Ok(tests)
}

fn test(name: &str) -> Test {
    let own = name.to_owned();
    Test {
        ruins: false,
        name: name.to_owned(),
        limit: LIMIT,
        body: Box::new(move |context| run(context, &own)),
    }
}

fn run(context: &Context, name: &str) -> Outcome {
    let output = context
        .dom0()
        .command(["in-dom0", name])
        .time(LIMIT)
        .output()?;
    passed(&output, name)
}

/// The program said that this very test has passed, and ended so.
pub(super) fn passed(output: &Output, name: &str) -> Outcome {
    let text = output.text();
    let answers = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let result = answers
        .into_iter()
        .find(|answer: &Answer| answer.name == name);
    match result {
        Some(Answer { passed: true, .. }) if output.exit.success() => Ok(()),
        Some(Answer {
            reason: Some(reason),
            ..
        }) => Err(Failed(with_errors(reason, &output.error_text()))),
        _ => Err(Failed(with_errors(
            format!("in-dom0 {}", output.exit),
            &output.error_text(),
        ))),
    }
}

/// The last lines of standard error, unless the reason tells the same.
fn with_errors(mut seen: String, errors: &str) -> String {
    let last: Vec<&str> = errors
        .lines()
        .rev()
        .take(10)
        .filter(|line| !seen.contains(line))
        .collect();
    for line in last.into_iter().rev() {
        seen.push_str("\n| ");
        seen.push_str(line);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent::message::Exit;

    fn output(code: i32, text: &str) -> Output {
        Output {
            exit: Exit {
                code: Some(code),
                ..Exit::default()
            },
            stdout: text.into(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn a_test_has_passed_when_the_program_says_so_and_ends_so() {
        let said =
            |name: &str, passed: bool| format!(r#"{{"name": "{name}", "passed": {passed}}}"#);
        assert!(passed(&output(0, &said("one", true)), "one").is_ok());
        for (code, text) in [
            (0, String::new()),
            (0, said("two", true)),
            (0, said("one", false)),
            (1, said("one", true)),
        ] {
            assert!(
                passed(&output(code, &text), "one").is_err(),
                "{code} {text}"
            );
        }
    }
}
