//! The checker against Xen, a sample: documents written by hand, and mutants from a seed that stays.
//!
//! `cargo xtask oracle` tries as many as one likes, from another seed each time.

use super::case::Case;
use super::run::Run;
use crate::failure::Failure;
use crate::oracle::Oracle;
use crate::oracle::documents::{Wanted, trials};
use std::time::Instant;

/// Begins the names of these tests.
pub(super) const NAME: &str = "oracle: ";
/// About 130 documents written by hand fit Xen; the rest are mutants.
const CASES: usize = 160;
/// Any number, so long as it stays.
const SEED: u64 = 4;

/// Puts the sample on trial; each document is a test.
pub(super) fn run(oracle: &Oracle, run: &Run) -> Result<(), Failure> {
    let filter = run.filter.as_deref().unwrap_or_default();
    let wanted = Wanted {
        cases: CASES,
        seed: SEED,
        filter: filter.trim_start_matches(NAME).to_owned(),
        verdicts: false,
    };
    let began = Instant::now();
    let judged = trials(oracle, &wanted, &mut |told| {
        let failure = told
            .is_wrong()
            .then(|| format!("{}\nLogs: {}", told.text, oracle.logs().display()));
        let name = format!("{NAME}{}", told.name);
        run.report
            .quiet_case(Case::new("oracle", name, told.time, failure));
    })?;
    // All are wanted: fewer would mean that documents went missing, or that nothing can be made of them.
    if wanted.filter.is_empty() && judged < CASES {
        let name = format!("{NAME}{CASES} documents are judged");
        let failure = Some(format!("only {judged} were"));
        run.report
            .case(Case::new("oracle", name, began.elapsed(), failure));
    }
    Ok(())
}
