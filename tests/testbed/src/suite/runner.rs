//! Runs tests in one boot, each within its time, and gives the next a fresh boot after a failure.

use super::report::{Case, Report};
use super::{Context, Failed, Outcome, Test};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::progress::{Step, duration};
use crate::run::Error;
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::{Machine, SERIAL_LOG};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The suite's name in reports.
pub(super) const SUITE: &str = "bed";
/// How long a test may take to notice that its machine was switched off.
const GRACE: Duration = Duration::from_secs(30);

/// Boots and runs. Returns the log folders of the boots.
///
/// The first `second_tries` tests that fail are tried once more, in a fresh boot, and the report says so with what was
/// seen first. One whose machine lost a timer interrupt is not counted among them.
pub(super) fn run(
    media: &Media,
    machine: &Machine,
    tests: Vec<Test>,
    mut second_tries: u32,
    report: &mut Report,
) -> Result<Vec<String>, Failure> {
    let mut logs = Vec::new();
    let mut bed: Option<Arc<Bed>> = None;
    let mut waiting: VecDeque<Arc<Test>> = tests.into_iter().map(Arc::new).collect();
    let mut repeated = false;
    while let Some(test) = waiting.pop_front() {
        if interrupted() {
            return Err(Error::Interrupted.into());
        }
        let current = match bed.take() {
            Some(bed) => bed,
            None => {
                let fresh = Arc::new(boot(media, machine)?);
                logs.push(fresh.logs().display().to_string());
                fresh
            }
        };
        let began = Instant::now();
        let (outcome, notes) = run_one(&test, &current);
        if interrupted() {
            return Err(Error::Interrupted.into());
        }
        if let Err(Failed(seen)) = &outcome
            && !repeated
            && let Some(reason) = second_try(&current, &mut second_tries)
        {
            report.note(format!(
                "{}: {reason}, so it was tried again (logs: {}); first seen: {seen}",
                test.name,
                current.logs().display()
            ));
            repeated = true;
            waiting.push_front(test);
            current.collect_logs();
            end(current);
            continue;
        }
        repeated = false;
        let failure = outcome
            .err()
            .map(|Failed(seen)| format!("{seen}\nLogs: {}", current.logs().display()));
        let passed = failure.is_none();
        report.case(Case {
            suite: SUITE,
            name: test.name.clone(),
            time: began.elapsed(),
            failure,
        });
        for note in notes {
            report.aside(&note);
        }
        if passed && current.alive() && !test.ruins {
            bed = Some(current);
        } else {
            current.collect_logs();
            end(current);
        }
    }
    if let Some(bed) = bed {
        end(bed);
    }
    Ok(logs)
}

/// Why a test that failed is tried once more, if it is.
fn second_try(bed: &Bed, left: &mut u32) -> Option<&'static str> {
    if lost_a_timer(bed) {
        return Some("the emulated machine lost a timer interrupt");
    }
    *left = left.checked_sub(1)?;
    Some("it failed")
}

/// Whether dom0's Linux says that a timer did not fire for seconds. QEMU's emulation loses one now and then; a
/// component under test cannot.
fn lost_a_timer(bed: &Bed) -> bool {
    let console = std::fs::read(bed.logs().join(SERIAL_LOG)).unwrap_or_default();
    String::from_utf8_lossy(&console).contains("kthread timer wakeup didn't happen")
}

fn boot(media: &Media, machine: &Machine) -> Result<Bed, Failure> {
    let step = Step::begin("bed", "booting Xen and dom0");
    let bed = Bed::boot(media, machine, "test")?;
    step.done(&format!(
        "booted in {}",
        duration(bed.times().xen + bed.times().dom0)
    ));
    Ok(bed)
}

/// A test that hangs still holds the bed: then it is switched off hard, when the test lets go of it.
fn end(bed: Arc<Bed>) {
    match Arc::try_unwrap(bed) {
        Ok(bed) => {
            bed.poweroff();
        }
        Err(shared) => shared.kill(),
    }
}

fn run_one(test: &Arc<Test>, bed: &Arc<Bed>) -> (Outcome, Vec<String>) {
    let context = Arc::new(Context::new(Arc::clone(bed)));
    // In dom0's log, which the host keeps: whoever reads it finds the test.
    let marked = bed
        .dom0()
        .shell("echo \"test: $NAME\" > /dev/kmsg")
        .env("NAME", &test.name)
        .text();
    if let Err(e) = marked {
        return (Err(e.into()), Vec::new());
    }
    let (done, ended) = channel();
    let (own_test, own_context) = (Arc::clone(test), Arc::clone(&context));
    let thread = std::thread::Builder::new()
        .name(test.name.clone())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| (own_test.body)(&own_context)));
            drop(own_context);
            // Nobody waits any more when the time was over.
            let _ = done.send(outcome.unwrap_or_else(|panic| Err(Failed(panic_text(&*panic)))));
        });
    let thread = match thread {
        Ok(thread) => thread,
        Err(e) => return (Err(e.into()), Vec::new()),
    };
    let mut outcome = ended.recv_timeout(test.limit);
    if matches!(outcome, Err(RecvTimeoutError::Timeout)) {
        bed.collect_logs();
        bed.kill();
        // What it says now is only that its machine is gone.
        let _ = ended.recv_timeout(GRACE);
        outcome = Ok(Err(Failed(format!(
            "not done after {}, its time limit",
            duration(test.limit)
        ))));
    } else {
        // It has sent its outcome, or panicked in a place where it could not.
        let _ = thread.join();
    }
    let outcome =
        outcome.unwrap_or_else(|_| Err(Failed("the test ended without an outcome".into())));
    let outcome = match (outcome, bed.alive()) {
        (Ok(()), false) => Err(Failed("the machine ended during the test".into())),
        (outcome, _) => outcome,
    };
    (outcome, context.notes())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the test panicked: {}", text.unwrap_or("without a message"))
}
