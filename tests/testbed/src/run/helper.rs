//! The step between xtask and QEMU: asks the kernel to kill this process when its parent dies, then becomes QEMU.
//!
//! It is this same program under a hidden name, so that nothing has to run between fork and exec.

use crate::failure::Failure;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The hidden subcommand.
pub(crate) const NAME: &str = "run-with-parent";

/// `run-with-parent PID PROGRAM ARGUMENTS…`
#[derive(clap::Args)]
pub(crate) struct RunWithParent {
    /// The parent that must be alive.
    parent: i32,
    /// What to become.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

impl RunWithParent {
    /// Returns only when the program cannot be started.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|e| Failure::new(format!("cannot tie this process to its parent: {e}")))?;
        // It may have died before it was asked for.
        if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != self.parent) {
            return Err(Failure::new("the process that started this one is gone"));
        }
        let (program, arguments) = self
            .program
            .split_first()
            .ok_or_else(|| Failure::new("no program was named"))?;
        let error = Command::new(program).args(arguments).exec();
        Err(Failure::new(format!("cannot start `{program}`: {error}")))
    }
}
