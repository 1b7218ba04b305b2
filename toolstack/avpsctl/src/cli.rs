//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::rundir;

mod platform;
mod policy;
mod tee;

pub use policy::{BuildArgs, ExplainArgs, LoadArgs, PolicyCommand};
pub use tee::{TeeArgs, TeeAuditArgs, TeeCommand, TeeStatusArgs};

pub use platform::{
    DiffArgs, GraphArgs, GraphFormat, ImportArgs, MigrateArgs, NewArgs, PlatformCommand, Template,
};

const EXIT_CODES: &str = "\
Exit codes:
  0    success: nothing left to change, also when it was so already
  1    findings in the document, or the machine differs from it
  2    the command line, or a name in it, is wrong
  3    this host cannot; nothing was left behind
  4    only a part was done or taken back; the message says what remains
  130  ended by Ctrl-C or a signal; up and create have taken back what they began

Examples:
  avpsctl check cockpit.avps.toml         say what is wrong with a document, anywhere
  avpsctl up cockpit.avps.toml            start what it describes and does not run yet
  avpsctl list                            what runs, and how its devices are
  avpsctl console cockpit                 talk to a guest; Ctrl-] leaves
  avpsctl down cockpit.avps.toml          shut it all down

With --json every command that shows something writes one JSON object; list --watch and tee audit --follow
write one in each line. Errors are an object with schema \"avps-error/1\" and the fields error, help and
exit_code. Memory is in bytes and time in seconds; a fixed set of words has no blanks in them.";

/// Domain management for Xen-based vehicle computers.
///
/// One TOML document describes a whole platform: its domains, their memory, CPUs and devices.
/// avpsctl checks it, starts it, shows it and takes it down again.
#[derive(Debug, Parser)]
#[command(name = "avpsctl", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Write results as JSON to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Show results and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more of what happens; twice for libxl's own messages
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours; the environment variable NO_COLOR turns "auto" off
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
    /// Folder for locks, supervisors and their logs
    #[arg(long, global = true, hide = true, default_value = rundir::DEFAULT, value_name = "DIR")]
    pub run_dir: PathBuf,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start what a document describes and does not run yet
    #[command(after_help = "\
Domains that run as the document says are left alone, so running it twice changes nothing. Each new
domain is created paused; its backends are told what to serve and awaited; then it is unpaused.
Domains are started side by side. One that names others in after, or whose devices another one
serves, is created once those run and their devices are ready. A domain that cannot be started keeps
only those from starting that wait for it: the others run, and the exit code is 4. Ctrl-C and
failures remove what was created and never ran; a guest that ran keeps running.

A CPU pool of the document is the one with its CPUs and its scheduler, whatever its name; where there
is none, its CPUs are taken out of the first pool and it is made. libxl gets what emit libxl-json
writes. Refused, because libxl cannot express them: arinc653 and console = \"none\".

A domain with tee.mode = \"mediated\" runs once avps-tee has taken over its calls into the secure world.
What it may do there can be changed while it runs: change the document, and say up again.

Domains that Xen itself started run already. Their virtio devices are served from now on, and then
shown to them; Xen's init-dom0less has to be run first.

A guest whose driver domain is gone, or runs again, has lost its devices: it is removed and started again
after it. With --replace, the guests of a driver domain that differs are shut down before it.

A background process, avpsctl supervise, applies on_reboot, on_crash and on_poweroff when a guest ends; avpsctl down ends it. When a driver domain ends, its own on_* decides about it, and for its
guests that is a crash: those with on_crash = \"restart\" are started again after it.

Fields of --json (schema avps-up/1): platform, changed, domains[] {name, domid, action = started |
unchanged | replaced | served | rights-changed | failed, seconds, error}, supervisor (process number or
null).

Examples:
  avpsctl up cockpit.avps.toml
  avpsctl up --timeout 60 cockpit.avps.toml
  avpsctl up --replace cockpit.avps.toml      also restart domains that differ")]
    Up(UpArgs),
    /// Shut down what a document describes
    #[command(after_help = "\
Guests are asked to power off, all at once, and those that serve others after them, and removed when
they have. A paused guest is let run first; one that never ran is removed. Guests that do not end within the time limit keep running (exit
code 4), and so do those that serve them, unless --force is given. CPU pools that up made and nothing runs in are removed, and their
CPUs go to the first pool; one with scheduler rtds stays, because Xen does not survive its end.

Fields of --json (schema avps-down/1): platform, domains[] {name, domid, action = removed | forced |
running}.

Example:
  avpsctl down --timeout 20 --force cockpit.avps.toml")]
    Down(DownArgs),
    /// Show what up would do
    #[command(after_help = "\
Exit code 0 when nothing would change, 1 otherwise.

Fields of --json (schema avps-diff/1): platform, cpupools[] {name, what} that would be made,
domains[] {name, state = absent | matches | differs | backend-gone | unfinished | ended, domid, what[], backends[],
rights_change = whether up would give the running domain other rights in the secure world}.")]
    Diff(DocumentArg),
    /// Create one domain of a document and leave it paused
    #[command(after_help = "\
The domain's devices are ready when the command returns; it stays paused so that a debugger, a
console or a measurement can be attached first. avpsctl unpause, or --start, lets it run. A domain that is
there as wanted already is left alone.

Fields of --json (schema avps-create/1): platform, changed, name, domid, state = paused | running.

Examples:
  avpsctl create cockpit.avps.toml cockpit
  avpsctl create --start cockpit.avps.toml cockpit")]
    Create(CreateArgs),
    /// Remove domains at once, without asking the guests
    #[command(after_help = "\
Waits until the backends have let go and nothing is left in XenStore. A driver domain whose guests are
not named with it is refused without --force: they lose their disks, and Xen keeps its number taken as
long as they live. To a supervisor that is a crash: it starts the driver domain again by its on_crash.

Fields of --json (schema avps-power/1): domains[] {name, domid, action = destroyed}.

Examples:
  avpsctl destroy cockpit
  avpsctl destroy --force storage")]
    Destroy(DestroyArgs),
    /// Stop domains' CPUs
    #[command(after_help = "\
Fields of --json (schema avps-power/1): domains[] {name, domid, action = paused | unchanged}.")]
    Pause(DomainsArg),
    /// Let paused domains run
    #[command(after_help = "\
A domain whose devices are not ready is refused: a guest that touches a device nobody serves stops for
good.

Fields of --json (schema avps-power/1): domains[] {name, domid, action = unpaused | unchanged}.")]
    Unpause(DomainsArg),
    /// Ask guests to power off
    #[command(after_help = "\
With --wait the command returns when the guests are gone. A driver domain whose guests are not named with
it is refused without --force. With --wait and --force, guests that do not power off in time are removed.

Fields of --json (schema avps-power/1): domains[] {name, domid, action = shutdown-requested | unchanged;
with --wait powered-off | forced | running}.

Example:
  avpsctl shutdown --wait --timeout 30 cockpit")]
    Shutdown(ShutdownArgs),
    /// Ask guests to reboot
    #[command(after_help = "\
The guest ends, and the supervisor of its platform starts it again as a new domain: the name stays,
the number changes. A driver domain whose guests are not named with it is refused without --force.

Fields of --json (schema avps-power/1): domains[] {name, domid, action = reboot-requested}.")]
    Reboot(DestroyArgs),
    /// List domains
    #[command(after_help = "\
Fields of --json (schema avps-list/2): domains[] {name, domid, uuid, platform or null, state = running |
blocked | paused | shutdown | dying, shutdown_reason = poweroff | reboot | suspend | crash | watchdog |
unknown or null, memory_bytes, max_memory_bytes, vcpus, cpu_time_seconds, cpupool, devices[] {class, index,
backend_domid, kind, state = waiting | ready | connected | closing | closed, image, memory, base, irq, error,
folder}}. With --watch an object in one line each time that anything but the CPU time is different.

Examples:
  avpsctl list
  avpsctl list --watch cockpit
  avpsctl list --json | jq -r '.domains[].name'")]
    List(ListArgs),
    /// Show everything about a domain, or about this machine
    #[command(after_help = "\
Fields of --json: for a domain those of avpsctl list, and console and affinity[] {vcpu, cpu, affinity = CPUs
it may run on} (schema avps-info/2);
for the machine xen_version, libxl_release, total_memory_bytes, free_memory_bytes, cpus, backends[]
{domid, running, pid, version} and supervisors[] {platform, pid} (schema avps-host/2).")]
    Info(InfoArgs),
    /// Talk to a guest's console; Ctrl-] leaves
    #[command(after_help = "\
The console is the emulated UART of a domain with console = \"vpl011\", else the paravirtual one.
On a terminal every key goes to the guest except Ctrl-]. When standard input is no terminal, it is
copied to the guest; at its end the command stays for as long as the guest has something to say.

Examples:
  avpsctl console cockpit
  echo 'uname -a' | avpsctl console cockpit")]
    Console(ConsoleArgs),
    /// Ask the backend daemon that serves this domain's guests
    Backend {
        /// What to ask for
        #[command(subcommand)]
        command: BackendCommand,
    },
    /// Ask the mediator what guests do in the secure world, and what they were refused
    #[command(after_help = tee::TEE_HELP)]
    Tee {
        /// What to ask for
        #[command(subcommand)]
        command: TeeCommand,
    },
    /// Work with a document, anywhere: check, plan, draw, compare, make, import
    #[command(after_help = "\
None of these needs Xen. check, plan, emit and explain exist as commands of avpsctl itself, too.

Examples:
  avpsctl platform check cockpit.avps.toml
  avpsctl platform graph cockpit.avps.toml")]
    Platform {
        /// What to do
        #[command(subcommand)]
        command: PlatformCommand,
    },
    /// Work with the FLASK policy of a document: show, explain, build, load, check
    #[command(after_help = policy::POLICY_HELP)]
    Policy {
        /// What to do
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Check a document
    #[command(after_help = platform::CHECK_HELP)]
    Check(CheckArgs),
    /// Show the plan: the document with every number decided, as JSON
    Plan(DocumentArg),
    /// Write a document in another program's language, or as a picture
    #[command(after_help = platform::EMIT_HELP)]
    Emit(EmitArgs),
    /// Explain a rule of check
    #[command(after_help = platform::EXPLAIN_HELP)]
    Explain {
        /// Id or name of the rule
        rule: Option<String>,
    },
    /// Restart guests that reboot or crash, in the foreground
    #[command(after_help = "\
avpsctl up starts this in the background. It ends when no domain of the document is left, or by
SIGTERM; the guests then go on without it. A guest that ends more than 5 times within 60 s is
removed instead of restarted. A start that fails because the guest's backend or avps-tee does not
run, or does not answer, does not count: it is tried again until it works.")]
    Supervise(SuperviseArgs),
    /// Write a completion script for a shell
    #[command(after_help = "\
Example:
  avpsctl completion bash > /etc/bash_completion.d/avpsctl")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages
    Man {
        /// The folder to write them to
        folder: PathBuf,
    },
}

/// A document.
#[derive(Debug, Args)]
pub struct DocumentArg {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Seconds the backends may take to become ready
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Remove and start again domains that run differently from the document
    #[arg(long)]
    pub replace: bool,
    /// Start no supervisor: guests that reboot stay down
    #[arg(long)]
    pub no_supervise: bool,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Seconds the guests may take to power off
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub timeout: u64,
    /// Go on although guests lose by it: what they have not saved, or their devices
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Name of the domain in the document
    #[arg(value_name = "DOMAIN")]
    pub domain: String,
    /// Let it run
    #[arg(long)]
    pub start: bool,
    /// Seconds the backends may take to become ready
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Start no supervisor: a guest that reboots stays down
    #[arg(long)]
    pub no_supervise: bool,
}

/// Names or numbers of domains.
#[derive(Debug, Args)]
pub struct DomainsArg {
    /// Names or numbers
    #[arg(value_name = "DOMAIN", required = true)]
    pub domains: Vec<String>,
}

/// Arguments of `destroy` and `reboot`.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Names or numbers
    #[arg(value_name = "DOMAIN", required = true)]
    pub domains: Vec<String>,
    /// Go on although guests lose by it: what they have not saved, or their devices
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `shutdown`.
#[derive(Debug, Args)]
pub struct ShutdownArgs {
    /// Names or numbers
    #[arg(value_name = "DOMAIN", required = true)]
    pub domains: Vec<String>,
    /// Go on although guests lose by it: what they have not saved, or their devices
    #[arg(long)]
    pub force: bool,
    /// Wait until they are gone
    #[arg(long)]
    pub wait: bool,
    /// Seconds to wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "wait")]
    pub timeout: u64,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Names or numbers; without any, all
    #[arg(value_name = "DOMAIN")]
    pub domains: Vec<String>,
    /// Show it again as it changes, until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Name or number; without it, this machine
    #[arg(value_name = "DOMAIN")]
    pub domain: Option<String>,
}

/// What avps-backend can be asked.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Show what its guests' devices have done and what that cost
    #[command(after_help = "\
Counters only grow while a device lives, also over restarts of its worker. \"copies\", \"maps\" and
\"unmaps\" are calls to Xen for payload; \"ioreqs\" are the guest's register accesses.

Fields of --json (schema avps-backend-stats/1): version, pid, guests[] {domid, name, worker_pid,
restarts, stale, counters, devices[] {path, state, memory, counters}}.

Examples:
  avpsctl backend stats cockpit
  avpsctl backend stats --json | jq '.guests[].devices[].counters.requests'
  avpsctl backend stats --openmetrics > /var/lib/node_exporter/avps.prom")]
    Stats(StatsArgs),
}

/// Arguments of `backend stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Name or number of a guest; without it, all
    #[arg(value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Write OpenMetrics text, as Prometheus reads it
    #[arg(long, conflicts_with = "json")]
    pub openmetrics: bool,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = backend_stats::socket::DEFAULT)]
    pub socket: PathBuf,
}

/// Arguments of `console`.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Name or number
    #[arg(value_name = "DOMAIN")]
    pub domain: String,
    /// Seconds of silence after the end of input before leaving, when input is no terminal
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub linger: u64,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Check the files and the memory of this machine too
    #[arg(long)]
    pub host: bool,
    /// Write SARIF 2.1.0, for code review and continuous integration
    #[arg(long, conflicts_with = "json")]
    pub sarif: bool,
}

/// Arguments of `emit`.
#[derive(Debug, Args)]
pub struct EmitArgs {
    /// The language
    #[arg(value_enum)]
    pub language: Language,
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Only this domain, in a language with a file per domain
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,
    /// Write files into this folder instead of standard output; languages that are no text need it
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Make ramdisks of this static avps-backend for 64-bit Arm, instead of the one that is installed here
    #[arg(long, value_name = "FILE")]
    pub backend: Option<PathBuf>,
}

/// Languages of `emit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// xl configurations
    Xl,
    /// libxl's own JSON of the same
    LibxlJson,
    /// Device tree for domains that Xen itself starts: source of an overlay
    Dom0lessDts,
    /// The machine's device tree with these domains in it, for Xen
    Dom0lessDtb,
    /// The same as an overlay, for U-Boot
    Dom0lessDtbo,
    /// What guests are told of the machine's devices that are their own, one file per domain
    PartialDtb,
    /// Ramdisks of driver domains that have none of their own: avps-backend and nothing else, one file per domain
    Ramdisk,
    /// U-Boot script
    Uboot,
    /// Command lines of Xen and the kernels
    Cmdline,
    /// Build options of Xen and Linux that the plan needs
    Kconfig,
    /// FLASK policy for Xen's security module, on top of Xen's reference policy
    Flask,
    /// Safety report, as Markdown
    Report,
    /// The three pictures
    Svg,
    /// Picture of the physical memory
    SvgMemory,
    /// Picture of CPUs and who runs on them
    SvgCpus,
    /// Picture of domains and what ties them together
    SvgLinks,
}

impl Language {
    /// Whether it is no text.
    pub fn is_binary(self) -> bool {
        matches!(
            self,
            Language::Dom0lessDtb
                | Language::Dom0lessDtbo
                | Language::PartialDtb
                | Language::Ramdisk
        )
    }

    /// Whether it has something for each domain by itself.
    pub fn is_per_domain(self) -> bool {
        matches!(
            self,
            Language::Xl | Language::LibxlJson | Language::PartialDtb | Language::Ramdisk
        )
    }
}

/// Arguments of `supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Seconds the backends may take to become ready again
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Run in the background; used by avpsctl up
    #[arg(long, hide = true)]
    pub detached: bool,
    /// DOC is a plan in JSON; used by avpsctl up
    #[arg(long, hide = true)]
    pub plan: bool,
}
