//! `avpsctl down`.

use std::time::Duration;

use serde_json::{Value, json};

use super::document::load_startable;
use super::{Context, signals};
use crate::action::Action;
use crate::cli::DownArgs;
use crate::error::{Error, Result};
use crate::observe::Event;
use crate::pools;
use crate::stop::{Outcome, stop};

/// `avpsctl down`.
pub(super) async fn down(context: &Context, args: &DownArgs) -> Result<()> {
    let (_, plan) = load_startable(context, &args.document)?;
    let machine = context.machine()?;
    let cancel = signals()?;
    // First the supervisor: it would take what follows for guests that ended by themselves.
    context.run.stop_supervisor(&plan.platform).await?;
    let _lock = context.run.lock(&plan.platform, &cancel).await?;
    let ui = &context.ui;
    let observer = ui.observer();
    let timeout = Duration::from_secs(args.timeout);
    let stopped = stop(
        &machine,
        &plan,
        timeout,
        args.force,
        observer.as_ref(),
        &cancel,
    )
    .await?;
    let whole = plan.clone();
    for text in machine.run(move |m| pools::give_back(m, &whole)).await? {
        observer.observe(Event::Note(text));
    }
    drop(observer);
    let action = |outcome: &Outcome| match outcome {
        Outcome::Removed => Action::Removed,
        Outcome::Forced => Action::Forced,
        Outcome::Running => Action::Running,
    };
    if ui.json {
        let domains: Vec<Value> = stopped
            .iter()
            .map(|(info, outcome)| json!({"name": info.name, "domid": info.domid, "action": action(outcome)}))
            .collect();
        ui.json(&json!({"schema": "avps-down/1", "platform": plan.platform, "domains": domains}));
    } else if !ui.quiet {
        for (info, outcome) in &stopped {
            let words = action(outcome).words();
            ui.line(&format!("{}: {words} (domain {})", info.name, info.domid));
        }
        if stopped.is_empty() {
            ui.line("nothing runs");
        }
    }
    let running = stopped
        .into_iter()
        .filter(|(_, outcome)| *outcome == Outcome::Running);
    let still: Vec<String> = running.map(|(info, _)| info.name).collect();
    if still.is_empty() {
        Ok(())
    } else {
        Err(Error::StillRunning {
            seconds: args.timeout,
            domains: still,
        })
    }
}
