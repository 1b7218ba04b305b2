//! What is wrong with a document, where, and what to do about it.
//!
//! A finding names its rule (stable id), the document path of the value (`domain[0].memory`) and,
//! once located, the bytes of the text. Programs get the same as JSON with line and column.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::rules::Rule;
use crate::waive::{JsonWaiver, Waived};
use crate::words::Asil;

/// A range of bytes in the document's text.
pub type Span = Range<usize>;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is started from a document with errors.
    Error,
    /// Allowed, but probably not what was meant.
    Warning,
}

/// One thing to correct.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule that was broken.
    pub rule: &'static Rule,
    /// How bad it is here.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Document path of the value, for example `domain[0].block[1].image`; empty for the document.
    pub at: String,
    /// The few words beside the underlined place.
    pub label: String,
    /// The place in the text, if the value stands there.
    pub span: Option<Span>,
    /// Other places that explain this one.
    pub related: Vec<Related>,
    /// Names of what it is about: domains, links, shared memory, device paths, networks. A waiver that names a subject
    /// answers only for findings that have it here.
    pub subjects: Vec<String>,
}

/// Another place that has to do with a finding.
#[derive(Debug, Clone)]
pub struct Related {
    /// Document path.
    pub at: String,
    /// The few words beside that place.
    pub label: String,
    /// The place in the text.
    pub span: Option<Span>,
}

impl Finding {
    /// A finding at a document path, not yet located in the text.
    pub fn new(rule: &'static Rule, at: impl Into<String>, message: impl Into<String>) -> Self {
        Finding {
            rule,
            severity: rule.severity,
            message: message.into(),
            help: rule.help.to_owned(),
            at: at.into(),
            label: "here".to_owned(),
            span: None,
            related: Vec::new(),
            subjects: Vec::new(),
        }
    }

    /// Replaces the rule's general advice by advice for this case.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Sets the words beside the underlined place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the place in the text.
    #[must_use]
    pub fn span(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Adds another place that explains this one.
    #[must_use]
    pub fn related(mut self, at: impl Into<String>, label: impl Into<String>) -> Self {
        self.related.push(Related {
            at: at.into(),
            label: label.into(),
            span: None,
        });
        self
    }

    /// Names something that the finding is about.
    #[must_use]
    pub fn subject(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !name.is_empty() && !self.subjects.contains(&name) {
            self.subjects.push(name);
        }
        self
    }

    /// As bad as the rule says for a domain of this level.
    #[must_use]
    pub fn for_level(mut self, level: Asil) -> Self {
        self.severity = self.rule.severity_at(level);
        self
    }

    /// How bad it is here.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Looks up the places in the text that are still unknown.
    pub fn locate(&mut self, spans: &SpanMap) {
        if self.span.is_none() {
            self.span = spans.find(&self.at);
        }
        for related in &mut self.related {
            if related.span.is_none() {
                related.span = spans.find(&related.at);
            }
        }
    }
}

/// Orders findings as a reader meets them: by place, then by rule.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(order);
}

/// The order of two findings.
pub(crate) fn order(a: &Finding, b: &Finding) -> Ordering {
    let key = |f: &Finding| f.span.as_ref().map_or(usize::MAX, |span| span.start);
    (key(a), a.rule.id, &a.at).cmp(&(key(b), b.rule.id, &b.at))
}

/// Document path → where its value is written.
#[derive(Debug, Clone, Default)]
pub struct SpanMap(BTreeMap<String, Span>);

impl SpanMap {
    /// Remembers where a value is written.
    pub(crate) fn insert(&mut self, at: String, span: Span) {
        self.0.insert(at, span);
    }

    /// The place of a value; for a value that was not written (a default), the place of the
    /// nearest table around it.
    pub fn find(&self, at: &str) -> Option<Span> {
        let mut at = at;
        loop {
            if let Some(span) = self.0.get(at) {
                return Some(span.clone());
            }
            at = &at[..at.rfind(['.', '['])?];
        }
    }
}

/// A line and a column, both counted from 1; the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the lines of a text.
    pub fn of(text: &'a str) -> Self {
        let behind_line_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines {
            text,
            starts: std::iter::once(0).chain(behind_line_ends).collect(),
        }
    }

    /// Line and column of the byte `offset`; behind the text, the place of its end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = floor_char_boundary(self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        Position {
            line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }
}

/// The largest offset up to `offset` at which `text` may be cut.
pub(crate) fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// All findings of one document, for programs: `avpsctl check --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this form: `avps-findings/1`.
    pub schema: &'static str,
    /// The document, as it was named by the user.
    pub document: String,
    /// Number of findings with severity `error`.
    pub errors: usize,
    /// Number of findings with severity `warning`.
    pub warnings: usize,
    /// The findings in the order of the document.
    pub findings: Vec<JsonFinding>,
    /// Findings that somebody answers for; not among the others and not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<JsonFinding>,
}

/// One finding of a [`Report`].
#[derive(Debug, Clone, Serialize)]
pub struct JsonFinding {
    /// Stable id of the rule, for example `AVPS0102`.
    pub id: &'static str,
    /// Stable name of the rule, for example `duplicate-domain`.
    pub name: &'static str,
    /// `error` or `warning`.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Why the rule exists.
    pub rationale: &'static str,
    /// Document path of the value.
    pub path: String,
    /// First character, if the value stands in the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
    /// One behind the last character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Position>,
    /// Other places that explain this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<JsonRelated>,
    /// Names of what it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Who answers for it, where somebody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiver: Option<JsonWaiver>,
}

/// Another place of a [`JsonFinding`].
#[derive(Debug, Clone, Serialize)]
pub struct JsonRelated {
    /// Document path.
    pub path: String,
    /// What is there.
    pub label: String,
    /// First character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Position>,
}

impl Report {
    /// Makes the report of the findings of a document. `name` is shown, `text` gives line numbers.
    pub fn new(name: &str, text: &str, findings: &[Finding]) -> Self {
        let count = |severity| findings.iter().filter(|f| f.severity() == severity).count();
        let lines = Lines::of(text);
        Report {
            schema: "avps-findings/1",
            document: name.to_owned(),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            findings: findings.iter().map(|f| json(f, &lines)).collect(),
            waived: Vec::new(),
        }
    }

    /// Adds the findings that somebody answers for.
    #[must_use]
    pub fn with_waived(mut self, text: &str, waived: &[Waived]) -> Self {
        let lines = Lines::of(text);
        let waived = waived.iter().map(|waived| JsonFinding {
            waiver: Some(JsonWaiver::from(&waived.waiver)),
            ..json(&waived.finding, &lines)
        });
        self.waived = waived.collect();
        self
    }
}

fn json(finding: &Finding, lines: &Lines<'_>) -> JsonFinding {
    let position = |offset| lines.position(offset);
    let related = finding.related.iter().map(|related| JsonRelated {
        path: related.at.clone(),
        label: related.label.clone(),
        start: related.span.as_ref().map(|span| position(span.start)),
    });
    JsonFinding {
        id: finding.rule.id,
        name: finding.rule.name,
        severity: finding.severity(),
        message: finding.message.clone(),
        help: finding.help.clone(),
        rationale: finding.rule.rationale,
        path: finding.at.clone(),
        start: finding.span.as_ref().map(|span| position(span.start)),
        end: finding.span.as_ref().map(|span| position(span.end)),
        related: related.collect(),
        subjects: finding.subjects.clone(),
        waiver: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "a\nbä c\n";
        let lines = Lines::of(text);
        let position = |line, column| Position { line, column };
        assert_eq!(lines.position(0), position(1, 1));
        assert_eq!(lines.position(1), position(1, 2));
        assert_eq!(
            lines.position(4),
            position(2, 2),
            "inside a character: its start"
        );
        assert_eq!(lines.position(5), position(2, 3));
        assert_eq!(lines.position(99), position(3, 1));
        assert_eq!(Lines::of("").position(0), position(1, 1));
    }

    #[test]
    fn a_value_that_was_not_written_is_shown_at_the_table_around_it() {
        let mut spans = SpanMap::default();
        spans.insert("domain[0]".into(), 5..9);
        spans.insert("domain[0].name".into(), 20..25);
        assert_eq!(spans.find("domain[0].name"), Some(20..25));
        assert_eq!(spans.find("domain[0].vcpus"), Some(5..9));
        assert_eq!(spans.find("domain[0].block[2].image"), Some(5..9));
        assert_eq!(spans.find("platform"), None);
    }
}
