//! The command line: what `--help` teaches, and the exit codes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::adopt::Rule;
use crate::parameters::{self, Cache, ParameterError};

/// Exit code: everything went well.
pub(crate) const EXIT_OK: u8 = 0;
/// Exit code: something went wrong on the way.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: this host, or this moment, cannot do it (no Xen, no XenStore, another holder runs).
pub(crate) const EXIT_CANNOT: u8 = 3;

const AFTER_HELP: &str = "\
The daemon finds its devices by itself: it watches backend/virtio and backend/virtio_disk of its own
domain in XenStore. avpsctl writes what to serve beside libxl's keys; for guests made by plain `xl
create` give adoption rules:

  avps-backend serve --adopt 'guest/0=/srv/guest.img' --adopt 'guest/1=/srv/tools.img,ro'

xl starts a guest without waiting for its backend, and a guest that reaches its registers before they
are claimed panics. Create it paused: xl create -p guest.cfg; wait until avpsctl list guest shows its
devices ready; xl unpause guest.

When a device cannot be served, its XenStore folder says why in avps/error (so does the log).
Correct the cause, then remove avps/error to have it tried again.

Without Xen, `avps-backend vhost-user` serves a disk to QEMU; see its --help.

Exit codes: 0 fine, 1 failed, 2 wrong command line, 3 this host cannot (not on Xen, already running).";

/// Serves virtio devices to Xen guests, from dom0 or a driver domain, or to QEMU over vhost-user.
#[derive(Debug, Parser)]
#[command(name = "avps-backend", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: serve every virtio device this domain is the backend of
    Serve(Serve),
    /// Show the counters of the running daemon
    Stats(Stats),
    /// Serve one disk over vhost-user, to QEMU or another front end; needs no Xen
    VhostUser(VhostUser),
    /// Be the first process of a driver domain; chosen without being asked as /init
    #[command(hide = true)]
    Init,
    /// Serve one guest; started by `serve`, with its socket as standard input
    #[command(hide = true)]
    Worker(Worker),
}

/// `avps-backend serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
SIGTERM or SIGINT end the daemon: workers finish what is in flight and end. Devices of running
guests are left as they are: a guest that uses one waits until the next `serve` takes it over.
SIGUSR1 gives every device up for good, then ends the daemon: for a domain that is about to end.
With NOTIFY_SOCKET set (systemd Type=notify), READY=1 is sent once devices are being served.")]
pub(crate) struct Serve {
    /// Serve PATH as device DEVID of the domain NAME, which has no avps keys; may be repeated.
    /// Options: ro, memory=grant|foreign, block-size=512|4096, serial=TEXT,
    /// cache=writeback|writethrough|direct, queues=1..16
    #[arg(long, value_name = "NAME/DEVID=PATH[,OPTION...]")]
    pub(crate) adopt: Vec<Rule>,
    /// How much to log, on standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,
    /// What if the kernel refuses a part of the workers' sandbox: serve nothing, or go on without it
    /// (`stats` tells what is missing); `off` is for debugging
    #[arg(long, value_name = "MODE", value_enum, default_value_t = SandboxMode::BestEffort)]
    pub(crate) sandbox: SandboxMode,
    /// Whether a busy disk's thread looks for more requests for a while before it sleeps: up to 2 ms and
    /// four times as long as it has just worked, so an idle disk costs nothing. Much faster where CPUs
    /// are free; switch it off where guests and backend share too few
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Polling::Auto)]
    pub(crate) polling: Polling,
    /// Over grants, map requests of more than BYTES of data instead of copying them; by default all
    /// are copied, which was faster wherever it was measured
    #[arg(long, value_name = "BYTES")]
    pub(crate) copy_limit: Option<u32>,
    /// Unix socket on which `avps-backend stats` is answered
    #[arg(long, value_name = "PATH", default_value = backend_stats::socket::DEFAULT)]
    pub(crate) socket: PathBuf,
}

/// `avps-backend stats`.
#[derive(Args, Debug)]
pub(crate) struct Stats {
    /// Print JSON for programs instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print OpenMetrics text, as Prometheus reads it
    #[arg(long, conflicts_with = "json")]
    pub(crate) openmetrics: bool,
    /// Unix socket of the daemon, as given to `serve`
    #[arg(long, value_name = "PATH", default_value = backend_stats::socket::DEFAULT)]
    pub(crate) socket: PathBuf,
}

/// `avps-backend vhost-user`.
#[derive(Args, Debug)]
#[command(after_help = "\
A virtual machine whose memory can be shared finds the disk at the socket:

  avps-backend vhost-user --socket /run/disk.sock --image /srv/guest.img
  qemu-system-aarch64 -M virt -m 1G … \\
    -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram \\
    -chardev socket,id=disk,path=/run/disk.sock,reconnect-ms=1000 \\
    -device vhost-user-blk-pci,chardev=disk,num-queues=1

num-queues may be up to the number given to --queues; without it QEMU wants one queue per CPU.
Whoever can connect to the socket has the disk: keep it in a folder that only they can enter.
One front end is served at a time; when it has gone, the next one is.

SIGTERM or SIGINT end the program: requests in flight are ended, the socket is removed.
With NOTIFY_SOCKET set (systemd Type=notify), READY=1 is sent once the socket exists.

Exit codes: 0 ended by a signal, 1 failed, 2 wrong command line, 3 this host cannot (the image is
missing, unfit or in use; the socket is in use or cannot be made).")]
pub(crate) struct VhostUser {
    /// Unix socket to make; front ends connect to it
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Image file or block device behind the disk
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// The guest may not write; the image is opened read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Logical block size in bytes: 512 or 4096
    #[arg(long, value_name = "BYTES", value_parser = parameters::block_size, default_value = "512")]
    pub(crate) block_size: u32,
    /// What the guest reads as the disk's serial; at most 20 bytes
    #[arg(long, value_name = "TEXT", value_parser = parameters::serial, default_value = "")]
    pub(crate) serial: String,
    /// When a write counts as done: writeback (at the guest's flush), writethrough (at once),
    /// direct (as writeback, past this host's page cache)
    #[arg(long, value_name = "MODE", value_parser = cache, default_value = "writeback")]
    pub(crate) cache: Cache,
    /// Number of queues, 1 to 16; each has a thread
    #[arg(long, value_name = "N", value_parser = parameters::queues, default_value = "1")]
    pub(crate) queues: u16,
    /// How much to log, on standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,
}

fn cache(text: &str) -> Result<Cache, ParameterError> {
    text.parse()
}

/// `avps-backend worker`.
#[derive(Args, Debug)]
pub(crate) struct Worker {
    /// How much to log, on standard error
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log_level: LogLevel,
    /// How to be confined
    #[arg(long, value_enum, default_value_t = SandboxMode::Required)]
    pub(crate) sandbox: SandboxMode,
    /// Domain to serve; only for people who look at the process list, the socket decides
    #[arg(long)]
    pub(crate) guest: u16,
}

/// What a thread does that has run out of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Polling {
    /// It looks for more where that has paid lately.
    Auto,
    /// It sleeps.
    Off,
}

/// What a worker does about its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxMode {
    /// All of it, or nothing is served.
    Required,
    /// As much of it as the kernel grants.
    BestEffort,
    /// None.
    Off,
}

impl Polling {
    /// The word the command line knows.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Polling::Auto => "auto",
            Polling::Off => "off",
        }
    }
}

impl SandboxMode {
    /// The word the command line knows.
    pub(crate) fn word(self) -> &'static str {
        match self {
            SandboxMode::Required => "required",
            SandboxMode::BestEffort => "best-effort",
            SandboxMode::Off => "off",
        }
    }
}

/// Levels of the log, from quiet to loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what failed.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happens to devices.
    Info,
    /// And each event.
    Debug,
    /// And each step.
    Trace,
}

impl LogLevel {
    /// The word the command line knows.
    pub(crate) fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_systemd_unit_starts_the_daemon_and_waits_for_its_word() {
        let unit = include_str!("../../../configs/systemd/avps-backend.service");
        let value = |key: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.strip_prefix('='))
        };
        let words = value("ExecStart").unwrap().split_whitespace();
        let arguments = Arguments::try_parse_from(words).unwrap();
        let Command::Serve(serve) = arguments.command else {
            panic!("the unit starts something else");
        };
        let folder = std::path::Path::new("/run").join(value("RuntimeDirectory").unwrap());
        assert!(serve.socket.starts_with(folder));
        assert_eq!(value("Type"), Some("notify"));
        assert_eq!(value("RuntimeDirectoryPreserve"), Some("yes"));
    }

    #[test]
    fn help_teaches_adoption_and_hides_the_worker() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("--adopt 'guest/0=/srv/guest.img'"));
        assert!(help.contains("avps/error"));
        assert!(!help.contains("worker"));
    }

    #[test]
    fn a_broken_rule_is_a_usage_error_with_an_example() {
        let error =
            Arguments::try_parse_from(["avps-backend", "serve", "--adopt", "guest"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("guest/0=/srv/guest.img"));
    }

    #[test]
    fn help_of_vhost_user_shows_how_qemu_is_started() {
        let mut command = Arguments::command();
        let vhost_user = command.find_subcommand_mut("vhost-user").unwrap();
        let help = vhost_user.render_long_help().to_string();
        for words in [
            "memory-backend-memfd,id=ram,size=1G,share=on",
            "vhost-user-blk-pci,chardev=disk",
        ] {
            assert!(help.contains(words), "{help}");
        }
    }

    #[test]
    fn every_level_and_mode_is_understood_by_its_own_word() {
        for level in LogLevel::value_variants() {
            assert_eq!(LogLevel::from_str(level.word(), false).as_ref(), Ok(level));
        }
        for mode in SandboxMode::value_variants() {
            assert_eq!(SandboxMode::from_str(mode.word(), false).as_ref(), Ok(mode));
        }
        for polling in Polling::value_variants() {
            assert_eq!(
                Polling::from_str(polling.word(), false).as_ref(),
                Ok(polling)
            );
        }
    }
}
