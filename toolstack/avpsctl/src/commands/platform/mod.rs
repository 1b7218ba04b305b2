//! `avpsctl platform …`: commands on documents, which need no Xen.

mod graph;

use super::{Context, document, text};
use crate::cli::PlatformCommand;
use crate::error::Result;

/// Carries out a sub-command.
pub(super) fn platform(context: &Context, command: &PlatformCommand) -> Result<()> {
    match command {
        PlatformCommand::Check(args) => document::check(context, args),
        PlatformCommand::Plan(args) => document::plan(context, args),
        PlatformCommand::Emit(args) => document::emit(context, args),
        PlatformCommand::Explain { rule } => text::explain(context, rule.as_deref()),
        PlatformCommand::Graph(args) => graph::graph(context, args),
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
