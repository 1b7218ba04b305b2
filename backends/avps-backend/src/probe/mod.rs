//! A worker that was taken over, played for the test bed; not part of what users run.
//!
//! `avps-backend-probe` stands in the holder's place: it opens the handles a worker of `--guest` gets, starts a worker as
//! the holder does, and gives it one attack instead of devices to serve. One worker per attack, since many end it.

mod attempt;
mod catalogue;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use attempt::Attempt;
pub(crate) use catalogue::{attempts, own_guest};

use crate::cli::{self, SandboxMode};
use crate::{complain, holder, worker_main};

/// Plays a worker that was taken over.
#[derive(Debug, Parser)]
#[command(name = "avps-backend-probe", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try every attack and print the outcomes as JSON
    Attack(Attack),
    /// The worker, as the holder starts it
    #[command(hide = true)]
    Worker(cli::Worker),
}

/// `avps-backend-probe attack`.
#[derive(clap::Args, Debug)]
pub(crate) struct Attack {
    /// Domain whose worker is played
    #[arg(long, value_name = "DOMID")]
    pub(crate) guest: u16,
    /// Domain that is attacked
    #[arg(long, value_name = "DOMID")]
    pub(crate) victim: u16,
    /// A file of the holder's, such as another guest's record
    #[arg(long, value_name = "PATH", default_value = "/run/avps/backend.sock")]
    pub(crate) file: String,
    /// Guest frame number of a page of the victim's memory
    #[arg(long, value_name = "PFN", default_value_t = 0x4_0000)]
    pub(crate) frame: u64,
    /// How the worker is confined
    #[arg(long, value_enum, default_value_t = SandboxMode::BestEffort)]
    pub(crate) sandbox: SandboxMode,
}

/// The whole program.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker(worker) => worker_main(&worker),
        Command::Attack(attack) => match holder::probe::run(&attack) {
            Ok(report) => {
                // A reader that has gone has what it wanted.
                let _ = writeln!(std::io::stdout(), "{report:#}");
                ExitCode::from(cli::EXIT_OK)
            }
            Err(error) => complain(&error, error.is_cannot()),
        },
    }
}
