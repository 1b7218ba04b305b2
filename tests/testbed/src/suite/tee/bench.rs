//! What a call of the secure world costs by way of avps-tee, and how that compares with Xen's own mediator in the same boot.

use super::super::bench::Figures;
use super::super::{Context, Failed, Outcome};
use super::callers::{Callers, Mode};
use super::client;
use crate::progress::Step;
use agent::client::Remote;
use std::collections::BTreeMap;

/// Largest buffer that Xen's mediator takes, but for a page, in bytes.
const LARGE: usize = 512 * 1024;
/// What is called, by its name in the figures.
const CALLS: [(&str, Call); 4] = [
    ("none", Call::Nothing(0)),
    ("4k", Call::Nothing(4096)),
    ("512k", Call::Nothing(LARGE)),
    ("512k_hashed", Call::Hash(LARGE)),
];

/// A call with so many bytes.
#[derive(Clone, Copy)]
enum Call {
    /// They go both ways, and the application does nothing with them.
    Nothing(usize),
    /// The application hashes them.
    Hash(usize),
}

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
        "Seconds are medians of a call in a session that is open: of a function that the application does not have, or of one \
         that hashes a buffer (SHA-256). A ratio is that of a guest whose calls Xen carries out divided by the mediated guest's, in turns: the higher the better. Counts are avps-tee's, per call."
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
    for (name, call) in CALLS {
        let step = Step::begin(format!("tee {name}"), "measuring");
        // The application is loaded, and buffers are there.
        seconds(ours, 2, call)?;
        seconds(theirs, 2, call)?;
        let before = counters(context, ours)?;
        let (mut ratios, mut times) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (mediated, direct) = (seconds(ours, calls, call)?, seconds(theirs, calls, call)?);
            ratios.push(direct / mediated);
            times.push(mediated);
        }
        let after = counters(context, ours)?;
        let all = f64::from(calls) * f64::from(rounds);
        for counter in COUNTERS {
            let of = |counters: &BTreeMap<String, f64>| {
                let count = counters.get(counter).copied();
                count.ok_or_else(|| Failed(format!("avps-tee counts no {counter}: {counters:?}")))
            };
            let grown = of(&after)? - of(&before)?;
            figures.add(format!("{name}.{counter}"), grown / all);
        }
        figures.spread(&format!("ratio.hypervisor.{name}"), ratios);
        figures.spread(&format!("{name}.seconds"), times);
        step.done("measured");
    }
    Ok(())
}

/// Median of so many calls.
fn seconds(guest: &Remote, count: u32, call: Call) -> Result<f64, Failed> {
    let seen = match call {
        Call::Nothing(bytes) => client::calls(guest, count, bytes)?,
        Call::Hash(bytes) => client::hash(guest, count, bytes)?,
    };
    let median = seen["median_seconds"].as_f64();
    median.ok_or_else(|| Failed(format!("no time: {seen}")))
}

fn counters(context: &Context, guest: &Remote) -> Result<BTreeMap<String, f64>, Failed> {
    let mut status = client::status(context, guest.name())?;
    Ok(serde_json::from_value(status["counters"].take())?)
}
