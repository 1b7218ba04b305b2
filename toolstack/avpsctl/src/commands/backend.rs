//! `avpsctl backend …`: the running avps-backend, asked over its socket. Needs no Xen.

use backend_stats::socket;

use super::Context;
use crate::cli::{BackendCommand, StatsArgs};
use crate::error::{Error, Result};

/// `avpsctl backend`.
pub(super) fn backend(context: &Context, command: &BackendCommand) -> Result<()> {
    match command {
        BackendCommand::Stats(args) => stats(context, args),
    }
}

fn stats(context: &Context, args: &StatsArgs) -> Result<()> {
    let mut report = socket::ask(&args.socket).map_err(Error::Backend)?;
    if let Some(wanted) = &args.domain {
        report.guests.retain(|guest| {
            guest.name.as_ref() == Some(wanted) || guest.domid.to_string() == *wanted
        });
        if report.guests.is_empty() {
            return Err(Error::NoGuestOfBackend(wanted.clone()));
        }
    }
    let ui = &context.ui;
    if ui.json {
        ui.json(&report);
    } else if args.openmetrics {
        ui.raw(&backend_stats::openmetrics(&report));
    } else {
        ui.raw(&backend_stats::table(&report));
    }
    Ok(())
}
