//! Puts many documents on trial and counts.

use super::sources::{Case, mutants, written};
use super::{Outcome, Trial, put_to_trial};
use crate::failure::Failure;
use crate::oracle::Oracle;
use crate::progress::Step;
use crate::suite::bench::Figures;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Documents, those written by hand first.
    pub(crate) cases: usize,
    /// What mutants are made from.
    pub(crate) seed: u64,
    /// Only cases whose class or name holds this text.
    pub(crate) filter: String,
    /// Tell each verdict.
    pub(crate) verdicts: bool,
}

/// Puts documents on trial, and counts.
///
/// # Errors
/// When one could not be booted at all.
pub(crate) fn run(oracle: &Oracle, wanted: &Wanted) -> Result<Figures, Failure> {
    let mut tally = Tally::default();
    trials(oracle, wanted, &mut |told| tally.add(told))?;
    Ok(tally.figures(wanted))
}

/// What came of one document.
pub(crate) struct Told {
    /// Its class.
    pub(crate) class: String,
    /// Its name.
    pub(crate) name: String,
    /// How long Xen took.
    pub(crate) time: Duration,
    /// Both opinions in a line, and where the document is if they differ in what they must not.
    pub(crate) text: String,
    outcome: Outcome,
    accepted: bool,
    right: bool,
}

impl Told {
    /// The checker is wrong.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self.outcome, Outcome::FalseAccept | Outcome::FalseReject)
    }
}

/// Puts documents on trial.
///
/// How many that were.
///
/// # Errors
/// When one could not be booted at all.
pub(crate) fn trials(
    oracle: &Oracle,
    wanted: &Wanted,
    each: &mut dyn FnMut(Told),
) -> Result<usize, Failure> {
    let fits =
        |case: &Case| case.class.contains(&wanted.filter) || case.name.contains(&wanted.filter);
    let written = written().map_err(|e| Failure::new(format!("the fixtures: {e}")))?;
    // Some mutants are nothing that Xen could judge, and a filter may leave few: there is an end to it.
    let mutants = mutants(&written, wanted.seed).take(wanted.cases.saturating_mul(20));
    let cases = written.iter().cloned().chain(mutants).filter(fits);
    let step = Step::begin("oracle", "starting");
    let facts = super::facts(oracle)?;
    let mut done = 0;
    for case in cases {
        if done >= wanted.cases {
            break;
        }
        step.state(format!(
            "case {} of {}: {}",
            done + 1,
            wanted.cases,
            case.name
        ));
        let Some(trial) = put_to_trial(oracle, &facts, &case.name, &case.text)? else {
            continue;
        };
        done += 1;
        let told = told(oracle, case, &trial)?;
        if wanted.verdicts {
            step.note(&told.text);
        }
        each(told);
    }
    step.done(&format!("{done} cases"));
    Ok(done)
}

#[derive(Default)]
struct Tally {
    seconds: Vec<f64>,
    /// By class: cases, and those that Xen refused or got wrong.
    classes: BTreeMap<String, (u32, u32)>,
    accepted: u32,
    not_xens: u32,
    false_accepts: u32,
    false_rejects: u32,
    notes: Vec<String>,
}

impl Tally {
    fn add(&mut self, told: Told) {
        self.seconds.push(told.time.as_secs_f64());
        let wrong = told.is_wrong();
        let class = self.classes.entry(told.class).or_default();
        class.0 += 1;
        class.1 += u32::from(!told.right);
        self.accepted += u32::from(told.accepted);
        match told.outcome {
            Outcome::Agree => {}
            Outcome::NotXens => self.not_xens += 1,
            Outcome::FalseAccept => self.false_accepts += 1,
            Outcome::FalseReject => self.false_rejects += 1,
        }
        if wrong {
            self.notes.push(told.text);
        }
    }

    fn figures(self, wanted: &Wanted) -> Figures {
        let Wanted { cases, seed, .. } = wanted;
        let mut figures = Figures::default();
        let count = u32::try_from(self.seconds.len()).unwrap_or(u32::MAX);
        figures.add("cases", count.into());
        figures.add("accepted", self.accepted.into());
        figures.add("not_xens", self.not_xens.into());
        figures.add("false_accepts", self.false_accepts.into());
        figures.add("false_rejects", self.false_rejects.into());
        figures.add(
            "classes",
            u32::try_from(self.classes.len()).unwrap_or(u32::MAX).into(),
        );
        figures.series("seconds", self.seconds);
        // A filter may leave fewer than were wanted, and not none.
        let few = match wanted.filter.is_empty() {
            true => {
                self.classes
                    .values()
                    .map(|(cases, _)| *cases as usize)
                    .sum::<usize>()
                    < *cases
            }
            false => count == 0,
        };
        figures.failed = self.false_accepts + self.false_rejects > 0 || few;
        figures.notes = vec![format!(
            "seed {seed}; cases per class, and how many Xen refused or got wrong:"
        )];
        let classes = self.classes.iter();
        let lines = classes.map(|(class, (cases, wrong))| format!("  {class}: {cases}, {wrong}"));
        figures.notes.extend(lines);
        figures.notes.extend(self.notes);
        figures
    }
}

/// Keeps a document beside the logs of its boot.
fn keep(oracle: &Oracle, case: &Case) -> Result<PathBuf, Failure> {
    let path = oracle.logs().join(format!("{}.avps.toml", case.name));
    std::fs::write(&path, &case.text)
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
    Ok(path)
}

fn told(oracle: &Oracle, case: Case, trial: &Trial) -> Result<Told, Failure> {
    let refusals = match trial.opinion.refusals.as_slice() {
        [] => "accepted".to_owned(),
        refusals => {
            let ids: Vec<&str> = refusals.iter().map(|(id, _)| *id).collect();
            format!("refused by {}", ids.join(", "))
        }
    };
    let mut text = format!(
        "{:?}: {} ({}): {refusals}; Xen: {} ({:.1} s)",
        trial.outcome,
        case.name,
        if case.deed.is_empty() {
            &case.class
        } else {
            &case.deed
        },
        trial.judgement.line(),
        trial.answer.time.as_secs_f64(),
    );
    if matches!(trial.outcome, Outcome::FalseAccept | Outcome::FalseReject) {
        text = format!("{text}\n      {}", keep(oracle, &case)?.display());
    }
    Ok(Told {
        class: case.class,
        name: case.name,
        time: trial.answer.time,
        text,
        outcome: trial.outcome,
        accepted: trial.opinion.refusals.is_empty(),
        right: trial.judgement == super::Judgement::Right,
    })
}
