//! Findings as SARIF 2.1.0, which code review and continuous integration read.
//!
//! One run, one document. Findings that somebody answers for are results with a suppression; every other result says
//! that it has none, so that a reader does not have to guess.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::finding::{Finding, Lines, Severity, Span};
use crate::rules::Rule;
use crate::waive::Waived;

/// Where the format is described.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Writes the findings of one document. `name` is its path as the user named it, `text` gives lines and columns.
pub fn sarif(name: &str, text: &str, findings: &[Finding], waived: &[Waived]) -> String {
    let accepted = waived.iter().map(|waived| &waived.finding);
    let mut rules: BTreeMap<&str, &Rule> = BTreeMap::new();
    for finding in findings.iter().chain(accepted) {
        rules.insert(finding.rule.id, finding.rule);
    }
    let index: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let place = Place {
        uri: uri(name),
        lines: Lines::of(text),
        index,
    };
    let mut results: Vec<Value> = Vec::new();
    for finding in findings {
        results.push(place.result(finding, json!([])));
    }
    for Waived { finding, waiver } in waived {
        let expires = waiver.expires.map(|day| day.to_string());
        let suppression = json!({
            "kind": "inSource",
            "status": "accepted",
            "justification": waiver.reason,
            "location": { "logicalLocations": [{ "fullyQualifiedName": waiver.from }] },
            "properties": { "owner": waiver.owner, "expires": expires },
        });
        results.push(place.result(finding, json!([suppression])));
    }
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "avpsctl",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.values().map(|rule| metadata(rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "artifacts": [{ "location": { "uri": place.uri } }],
            "results": results,
        }],
    });
    // Maps with keys that are no texts are the only values serde_json refuses; there are none.
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
    text.push('\n');
    text
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn metadata(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "name": rule.name,
        "shortDescription": { "text": rule.name.replace('-', " ") },
        "fullDescription": { "text": rule.rationale },
        "help": { "text": format!("{}\n\nSource: {}", rule.help, rule.source) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": {
            "waivable": rule.waivable,
            "errorFrom": rule.error_from.map(|level| level.word()),
        },
    })
}

/// The document, and where in it things are.
struct Place<'a> {
    uri: String,
    lines: Lines<'a>,
    index: BTreeMap<&'static str, usize>,
}

impl Place<'_> {
    fn result(&self, finding: &Finding, suppressions: Value) -> Value {
        let related = finding.related.iter().zip(1_usize..);
        let related: Vec<_> = related
            .map(|(related, id)| {
                let mut location = self.location(&related.at, related.span.as_ref());
                location["id"] = json!(id);
                location["message"] = json!({ "text": related.label });
                location
            })
            .collect();
        json!({
            "ruleId": finding.rule.id,
            "ruleIndex": self.index.get(finding.rule.id),
            "level": level(finding.severity()),
            "message": { "text": format!("{}. {}", finding.message, sentence(&finding.help)) },
            "locations": [self.location(&finding.at, finding.span.as_ref())],
            "relatedLocations": related,
            // Survives changes elsewhere in the document.
            "partialFingerprints": {
                "avpsFinding/v1": format!("{}:{}:{}", finding.rule.id, finding.at, finding.subjects.join(",")),
            },
            "suppressions": suppressions,
            "properties": { "subjects": finding.subjects },
        })
    }

    fn location(&self, at: &str, span: Option<&Span>) -> Value {
        let mut physical = json!({ "artifactLocation": { "uri": self.uri, "index": 0 } });
        if let Some(span) = span {
            let start = self.lines.position(span.start);
            let end = self.lines.position(span.end);
            physical["region"] = json!({
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            });
        }
        let mut location = json!({ "physicalLocation": physical });
        if !at.is_empty() {
            location["logicalLocations"] = json!([{ "fullyQualifiedName": at }]);
        }
        location
    }
}

/// Advice as a sentence of its own.
fn sentence(help: &str) -> String {
    let mut chars = help.chars();
    let first = chars.next().map(char::to_uppercase);
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

/// A path as a URI reference (RFC 3986): what is neither unreserved nor a slash is encoded.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri("a/b-c.toml"), "a/b-c.toml");
        assert_eq!(uri("ä b:c"), "%C3%A4%20b%3Ac");
    }

    #[test]
    fn advice_becomes_a_sentence() {
        assert_eq!(sentence("use 1."), "Use 1.");
        assert_eq!(sentence(""), ".");
    }
}
