//! What ends in the middle of a call, and what is left of it.

use super::super::{Context, Outcome, Test, ensure};
use super::callers;
use super::client::{begin, calls, ended};
use super::rights::{COMMUNICATION, little, put};
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "tee: avps-tee killed in mid-call costs that call a communication error, and later calls nothing",
            240,
            killed,
        ),
        Test::new(
            "tee: a guest destroyed in mid-call leaves no session, memory or domain, and its neighbour unharmed",
            180,
            destroyed,
        ),
    ]
}

/// Times that avps-tee is killed.
const KILLS: u32 = 5;
/// How long the call takes during which it is killed.
const CALL_MS: u32 = 8000;

fn killed(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = survived(context);
    document.down(context, outcome)
}

fn survived(context: &Context) -> Outcome {
    let guest = context.guest("limited")?;
    calls(&guest, 1, 0)?;
    let mut longest = Duration::ZERO;
    for _ in 0..KILLS {
        begin(&guest, CALL_MS)?;
        std::thread::sleep(Duration::from_millis(1500));
        // The daemon, not the process that looks after it.
        context.sh("kill -9 $(xenstore-read data/avps-tee/pid)")?;
        let began = Instant::now();
        let said = ended(&guest, Duration::from_secs(25))?;
        longest = longest.max(began.elapsed());
        // Its session is gone, too: it cannot even be closed.
        ensure(
            said.contains(COMMUNICATION) || said.contains("cannot close a session"),
            || format!("the call said: {said}"),
        )?;
        calls(&guest, 10, 4096)?;
    }
    // Until it ends, what was killed has pages of the guest, which could not be removed as a whole.
    std::thread::sleep(Duration::from_millis(CALL_MS.into()));
    context.note(format!(
        "{KILLS} kills; at most {:.1} s until the call had its error",
        longest.as_secs_f64()
    ));
    Ok(())
}

fn destroyed(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = alone(context);
    document.down(context, outcome)
}

fn alone(context: &Context) -> Outcome {
    let other = context.guest("other")?;
    calls(&other, 1, 0)?;
    let guest = context.guest("limited")?;
    begin(&guest, 60_000)?;
    std::thread::sleep(Duration::from_millis(1500));
    context.sh("avpsctl destroy limited")?;
    calls(&other, 20, 0)?;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let report: Value = serde_json::from_str(&context.sh("avpsctl tee status --json")?)?;
        let names: Vec<&str> = report["guests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|guest| guest["name"].as_str())
            .collect();
        let domains = context.sh("xl list | awk 'NR > 1 { print $1 }'")?;
        let zombie = domains.lines().any(|name| name == "(null)");
        let journals = context.sh("ls /run/avps/tee")?;
        if names == ["other"] && !zombie && journals.lines().count() == 1 {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("left: {names:?}; domains: {domains}; journals: {journals}")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
