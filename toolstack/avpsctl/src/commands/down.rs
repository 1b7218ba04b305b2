//! `avpsctl down`.

use std::time::Duration;

use serde_json::{Value, json};

use super::document::load_startable;
use super::{Context, signals};
use crate::cli::DownArgs;
use crate::error::{Error, Result};
use crate::machine::DomainInfo;
use crate::observe::Event;
use crate::{placed, pools, remove};

/// `avpsctl down`.
pub(super) async fn down(context: &Context, args: &DownArgs) -> Result<()> {
    let (_, plan) = load_startable(context, &args.document)?;
    let machine = context.machine()?;
    let cancel = signals()?;
    // First the supervisor: it would take what follows for guests that ended by themselves.
    context.run.stop_supervisor(&plan.platform).await?;
    let _lock = context.run.lock(&plan.platform, &cancel).await?;
    let list = machine.run(|m| m.domains.list()).await?;
    let ui = &context.ui;
    let mut guests: Vec<DomainInfo> = Vec::new();
    for domain in plan.domains.iter().rev() {
        match list.iter().find(|info| info.name == domain.name) {
            Some(info) if info.uuid.eq_ignore_ascii_case(&domain.uuid) => guests.push(info.clone()),
            Some(info) => ui.note(&format!(
                "{}: domain {} has this name, but is not of this document; left alone",
                info.name, info.domid
            )),
            None => {}
        }
    }
    let observer = ui.observer();
    let timeout = Duration::from_secs(args.timeout);
    // Whoever serves disks is there until those that use them have written what they have.
    let serves = |guest: &DomainInfo| {
        let devices = plan.domains.iter().flat_map(|domain| &domain.virtio);
        let mut backends =
            devices.filter_map(|device| placed::started_by_us(device, &plan.domains));
        backends.any(|backend| backend.name == guest.name)
    };
    let (backends, others): (Vec<_>, Vec<_>) = guests.iter().cloned().partition(serves);
    let mut still = Vec::new();
    let mut actions = Vec::new();
    for group in [others, backends] {
        let ended = remove::shut_down(&machine, &group, timeout, observer.as_ref(), &cancel).await;
        let running = ended.map_err(|cause| interrupted(cause, &guests))?;
        for guest in group {
            let runs = running.contains(&guest.domid);
            if runs && !args.force {
                still.push(guest.name.clone());
                actions.push((guest, "running"));
                continue;
            }
            remove::remove(&machine, &guest.name, guest.domid, observer.as_ref()).await?;
            actions.push((guest, if runs { "forced" } else { "removed" }));
        }
    }
    let whole = plan.clone();
    for text in machine.run(move |m| pools::give_back(m, &whole)).await? {
        observer.observe(Event::Note(text));
    }
    drop(observer);
    if ui.json {
        let domains: Vec<Value> = actions
            .iter()
            .map(|(guest, action)| json!({"name": guest.name, "domid": guest.domid, "action": action}))
            .collect();
        ui.json(&json!({"schema": "avps-down/1", "platform": plan.platform, "domains": domains}));
    } else if !ui.quiet {
        for (guest, action) in &actions {
            let words = match *action {
                "forced" => "removed by force",
                "running" => "still running",
                _ => "shut down and removed",
            };
            ui.line(&format!("{}: {words} (domain {})", guest.name, guest.domid));
        }
        if actions.is_empty() {
            ui.line("nothing runs");
        }
    }
    if still.is_empty() {
        Ok(())
    } else {
        Err(Error::StillRunning {
            seconds: args.timeout,
            domains: still,
        })
    }
}

/// What remains when the user stops waiting: the guests, which may be about to power off.
fn interrupted(cause: Error, guests: &[DomainInfo]) -> Error {
    if !matches!(cause, Error::Interrupted) || guests.is_empty() {
        return cause;
    }
    let remains = guests
        .iter()
        .map(|guest| format!("domain {} (\"{}\")", guest.domid, guest.name))
        .collect();
    Error::Remains {
        cause: Box::new(cause),
        remains,
    }
}
