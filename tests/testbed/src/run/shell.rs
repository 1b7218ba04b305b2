//! `cargo xtask shell`: dom0's console on this terminal.

use super::Error;
use super::bed::Bed;
use super::media::Media;
use super::pump::{self, End};
use super::qemu::Machine;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::progress::duration;
use clap::Args;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

/// Opens a shell in dom0; Ctrl-] or `poweroff` ends it.
#[derive(Args)]
pub(crate) struct Shell {
    /// Appended to Xen's command line.
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    xen_options: String,
}

impl Shell {
    /// Boots, shows, ends.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let media = Media::get()?;
        let machine = Machine {
            shell: true,
            xen_options: self.xen_options,
            ..Machine::default()
        };
        let bed = Bed::boot(&media, &machine, "shell")?;
        let path = bed.socket("serial");
        let console = UnixStream::connect(&path).map_err(Error::io("connect to", &path))?;
        let times = bed.times();
        eprintln!(
            "dom0 ready after {}. Ctrl-] or `poweroff` ends it. Logs: {}",
            duration(times.xen + times.dom0),
            bed.logs().display()
        );
        // What the shell wrote before anybody listened is gone: a line end brings a new prompt.
        let asked = (&console).write_all(b"\n");
        let end = asked
            .and_then(|()| pump::run(console, || interrupted() || !bed.alive()))
            .map_err(Error::io("use", &path))?;
        eprintln!();
        if end == End::Left && bed.alive() {
            bed.poweroff();
        } else {
            bed.wait(Duration::from_secs(2));
        }
        Ok(ExitCode::SUCCESS)
    }
}
