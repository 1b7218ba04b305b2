//! `avpsctl platform diff`.

use serde_json::json;

use super::super::Context;
use super::super::document::{Waivers, load, locale_is_utf8};
use crate::cli::DiffArgs;
use crate::error::{Error, Result};

pub(super) fn diff(context: &Context, args: &DiffArgs) -> Result<()> {
    let (_, old) = load(context, &args.old, Waivers::Hold)?;
    let (_, new) = load(context, &args.new, Waivers::Hold)?;
    let changes = platform::diff::diff(&old, &new);
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({
            "schema": "avps-platform-diff/1",
            "old": args.old.display().to_string(),
            "new": args.new.display().to_string(),
            "same": changes.is_empty(),
            "changes": changes,
        }));
    } else if changes.is_empty() {
        if !ui.quiet {
            ui.line("both documents mean the same");
        }
    } else {
        ui.raw(&platform::diff::text(&changes, locale_is_utf8()));
    }
    match changes.is_empty() {
        true => Ok(()),
        false => Err(Error::DocumentsDiffer),
    }
}
