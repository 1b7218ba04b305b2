//! Tests of the crates that need a real Xen below them, run inside dom0.
//!
//! Those of a guest are run there, by name. `in-dom0 --list` prints the names of dom0's; `in-dom0 NAME…` runs these, `in-dom0` all; each result is one line of JSON on
//! standard output. A test that panics fails; the others still run.

mod libxl_guest;
mod libxl_host;
mod libxl_lifecycle;
mod xen_events;
mod xen_grants;
mod xen_privcmd;
mod xenstore_client;
mod xenstore_guest;
mod xenstore_tools;

use std::error::Error;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

type Outcome = Result<(), Box<dyn Error>>;
type Test = (&'static str, fn() -> Outcome);

/// Every test, by subject.
const SUBJECTS: &[&[Test]] = &[
    xen_events::TESTS,
    xen_grants::TESTS,
    xen_privcmd::TESTS,
    xenstore_tools::TESTS,
    xenstore_client::TESTS,
    libxl_host::TESTS,
    libxl_lifecycle::TESTS,
];

/// Run where the caller sees to it that this is a guest.
const IN_A_GUEST: &[&[Test]] = &[xenstore_guest::TESTS];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tests = if arguments
        .iter()
        .any(|argument| argument.starts_with("guest: "))
    {
        IN_A_GUEST
    } else {
        SUBJECTS
    };
    let all = || tests.iter().flat_map(|subject| subject.iter());
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in all() {
            say(name);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments
        .iter()
        .find(|wanted| all().all(|(name, _)| name != wanted))
    {
        eprintln!("there is no test {unknown:?}; --list prints the names");
        return ExitCode::from(2);
    }
    let mut failed = false;
    for (name, body) in
        all().filter(|(name, _)| arguments.is_empty() || arguments.iter().any(|a| a == name))
    {
        let began = Instant::now();
        let reason = run(*body).err();
        failed |= reason.is_some();
        let result = serde_json::json!({
            "name": name,
            "passed": reason.is_none(),
            "seconds": began.elapsed().as_secs_f64(),
            "reason": reason,
        });
        say(&result.to_string());
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run(body: fn() -> Outcome) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(outcome) => outcome.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panicked: {}", text.unwrap_or("without a message")))
        }
    }
}

/// A reader that is gone ends nothing here: the exit code still tells.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
