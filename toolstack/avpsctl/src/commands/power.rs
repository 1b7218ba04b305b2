//! `destroy`, `pause`, `unpause`, `shutdown` and `reboot`: one verb, any number of domains.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Context, signals};
use crate::cli::{DomainsArg, ShutdownArgs};
use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{DomainInfo, Domains, Machine};
use crate::remove;

/// How long a supervisor may take to remove a guest that powered off.
const SUPERVISOR_REMOVES: Duration = Duration::from_secs(15);

/// The domains, all of them, or an error before anything is done to the first.
async fn find_all(machine: &Machine, names: &[String]) -> Result<Vec<DomainInfo>> {
    let names = names.to_vec();
    machine
        .run(move |machine| {
            let found: Result<Vec<_>> = names.iter().map(|name| machine.find(name)).collect();
            let mut found = found?;
            if let Some(dom0) = found.iter().find(|info| info.domid == 0) {
                return Err(Error::Usage(format!(
                    "{} is the domain this command runs in",
                    dom0.name
                )));
            }
            // Named twice, perhaps once by number: done once.
            let mut seen = BTreeSet::new();
            found.retain(|info| seen.insert(info.domid));
            Ok(found)
        })
        .await
}

fn report(context: &Context, done: &[DomainInfo], action: &str) {
    let ui = &context.ui;
    if ui.json {
        let domains: Vec<Value> = done
            .iter()
            .map(|info| json!({"name": info.name, "domid": info.domid, "action": action}))
            .collect();
        ui.json(&json!({"schema": "avps-power/1", "domains": domains}));
    } else if !ui.quiet {
        for info in done {
            ui.line(&format!("{}: {action} (domain {})", info.name, info.domid));
        }
    }
}

/// `avpsctl destroy`.
pub(super) async fn destroy(context: &Context, args: &DomainsArg) -> Result<()> {
    let machine = context.machine()?;
    let found = find_all(&machine, &args.domains).await?;
    let observer = context.ui.observer();
    for info in &found {
        remove::remove(&machine, &info.name, info.domid, observer.as_ref()).await?;
    }
    drop(observer);
    report(context, &found, "destroyed");
    Ok(())
}

async fn each(
    context: &Context,
    names: &[String],
    action: &str,
    verb: fn(&dyn Domains, u32) -> Result<()>,
) -> Result<Vec<DomainInfo>> {
    let machine = context.machine()?;
    let found = find_all(&machine, names).await?;
    for info in &found {
        let domid = info.domid;
        machine
            .run(move |m| verb(m.domains.as_ref(), domid))
            .await?;
    }
    report(context, &found, action);
    Ok(found)
}

/// `avpsctl pause`.
pub(super) async fn pause(context: &Context, args: &DomainsArg) -> Result<()> {
    each(context, &args.domains, "paused", |domains, domid| {
        domains.pause(domid)
    })
    .await?;
    Ok(())
}

/// `avpsctl unpause`.
pub(super) async fn unpause(context: &Context, args: &DomainsArg) -> Result<()> {
    each(context, &args.domains, "unpaused", |domains, domid| {
        domains.unpause(domid)
    })
    .await?;
    Ok(())
}

/// `avpsctl reboot`.
pub(super) async fn reboot(context: &Context, args: &DomainsArg) -> Result<()> {
    let found = each(
        context,
        &args.domains,
        "asked to reboot",
        |domains, domid| domains.reboot(domid),
    )
    .await?;
    let machine = context.machine()?;
    for info in found {
        if supervisor_of(context, &machine, info.domid)
            .await?
            .is_none()
        {
            context.ui.note(&format!(
                "{}: no avpsctl supervise watches it, so it stays down until avpsctl up",
                info.name
            ));
        }
    }
    Ok(())
}

/// The process that supervises the platform of a domain.
async fn supervisor_of(context: &Context, machine: &Machine, domid: u32) -> Result<Option<u32>> {
    let marks = machine
        .run(move |m| keys::read_marks(m.store.as_ref(), domid))
        .await?;
    Ok(marks.and_then(|(platform, _)| context.run.supervisor(&platform)))
}

/// `avpsctl shutdown`.
pub(super) async fn shutdown(context: &Context, args: &ShutdownArgs) -> Result<()> {
    if !args.wait {
        each(
            context,
            &args.domains,
            "asked to power off",
            |domains, domid| domains.shutdown(domid),
        )
        .await?;
        return Ok(());
    }
    let machine = context.machine()?;
    let cancel = signals()?;
    let found = find_all(&machine, &args.domains).await?;
    let observer = context.ui.observer();
    let mut supervised = Vec::new();
    for info in &found {
        supervised.push(
            supervisor_of(context, &machine, info.domid)
                .await?
                .is_some(),
        );
    }
    let timeout = Duration::from_secs(args.timeout);
    let running = remove::shut_down(&machine, &found, timeout, observer.as_ref(), &cancel).await?;
    for (info, supervised) in found.iter().zip(supervised) {
        if running.contains(&info.domid) {
            continue;
        }
        if supervised {
            let deadline = Instant::now() + SUPERVISOR_REMOVES;
            remove::wait_until_gone(&machine, info.domid, deadline).await?;
        } else {
            remove::remove(&machine, &info.name, info.domid, observer.as_ref()).await?;
        }
    }
    drop(observer);
    let (still, ended): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|info| running.contains(&info.domid));
    report(context, &ended, "powered off");
    if still.is_empty() {
        return Ok(());
    }
    Err(Error::StillRunning {
        seconds: args.timeout,
        domains: still.into_iter().map(|info| info.name).collect(),
    })
}
