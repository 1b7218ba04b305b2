//! `avpsctl down`.

use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::document::load_startable;
use super::{Context, signals, supervisor};
use crate::action::Action;
use crate::cancel::Cancel;
use crate::cli::DownArgs;
use crate::error::{Error, Result};
use crate::machine::{Machine, by_uuid};
use crate::observe::Event;
use crate::rundir::Lock;
use crate::stop::{Outcome, stop};
use crate::{pools, supervised};

/// How long a supervisor may take to finish what it does to the platform.
const SUPERVISOR_FINISHES: Duration = Duration::from_secs(120);
/// Seconds that a supervisor gives backends when it is started again: what `up` gives them.
const BACKENDS: u64 = 30;

/// `avpsctl down`.
pub(super) async fn down(context: &Context, args: &DownArgs) -> Result<()> {
    let (_, plan) = load_startable(context, &args.document)?;
    let machine = context.machine()?;
    let cancel = signals()?;
    let _lock = lock(context, &plan.platform, &cancel).await?;
    // It would take what follows for guests that ended by themselves.
    let supervisor = context.run.stop_supervisor(&plan.platform).await?;
    let result = end(context, &machine, &plan, args, &cancel).await;
    if supervisor.is_some() {
        supervise_the_rest(context, &machine, &plan).await;
    }
    result
}

/// The right to change the platform. A supervisor that has it is given the time to finish.
async fn lock(context: &Context, platform: &str, cancel: &Cancel) -> Result<Lock> {
    let refused = match context.run.lock(platform, cancel).await {
        Ok(lock) => return Ok(lock),
        Err(refused) => refused,
    };
    let supervisor = context.run.supervisor(platform).map(|pid| pid.to_string());
    match &refused {
        Error::Locked { pid, .. } if supervisor.as_ref() == Some(pid) => {
            context.ui.note(&format!(
                "waiting until the supervisor of platform {platform} has finished what it does"
            ));
            let deadline = Instant::now() + SUPERVISOR_FINISHES;
            context.run.lock_until(platform, deadline, cancel).await
        }
        _ => Err(refused),
    }
}

/// Starts the supervisor again where guests keep running, whatever the reason; says so when nobody supervises them any more.
async fn supervise_the_rest(context: &Context, machine: &Machine, plan: &Plan) {
    let (platform, domains) = (plan.platform.as_str(), plan.domains.clone());
    let running = machine.run(move |m| {
        let list = m.domains.list()?;
        let alive =
            |domain: &&DomainPlan| by_uuid(&list, &domain.uuid).is_some_and(|info| info.is_alive());
        let running = domains.iter().filter(alive);
        Ok(running
            .map(|domain| domain.name.clone())
            .collect::<Vec<_>>())
    });
    let running = match running.await {
        Ok(running) if running.is_empty() => {
            supervised::forget(&context.run, platform);
            return;
        }
        Ok(running) => running.join(", "),
        Err(_) => "its domains".to_owned(),
    };
    match supervisor::again(context, plan, BACKENDS).await {
        Ok(_) => context.ui.note(&format!("supervised further: {running}")),
        Err(error) => context.ui.complaint(&format!(
            "warning: nobody supervises platform {platform} any more, and {running} may still run: {error}\n\
             avpsctl up starts a supervisor again\n"
        )),
    }
}

async fn end(
    context: &Context,
    machine: &Machine,
    plan: &Plan,
    args: &DownArgs,
    cancel: &Cancel,
) -> Result<()> {
    let ui = &context.ui;
    let observer = ui.observer();
    let timeout = Duration::from_secs(args.timeout);
    let stopped = stop(
        machine,
        plan,
        timeout,
        args.force,
        observer.as_ref(),
        cancel,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::RunDir;
    use crate::ui::Ui;

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_at_work_is_given_its_time_and_nobody_else_is() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let context = Context {
            ui: Ui {
                json: false,
                quiet: true,
                verbose: 0,
                color_out: false,
                color_err: false,
            },
            run: RunDir::new(dir.path()),
        };
        let cancel = Cancel::never();
        let held = context.run.lock("demo", &cancel).await.expect("free");
        let began = Instant::now();
        let refused = lock(&context, "demo", &cancel).await;
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(11));

        let _role = context.run.become_supervisor("demo").expect("works");
        let began = Instant::now();
        let done = async {
            tokio::time::sleep(Duration::from_secs(45)).await;
            drop(held);
        };
        let (taken, ()) = tokio::join!(lock(&context, "demo", &cancel), done);
        taken.expect("it has finished");
        assert!(began.elapsed() >= Duration::from_secs(45));
    }
}
