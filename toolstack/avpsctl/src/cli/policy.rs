//! `avpsctl policy …`: what Xen's security module FLASK must allow, made, loaded, shown and checked.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DocumentArg;

/// Help of the group.
pub(super) const POLICY_HELP: &str = "\
A policy has a type for each domain and allows what the document needs: who builds whom, who serves
whose devices, and nothing else. show, explain and build work anywhere; load and check need dom0 on a
Xen that was booted with xsm=flask.

Examples:
  avpsctl policy show cockpit.avps.toml
  avpsctl policy explain cockpit.avps.toml storage cockpit     who may do what to whom, and why
  avpsctl policy build --xen-source xen-4.20 --output xenpolicy cockpit.avps.toml
  avpsctl policy load xenpolicy
  avpsctl policy check cockpit.avps.toml                       asks the running Xen";

/// What can be done with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the rules: who may do what to whom
    #[command(after_help = "\
Fields of --json (schema avps-policy/1): platform, types[] {domain, type}, rules[] {domain, need, source,
target, class, permissions[]}; target is a type, need tells why the domain needs the rule.")]
    Show(DocumentArg),
    /// Tell in words what a domain may do, and why
    #[command(after_help = "\
Fields of --json (schema avps-policy-explain/1): who, rights[] {to, what, permission, class, because}.

Example:
  avpsctl policy explain cockpit.avps.toml storage cockpit")]
    Explain(ExplainArgs),
    /// Compile the policy of a document as Xen loads it
    #[command(after_help = "\
Needs m4 and checkpolicy, and Xen's source of the release that runs: its reference policy tells what
the control domain may, and what every domain may ask of Xen. Instead of a document, the .te file that
avpsctl emit flask wrote can be named, with changes of your own; a .contexts file beside it is read too.

Xen takes the file from the boot loader (a module xen,xsm-policy), or from avpsctl policy load.

Example:
  avpsctl policy build --xen-source xen-4.20 --output /boot/xenpolicy cockpit.avps.toml")]
    Build(BuildArgs),
    /// Give the running Xen a policy
    #[command(after_help = "\
Xen keeps the old policy when it does not take the new one. Domains that run keep their types.")]
    Load(LoadArgs),
    /// Compare what the running Xen allows with what a document needs
    #[command(after_help = "\
Asks Xen about every pair of types of the document, and about the control domain. Exit code 1 when
something is missing or too much is allowed, or when Xen does not enforce what should be enforced.

Fields of --json (schema avps-policy-check/1): platform, enforcing, questions, differences[] {source, target,
class, missing[], beyond[]}.")]
    Check(DocumentArg),
}

/// Arguments of `policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// The domain that acts; dom0 is the control domain
    #[arg(value_name = "WHO")]
    pub who: String,
    /// The domain that is acted on; all of them without it
    #[arg(value_name = "WHOM")]
    pub whom: Option<String>,
}

/// Arguments of `policy build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The platform document (*.avps.toml), or a policy's source (*.te)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Folder of Xen's source
    #[arg(long, value_name = "DIR")]
    pub xen_source: PathBuf,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

/// Arguments of `policy load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// What policy build wrote
    #[arg(value_name = "FILE")]
    pub policy: PathBuf,
}
