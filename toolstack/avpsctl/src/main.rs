//! The command `avpsctl`; everything it does is in the library of the same name.

use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = avpsctl::cli::Cli::parse();
    avpsctl::commands::run(cli).into()
}
