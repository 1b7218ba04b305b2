//! `avpsctl tee …`: what guests do in the secure world, what they may, and what they were refused.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Help of the group.
pub(super) const TEE_HELP: &str = "\
These ask the running avps-tee. What a guest may do comes from its document ([domain.tee]); avpsctl up
gives running guests changed rights.

Fields of --json (schema avps-tee/1): version, pid, turns, guests[] {domid, name, rights, sessions[] {id,
application, given_up}, calls, regions, shared_bytes, counters}, audit[] {number, at, domid,
guest, event, application, text}.

Examples:
  avpsctl tee status                      calls, sessions, refusals of each guest
  avpsctl tee audit cockpit               what it opened, and what it was refused
  avpsctl tee policy cockpit              what it may do";

/// What to ask for.
#[derive(Debug, Subcommand)]
pub enum TeeCommand {
    /// Show each guest's calls, sessions, shared memory and refusals
    #[command(after_help = "\
Counters grow while a guest is mediated. smcs: calls of its driver; calls: those that reached the secure
world; sleeps: how often it was asked to sleep until a long call ended; copies, copied_bytes: payload;
maps: pieces of its memory that were mapped; hypercalls: two for each SMC; longest_call_us: the longest
message, in microseconds.

Example:
  avpsctl tee status --openmetrics > /var/lib/node_exporter/avps-tee.prom")]
    Status(TeeStatusArgs),
    /// Show open sessions
    Sessions(TeeArgs),
    /// Show what happened, the oldest first: sessions opened, refusals, calls given up
    #[command(after_help = "\
The last 256 entries of each guest are kept. Events: attached, detached, rights (changed), opened, failed
(the application refused), denied (a right is missing), timed-out, given-up, malformed, trouble.

With --follow and --json each entry is one object on a line of its own. It goes on when avps-tee is started
again; Ctrl-C ends it.

Example:
  avpsctl tee audit --follow --json | jq 'select(.event == \"denied\")'")]
    Audit(TeeAuditArgs),
    /// Show what each guest may do, as it is applied at this moment
    Policy(TeeArgs),
}

/// Arguments of most.
#[derive(Debug, Args)]
pub struct TeeArgs {
    /// Name or number of a guest; without it, all
    #[arg(value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = tee_report::DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// Arguments of `tee audit`.
#[derive(Debug, Args)]
pub struct TeeAuditArgs {
    /// Which, and where to ask
    #[command(flatten)]
    pub tee: TeeArgs,
    /// Go on, and show what happens
    #[arg(long, short)]
    pub follow: bool,
}

/// Arguments of `tee status`.
#[derive(Debug, Args)]
pub struct TeeStatusArgs {
    /// Which, and where to ask
    #[command(flatten)]
    pub tee: TeeArgs,
    /// Write OpenMetrics text, as Prometheus reads it
    #[arg(long, conflicts_with = "json")]
    pub openmetrics: bool,
}
