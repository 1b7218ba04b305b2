//! The command line: what `--help` teaches, and the exit codes.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use tee_report as report;

/// Exit code: something went wrong on the way.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: this host, or this moment, cannot do it.
pub(crate) const EXIT_CANNOT: u8 = 3;

const AFTER_HELP: &str = "\
The daemon finds its guests by itself: avpsctl writes the rights of a domain whose document says
tee.mode = \"mediated\" into XenStore, and starts the domain once its calls are mediated. `avpsctl tee`
shows what guests do, and what they were refused.

It needs dom0's right to see and answer a guest's SMCs (vm_event; under FLASK, the document's policy has
it), and an OP-TEE in dom0: a kernel with CONFIG_OPTEE, a running tee-supplicant, and below it Xen's own
mediator for dom0.

SIGTERM and SIGINT end it: its guests' calls fail with a communication error until it runs again. It is two
processes: one looks after the other, and starts it again when it has died; calls that were under way then
fail, and later ones work. When both are killed, guests that call stand still until it runs again: let
systemd start it again.

Exit codes: 0 ended by a signal, 1 failed, 2 wrong command line, 3 this host cannot (not dom0, no
OP-TEE, already running).";

/// Gives guests the trusted applications that they may use, and nothing else of the secure world.
#[derive(Debug, Parser)]
#[command(name = "avps-tee", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The TEE's client device
    #[arg(long, value_name = "PATH", default_value = "/dev/tee0")]
    pub(crate) device: PathBuf,
    /// Calls that guests together may have in the secure world at once: what OP-TEE was built with
    /// (CFG_NUM_THREADS). With two or more, no guest gets the last one while it has others
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
    /// Buffers that are shared with the secure world for guests' parameters; each holds a little more than
    /// 512 KiB. A call may have as many as there are for each of --threads (--buffers divided by it), at most
    /// one for each of its parameters, which are four: so no call finds too few because of others. At least
    /// one for each of --threads. Xen's mediator lets dom0 share 16, of which dom0's own programs need some
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) buffers: u16,
    /// How long a call may keep its vCPU waiting, in milliseconds. A longer call has the guest's driver wait until
    /// an interrupt tells it of the end; or, where it has none, sleep and ask again, for a quarter of the time
    /// that the call has taken, at most 50 ms
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) hold: u16,
    /// Whether a thread that has answered a guest looks for its next call for a while before it sleeps, if the
    /// last one came as soon: four times as long as the call took, and 4 ms at most. A guest that calls seldom
    /// costs nothing. Faster where CPUs are free; switch it off where guests and dom0 share too few
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Polling::Auto)]
    pub(crate) polling: Polling,
    /// Where the identities are kept under which OP-TEE knows guests' users and groups. Lost, each client is a
    /// new one to the applications
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/avps/tee-identities"
    )]
    pub(crate) identities: PathBuf,
    /// Unix socket on which `avpsctl tee` is answered
    #[arg(long, value_name = "PATH", default_value = report::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Be the daemon itself; said by the process that looks after it
    #[arg(long, hide = true)]
    pub(crate) attended: bool,
    /// How much to log, on standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,
}

impl Arguments {
    /// Those of this process, which ends here if they are wrong.
    pub(crate) fn get() -> Self {
        Self::parse().checked().unwrap_or_else(|error| error.exit())
    }

    fn checked(self) -> Result<Self, clap::Error> {
        if self.buffers >= self.threads {
            return Ok(self);
        }
        let message = format!(
            "--buffers {} is fewer than --threads {}: a call with memory could find none; give each thread one",
            self.buffers, self.threads
        );
        Err(Self::command().error(ErrorKind::ValueValidation, message))
    }
}

/// What a thread does that has answered a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Polling {
    /// It looks for the next call where that has paid lately.
    Auto,
    /// It sleeps.
    Off,
}

/// Levels of the log, from quiet to loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what failed.
    Error,
    /// And refusals.
    Warn,
    /// And sessions.
    Info,
    /// And each event.
    Debug,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        let arguments = Arguments::try_parse_from(["avps-tee"]).unwrap();
        assert_eq!((arguments.threads, arguments.buffers), (2, 8));
        assert!(arguments.checked().is_ok());
    }

    #[test]
    fn by_default_a_call_may_have_a_buffer_for_each_of_its_parameters() {
        let arguments = Arguments::try_parse_from(["avps-tee"]).unwrap();
        let each = usize::from(arguments.buffers / arguments.threads);
        assert_eq!(each, tee_device::PARAMETERS);
    }

    #[test]
    fn each_thread_has_a_buffer() {
        let arguments = Arguments::try_parse_from(["avps-tee", "--threads", "9"]).unwrap();
        let error = arguments.checked().unwrap_err();
        assert!(
            error.to_string().contains("fewer than --threads 9"),
            "{error}"
        );
    }

    /// The value of a key in a unit.
    fn value(unit: &'static str, key: &str) -> Option<&'static str> {
        let mut lines = unit.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    #[test]
    fn the_systemd_unit_starts_the_daemon_and_waits_for_its_word() {
        let unit = include_str!("../../../configs/systemd/avps-tee.service");
        let value = |key: &str| value(unit, key);
        let words = value("ExecStart").unwrap().split_whitespace();
        let arguments = Arguments::try_parse_from(words).unwrap();
        let folder = |root: &str, key: &str| std::path::Path::new(root).join(value(key).unwrap());
        let run = folder("/run", "RuntimeDirectory");
        assert!(arguments.socket.starts_with(run));
        let state = folder("/var/lib", "StateDirectory");
        assert_eq!(arguments.identities.parent(), Some(state.as_path()));
        assert_eq!(value("Type"), Some("notify"));
        assert_eq!(value("RuntimeDirectoryPreserve"), Some("yes"));
        assert_eq!(value("Wants"), Some("tee-supplicant.service"));
    }

    #[test]
    fn the_unit_for_the_supplicant_has_no_network_and_one_place_to_write() {
        let unit = include_str!("../../../configs/systemd/tee-supplicant.service");
        for (key, wanted) in [
            ("PrivateNetwork", "yes"),
            ("ProtectSystem", "strict"),
            ("StateDirectory", "tee"),
        ] {
            assert_eq!(value(unit, key), Some(wanted), "{key}");
        }
        let start = value(unit, "ExecStart").unwrap();
        assert!(start.ends_with("--fs-parent-path /var/lib/tee"), "{start}");
    }
}
