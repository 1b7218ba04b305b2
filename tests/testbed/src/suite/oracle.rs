//! The checker against Xen, a sample: documents written by hand, and mutants from a seed that stays.
//!
//! `cargo xtask oracle` tries as many as one likes, from another seed each time.

use super::case::Case;
use super::run::Run;
use crate::failure::Failure;
use crate::oracle::Oracle;
use crate::oracle::documents::{Wanted, trials};

/// Begins the names of these tests.
pub(super) const NAME: &str = "oracle: ";
/// About 130 documents written by hand fit Xen; the rest are mutants.
const CASES: usize = 160;
/// Any number, so long as it stays.
const SEED: u64 = 4;

/// Puts the sample on trial; each document is a test.
pub(super) fn run(oracle: &Oracle, run: &Run) -> Result<(), Failure> {
    let wanted = Wanted {
        cases: CASES,
        seed: SEED,
        filter: run
            .filter
            .as_deref()
            .unwrap_or_default()
            .trim_start_matches(NAME)
            .to_owned(),
        verdicts: false,
    };
    trials(oracle, &wanted, &mut |told| {
        let failure = told
            .is_wrong()
            .then(|| format!("{}\nLogs: {}", told.text, oracle.logs().display()));
        let name = format!("{NAME}{}", told.name);
        run.report
            .quiet_case(Case::new("oracle", name, told.time, failure));
    })
}
