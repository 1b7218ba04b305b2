//! Xen on QEMU: builds the bed, boots it, runs the tests in it.
//!
//! `artefacts` gets and builds everything that a boot needs and caches it by content; `run` starts
//! QEMU and talks to what runs inside; `suite` is the list of tests; `oracle` has real Xen judge
//! layouts. Standard output carries results
//! only (tables, or JSON with `--json`); progress and diagnostics go to standard error.

mod artefacts;
mod dtc;
mod failure;
mod interrupt;
mod man;
mod oracle;
mod pages;
mod paths;
mod process;
mod progress;
mod run;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Builds the test bed, boots Xen on QEMU, and runs the project's tests in it.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct CommandLine {
    /// Take Debian's files from here instead of deb.debian.org: a mirror, or a snapshot of a day; several are asked in turn.
    #[arg(long, global = true, value_name = "URL")]
    mirror: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main path: Xen boots, a guest starts from a platform document and writes its disk over grants.
    Demo(suite::demo::Demo),
    /// Run all tests: formatting, lints, licences, unit tests, then Xen on QEMU.
    Test(suite::test::TestCommand),
    /// Open a shell in dom0; Ctrl-] or `poweroff` ends it.
    Shell(run::shell::Shell),
    /// List the runs' logs, or show one.
    Logs(run::logs::Logs),
    /// Measure, and print figures.
    Bench(suite::bench::BenchCommand),
    /// Prove at length what must never happen, and print figures.
    Soak(suite::soak::SoakCommand),
    /// Take each rule of a FLASK policy away in turn: the platform must not work without it.
    Policy(suite::policy::PolicyCommand),
    /// Run OP-TEE's own regression tests, in dom0 or in a guest.
    Xtest(suite::tee::command::XtestCommand),
    /// Let real Xen judge layouts, and compare with what is expected of each.
    Oracle(oracle::command::OracleCommand),
    /// Get and build what the bed boots: Xen, Linux, dom0's userland, the workspace's arm64 binaries.
    Build(artefacts::commands::Build),
    /// Move the pinned versions to what Debian's archive has today.
    Update(artefacts::update::Update),
    /// Write the manual pages of avpsctl, avps-backend and avps-tee.
    Man(man::Man),
    /// Remove cached artefacts that this source tree does not use.
    Clean(artefacts::commands::Clean),
    /// A bed that stays, to try things in.
    Bed(run::commands::BedCommand),
    /// Start a program that ends with its parent.
    #[command(hide = true, name = run::helper::NAME)]
    RunWithParent(run::helper::RunWithParent),
}

fn main() -> ExitCode {
    let CommandLine { mirror, command } = CommandLine::parse();
    if let Err(error) = artefacts::mirror::name(&mirror) {
        return Failure::from(error).report();
    }
    let result = interrupt::install().and_then(|()| match command {
        Command::Demo(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Soak(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Xtest(command) => command.run(),
        Command::Oracle(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Update(command) => command.run(),
        Command::Clean(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Shell(command) => command.run(),
        Command::Logs(command) => command.run(),
        Command::Bed(command) => command.run(),
        Command::RunWithParent(command) => command.run(),
    });
    result.unwrap_or_else(Failure::report)
}

/// Prints on standard output. A reader that closed its end has seen enough.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
