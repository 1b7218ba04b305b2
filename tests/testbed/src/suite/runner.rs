//! Runs tests in one boot, each within its time, and gives the next a fresh boot after a failure.

use super::case::{Case, Verdict};
use super::run::{Run, Tier};
use super::{Context, Failed, Outcome, Test};
use crate::failure::{FAILED, Failure};
use crate::interrupt::interrupted;
use crate::progress::{Step, duration};
use crate::run::Error;
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The suite's name in reports.
const SUITE: &str = "bed";
/// How long a test may take to notice that its machine was switched off.
const GRACE: Duration = Duration::from_secs(30);
/// Boots that may fail in a row before the group's other tests are given up.
const BOOTS: u32 = 2;

/// What one try of a test saw.
struct Try {
    outcome: Outcome,
    notes: Vec<String>,
    time: Duration,
}

/// Boots and runs the tests of a group.
///
/// A test that fails is tried once more in a fresh boot as long as the whole run has second tries left. Both tries are cases.
/// A boot that fails is a failed case.
pub(super) fn run(
    run: &Run,
    group: &str,
    media: &Media,
    machine: &Machine,
    tests: Vec<Test>,
) -> Result<(), Failure> {
    let mut bed: Option<Arc<Bed>> = None;
    let mut waiting: VecDeque<Arc<Test>> = tests.into_iter().map(Arc::new).collect();
    // What the first try of the next test saw.
    let mut first: Option<Case> = None;
    let mut failed_boots = 0;
    while let Some(test) = waiting.pop_front() {
        if interrupted() {
            return Err(Error::Interrupted.into());
        }
        let current = match bed.take() {
            Some(bed) => bed,
            None => match boot(media, machine) {
                Ok(fresh) => {
                    failed_boots = 0;
                    run.report.logs(fresh.logs().display().to_string());
                    Arc::new(fresh)
                }
                Err(failure) if failure.code != FAILED => return Err(failure),
                Err(failure) => {
                    failed_boots += 1;
                    let name = format!("{group}: Xen and dom0 boot (before \"{}\")", test.name);
                    let seen = Some(failure.message);
                    run.report
                        .case(Case::new(SUITE, name, Duration::ZERO, seen));
                    waiting.push_front(test);
                    if failed_boots == BOOTS {
                        first
                            .take()
                            .into_iter()
                            .for_each(|case| run.report.case(case));
                        give_up(run, &waiting);
                        return Ok(());
                    }
                    continue;
                }
            },
        };
        let tried = run_one(run.tier, &test, &current);
        if interrupted() {
            return Err(Error::Interrupted.into());
        }
        let logs = current.logs().display().to_string();
        let timer_lost = current.lost_a_timer();
        if timer_lost {
            run.report.lost_timer(&logs);
        }
        let passed = tried.outcome.is_ok();
        let failure = tried.outcome.err().map(|Failed(seen)| {
            let cause = if timer_lost {
                "A CPU of the emulated machine lost its timer.\n"
            } else {
                ""
            };
            format!("{seen}\n{cause}Logs: {logs}")
        });
        let case = Case::new(SUITE, test.name.clone(), tried.time, failure);
        match first.take() {
            None if !passed && run.take_second_try() => {
                first = Some(case);
                waiting.push_front(Arc::clone(&test));
            }
            None => run.report.case(case),
            Some(mut earlier) => {
                if passed && let Verdict::Failed(seen) = earlier.verdict {
                    earlier.verdict = Verdict::Flaky(seen);
                }
                run.report.case(earlier);
                let name = format!("{} (second try)", case.name);
                run.report.case(Case { name, ..case });
            }
        }
        for note in tried.notes {
            run.report.aside(&note);
        }
        if passed && !timer_lost && current.alive() && !test.ruins {
            bed = Some(current);
        } else {
            current.collect_logs();
            end(current);
        }
    }
    if let Some(bed) = bed {
        end(bed);
    }
    Ok(())
}

/// The machine does not boot: what was to run in it has failed.
fn give_up(run: &Run, waiting: &VecDeque<Arc<Test>>) {
    for test in waiting {
        let seen = Some(format!(
            "not run: the machine did not boot {BOOTS} times in a row"
        ));
        let name = test.name.clone();
        run.report
            .case(Case::new(SUITE, name, Duration::ZERO, seen));
    }
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

fn run_one(tier: Tier, test: &Arc<Test>, bed: &Arc<Bed>) -> Try {
    let began = Instant::now();
    let context = Arc::new(Context::new(Arc::clone(bed)).of_tier(tier));
    bed.begin_lines();
    let outcome = body(test, bed, &context);
    let outcome = match (outcome, bed.alive()) {
        (Ok(()), false) => Err(Failed("the machine ended during the test".into())),
        (outcome, _) => outcome,
    };
    Try {
        outcome,
        notes: context.notes(),
        time: began.elapsed(),
    }
}

fn body(test: &Arc<Test>, bed: &Arc<Bed>, context: &Arc<Context>) -> Outcome {
    // In dom0's log, which the host keeps: whoever reads it finds the test.
    bed.dom0()
        .shell("echo \"test: $NAME\" > /dev/kmsg")
        .env("NAME", &test.name)
        .text()?;
    let (done, ended) = channel();
    let (own_test, own_context) = (Arc::clone(test), Arc::clone(context));
    let thread = std::thread::Builder::new()
        .name(test.name.clone())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| (own_test.body)(&own_context)));
            drop(own_context);
            // The receiver is gone when the time was over.
            let _ = done.send(outcome.unwrap_or_else(|panic| Err(Failed(panic_text(&*panic)))));
        })?;
    let limit = context.within(test.limit);
    match ended.recv_timeout(limit) {
        Ok(outcome) => {
            // It has sent its outcome.
            let _ = thread.join();
            outcome
        }
        Err(RecvTimeoutError::Disconnected) => {
            let _ = thread.join();
            Err(Failed("the test ended without an outcome".into()))
        }
        Err(RecvTimeoutError::Timeout) => {
            bed.collect_logs();
            bed.kill();
            // What it says now is only that its machine is gone.
            let _ = ended.recv_timeout(GRACE);
            let limit = duration(limit);
            Err(Failed(format!("not done after {limit}, its time limit")))
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the test panicked: {}", text.unwrap_or("without a message"))
}
