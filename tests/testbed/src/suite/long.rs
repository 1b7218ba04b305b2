//! The long proofs that only the full tier runs, each the same as a subcommand of its own.

use super::bench::{Figures, on};
use super::case::Case;
use super::groups::Lane;
use super::run::Run;
use super::tee::command::XtestCommand;
use super::{driver, soak};
use crate::failure::{FAILED, Failure};
use crate::oracle::command::OracleCommand;
use crate::run::media::Media;
use std::time::Instant;

/// A proof that ends in figures.
struct Long {
    /// Its name as a case.
    name: &'static str,
    lane: Lane,
    body: fn() -> Result<Figures, Failure>,
}

/// All of them.
const ALL: &[Long] = &[
    Long {
        name: "long: oracle: 300 documents from a new seed",
        lane: Lane::Beside,
        body: || OracleCommand::of_documents(300).figures(),
    },
    Long {
        name: "long: oracle: all layouts written by hand",
        lane: Lane::Beside,
        body: || OracleCommand::of_layouts().figures(),
    },
    Long {
        name: "long: hostile: ten million operations against the engine",
        lane: Lane::Beside,
        body: || soak::hostile(10_000_000),
    },
    Long {
        name: "long: policy: every rule is needed, and every attack is refused",
        lane: Lane::Bed,
        body: || driver::policy(&Media::get()?, None, None),
    },
    Long {
        name: "long: kills: 200 workers and 20 holders",
        lane: Lane::Bed,
        body: || soak::kills(200),
    },
    Long {
        name: "long: block: 50 000 mixed requests on each of two disks",
        lane: Lane::Bed,
        body: || soak::block(50_000),
    },
    Long {
        name: "long: drivers: ten ends of a driver domain under load",
        lane: Lane::Bed,
        body: || {
            on(&Media::get()?, &driver::machine(), "soak", |context| {
                driver::ends(context, 10)
            })
        },
    },
    Long {
        name: "long: xtest: all cases in dom0",
        lane: Lane::Bed,
        body: || XtestCommand::all(0).figures(),
    },
    Long {
        name: "long: xtest: all cases in two mediated guests at once",
        lane: Lane::Bed,
        body: || XtestCommand::all(2).figures(),
    },
];

/// The names of a lane's proofs.
pub(super) fn names(lane: Lane) -> Vec<String> {
    let own = ALL.iter().filter(|long| long.lane == lane);
    own.map(|long| long.name.to_owned()).collect()
}

/// Runs those of a lane that are wanted.
pub(super) fn run(run: &Run, lane: Lane) -> Result<(), Failure> {
    for long in ALL.iter().filter(|long| long.lane == lane) {
        if !run.wants_or_skips(long.name) {
            continue;
        }
        let began = Instant::now();
        let (failure, figures) = match (long.body)() {
            Ok(figures) if figures.failed => (Some(figures.notes.join("\n")), figures),
            Ok(figures) => (None, figures),
            Err(failure) if failure.code == FAILED => (Some(failure.message), Figures::default()),
            Err(failure) => return Err(failure),
        };
        run.report
            .case(Case::new("long", long.name, began.elapsed(), failure));
        for (name, value) in &figures.values {
            run.report.aside(&format!("{name}: {value:.3}"));
        }
    }
    Ok(())
}
