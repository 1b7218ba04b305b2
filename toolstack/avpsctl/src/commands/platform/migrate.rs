//! `avpsctl platform migrate`.

use std::fs;

use platform::document::SCHEMA;
use platform::migrate::Migrated;

use super::super::Context;
use super::super::document::read_text;
use crate::cli::MigrateArgs;
use crate::error::{Error, Result};

pub(super) fn migrate(context: &Context, args: &MigrateArgs) -> Result<()> {
    let name = args.document.display();
    let text = read_text(&args.document)?;
    let migrated = platform::migrate::migrate(&text)
        .map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    let text = match migrated {
        Migrated::Current => {
            context.ui.note(&format!("{name} is already {SCHEMA}"));
            text
        }
        Migrated::Changed { from, text } => {
            context.ui.note(&format!("{name}: from {from} to {SCHEMA}"));
            text
        }
    };
    match &args.output {
        Some(path) => {
            fs::write(path, text).map_err(Error::io(format!("writing {}", path.display())))
        }
        None => {
            context.ui.raw(&text);
            Ok(())
        }
    }
}
