//! The platform document: parse → resolve → check → emit.
//!
//! One TOML file (`*.avps.toml`) says what a vehicle computer runs. This crate turns it into a
//! [`Plan`]: the same content with every number decided, deterministic, and readable by other
//! programs as JSON. Checkers and emitters see only the plan; [`Finding`]s still point at the
//! line of the document, because the reader remembers where each value was written.
//!
//! What it must never do: talk to a hypervisor, start anything, or panic on what it reads. The
//! functions here are pure, with two exceptions told by their names: [`host::check_host`] looks at
//! the files a plan names, and [`HostFiles`] reads them for [`analyse_in`].
//!
//! ```
//! let text = r#"
//! schema = "avps/1"
//! [platform]
//! name = "demo"
//! [[domain]]
//! name = "cockpit"
//! kernel = "Image"
//! memory = "128MiB"
//! "#;
//! let analysis = platform::analyse(text, "/etc/avps");
//! let plan = analysis.plan.expect("no errors");
//! assert_eq!(plan.domains[0].kernel, "/etc/avps/Image");
//! ```

pub mod check;
mod describe;
pub mod device_tree;
pub mod diff;
pub mod document;
pub mod emit;
pub mod examples;
mod facts;
mod files;
mod finding;
pub mod flask;
pub mod graph;
pub mod host;
pub mod import;
pub mod migrate;
pub mod plan;
mod reader;
mod render;
mod resolve;
pub mod rules;
mod sarif;
pub mod schema;
pub mod support;
pub mod units;
pub mod waive;
pub mod words;
mod writer;

use std::collections::HashSet;

pub use describe::{json_schema, reference};
pub use document::Document;
pub use files::{Files, HostFiles, NoFiles};
pub use finding::{
    Finding, JsonFinding, Lines, Position, Related, Report, Severity, Span, SpanMap,
};
pub use plan::{MachinePlan, Plan};
pub use render::{Style, render};
pub use resolve::resolve;
pub use sarif::sarif;
pub use waive::Waived;
pub use writer::Comments;

/// Longest document that is read, in bytes. A document is written by people; one that is larger
/// than this is a mistake (a disk image given instead, say).
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// What [`analyse`] found out about one document.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// The plan, if the document has no error. Warnings do not withhold it.
    pub plan: Option<Plan>,
    /// Every finding, in the order of the document.
    pub findings: Vec<Finding>,
    /// Findings that somebody answers for, in the order of the document.
    pub waived: Vec<Waived>,
    /// Where each value of the document was written, for findings made later (on the host).
    pub spans: SpanMap,
}

impl Analysis {
    /// Whether at least one finding is an error.
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error)
    }
}

/// Reads, resolves and checks a document without looking at any other file: what the machine's device tree says stays
/// unknown.
///
/// `base` is the folder of the document: relative paths in it are relative to that folder.
/// All findings of all steps come back at once, so that one run shows everything there is to
/// correct; what is only a consequence of an earlier finding is left out.
pub fn analyse(text: &str, base: &str) -> Analysis {
    analyse_in(text, base, &NoFiles)
}

/// The same with the files that the document refers to: facts about the machine are taken from its device tree.
pub fn analyse_in(text: &str, base: &str, files: &dyn Files) -> Analysis {
    analyse_with(text, base, files, Options::default())
}

/// What an analysis depends on beside the document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The day on which waivers expire. Left out, only those expire whose day was over before the format existed.
    pub today: Option<units::Date>,
}

/// The same, on a day.
pub fn analyse_with(text: &str, base: &str, files: &dyn Files, options: Options) -> Analysis {
    let (document, mut findings) = document::read(text);
    let mut plan = None;
    let mut waived = Vec::new();
    let mut spans = SpanMap::default();
    if let Some(document) = document {
        let facts = facts::of(&document, base, files).unwrap_or_else(|mut finding| {
            finding.locate(&document.spans);
            findings.push(*finding);
            MachinePlan::default()
        });
        let resolved = resolve(&document, base, facts);
        let complained: HashSet<String> = findings.iter().map(|f| f.at.clone()).collect();
        let whole = findings.is_empty();
        let (found, answered_for) =
            waive::apply(check::check(&resolved), &resolved, options.today, whole);
        spans = document.spans;
        check::propose(&resolved, &mut findings);
        waived = answered_for;
        for waived in &mut waived {
            waived.finding.locate(&spans);
        }
        for mut finding in found {
            if complained.contains(&finding.at) {
                continue;
            }
            finding.locate(&spans);
            findings.push(finding);
        }
        plan = Some(resolved);
    }
    finding::sort(&mut findings);
    waived.sort_by(|a, b| finding::order(&a.finding, &b.finding));
    let mut analysis = Analysis {
        plan,
        findings,
        waived,
        spans,
    };
    if analysis.has_errors() {
        analysis.plan = None;
    }
    analysis
}
