//! `avpsctl create`: one domain of a document.

use std::time::Duration;

use platform::host::Host;
use serde_json::json;

use super::document::{can_be_started, in_document, load_startable};
use super::{Context, signals, supervisor};
use crate::cli::CreateArgs;
use crate::compare::compare;
use crate::error::{Error, Result};
use crate::start;

/// `avpsctl create`.
pub(super) async fn create(context: &Context, args: &CreateArgs) -> Result<()> {
    let (mut loaded, plan) = load_startable(context, &args.document)?;
    let domain = in_document(&plan, &args.domain)?.clone();
    can_be_started(std::slice::from_ref(&domain))?;
    let machine = context.machine()?;
    super::policy::in_force(&plan)?;
    let cancel = signals()?;
    let _lock = context.run.lock(&plan.platform, &cancel).await?;
    let mut only = plan.clone();
    only.domains = vec![domain];
    let wanted = only.clone();
    let standings = machine.run(move |m| compare(m, &wanted)).await?;
    let exists = standings.first().and_then(|(_, standing)| standing.domid());
    if let Some(domid) = exists {
        return Err(Error::Usage(format!(
            "domain \"{}\" exists already, as domain {domid}",
            args.domain
        )));
    }
    super::up::check_files(context, &mut loaded, &plan, &only.domains, Host::default())?;
    let observer = context.ui.observer();
    let options = start::Options {
        timeout: Duration::from_secs(args.timeout),
        unpause: args.start,
    };
    let started = start::start(
        &machine,
        &plan,
        &only.domains,
        options,
        observer.as_ref(),
        &cancel,
    )
    .await?;
    drop(observer);
    if !args.no_supervise {
        supervisor::ensure(context, &plan.platform, &loaded.path, args.timeout, true).await?;
    }
    let ui = &context.ui;
    for started in started {
        let state = if args.start { "running" } else { "paused" };
        if ui.json {
            ui.json(&json!({
                "schema": "avps-create/1",
                "platform": plan.platform,
                "name": started.name,
                "domid": started.domid,
                "state": state,
            }));
        } else if !ui.quiet {
            ui.line(&format!(
                "{}: created, {state} (domain {})",
                started.name, started.domid
            ));
        }
    }
    Ok(())
}
