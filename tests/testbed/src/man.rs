//! `cargo xtask man`: the manual pages of the programs that users run.

use crate::failure::Failure;
use crate::interrupt;
use crate::paths;
use crate::process::Error;
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Write the manual pages of avpsctl, avps-backend and avps-tee.
#[derive(Args)]
#[command(after_help = "\
Example:
  cargo xtask man --out man1
  man ./man1/avpsctl-up.1")]
pub(crate) struct Man {
    /// The folder to write them to
    #[arg(long, value_name = "DIR", default_value = "target/man1")]
    out: PathBuf,
}

impl Man {
    /// Writes them.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let folder = std::path::absolute(&self.out)
            .map_err(|e| Failure::new(format!("cannot use {}: {e}", self.out.display())))?;
        let mut command = Command::new("cargo");
        command
            .args(["run", "--quiet", "--package", "manual", "--"])
            .arg(folder)
            .current_dir(paths::workspace());
        let failed = |error| Failure::new(format!("cannot start cargo: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let _registration = interrupt::register(&child);
        let status = child.wait().map_err(failed)?;
        if interrupt::interrupted() {
            return Err(Error::Interrupted.into());
        }
        if status.success() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::new("the manual pages were not written; see above"))
    }
}
