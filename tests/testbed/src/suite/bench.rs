//! `cargo xtask bench …`: measurements, each a subcommand, printed as a table for people or as one JSON object.

use super::{Context, Failed, bench_block, bench_start, bench_vhost, driver, tee};
use crate::artefacts::rust::Profile;
use crate::failure::{FAILED, Failure};
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Measure, and print figures.
#[derive(Args)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    what: What,
    /// One JSON object on standard output instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// What a block request costs over grants, and how it compares with xen-blkback in the same boot.
    Block {
        /// Only classes whose name holds this text (`d1.`, `64k`, `write`).
        filter: Option<String>,
        /// Requests of each run.
        #[arg(long, default_value_t = 200)]
        cases: u32,
        /// Runs of each kind and disk, taking turns.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// The same in a driver domain under FLASK, and how it compares with a disk that dom0 serves.
    Driver {
        /// Only classes whose name holds this text (`d1.`, `64k`, `write`).
        filter: Option<String>,
        /// Requests of each run.
        #[arg(long, default_value_t = 200)]
        cases: u32,
        /// Runs of each kind and disk, taking turns.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// What a call of the secure world costs by way of avps-tee, and how it compares with Xen's own mediator.
    Tee {
        /// Calls of each run.
        #[arg(long, default_value_t = 100)]
        cases: u32,
        /// Runs of each size and guest, taking turns.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// In time that counts instructions: neither this host's load nor its clock is measured.
        #[arg(long)]
        counted: bool,
    },
    /// Our disk over vhost-user, without Xen, against qemu-storage-daemon in the same guest.
    Vhost {
        /// Requests of each run.
        #[arg(long, default_value_t = 1000)]
        cases: u32,
        /// Runs of each kind and disk, taking turns.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// Time from the backend's start until it serves, on this host, and what it then has resident.
    Start {
        /// Starts of each kind.
        #[arg(long, default_value_t = 200)]
        cases: u32,
    },
    /// Time from QEMU's start to dom0, over several boots.
    Boot {
        /// Boots.
        #[arg(long, default_value_t = 3)]
        cases: u32,
    },
}

/// What a measurement found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Name and value; a name tells its unit (`xen.seconds.median`).
    pub(crate) values: BTreeMap<String, f64>,
    /// For people: what the figures do not say.
    pub(crate) notes: Vec<String>,
    /// Something that must hold did not.
    pub(crate) failed: bool,
}

impl Figures {
    /// A figure.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }

    /// Median and maximum of a series, as `name.median` and `name.max`.
    pub(crate) fn series(&mut self, name: &str, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        if let (Some(median), Some(last)) = (values.get(values.len() / 2), values.last()) {
            self.add(format!("{name}.median"), *median);
            self.add(format!("{name}.max"), *last);
        }
    }

    /// Median of a series, with its extremes as `name.min` and `name.max`.
    pub(crate) fn spread(&mut self, name: &str, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied();
        if let (Some(first), Some(median), Some(last)) = (values.first(), median, values.last()) {
            self.add(name, median);
            self.add(format!("{name}.min"), *first);
            self.add(format!("{name}.max"), *last);
        }
    }

    /// A table, or one JSON object.
    pub(super) fn print(&self, name: &str, json: bool) {
        if json {
            let object = serde_json::json!({
                "name": name, "passed": !self.failed, "figures": self.values, "notes": self.notes,
            });
            println!("{object}");
            return;
        }
        let width = self.values.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in &self.values {
            println!("{name:<width$}  {value:>12.3}");
        }
        for note in &self.notes {
            println!("{note}");
        }
    }
}

impl BenchCommand {
    /// Measures and prints.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let (name, figures) = match self.what {
            What::Block {
                filter,
                cases,
                rounds,
            } => {
                let media = Media::as_shipped()?;
                let filter = filter.unwrap_or_default();
                let measure = |context: &Context| bench_block::run(context, &filter, cases, rounds);
                ("bench block", in_bed(&media, "bench", measure)?)
            }
            What::Driver {
                filter,
                cases,
                rounds,
            } => {
                let filter = filter.unwrap_or_default();
                let measure =
                    |context: &Context| driver::bench::run(context, &filter, cases, rounds);
                let media = Media::as_shipped()?;
                (
                    "bench driver",
                    on(&media, &driver::machine(), "bench", measure)?,
                )
            }
            What::Tee {
                cases,
                rounds,
                counted,
            } => {
                let (media, mut machine) = tee::boot(Profile::Release)?;
                machine.counted = counted;
                let measure = |context: &Context| tee::bench::run(context, cases, rounds);
                ("bench tee", on(&media, &machine, "bench", measure)?)
            }
            What::Vhost { cases, rounds } => ("bench vhost", bench_vhost::run(cases, rounds)?),
            What::Start { cases } => ("bench start", bench_start::run(cases)?),
            What::Boot { cases } => ("bench boot", boot(&Media::as_shipped()?, cases)?),
        };
        Ok(show(&figures, name, self.json))
    }
}

/// Prints figures; the command's exit code.
pub(crate) fn show(figures: &Figures, name: &str, json: bool) -> ExitCode {
    figures.print(name, json);
    if figures.failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Boots a bed for one measurement, and switches it off.
pub(super) fn in_bed(
    media: &Media,
    name: &str,
    measure: impl FnOnce(&Context) -> Result<Figures, Failed>,
) -> Result<Figures, Failure> {
    on(media, &Machine::default(), name, measure)
}

/// The same on another machine.
pub(super) fn on(
    media: &Media,
    machine: &Machine,
    name: &str,
    measure: impl FnOnce(&Context) -> Result<Figures, Failed>,
) -> Result<Figures, Failure> {
    let bed = Arc::new(Bed::boot(media, machine, name)?);
    let figures = measure(&Context::new(Arc::clone(&bed)));
    bed.collect_logs();
    let logs = bed.logs().display().to_string();
    if let Ok(bed) = Arc::try_unwrap(bed) {
        bed.poweroff();
    }
    figures.map_err(|Failed(seen)| Failure::new(format!("{seen}\nLogs: {logs}")))
}

fn boot(media: &Media, cases: u32) -> Result<Figures, Failure> {
    let (mut xen, mut dom0) = (Vec::new(), Vec::new());
    let mut steps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..cases {
        let bed = Bed::boot(media, &Machine::default(), "bench")?;
        xen.push(bed.times().xen.as_secs_f64());
        dom0.push(bed.times().dom0.as_secs_f64());
        for step in &bed.times().steps {
            steps
                .entry(step.name.clone())
                .or_default()
                .push(Duration::from_millis(step.ms).as_secs_f64());
        }
        bed.poweroff();
    }
    let mut figures = Figures::default();
    for (name, values) in steps {
        figures.series(&format!("dom0.{name}.seconds"), values);
    }
    figures.series("xen.seconds", xen);
    figures.series("dom0.seconds", dom0);
    figures.notes.push(
        "Wall-clock time of this host under emulation: for comparison on one machine only.".into(),
    );
    Ok(figures)
}
