//! The reference page: every table, key and rule, in Markdown.

use std::fmt::Write;

use crate::document::{SCHEMA, describe};
use crate::finding::Severity;
use crate::rules::{self, Rule};
use crate::schema::{FieldDescription, Kind, TableDescription};

const INTRODUCTION: &str = "\
This page lists every table and key of a platform document, and every rule that `avpsctl check` applies.
`avpsctl platform reference` prints it for the installed version.

Sizes are whole numbers with a binary unit (`\"128MiB\"`), durations are whole numbers with `us`, `ms` or `s`
(`\"10ms\"`), addresses are numbers (`0x4000_0000`), lists of numbers are written `[0, 1]` or `\"0-3,6\"`.
Relative paths are relative to the document. A key that is not listed here is an error (AVPS0002).

A default of – means: the key has no default value. It may be left out, unless its text says otherwise.
";

/// The page, for `avpsctl platform reference`.
pub fn reference() -> String {
    let mut out = format!("# Platform document, {SCHEMA}\n\n{INTRODUCTION}");
    tables(&mut out);
    rules_index(&mut out);
    out
}

fn tables(out: &mut String) {
    // A table is told where it stands in a document; one that stands in several places is told at each.
    let mut todo = vec![(String::new(), false, describe())];
    while let Some((path, list, description)) = todo.pop() {
        table(out, &path, list, &description);
        let inner = description.fields.iter().rev().filter_map(|field| {
            let at = match path.is_empty() {
                true => field.key.to_owned(),
                false => format!("{path}.{}", field.key),
            };
            match field.kind {
                Kind::Table(describe) => Some((at, false, describe())),
                Kind::Tables(describe) => Some((at, true, describe())),
                _ => None,
            }
        });
        todo.extend(inner.collect::<Vec<_>>());
    }
}

fn header(path: &str, list: bool) -> String {
    match list {
        true => format!("[[{path}]]"),
        false => format!("[{path}]"),
    }
}

fn table(out: &mut String, path: &str, list: bool, description: &TableDescription) {
    let title = match path.is_empty() {
        true => "The document".to_owned(),
        false => format!("`{}`", header(path, list)),
    };
    let _ = write!(out, "\n## {title}\n\n{}\n\n", description.doc);
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for field in &description.fields {
        let default = match (field.required, field.default) {
            (Some(_), _) => "**required**".to_owned(),
            (None, Some(default)) => cell(default),
            (None, None) => "–".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} |",
            field.key,
            type_of(path, field),
            meaning(field)
        );
    }
    let required: Vec<_> = description
        .fields
        .iter()
        .filter(|field| !matches!(field.kind, Kind::Table(_) | Kind::Tables(_)))
        .filter_map(|field| field.required)
        .collect();
    if !required.is_empty() {
        let header = match path.is_empty() {
            true => String::new(),
            false => format!("{}\n", header(path, list)),
        };
        let _ = write!(out, "\n```toml\n{header}{}\n```\n", required.join("\n"));
    }
}

fn type_of(path: &str, field: &FieldDescription) -> String {
    let at = match path.is_empty() {
        true => field.key.to_owned(),
        false => format!("{path}.{}", field.key),
    };
    match field.kind {
        Kind::Text => "string".into(),
        Kind::Boolean => "`true` or `false`".into(),
        Kind::Number => "number".into(),
        Kind::Size => "size".into(),
        Kind::Address => "address".into(),
        Kind::TimeSpan => "duration".into(),
        Kind::Date => "date".into(),
        Kind::Version => "release".into(),
        Kind::Numbers => "numbers".into(),
        Kind::Texts => "array of strings".into(),
        Kind::Words(_) => "one of".into(),
        Kind::Table(_) => format!("table `{}`", header(&at, false)),
        Kind::Tables(_) => format!("tables `{}`", header(&at, true)),
    }
}

fn meaning(field: &FieldDescription) -> String {
    let mut text = cell(&field.doc);
    if let Kind::Words(words) = field.kind {
        for (word, meaning) in words {
            let _ = write!(text, "<br>`\"{word}\"`: {}", cell(meaning));
        }
    }
    text
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}

fn rules_index(out: &mut String) {
    out.push_str(
        "\n## Rules\n\n`avpsctl check` applies these rules. `avpsctl explain ID` shows one of them with an example \
         that fails and one\nthat passes. Findings of a rule marked *waivable* can be waived with `[[waive]]`. \
         *error from ASIL B* means: a warning\nfor lower levels, an error for ASIL B and higher.\n\n\
         | id | name | severity | why | what to do |\n|---|---|---|---|---|\n",
    );
    for rule in rules::all() {
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} | {} |",
            rule.id,
            rule.name,
            severity(rule),
            cell(rule.rationale),
            cell(rule.help)
        );
    }
}

fn severity(rule: &Rule) -> String {
    let mut text = match rule.severity {
        Severity::Error => "error".to_owned(),
        Severity::Warning => "warning".to_owned(),
    };
    if let Some(level) = rule.error_from {
        let _ = write!(text, ", error from ASIL {}", level.word());
    }
    if rule.waivable {
        text.push_str(", *waivable*");
    }
    text
}
