//! `avpsctl platform …`: commands on documents, which need no Xen.

mod diff;
mod graph;
mod import;
mod migrate;
mod new;
mod questions;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::{Context, document, emit, text};
use crate::cli::PlatformCommand;
use crate::error::{Error, Result};

/// Carries out a sub-command.
pub(super) fn platform(context: &Context, command: &PlatformCommand) -> Result<()> {
    match command {
        PlatformCommand::Check(args) => document::check(context, args),
        PlatformCommand::Plan(args) => document::plan(context, args),
        PlatformCommand::Emit(args) => emit::emit(context, args),
        PlatformCommand::Explain { rule } => text::explain(context, rule.as_deref()),
        PlatformCommand::Graph(args) => graph::graph(context, args),
        PlatformCommand::Diff(args) => diff::diff(context, args),
        PlatformCommand::New(args) => new::new(context, args),
        PlatformCommand::Import(args) => import::import(context, args),
        PlatformCommand::Migrate(args) => migrate::migrate(context, args),
        PlatformCommand::Schema => {
            context.ui.json(&platform::json_schema());
            Ok(())
        }
        PlatformCommand::Reference => {
            context.ui.raw(&platform::reference());
            Ok(())
        }
    }
}

/// Writes a document that was made: to standard output, or into a file that is not there yet.
fn hand_out(context: &Context, output: Option<&Path>, text: &str) -> Result<()> {
    let Some(path) = output else {
        context.ui.raw(text);
        return Ok(());
    };
    let wanted = format!("writing {}", path.display());
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Usage(format!(
            "{} exists already; it is left alone",
            path.display()
        )),
        _ => Error::io(wanted.clone())(error),
    })?;
    file.write_all(text.as_bytes()).map_err(Error::io(wanted))?;
    context.ui.note(&format!("wrote {}", path.display()));
    Ok(())
}
