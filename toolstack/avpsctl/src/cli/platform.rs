//! `avpsctl platform …`: what can be done with a document anywhere, without Xen.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{CheckArgs, DocumentArg, EmitArgs};

/// Help of `check`, which exists twice.
pub(super) const CHECK_HELP: &str = "\
All findings are shown at once, each with its line, what to do, and the id of its rule. With --host
the files and the memory of this machine are checked too.

Fields of --json (schema avps-findings/1): document, errors, warnings, findings[] {id, name, severity,
message, help, rationale, path, start {line, column}, end, related[] {path, label, start}, subjects[]},
waived[] {the same, and waiver {reason, owner, expires, path}}.";

/// Help of `emit`, which exists twice.
pub(super) const EMIT_HELP: &str = "\
The pictures are self-contained SVG for light and dark pages: svg-memory (the physical memory),
svg-cpus (who runs where), svg-links (who depends on whom). svg writes all three.

The dom0less languages and partial-dtb take CPUs and devices from the machine's device tree: [machine]
device_tree. Modules whose files are on this machine are told with their real sizes, others with the
size of their slot.

ramdisk writes what up makes by itself: the ramdisk of a driver domain whose document names none,
NAME.ramdisk.cpio, made of the static avps-backend in /usr/lib/avps or /usr/bin, or of --backend. The
configurations of xl and libxl-json expect it beside the document.

Fields of --json (schema avps-emit/1): files[] {file_name, text}.

Examples:
  avpsctl emit xl cockpit.avps.toml
  avpsctl emit xl --output /etc/xen cockpit.avps.toml     one file per domain
  avpsctl emit dom0less-dts cockpit.avps.toml             what Xen itself starts, to read
  avpsctl emit dom0less-dtb --output /boot cockpit.avps.toml
  avpsctl emit ramdisk --output . --domain storage driver-domain.avps.toml
  avpsctl emit report cockpit.avps.toml > safety.md
  avpsctl emit svg-links cockpit.avps.toml > links.svg
  avpsctl emit svg --output pictures cockpit.avps.toml    three pictures";

/// Help of `explain`, which exists twice.
pub(super) const EXPLAIN_HELP: &str = "\
Shows why the rule exists, what to do, where it comes from, and an example that fails and one that
passes where there are some.

Fields of --json: id, name, severity, help, rationale, source, bad, good (the examples, or null);
without a rule all of them as rules[] (schema avps-rules/1).

Examples:
  avpsctl explain AVPS0102
  avpsctl explain                             list all rules";

/// What can be done with a document.
#[derive(Debug, Subcommand)]
pub enum PlatformCommand {
    /// Check a document
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show the plan: the document with every number decided, as JSON
    Plan(DocumentArg),
    /// Write a document in another program's language, or as a picture
    #[command(after_help = EMIT_HELP)]
    Emit(EmitArgs),
    /// Explain a rule of check
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        /// Id or name of the rule
        rule: Option<String>,
    },
    /// Show who depends on whom
    #[command(after_help = "\
Domains with the highest safety level first; below each what it uses and from whom. Links that cross
safety levels are marked with \"!\".

Fields of --json (schema avps-graph/1): platform, domains[] {name, asil, role, described}, links[] {kind,
name, from, to[], both_ways, detail, crosses_levels}. \"from\" and \"to\" name a domain, \"secure world\", or
a path of the machine's device tree.

Examples:
  avpsctl platform graph cockpit.avps.toml
  avpsctl platform graph --format dot cockpit.avps.toml | dot -Tsvg > links.svg
  avpsctl platform graph --svg cockpit.avps.toml > links.svg")]
    Graph(GraphArgs),
    /// Show what differs between two documents, and for whom
    #[command(after_help = "\
Compares the plans: what is written differently and means the same is no difference. Exit code 0
when nothing differs, 1 otherwise.

Fields of --json (schema avps-platform-diff/1): old, new (the documents), same, changes[] {group,
subject, path, what = added | removed | changed, old, new}.

Example:
  avpsctl platform diff released.avps.toml next.avps.toml")]
    Diff(DiffArgs),
    /// Write a new document
    #[command(after_help = "\
Without --template a few questions are asked; empty answers take what stands in brackets. Answers
may come from a pipe, one a line.

Examples:
  avpsctl platform new --template cockpit --output cockpit.avps.toml
  avpsctl platform new --name demo
  printf 'demo\\ncockpit\\n\\n\\n128MiB\\n1\\n\\nno\\n' | avpsctl platform new")]
    New(NewArgs),
    /// Make a document of xl configurations
    #[command(after_help = "\
Each file becomes a domain. What has no place in a document is kept as a comment beside its domain
and reported with its line on standard error; look at each of these.

Fields of --json (schema avps-import/1): text (the document), warnings[] {file, line, key, message},
findings (as of check).

Examples:
  avpsctl platform import --output vehicle.avps.toml domd.cfg domu.cfg
  avpsctl platform import /etc/xen/*.cfg | less")]
    Import(ImportArgs),
    /// Bring a document of an older version to the current one
    #[command(after_help = "\
Comments, order and blanks stay. The result goes to standard output, or into a file with --output
(which may be the document itself).

Example:
  avpsctl platform migrate --output cockpit.avps.toml cockpit.avps.toml")]
    Migrate(MigrateArgs),
    /// Print a JSON Schema of documents, for editors
    #[command(after_help = "\
Write it to a file and name that file in the first line of a document; editors with taplo (\"Even
Better TOML\") then complete keys, show what they mean and mark mistakes:

  #:schema ./avps-1.schema.json

Example:
  avpsctl platform schema > avps-1.schema.json")]
    Schema,
    /// Print the reference of documents as Markdown: every table, key and rule
    #[command(after_help = "\
Example:
  avpsctl platform reference | less")]
    Reference,
}

/// Arguments of `platform diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first document
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The second document
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
}

/// Arguments of `platform new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What to start from
    #[arg(long, value_enum)]
    pub template: Option<Template>,
    /// Name of the platform
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write into this file, which must not exist, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `platform new` can start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// One guest with one disk
    Single,
    /// Several guests with disks, started by the toolstack
    Cockpit,
    /// Guests whose disks a driver domain serves
    DriverDomain,
    /// Domains that Xen starts itself, at fixed places, beside guests of the toolstack
    Dom0lessSafety,
}

/// Arguments of `platform import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// xl configurations
    #[arg(value_name = "CFG", required = true)]
    pub files: Vec<PathBuf>,
    /// Name of the platform
    #[arg(long, value_name = "NAME", default_value = "imported")]
    pub name: String,
    /// Write into this file, which must not exist, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `platform migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// Write into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `platform graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The platform document (*.avps.toml)
    #[arg(value_name = "DOC")]
    pub document: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value_t = GraphFormat::Tree)]
    pub format: GraphFormat,
    /// The picture of avpsctl emit svg-links
    #[arg(long, conflicts_with_all = ["format", "json"])]
    pub svg: bool,
}

/// Forms of `platform graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A tree for people
    Tree,
    /// A graph for Graphviz
    Dot,
}
