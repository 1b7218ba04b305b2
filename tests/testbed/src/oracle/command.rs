//! `cargo xtask oracle`: real Xen judges layouts whose verdict is known.

use super::cases::{self, Case, Expected};
use super::documents::{self, Random};
use super::{Answer, Error, GuestReport, Oracle, Verdict};
use crate::artefacts::Workshop;
use crate::failure::Failure;
use crate::progress::Step;
use crate::suite::bench::{Figures, show};
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Let real Xen judge layouts, and compare with what is expected of each.
#[derive(Args)]
pub(crate) struct OracleCommand {
    /// How many cases; all, unless told otherwise.
    #[arg(long)]
    cases: Option<usize>,
    /// Decides which, when not all.
    #[arg(long)]
    seed: Option<u64>,
    /// Only cases whose class or name holds this text.
    filter: Option<String>,
    /// Layouts written by hand as device trees instead of documents: what Xen does, without the checker.
    #[arg(long)]
    layouts: bool,
    /// Print each case's verdict with Xen's own words.
    #[arg(long)]
    verdicts: bool,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// Another one each time.
fn seed_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs())
}

/// How a verdict stands to what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Agrees,
    /// Expected to work, and it does not.
    FalseAccept,
    /// Expected to be refused, and it works.
    FalseReject,
    /// Expected to go wrong in one way, and it goes in another.
    Otherwise,
}

impl OracleCommand {
    /// So many documents, from another seed each time.
    pub(crate) fn of_documents(cases: usize) -> Self {
        Self {
            cases: Some(cases),
            layouts: false,
            ..Self::of_layouts()
        }
    }

    /// All layouts written by hand.
    pub(crate) fn of_layouts() -> Self {
        Self {
            cases: None,
            seed: None,
            filter: None,
            layouts: true,
            verdicts: false,
            json: false,
        }
    }

    /// Asks, and prints.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        Ok(show(&self.figures()?, "oracle", self.json))
    }

    /// Asks.
    pub(crate) fn figures(&self) -> Result<Figures, Failure> {
        let oracle = Oracle::get(Workshop::open())?;
        if !self.layouts {
            let wanted = documents::Wanted {
                cases: self.cases.unwrap_or(300),
                seed: self.seed.unwrap_or_else(seed_of_now),
                filter: self.filter.clone().unwrap_or_default(),
                verdicts: self.verdicts,
            };
            let mut figures = documents::run(&oracle, &wanted)?;
            if figures.failed {
                figures
                    .notes
                    .push(format!("Logs: {}", oracle.logs().display()));
            }
            return Ok(figures);
        }
        let filter = self.filter.as_deref().unwrap_or_default();
        let mut chosen: Vec<Case> = cases::all();
        chosen.retain(|case| case.class.contains(filter) || case.name.contains(filter));
        choose(&mut chosen, self.cases, self.seed.unwrap_or(1));
        let step = Step::begin("oracle", "starting");
        let mut tally = Tally::default();
        for (index, case) in chosen.iter().enumerate() {
            step.state(format!(
                "case {} of {}: {}: {}",
                index + 1,
                chosen.len(),
                case.class,
                case.name
            ));
            let asked = case
                .sketch
                .layout(&oracle, case.name)
                .and_then(|layout| oracle.ask(case.name, &layout));
            match asked {
                Ok(answer) => {
                    if self.verdicts {
                        step.note(&told(case, &answer));
                    }
                    tally.add(case, &answer);
                }
                Err(error @ (Error::Interrupted | Error::Artefact(_))) => return Err(error.into()),
                // The other cases are worth asking all the same.
                Err(error) => tally.unasked(case, &error),
            }
        }
        step.done(&format!("{} cases", chosen.len()));
        let mut figures = tally.figures();
        if figures.failed {
            let logs = oracle.logs().display();
            figures.notes.push(format!("Logs: {logs}"));
        }
        Ok(figures)
    }
}

/// Keeps so many, spread over all classes by the seed.
fn choose(cases: &mut Vec<Case>, count: Option<usize>, seed: u64) {
    let Some(count) = count.filter(|count| *count < cases.len()) else {
        return;
    };
    let mut random = Random::new(seed);
    cases.sort_by_cached_key(|_| random.next());
    cases.truncate(count);
}

#[derive(Default)]
struct Tally {
    seconds: Vec<f64>,
    false_accepts: u32,
    false_rejects: u32,
    otherwise: u32,
    unasked: u32,
    notes: Vec<String>,
}

impl Tally {
    fn add(&mut self, case: &Case, answer: &Answer) {
        self.seconds.push(answer.time.as_secs_f64());
        match outcome(case.expected, answer) {
            Outcome::Agrees => return,
            Outcome::FalseAccept => self.false_accepts += 1,
            Outcome::FalseReject => self.false_rejects += 1,
            Outcome::Otherwise => self.otherwise += 1,
        }
        self.notes.push(format!(
            "{}: {}: expected {}, Xen {} ({})",
            case.class,
            case.name,
            in_words(case.expected),
            answer.verdict.word(),
            answer.verdict.line()
        ));
    }

    /// A case that could not be asked is a failure of the run, and no verdict.
    fn unasked(&mut self, case: &Case, error: &Error) {
        self.unasked += 1;
        self.notes
            .push(format!("{}: {}: {error}", case.class, case.name));
    }

    fn figures(self) -> Figures {
        let mut figures = Figures::default();
        let count = u32::try_from(self.seconds.len()).unwrap_or(u32::MAX);
        figures.add("cases", count.into());
        figures.add("false_accepts", self.false_accepts.into());
        figures.add("false_rejects", self.false_rejects.into());
        figures.add("otherwise", self.otherwise.into());
        figures.series("seconds", self.seconds);
        let wrong = self.false_accepts + self.false_rejects + self.otherwise + self.unasked;
        // A filter that leaves none is a mistake.
        figures.failed = wrong > 0 || count == 0;
        figures.notes = self.notes;
        figures
    }
}

fn outcome(expected: Expected, answer: &Answer) -> Outcome {
    let verdict = &answer.verdict;
    let boots = match verdict {
        Verdict::Boots { guests } => guests.iter().all(GuestReport::is_whole),
        _ => false,
    };
    let says_why = match verdict {
        Verdict::Panics { message, .. } | Verdict::Silent { message, .. } => !message.is_empty(),
        _ => false,
    };
    let is_so = match expected {
        Expected::Accepted | Expected::Unnoticed { .. } => boots,
        Expected::Refused { .. } => says_why,
        Expected::Stuck { .. } => !boots && !says_why,
        Expected::Wrong { sign, .. } => sign.is_in(answer),
    };
    match expected {
        _ if is_so => Outcome::Agrees,
        Expected::Accepted => Outcome::FalseAccept,
        Expected::Refused { .. } | Expected::Stuck { .. } if boots => Outcome::FalseReject,
        _ => Outcome::Otherwise,
    }
}

/// What is expected, in words.
fn in_words(expected: Expected) -> String {
    match expected {
        Expected::Accepted => "that all is well".to_owned(),
        Expected::Refused { rule } => format!("a word of Xen's ({rule})"),
        Expected::Stuck { rule } => format!("that it gets nowhere, without a word ({rule})"),
        Expected::Wrong { rule, sign } => format!("that {} ({rule})", sign.words),
        Expected::Unnoticed { rule } => format!("that nobody notices anything ({rule})"),
    }
}

/// A case, its verdict, Xen's words, and what the guests said that is not usual.
fn told(case: &Case, answer: &Answer) -> String {
    let verdict = &answer.verdict;
    let mut text = format!(
        "{}: {}: {} in {:.1} s: {}",
        case.class,
        case.name,
        verdict.word(),
        answer.time.as_secs_f64(),
        verdict.line()
    );
    if let Verdict::Panics { before, .. } | Verdict::Silent { before, .. } = verdict {
        for line in before {
            let _ = write!(text, "\n      {line}");
        }
    }
    if let Verdict::Boots { guests } | Verdict::Missing { guests, .. } = verdict {
        for guest in guests {
            let _ = write!(
                text,
                "\n      d{} memory={:x?} cpus={}/{} bad={} torn={} arguments={} nodes={:x?} shm={:?} {:?}",
                guest.domain,
                guest.memory,
                guest.running,
                guest.cpus,
                guest.bad_pages,
                guest.torn,
                guest.arguments.len(),
                guest.nodes,
                guest.shared,
                guest.said
            );
        }
        for (id, domain) in &answer.readback.domains {
            let _ = write!(
                text,
                "\n      d{id} pages={:?} host={:x?} affinity={:?} pool={:?} colours={:?}",
                domain.pages, domain.host_banks, domain.affinity, domain.pool, domain.colours
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Readback;
    use super::super::cases::Sign;
    use super::*;
    use std::time::Duration;

    fn answer(verdict: Verdict) -> Answer {
        Answer {
            verdict,
            log: String::new(),
            early: String::new(),
            readback: Readback::default(),
            time: Duration::ZERO,
        }
    }

    fn guest(cpus: u32, running: u32, torn: u32) -> GuestReport {
        let mut guest = GuestReport::default();
        guest.domain = 1;
        (guest.cpus, guest.running, guest.torn) = (cpus, running, torn);
        guest
    }

    #[test]
    fn only_what_is_expected_makes_a_case_pass() {
        let boots = |guest| {
            answer(Verdict::Boots {
                guests: vec![guest],
            })
        };
        let good = boots(guest(2, 2, 0));
        let one_vcpu_less = boots(guest(2, 1, 0));
        let lines_lost = boots(guest(2, 2, 1));
        let hangs = answer(Verdict::Hangs {
            last: String::new(),
        });
        let silent = |message: &str| {
            answer(Verdict::Silent {
                message: message.to_owned(),
                before: Vec::new(),
            })
        };
        let rule = "r";
        let sign = Sign::new("a vCPU is silent", |seen| {
            seen.guest(1, |guest| guest.running < guest.cpus)
        });
        let (accepted, unnoticed) = (Expected::Accepted, Expected::Unnoticed { rule });
        let (refused, stuck) = (Expected::Refused { rule }, Expected::Stuck { rule });
        let wrong = Expected::Wrong { rule, sign };
        for (expected, answer, outcome_of) in [
            (accepted, &good, Outcome::Agrees),
            (accepted, &one_vcpu_less, Outcome::FalseAccept),
            (accepted, &lines_lost, Outcome::FalseAccept),
            (accepted, &hangs, Outcome::FalseAccept),
            (refused, &silent("no memory"), Outcome::Agrees),
            (refused, &silent(""), Outcome::Otherwise),
            (refused, &hangs, Outcome::Otherwise),
            (refused, &good, Outcome::FalseReject),
            (stuck, &hangs, Outcome::Agrees),
            (stuck, &good, Outcome::FalseReject),
            (stuck, &silent("no memory"), Outcome::Otherwise),
            (wrong, &one_vcpu_less, Outcome::Agrees),
            (wrong, &good, Outcome::Otherwise),
            (wrong, &hangs, Outcome::Otherwise),
            (wrong, &silent("no memory"), Outcome::Otherwise),
            (unnoticed, &good, Outcome::Agrees),
            (unnoticed, &silent("no memory"), Outcome::Otherwise),
            (unnoticed, &one_vcpu_less, Outcome::Otherwise),
        ] {
            let words = (in_words(expected), answer.verdict.word());
            assert_eq!(outcome(expected, answer), outcome_of, "{words:?}");
        }
    }

    #[test]
    fn a_seed_chooses_the_same_cases_each_time() {
        let chosen = |seed| {
            let mut all = cases::all();
            choose(&mut all, Some(1), seed);
            all.iter().map(|case| case.name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(3), chosen(3));
        assert_eq!(chosen(3).len(), 1);
    }

    #[test]
    fn no_two_cases_have_the_same_name() {
        let mut names: Vec<_> = cases::all().iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
