//! `avpsctl create`: one domain of a document.

use std::time::Duration;

use platform::host::Host;
use serde_json::json;

use super::document::{can_be_started, in_document, load_startable};
use super::{Context, signals, supervisor};
use crate::cli::CreateArgs;
use crate::compare::{Status, compare};
use crate::error::{Error, Result};
use crate::{remove, start, supervised};

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
    let statuses = machine.run(move |m| compare(m, &wanted)).await?;
    let status = statuses.first().map(|(_, status)| status);
    if let Some(Status::Matches { domid, paused }) = status
        && *paused != args.start
    {
        report(context, args, &plan.platform, *domid, false);
        return Ok(());
    }
    if let Some(Status::Unfinished { domid }) = status {
        let observer = context.ui.observer();
        remove::remove(&machine, &args.domain, *domid, observer.as_ref()).await?;
    } else if let Some(domid) = status.and_then(Status::domid) {
        return Err(Error::Usage(format!(
            "domain \"{}\" exists already, as domain {domid}",
            args.domain
        )));
    }
    super::up::check_files(
        context,
        &mut loaded,
        &plan,
        &only.domains,
        Host::default(),
        false,
    )?;
    let observer = context.ui.observer();
    let options = start::Options {
        timeout: Duration::from_secs(args.timeout),
        unpause: args.start,
    };
    let domain = only.domains.first().ok_or(Error::Interrupted)?;
    if args.start {
        start::require_after(
            &machine,
            &plan,
            domain,
            &[],
            options.timeout,
            observer.as_ref(),
            &cancel,
        )
        .await?;
    }
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
        let platform = &plan.platform;
        let known = context
            .run
            .supervisor(platform)
            .and_then(|_| supervised::read(&supervised::path(&context.run, platform)).ok());
        let (document, domain) = (plan.clone(), domain.clone());
        let after = move |m: &_| supervised::after_create(m, known, &document, &domain);
        let supervised = machine.run(after).await?;
        supervisor::ensure(context, &supervised, args.timeout).await?;
    }
    for started in started {
        report(context, args, &plan.platform, started.domid, true);
    }
    Ok(())
}

/// Tells that the domain is there as it was wanted; `created` by this run, or so already.
fn report(context: &Context, args: &CreateArgs, platform: &str, domid: u32, created: bool) {
    let ui = &context.ui;
    let state = if args.start { "running" } else { "paused" };
    if ui.json {
        ui.json(&json!({
            "schema": "avps-create/1",
            "platform": platform,
            "changed": created,
            "name": args.domain,
            "domid": domid,
            "state": state,
        }));
    } else if !ui.quiet {
        let how = if created { "created" } else { "unchanged" };
        ui.line(&format!("{}: {how}, {state} (domain {domid})", args.domain));
    }
}
