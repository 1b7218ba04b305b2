//! `avps-tee`: one secure world for many guests, with rights.
//!
//! A guest's stock Linux driver sees an ordinary OP-TEE. Each of its SMCs stops its vCPU and comes here as an event of Xen's; the
//! message is copied once and taken apart ([`optee_abi`]), judged by the guest's rights, carried out by way of this domain's own
//! `/dev/tee0`, and answered. Nothing of this is in the hypervisor, and the guest needs no word of it.
//!
//! What it must never do: let one guest reach another's sessions or memory, or wait for another's call; read a guest's memory
//! twice where it decides; panic, whatever a guest sends; leave a right unchecked because something failed.
//!
//! Where things are: [`daemon`] finds guests, `guest` serves one, `permits` and `pool` share the secure world among them, `identities`
//! keeps their clients apart, `audit` remembers. The daemon's own thread never calls the secure world.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod attend;
mod audit;
mod cli;
mod counters;
mod daemon;
mod guest;
mod identities;
mod permits;
mod pool;
mod rights;
mod store;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

/// One attachment to a guest. Domain numbers come again, these do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attachment(u64);

/// What all guests share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The TEE's client device.
    device: PathBuf,
    /// What guests have registered, for the next life of this program.
    journals: PathBuf,
    /// Calls of the secure world at once.
    threads: usize,
    /// How long a call may hold its vCPU before the guest is asked to sleep.
    hold: Duration,
    /// A thread may look for a guest's next call itself.
    polling: bool,
    permits: permits::Permits,
    pool: pool::Pool,
    identities: identities::Identities,
    audit: audit::Audit,
}

/// The command line, for manual pages and checks.
pub fn command() -> clap::Command {
    <cli::Arguments as clap::CommandFactory>::command()
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = cli::Arguments::get();
    let level = match arguments.log_level {
        cli::LogLevel::Error => LevelFilter::ERROR,
        cli::LogLevel::Warn => LevelFilter::WARN,
        cli::LogLevel::Info => LevelFilter::INFO,
        cli::LogLevel::Debug => LevelFilter::DEBUG,
    };
    ::daemon::log::start(level, std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if !arguments.attended {
        return attended(&arguments);
    }
    match daemon::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(if error.is_cannot() {
                cli::EXIT_CANNOT
            } else {
                cli::EXIT_FAILED
            })
        }
    }
}

/// Locks, also what a thread held that panicked: the other guests are to go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks after the daemon, as the only one on this machine.
fn attended(arguments: &cli::Arguments) -> ExitCode {
    let lock = match daemon::take_lock() {
        Ok(lock) => lock,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(cli::EXIT_CANNOT);
        }
    };
    let code = attend::run().unwrap_or_else(|error| {
        tracing::error!("the daemon cannot be started: {error}");
        cli::EXIT_FAILED
    });
    // Missing when the daemon has ended in order.
    let _ = std::fs::remove_file(&arguments.socket);
    drop(lock);
    ExitCode::from(code)
}
