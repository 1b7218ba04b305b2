//! `hostile run`: the attack. `hostile mutants`: the proof that it finds what is missing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use hostile::mutants;
use hostile::run::{Limits, Summary, run};

/// A hostile virtio driver against the real engine.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Attack, and say what came of it.
    Run(Run),
    /// Remove one validation after the other from a copy of the source; each time the attack must fail.
    Mutants(mutants::Options),
}

#[derive(Args)]
struct Run {
    /// Operations of the driver, at least.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this many seconds at the latest.
    #[arg(long)]
    seconds: Option<u64>,
    /// End at the first thing that is wrong.
    #[arg(long)]
    impatient: bool,
    /// One JSON object on standard output instead of tables.
    #[arg(long)]
    json: bool,
    /// Say how far it is on standard error, a line each time, also without a terminal.
    #[arg(long)]
    progress: bool,
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(options) => attack(&options),
        Command::Mutants(options) => match mutants::run(&options) {
            Ok(report) => report.print(),
            Err(error) => {
                eprintln!("hostile: {error}");
                ExitCode::from(2)
            }
        },
    }
}

fn attack(options: &Run) -> ExitCode {
    let limits = Limits {
        operations: options.operations,
        seed: options.seed,
        time: options.seconds.map(Duration::from_secs),
        impatient: options.impatient,
    };
    let terminal = std::io::stderr().is_terminal();
    let mut told = 0;
    let summary = run(&limits, |operations| {
        if (terminal || options.progress) && operations >= told + 100_000 {
            told = operations;
            let end = if terminal { '\r' } else { '\n' };
            eprint!("{operations} of {} operations{end}", options.operations);
        }
    });
    if options.json {
        print_json(&summary);
    } else {
        print_tables(&summary);
    }
    if summary.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_json(summary: &Summary) {
    let mut figures = summary.figures();
    for (name, count) in &summary.reached {
        figures.insert(format!("reached.{name}"), *count as f64);
    }
    let object = serde_json::json!({
        "name": "hostile",
        "passed": summary.passed(),
        "behaved": summary.behaved(),
        "figures": figures,
        "notes": summary.notes(),
    });
    println!("{object}");
}

fn print_tables(summary: &Summary) {
    let figures = summary.figures();
    let figures = figures.iter().map(|(name, value)| (name.as_str(), *value));
    println!("{}", table(["figure", "value"], figures));
    let reached: BTreeMap<_, _> = summary.reached.iter().collect();
    let reached = reached.iter().map(|(name, count)| (**name, **count as f64));
    println!("{}", table(["refusal", "reached"], reached));
    for note in summary.notes() {
        println!("{note}");
    }
    println!("{}", if summary.passed() { "passed" } else { "FAILED" });
}

fn table<'a>(header: [&str; 2], rows: impl Iterator<Item = (&'a str, f64)>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    for (name, value) in rows {
        table.add_row([name.to_owned(), format!("{}", value.round())]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
