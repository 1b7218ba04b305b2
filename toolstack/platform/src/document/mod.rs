//! The document as it was written, schema `avps/1`.

mod tables;

pub use tables::*;

use std::collections::HashSet;

use toml::de::DeTable;

use crate::MAX_DOCUMENT_BYTES;
use crate::finding::{Finding, SpanMap};
use crate::reader::{Reading, Table, similar};
use crate::rules;
use crate::schema::{TableDescription, TableType};
use crate::units::{Numbers, Texts};
use crate::words::{Boot, DomainKind};
use crate::writer::{Comments, Writer};

/// The schema this module reads.
pub const SCHEMA: &str = "avps/1";

/// Syntax errors reported for one document: behind the first few the parser only guesses.
const MAX_SYNTAX_FINDINGS: usize = 8;

/// A whole document.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// What is written.
    pub content: DocumentTable,
    /// Where each value is written.
    pub spans: SpanMap,
}

/// All that can be written, for schemas and references.
pub fn describe() -> TableDescription {
    DocumentTable::describe()
}

/// Writes a document. What is read back from the text is the same again.
pub fn write(content: &DocumentTable, comments: &Comments) -> String {
    let mut out = Writer::root(comments);
    content.write(&mut out);
    out.finish()
}

/// Reads a document. `None` comes back only when the text is not TOML or does not say that it
/// follows this schema: then nothing else can be said about it.
pub fn read(text: &str) -> (Option<Document>, Vec<Finding>) {
    if text.len() > MAX_DOCUMENT_BYTES {
        let finding = Finding::new(
            &rules::TOO_LONG,
            "",
            format!(
                "the document has {} bytes; at most {MAX_DOCUMENT_BYTES} are read",
                text.len()
            ),
        );
        return (None, vec![finding]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let findings = errors.iter().take(MAX_SYNTAX_FINDINGS).map(|error| {
            Finding::new(
                &rules::SYNTAX,
                "",
                format!("not valid TOML: {}", error.message()),
            )
            .span(error.span().unwrap_or(0..0))
        });
        return (None, findings.collect());
    }
    let mut reading = Reading::default();
    if !schema_is_known(&mut reading, Table::root(&root)) {
        return (None, reading.findings);
    }
    let content = DocumentTable::read(Table::root(&root), &mut reading);
    memory_is_there(&mut reading, &content);
    links_have_two_ends(&mut reading, &content);
    control_is_started_by_xen(&mut reading, &content);
    let document = Document {
        content,
        spans: reading.spans,
    };
    (Some(document), reading.findings)
}

/// One of the two ways to give a domain memory has to be there.
fn memory_is_there(reading: &mut Reading, content: &DocumentTable) {
    let complained: HashSet<String> = reading.findings.iter().map(|f| f.at.clone()).collect();
    for (index, domain) in content.domain.iter().enumerate() {
        let at = format!("domain[{index}].memory");
        let has_memory = domain.memory.is_some() || !domain.static_memory.is_empty();
        // A value of a wrong type is there, and has been complained about.
        if has_memory || complained.contains(&at) {
            continue;
        }
        let message = "this [[domain]] has no \"memory\"";
        let mut finding = Finding::new(&rules::MISSING_KEY, at, message)
            .label("\"memory\" is missing here")
            .help("add a line such as: memory = \"128MiB\"");
        finding.locate(&reading.spans);
        reading.findings.push(finding);
    }
}

/// A plan has room for two ends; what is more or less has to be said here.
fn links_have_two_ends(reading: &mut Reading, content: &DocumentTable) {
    for (index, channel) in content.event_channel.iter().enumerate() {
        let between = channel.between.as_ref().map(|Texts(names)| names);
        let ends = between.filter(|names| names.len() != 2 || names.iter().any(String::is_empty));
        let ports = channel.ports.as_ref().map(|Numbers(ports)| ports.len());
        let (key, label) = match (ends, ports) {
            (Some(names), _) => ("between", format!("{} names", names.len())),
            (None, Some(count)) if count != 2 => ("ports", format!("{count} ports")),
            _ => continue,
        };
        let at = format!("event_channel[{index}].{key}");
        let message = "an event channel has two ends";
        let mut finding = Finding::new(&rules::LINK_ENDS, at, message).label(label);
        finding.locate(&reading.spans);
        reading.findings.push(finding);
    }
}

/// A plan only has what holds: that Xen starts the control domain.
fn control_is_started_by_xen(reading: &mut Reading, content: &DocumentTable) {
    for (index, domain) in content.domain.iter().enumerate() {
        if domain.kind == Some(DomainKind::Control) && domain.boot == Some(Boot::Toolstack) {
            let at = format!("domain[{index}].boot");
            let message = "the toolstack cannot start the control domain";
            let mut finding = Finding::new(&rules::CONTROL_BOOT, at, message)
                .label("it runs in the domain that it would start");
            finding.locate(&reading.spans);
            reading.findings.push(finding);
        }
    }
}

fn schema_is_known(reading: &mut Reading, mut root: Table<'_>) -> bool {
    root.require(reading, "schema", "schema = \"avps/1\"");
    match root.string(reading, "schema") {
        Some(schema) if schema == SCHEMA => true,
        Some(schema) => {
            let mut finding = Finding::new(
                &rules::SCHEMA,
                "schema",
                format!("schema \"{schema}\" is not known"),
            )
            .label("not known to this program");
            if similar(&schema, std::iter::once(SCHEMA)).is_some() {
                finding = finding.help(format!("did you mean \"{SCHEMA}\"?"));
            }
            finding.locate(&reading.spans);
            reading.findings.push(finding);
            false
        }
        None => false,
    }
}
