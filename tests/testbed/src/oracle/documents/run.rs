//! Puts many documents on trial and counts.

use super::sources::{Case, mutants, written};
use super::{Outcome, Trial, put_to_trial};
use crate::failure::Failure;
use crate::oracle::Oracle;
use crate::progress::Step;
use crate::suite::bench::Figures;
use std::collections::BTreeMap;
use std::path::PathBuf;

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

/// Puts documents on trial.
///
/// # Errors
/// When one could not be booted at all.
pub(crate) fn run(oracle: &Oracle, wanted: &Wanted) -> Result<Figures, Failure> {
    let fits =
        |case: &Case| case.class.contains(&wanted.filter) || case.name.contains(&wanted.filter);
    let written = written().map_err(|e| Failure::new(format!("the fixtures: {e}")))?;
    let endless = mutants(&written, wanted.seed);
    let cases = written
        .iter()
        .cloned()
        .chain(endless.take(wanted.cases.saturating_mul(10)))
        .filter(fits);
    let step = Step::begin("oracle", "starting");
    let facts = super::facts(oracle)?;
    let mut tally = Tally::default();
    // Some mutants are nothing that Xen could judge; a filter may leave nothing else.
    for case in cases.take(written.len() + wanted.cases.saturating_mul(4)) {
        if tally.seconds.len() >= wanted.cases {
            break;
        }
        step.state(format!(
            "case {} of {}: {}",
            tally.seconds.len() + 1,
            wanted.cases,
            case.name
        ));
        let Some(trial) = put_to_trial(oracle, &facts, &case.name, &case.text)? else {
            continue;
        };
        if wanted.verdicts {
            step.note(&told(&case, &trial));
        }
        tally.add(oracle, &case, &trial)?;
    }
    step.done(&format!("{} cases", tally.seconds.len()));
    Ok(tally.figures(wanted.seed))
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
    fn add(&mut self, oracle: &Oracle, case: &Case, trial: &Trial) -> Result<(), Failure> {
        self.seconds.push(trial.answer.time.as_secs_f64());
        let class = self.classes.entry(case.class.clone()).or_default();
        class.0 += 1;
        class.1 += u32::from(trial.judgement != super::Judgement::Right);
        self.accepted += u32::from(trial.opinion.refusals.is_empty());
        match trial.outcome {
            Outcome::Agree => return Ok(()),
            Outcome::NotXens => {
                self.not_xens += 1;
                return Ok(());
            }
            Outcome::FalseAccept => self.false_accepts += 1,
            Outcome::FalseReject => self.false_rejects += 1,
        }
        let path = keep(oracle, case)?;
        let text = format!("{}\n      {}", told(case, trial), path.display());
        self.notes.push(text);
        Ok(())
    }

    fn figures(self, seed: u64) -> Figures {
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
        figures.failed = self.false_accepts + self.false_rejects > 0 || count == 0;
        let classes = self.classes.iter();
        let classes = classes
            .map(|(class, (cases, wrong))| format!("{class}: {cases}, {wrong} refused or wrong"));
        figures.notes = vec![format!(
            "seed {seed}; per class: {}",
            classes.collect::<Vec<_>>().join("; ")
        )];
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

fn told(case: &Case, trial: &Trial) -> String {
    let refusals = match trial.opinion.refusals.as_slice() {
        [] => "accepted".to_owned(),
        refusals => {
            let ids: Vec<&str> = refusals.iter().map(|(id, _)| *id).collect();
            format!("refused by {}", ids.join(", "))
        }
    };
    format!(
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
    )
}
