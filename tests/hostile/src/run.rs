//! A whole run: seed after seed next to a neighbour, and what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::attack::{self, Findings};
use crate::counts::Counts;
use crate::coverage;
use crate::machine::{collect_panics, panics};
use crate::neighbour::{self, Neighbour};

/// Operations of the attacker in which the neighbour makes a request at least.
const OPERATIONS_BESIDE: u64 = 5_000;

/// How long to attack.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Operations of the driver, at least. Writes of the second thread come on top.
    pub operations: u64,
    /// First seed.
    pub seed: u64,
    /// Ends sooner when this time is over.
    pub time: Option<Duration>,
    /// Ends at the first thing that is wrong.
    pub impatient: bool,
}

/// What a run gave.
#[derive(Debug)]
pub struct Summary {
    /// Operations by kind.
    pub counts: Counts,
    /// Writes of the second thread.
    pub scribbles: u64,
    /// Seeds.
    pub seeds: u64,
    /// Panics of the engine's threads.
    pub panics: Vec<String>,
    /// What else is wrong.
    pub findings: Findings,
    /// What the neighbour saw.
    pub neighbour: neighbour::Seen,
    /// Refusals and how often each was reached, in this process.
    pub reached: BTreeMap<&'static str, u64>,
    /// Expected refusals that were never reached.
    pub missed: Vec<&'static str>,
    /// How long it took.
    pub time: Duration,
}

/// Attacks. `progress` is told the operations so far.
pub fn run(limits: &Limits, mut progress: impl FnMut(u64)) -> Summary {
    collect_panics();
    let began = Instant::now();
    let neighbour = Neighbour::start();
    let mut counts = Counts::default();
    let mut findings = Findings::default();
    let (mut scribbles, mut seeds) = (0, 0);
    while counts.total() < limits.operations
        && limits.time.is_none_or(|time| began.elapsed() < time)
    {
        let seed = limits.seed.wrapping_add(seeds);
        let episode = attack::of_seed(seed);
        seeds += 1;
        counts = counts + episode.counts;
        scribbles += episode.scribbles;
        findings.take(seed, episode.findings);
        let wrong = !findings.is_empty() || !panics().is_empty();
        // A stuck engine keeps its memory, and whatever is wrong a hundred times is wrong.
        if !findings.stuck.is_empty() || (wrong && limits.impatient) || findings.total() > 100 {
            break;
        }
        progress(counts.total());
    }
    Summary {
        counts,
        scribbles,
        seeds,
        findings,
        neighbour: neighbour.stop(),
        panics: panics(),
        reached: coverage::reached(),
        missed: coverage::missed(),
        time: began.elapsed(),
    }
}

impl Summary {
    /// Nothing is wrong, and everything was reached.
    pub fn passed(&self) -> bool {
        self.behaved() && self.missed.is_empty()
    }

    /// Nothing is wrong, also for a neighbour that was at work.
    pub fn behaved(&self) -> bool {
        self.panics.is_empty()
            && self.findings.is_empty()
            && self.neighbour.errors.is_empty()
            && self.neighbour_worked()
    }

    /// The neighbour made requests all the while: it is quick, so that many operations without one mean that it stood still.
    fn neighbour_worked(&self) -> bool {
        let least = (self.counts.total() / OPERATIONS_BESIDE).max(1);
        self.neighbour.requests >= least
    }

    /// Name and value of each figure.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let seconds = self.time.as_secs_f64();
        let operations = self.counts.total() as f64;
        let mut figures: BTreeMap<String, f64> = [
            ("operations", operations),
            ("operations_per_second", (operations / seconds).round()),
            ("seconds", seconds),
            ("scribbles", self.scribbles as f64),
            ("seeds", self.seeds as f64),
            ("panics", self.panics.len() as f64),
            ("neighbour_errors", self.neighbour.errors.len() as f64),
            ("neighbour_requests", self.neighbour.requests as f64),
            ("refusals", self.reached.len() as f64),
            ("refusals_missed", self.missed.len() as f64),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, list) in self.findings.kinds() {
            figures.insert(name.into(), list.len() as f64);
        }
        for (name, count) in self.counts.fields() {
            figures.insert(format!("operations.{name}"), count as f64);
        }
        figures
    }

    /// What is wrong, in words.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for (kind, list) in self.findings.kinds() {
            notes.extend(list.iter().take(8).map(|words| format!("{kind}: {words}")));
        }
        notes.extend(
            self.panics
                .iter()
                .take(8)
                .map(|words| format!("panic: {words}")),
        );
        let errors = self.neighbour.errors.iter();
        notes.extend(errors.map(|words| format!("neighbour: {words}")));
        if !self.neighbour_worked() {
            let (requests, operations) = (self.neighbour.requests, self.counts.total());
            notes.push(format!(
                "neighbour: {requests} requests during {operations} operations: it stood still"
            ));
        }
        let missed = self.missed.iter();
        notes.extend(missed.map(|name| format!("never reached: {name}")));
        notes
    }
}
