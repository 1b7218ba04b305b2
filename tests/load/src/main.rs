//! Load generator and verifier for block devices, run inside the bed's guests.
//!
//! Every sector it writes says which sector it is, in which pass it was written, and carries a check
//! value, so that a misplaced, lost, stale or damaged sector is told apart from each other. Requests go
//! past the page cache (`O_DIRECT`); queue depth is made with one thread per request in flight.
//!
//! It must never report success for data it did not read back from the device.

mod args;
mod bench;
mod buffer;
mod exercise;
mod mixed;
mod pattern;
mod plan;

use clap::Parser;
use serde::Serialize;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match args::Cli::parse().command {
        args::Command::Exercise(options) => {
            exercise::run(&options).and_then(|report| print(&report))
        }
        args::Command::Verify(options) => {
            exercise::verify_only(&options).and_then(|report| print(&report))
        }
        args::Command::Mixed(options) => mixed::run(&options).and_then(|report| {
            print(&report)?;
            report.outcome()
        }),
        args::Command::Bench(options) => bench::run(&options).and_then(|report| print(&report)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bed-load: {message}");
            ExitCode::FAILURE
        }
    }
}

fn print<T: Serialize>(report: &T) -> Result<(), String> {
    println!(
        "{}",
        serde_json::to_string(report).map_err(|error| format!("report: {error}"))?
    );
    Ok(())
}
