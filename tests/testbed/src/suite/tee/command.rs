//! `cargo xtask xtest`: OP-TEE's own regression tests, in dom0 or in guests.

use super::super::bench::{self, Figures, show};
use super::super::{Context, Failed};
use super::callers::{self, Callers, Mode};
use super::differences;
use super::xtest::{self, Results};
use crate::artefacts::rust::Profile;
use crate::failure::Failure;
use crate::progress::Step;
use crate::run::qemu::Machine;
use crate::run::secure;
use agent::client::Remote;
use clap::Args;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// All cases in an emulated guest take eight minutes on idle cores.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Run OP-TEE's own regression tests, in dom0 or in a guest.
#[derive(Args)]
pub(crate) struct XtestCommand {
    /// Only cases whose names hold this text (`1004`, `regression_40`); may be given several times.
    #[arg(long, value_name = "FILTER")]
    cases: Vec<String>,
    /// Guests that run them at the same time; none, and dom0 runs them. For Xen's own mediators OP-TEE has room for one beside dom0.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=4))]
    guests: u8,
    /// Who carries out guests' calls.
    #[arg(long, value_enum, default_value_t = Mode::Mediated)]
    mode: Mode,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

impl XtestCommand {
    /// All cases, in dom0 or in this many guests whose calls are mediated.
    pub(crate) fn all(guests: u8) -> Self {
        Self {
            cases: Vec::new(),
            guests,
            mode: Mode::Mediated,
            json: false,
        }
    }

    /// Runs and prints.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        Ok(show(&self.figures()?, "xtest", self.json))
    }

    /// Runs.
    pub(crate) fn figures(&self) -> Result<Figures, Failure> {
        let most = self.mode.most();
        if self.guests > most {
            return Err(Failure::new(format!(
                "--guests {}: there is room for {most} in this mode",
                self.guests
            )));
        }
        let (media, machine) = secure::machine(Machine::default(), self.mode.abi(), Profile::Bed)?;
        bench::on(&media, &machine, "xtest", |context| self.cases(context))
    }

    fn cases(&self, context: &Context) -> Result<Figures, Failed> {
        let began = Instant::now();
        let results = if self.guests == 0 {
            callers::prepare(&context.dom0())?;
            vec![self.by(context, &context.dom0())?]
        } else {
            self.by_guests(context)?
        };
        let mut figures = Figures::default();
        let sum = |count: fn(&Results) -> usize| {
            let sum: usize = results.iter().map(count).sum();
            u32::try_from(sum).map_or(f64::INFINITY, f64::from)
        };
        figures.add("cases", sum(|results| results.cases.len()));
        figures.add("passed", sum(Results::passed));
        figures.add("failed", sum(Results::failed));
        figures.add("guests", f64::from(self.guests));
        figures.add("seconds", began.elapsed().as_secs_f64());
        for (number, ran) in (1..).zip(&results) {
            let known = match self.mode {
                Mode::Mediated if self.guests > 0 => differences::mediated(number, self.guests),
                _ => Vec::new(),
            };
            let (said, right) = differences::judge(&known, ran, self.cases.is_empty());
            if self.guests > 1 && !said.is_empty() {
                figures.notes.push(format!("In guest {number}:"));
            }
            figures.notes.extend(said);
            figures.failed |= !right;
        }
        if results.is_empty() {
            figures.failed = true;
            figures.notes.push("nobody ran them".into());
        }
        Ok(figures)
    }

    fn by_guests(&self, context: &Context) -> Result<Vec<Results>, Failed> {
        let callers = match self.mode {
            Mode::Mediated => Callers::apart(context, self.guests)?,
            mode => Callers::start(context, self.guests, mode)?,
        };
        let ran = callers.at_once(context, |guest| self.by(context, guest));
        let (ran, outcome) = match ran {
            Ok(ran) => (ran, Ok(())),
            Err(failed) => (Vec::new(), Err(failed)),
        };
        callers.end(context, outcome)?;
        Ok(ran)
    }

    fn by(&self, context: &Context, caller: &Remote) -> Result<Results, Failed> {
        let wanted: Vec<&str> = self.cases.iter().map(String::as_str).collect();
        let step = Step::begin(caller.name(), "begins");
        let results = xtest::run(context, caller, &wanted, LIMIT, |case| step.state(case))?;
        step.done(&format!("{} cases", results.cases.len()));
        Ok(results)
    }
}
