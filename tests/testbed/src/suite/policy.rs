//! `cargo xtask policy`: what a FLASK policy refuses, and that it allows nothing without need.

use super::bench::show;
use super::driver;
use crate::failure::Failure;
use crate::run::media::Media;
use clap::Args;
use std::process::ExitCode;

/// Take each rule of a policy away in turn, under real Xen: the platform must not work without it.
#[derive(Args)]
pub(crate) struct PolicyCommand {
    /// Rules taken away; all of them by default.
    #[arg(long)]
    cases: Option<usize>,
    /// With fewer than all: decides which; by default the commit that is checked out does.
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

impl PolicyCommand {
    /// Runs and prints.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let media = Media::get()?;
        let figures = driver::policy(&media, self.cases, self.seed)?;
        Ok(show(&figures, "policy", self.json))
    }
}
