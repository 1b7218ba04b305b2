//! Commands that only write text: explanations, completions, manual pages.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use platform::examples::example;
use platform::rules;
use serde_json::json;

use super::Context;
use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::manual;

/// `avpsctl explain`.
pub(super) fn explain(context: &Context, rule: Option<&str>) -> Result<()> {
    let ui = &context.ui;
    let Some(wanted) = rule else {
        if ui.json {
            let all: Vec<_> = rules::all().map(as_json).collect();
            ui.json(&json!({"schema": "avps-rules/1", "rules": all}));
            return Ok(());
        }
        let mut table = ui.table(&["ID", "SEVERITY", "NAME"]);
        for rule in rules::all() {
            table.add_row([rule.id, severity(rule), rule.name]);
        }
        ui.show(&table);
        return Ok(());
    };
    let rule = rules::find(wanted).ok_or_else(|| {
        Error::Usage(format!(
            "no rule has the id or name \"{wanted}\"; avpsctl explain lists all"
        ))
    })?;
    if ui.json {
        ui.json(&as_json(rule));
    } else {
        ui.line(&format!("{} {} ({})", rule.id, rule.name, severities(rule)));
        ui.line("");
        ui.line(&format!("  {}", rule.rationale));
        ui.line("");
        ui.line(&format!("  What to do: {}", rule.help));
        ui.line(&format!("  Source: {}", rule.source));
        let example = example(rule.id);
        let examples = [("This fails", example.bad), ("This passes", example.good)];
        for (what, text) in examples {
            if let Some(text) = text {
                ui.rendered(&format!("\n  {what}:\n\n{}\n", indented(text)));
            }
        }
    }
    Ok(())
}

/// A document four blanks from the edge.
fn indented(text: &str) -> String {
    let lines: Vec<_> = text
        .trim_end()
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn severity(rule: &rules::Rule) -> &'static str {
    match rule.severity {
        platform::Severity::Error => "error",
        platform::Severity::Warning => "warning",
    }
}

/// In words: `warning, error from ASIL B on, can be waived`.
fn severities(rule: &rules::Rule) -> String {
    let from = rule
        .error_from
        .map(|level| format!(", error from ASIL {} on", level.word()));
    let waivable = if rule.waivable { ", can be waived" } else { "" };
    format!("{}{}{waivable}", severity(rule), from.unwrap_or_default())
}

fn as_json(rule: &rules::Rule) -> serde_json::Value {
    let example = example(rule.id);
    json!({
        "id": rule.id,
        "name": rule.name,
        "severity": severity(rule),
        "error_from": rule.error_from.map(|level| level.word()),
        "waivable": rule.waivable,
        "help": rule.help,
        "rationale": rule.rationale,
        "source": rule.source,
        "bad": example.bad,
        "good": example.good,
    })
}

/// `avpsctl completion`.
pub(super) fn completion(context: &Context, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "avpsctl", &mut script);
    context.ui.raw(&String::from_utf8_lossy(&script));
    Ok(())
}

/// `avpsctl man`.
pub(super) fn man(folder: &Path) -> Result<()> {
    manual::write(folder, Cli::command()).map(drop)
}
