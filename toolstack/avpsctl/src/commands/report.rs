//! `avpsctl emit report`: the safety report, which shows findings as well as the plan.

use std::fs;

use super::Context;
use super::document::{Waivers, load};
use crate::cli::EmitArgs;
use crate::error::{Error, Result};

/// Writes the report of the whole platform.
pub(super) fn report(context: &Context, args: &EmitArgs) -> Result<()> {
    if args.domain.is_some() {
        let message = "a safety report is about the whole platform: leave --domain out";
        return Err(Error::Usage(message.to_owned()));
    }
    let (loaded, plan) = load(context, &args.document, Waivers::Expire)?;
    let analysis = &loaded.analysis;
    let text = platform::emit::report::emit(&plan, &analysis.findings, &analysis.waived);
    let file_name = format!("{}-safety.md", plan.platform);
    let ui = &context.ui;
    match &args.output {
        None if ui.json => {
            let files = [serde_json::json!({"file_name": file_name, "text": text})];
            ui.json(&serde_json::json!({"schema": "avps-emit/1", "files": files}));
        }
        None => ui.raw(&text),
        Some(folder) => {
            let path = folder.join(file_name);
            fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
            ui.note(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}
