//! What a call of the secure world costs by way of avps-tee, and how that compares with Xen's own mediator in the same boot.

use super::super::bench::Figures;
use super::super::{Context, Failed, Outcome};
use super::callers::{Callers, Mode};
use super::client;
use crate::progress::Step;
use agent::client::Remote;
use std::collections::BTreeMap;

/// Bytes of a buffer that goes both ways. Xen's mediator takes none larger than the last.
const SIZES: [(&str, usize); 3] = [("none", 0), ("4k", 4096), ("512k", 512 * 1024)];
/// What is counted for each call, of avps-tee.
const COUNTERS: [&str; 6] = [
    "smcs",
    "hypercalls",
    "maps",
    "copies",
    "copied_bytes",
    "sleeps",
];

/// Measures calls with each size, `rounds` times in turns, `calls` calls each.
pub(in super::super) fn run(context: &Context, calls: u32, rounds: u32) -> Result<Figures, Failed> {
    let callers = Callers::with(context, &[Mode::Hypervisor, Mode::Mediated])?;
    let mut figures = Figures::default();
    let measured = measure(context, &callers, calls, rounds, &mut figures);
    callers.end(context, measured)?;
    figures.notes.push(
        "Seconds are medians of a call of a function that the application does not have, in a session that is open. A ratio is \
         the mediated guest's divided by that of a guest whose calls Xen carries out, in turns. Counts are avps-tee's, per call."
            .into(),
    );
    Ok(figures)
}

fn measure(
    context: &Context,
    callers: &Callers,
    calls: u32,
    rounds: u32,
    figures: &mut Figures,
) -> Outcome {
    let guests = callers.all(context)?;
    let [theirs, ours] = guests.as_slice() else {
        return Err(Failed(format!("{} guests run, not two", guests.len())));
    };
    for (name, bytes) in SIZES {
        let step = Step::begin(format!("tee {name}"), "measuring");
        // The application is loaded, and buffers are there.
        seconds(ours, 2, bytes)?;
        seconds(theirs, 2, bytes)?;
        let before = counters(context, ours)?;
        let (mut ratios, mut times) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (mediated, direct) = (seconds(ours, calls, bytes)?, seconds(theirs, calls, bytes)?);
            ratios.push(mediated / direct);
            times.push(mediated);
        }
        let after = counters(context, ours)?;
        let all = f64::from(calls) * f64::from(rounds);
        for counter in COUNTERS {
            let of = |counters: &BTreeMap<String, f64>| counters.get(counter).copied();
            if let (Some(before), Some(after)) = (of(&before), of(&after)) {
                figures.add(format!("{name}.{counter}"), (after - before) / all);
            }
        }
        figures.spread(&format!("ratio.hypervisor.{name}"), ratios);
        figures.spread(&format!("{name}.seconds"), times);
        step.done("measured");
    }
    Ok(())
}

/// Median of so many calls.
fn seconds(guest: &Remote, calls: u32, bytes: usize) -> Result<f64, Failed> {
    let seen = client::calls(guest, calls, bytes)?;
    let median = seen["median_seconds"].as_f64();
    median.ok_or_else(|| Failed(format!("no time: {seen}")))
}

fn counters(context: &Context, guest: &Remote) -> Result<BTreeMap<String, f64>, Failed> {
    let mut status = client::status(context, guest.name())?;
    Ok(serde_json::from_value(status["counters"].take())?)
}
