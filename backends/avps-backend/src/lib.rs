//! Virtio backend daemon for dom0 and driver domains.
//!
//! One program, several faces: `serve` is the *holder* ([`holder`]), which owns XenStore, ioreq servers, event channels
//! and images and starts one *worker* ([`worker`]) per guest; `stats` asks the holder for counters. In a driver
//! domain it is also the first process ([`init`]), and then the only program there. Holder and worker share nothing but a
//! socket ([`ipc`]), over which the worker gets all it needs as descriptors.
//!
//! Principles:
//! - A worker may die, or be taken over by its guest, at any moment: the holder checks what it says, ends it when it
//!   misbehaves, and starts another. Before it looks at its guest it gives up everything it does not need
//!   (crate `confinement`).
//! - The holder reads nothing that a guest can write.
//! - No C library of Xen's, no `unsafe`, nothing that panics.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod adopt;
mod cli;
mod holder;
mod image;
mod init;
mod ipc;
mod lifecycle;
mod logging;
mod parameters;
#[cfg(feature = "probe")]
mod probe;
mod store;
mod vhost_user;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use backend_stats::socket;
use cli::{Arguments, Command, EXIT_CANNOT, EXIT_FAILED, EXIT_OK};
use daemon::socket::SocketError;

#[cfg(feature = "probe")]
pub use probe::main as probe_main;

/// The command line, for manual pages and checks.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// The whole program: what `avps-backend` does with its command line, and its exit code.
pub fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = name.to_string_lossy();
    if init::is_wanted(&name) {
        return init::run();
    }
    if let Some(face) = init::Face::of(&name) {
        return face.run();
    }
    match Arguments::parse().command {
        Command::Init => init::run(),
        Command::Serve(serve) => {
            logging::start(serve.log_level);
            match holder::run(serve) {
                Ok(()) => ExitCode::from(EXIT_OK),
                Err(error) => {
                    let cannot = error.is_cannot();
                    complain(&error, cannot)
                }
            }
        }
        Command::Stats(stats) => show_stats(&stats),
        Command::VhostUser(wanted) => {
            logging::start(wanted.log_level);
            match vhost_user::run(&wanted) {
                Ok(()) => ExitCode::from(EXIT_OK),
                Err(error) => {
                    let cannot = error.is_cannot();
                    complain(&error, cannot)
                }
            }
        }
        Command::Worker(worker) => worker_main(&worker),
    }
}

fn worker_main(worker: &cli::Worker) -> ExitCode {
    // The program was started through /proc/self/exe and would be listed as "exe". Only a name: a kernel that refuses it
    // does no harm.
    let _ = rustix::thread::set_name(c"avps-worker");
    logging::start(worker.log_level);
    worker::exit_code(worker::run(worker.sandbox))
}

fn show_stats(stats: &cli::Stats) -> ExitCode {
    let report = match socket::ask(&stats.socket) {
        Ok(report) => report,
        Err(error) => {
            let cannot = matches!(
                error,
                SocketError::NotRunning { .. }
                    | SocketError::NoAnswer { .. }
                    | SocketError::Permission(_)
            );
            return complain(&error, cannot);
        }
    };
    let text = if stats.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => format!("{}\n", printable::json(&text)),
            Err(error) => return complain(&error, false),
        }
    } else if stats.openmetrics {
        backend_stats::openmetrics(&report)
    } else {
        backend_stats::table(&report)
    };
    // A reader that has gone (a closed pipe) has what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(EXIT_OK)
}

/// One sentence on standard error, and the exit code.
fn complain(error: &dyn std::error::Error, cannot: bool) -> ExitCode {
    let text = error.to_string();
    let _ = writeln!(
        std::io::stderr(),
        "avps-backend: {}",
        printable::line(&text)
    );
    ExitCode::from(if cannot { EXIT_CANNOT } else { EXIT_FAILED })
}
