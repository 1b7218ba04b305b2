//! `avpsctl platform import`.

use platform::import::Source;
use platform::{Report, Severity};
use serde_json::json;

use super::super::Context;
use super::super::document::read_text;
use super::hand_out;
use crate::cli::ImportArgs;
use crate::error::{Error, Result};

pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<()> {
    let mut files = Vec::new();
    for path in &args.files {
        files.push((path.display().to_string(), read_text(path)?));
    }
    let sources: Vec<_> = files
        .iter()
        .map(|(name, text)| Source { name, text })
        .collect();
    let imported = platform::import::import(&args.name, &sources)
        .map_err(|error| Error::Usage(error.to_string()))?;
    let ui = &context.ui;
    let analysis = platform::analyse(&imported.text, "/");
    if ui.json {
        let report = Report::new("imported", &imported.text, &analysis.findings);
        ui.json(&json!({
            "schema": "avps-import/1",
            "text": imported.text,
            "warnings": imported.warnings,
            "findings": report.findings,
        }));
        if let Some(path) = &args.output {
            hand_out(context, Some(path), &imported.text)?;
        }
        return Ok(());
    }
    hand_out(context, args.output.as_deref(), &imported.text)?;
    for warning in &imported.warnings {
        let (file, line, key) = (&warning.file, warning.line, &warning.key);
        let text = format!("{file}:{line}: {key}: {}", warning.message);
        ui.note(&text);
    }
    let errors = analysis.findings.iter();
    let errors = errors.filter(|finding| finding.severity() == Severity::Error);
    match errors.count() {
        0 => {}
        errors => ui.note(&format!(
            "the document has {errors} error(s) that the configurations had too, or that a warning above explains; \
             avpsctl platform check shows them"
        )),
    }
    Ok(())
}
