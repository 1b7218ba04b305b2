//! The domain's end: who asks for it, and the last call.
//!
//! Linux runs `/sbin/poweroff` or `/sbin/reboot` when the toolstack asks (kernel/reboot.c, `orderly_poweroff`); here both are
//! this program, and do what busybox's do: they signal the first process.

use std::io;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, kill_process};
use rustix::system::{RebootCommand, reboot};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use super::say::{Urgency, say};
use crate::cli::{EXIT_FAILED, EXIT_OK};

/// How a domain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    PowerOff,
    Reboot,
}

impl Ending {
    /// What a signal to the first process asks for.
    pub(super) fn asked_by(signal: i32) -> Option<Self> {
        match signal {
            SIGUSR1 | SIGUSR2 => Some(Ending::PowerOff),
            SIGTERM | SIGINT => Some(Ending::Reboot),
            _ => None,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Ending::PowerOff => "powering off: the guests' devices are given up",
            Ending::Reboot => "rebooting: the guests' devices are given up",
        }
    }
}

/// Names under which this program is one that ends the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    PowerOff,
    Reboot,
}

impl Face {
    /// By the name the program was started with.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.rsplit('/').next() {
            Some("poweroff" | "halt") => Some(Face::PowerOff),
            Some("reboot") => Some(Face::Reboot),
            _ => None,
        }
    }

    /// Asks the first process.
    pub(crate) fn run(self) -> ExitCode {
        let signal = match self {
            Face::PowerOff => Signal::USR2,
            Face::Reboot => Signal::TERM,
        };
        match kill_process(Pid::INIT, signal) {
            Ok(()) => ExitCode::from(EXIT_OK),
            Err(error) => {
                say(
                    Urgency::Error,
                    &format!("the first process cannot be asked to end the system: {error}"),
                );
                ExitCode::from(EXIT_FAILED)
            }
        }
    }
}

/// Writes out what disks of this domain have not got yet, and ends it.
pub(super) fn end(ending: Ending) -> io::Result<std::convert::Infallible> {
    rustix::fs::sync();
    reboot(match ending {
        Ending::PowerOff => RebootCommand::PowerOff,
        Ending::Reboot => RebootCommand::Restart,
    })?;
    Err(io::Error::other("the kernel does not end the domain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_mean_what_they_mean_to_busybox_but_nothing_halts() {
        assert_eq!(Ending::asked_by(SIGUSR1), Some(Ending::PowerOff));
        assert_eq!(Ending::asked_by(SIGUSR2), Some(Ending::PowerOff));
        assert_eq!(Ending::asked_by(SIGTERM), Some(Ending::Reboot));
        assert_eq!(Ending::asked_by(SIGINT), Some(Ending::Reboot));
        assert_eq!(Ending::asked_by(signal_hook::consts::SIGCHLD), None);
    }

    #[test]
    fn a_name_decides_and_no_ordinary_one_ends_a_system() {
        assert_eq!(Face::of("/sbin/poweroff"), Some(Face::PowerOff));
        assert_eq!(Face::of("reboot"), Some(Face::Reboot));
        for name in [
            "avps-backend",
            "/usr/bin/avps-backend",
            "/init",
            "",
            "/poweroff/x",
        ] {
            assert_eq!(Face::of(name), None, "{name}");
        }
    }
}
