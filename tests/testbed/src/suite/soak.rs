//! `cargo xtask soak …`: long proofs that something never happens, each a subcommand with a table or one JSON object.

use super::bench::{self, Figures, in_bed, show};
use super::kills::{self, Victim};
use super::{driver, hostile as guest_attack, soak_block};
use crate::failure::Failure;
use crate::paths;
use crate::process::{Error, Run};
use crate::progress::Step;
use crate::run::media::Media;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Prove at length what must never happen, and print figures.
#[derive(Args)]
pub(crate) struct SoakCommand {
    #[command(subcommand)]
    what: What,
    /// One JSON object on standard output instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Kill the backend's processes every 500 ms while a guest writes and checks a file on ext4.
    Kills {
        /// Kills of workers, and a tenth as many of the holder.
        #[arg(long, default_value_t = 200)]
        cases: u32,
    },
    /// Destroy a driver domain under load: it and its guests come back in order, and what was written for good is there.
    Drivers {
        /// How often.
        #[arg(long, default_value_t = 10)]
        cases: u32,
    },
    /// Mixed requests on a cached image and past the page cache: no grant is still mapped when its request comes back.
    Block {
        /// Requests on each of the two disks.
        #[arg(long, default_value_t = 100_000)]
        cases: u64,
    },
    /// A hostile driver against the engine: no panic, no access beyond what was granted, no trouble for a neighbour.
    Hostile(Hostile),
}

#[derive(Args)]
struct Hostile {
    /// Operations on this host.
    #[arg(long, default_value_t = 10_000_000)]
    operations: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also attack from a guest under Xen, with this many operations.
    #[arg(long, num_args = 0..=1, default_missing_value = "100000")]
    guest_operations: Option<u64>,
    /// Also remove each validation from a copy of the source, and see that the attack fails then.
    #[arg(long)]
    mutants: bool,
}

impl SoakCommand {
    /// Runs and prints.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let (name, figures) = match self.what {
            What::Kills { cases } => ("soak kills", kills(cases)?),
            What::Drivers { cases } => (
                "soak drivers",
                bench::on(&Media::get()?, &driver::machine(), "soak", |context| {
                    driver::ends(context, cases)
                })?,
            ),
            What::Block { cases } => ("soak block", block(cases)?),
            What::Hostile(options) => ("soak hostile", options.attack()?),
        };
        Ok(show(&figures, name, self.json))
    }
}

/// Kills workers, and a tenth as many holders, under load.
pub(super) fn kills(cases: u32) -> Result<Figures, Failure> {
    in_bed(&Media::get()?, "soak", |context| {
        let mut figures = Figures::default();
        kills::run(context, Victim::Worker, cases, &mut figures)?;
        kills::run(context, Victim::Holder, cases.div_ceil(10), &mut figures)?;
        Ok(figures)
    })
}

/// Mixed requests on two disks.
pub(super) fn block(cases: u64) -> Result<Figures, Failure> {
    in_bed(&Media::get()?, "soak", |context| {
        let mut figures = Figures::default();
        soak_block::run(context, cases, &mut figures)?;
        Ok(figures)
    })
}

/// The attack on this host alone, from the first seed.
pub(super) fn hostile(operations: u64) -> Result<Figures, Failure> {
    Hostile {
        operations,
        seed: 1,
        guest_operations: None,
        mutants: false,
    }
    .attack()
}

impl Hostile {
    fn attack(&self) -> Result<Figures, Failure> {
        let mut figures = Figures::default();
        let operations = self.operations.to_string();
        let seed = self.seed.to_string();
        let attack = [
            "run",
            "--progress",
            "--seed",
            &seed,
            "--operations",
            &operations,
        ];
        harness("attack", &attack, "", &mut figures)?;
        let made = figures.values.get("operations").copied().unwrap_or(0.0);
        if made < self.operations as f64 {
            figures.failed = true;
            let seen = format!("{made} of {} operations were made", self.operations);
            figures.notes.push(seen);
        }
        if self.mutants {
            harness("mutants", &["mutants"], "mutants.", &mut figures)?;
        }
        if let Some(operations) = self.guest_operations {
            let seen = in_bed(&Media::get()?, "soak", |context| {
                let mut seen = Figures::default();
                for (name, value) in guest_attack::attack(context, operations)? {
                    seen.add(format!("guest.{name}"), value);
                }
                Ok(seen)
            })?;
            figures.values.extend(seen.values);
        }
        Ok(figures)
    }
}

/// Runs the attack's own program; its figures get `prefix`.
fn harness(
    step: &str,
    arguments: &[&str],
    prefix: &str,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let step = Step::begin(step, "building");
    let mut said = None;
    let cargo = [
        "run",
        "--quiet",
        "--profile",
        "hostile",
        "--package",
        "hostile",
        "--bin",
    ];
    let ended = Run::new("cargo")
        .args(cargo)
        .args(["hostile", "--"])
        .args(arguments)
        .arg("--json")
        .current_dir(paths::workspace())
        .lines(|line| {
            if line.starts_with('{') {
                said = serde_json::from_str::<serde_json::Value>(line).ok();
            } else {
                step.state(line);
            }
        });
    // It fails when it found something, and then says what; without a word it broke down.
    let said = match (ended, said) {
        (Err(error @ Error::Interrupted), _) | (Err(error), None) => {
            return Err(error.into());
        }
        (_, said) => said.unwrap_or_default(),
    };
    for (name, value) in said["figures"].as_object().into_iter().flatten() {
        let value = value
            .as_f64()
            .ok_or_else(|| Failure::new(format!("{name} is no number: {said}")))?;
        figures.add(format!("{prefix}{name}"), value);
    }
    let notes = said["notes"].as_array().into_iter().flatten();
    let notes = notes.filter_map(|note| note.as_str().map(str::to_owned));
    figures.notes.extend(notes);
    figures.failed |= said["passed"] != true;
    step.done("ended");
    Ok(())
}
