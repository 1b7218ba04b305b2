//! `avpsctl up` and `avpsctl diff`.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::host::{Host, check_host};
use platform::plan::{DomainPlan, Plan};
use platform::units::MIB;
use platform::{Finding, Severity, rules};
use serde_json::{Value, json};

use super::document::{Loaded, can_be_started, load_startable};
use super::{Context, signals, supervisor};
use crate::action::Action;
use crate::cli::{DocumentArg, UpArgs};
use crate::compare::{Status, compare};
use crate::error::{Error, NotStarted, Result};
use crate::machine::Machine;
use crate::mediation;
use crate::pools;
use crate::serve::{Served, serve};
use crate::start::{self, Started};
use crate::supervised;
use crate::work::{self, Work, carry_out};

/// `avpsctl up`.
pub(super) async fn up(context: &Context, args: &UpArgs) -> Result<()> {
    let (mut loaded, plan) = load_startable(context, &args.document)?;
    can_be_started(&plan.domains)?;
    let machine = context.machine()?;
    super::policy::in_force(&plan)?;
    let cancel = signals()?;
    let _lock = context.run.lock(&plan.platform, &cancel).await?;
    let wanted = plan.clone();
    let statuses = machine
        .run(move |m| {
            // Nothing is started beside domains whose CPUs are others than the document says.
            pools::compare(m, &wanted)?;
            compare(m, &wanted)
        })
        .await?;
    let mut work = Work::of(&statuses, args.replace)?;
    // Before the findings on this machine: those of one domain do not keep the others from starting.
    let whole = loaded.plan()?;
    let others_run = !running(&statuses, &[]).is_empty();
    let mut failed =
        check_this_machine(context, &machine, &mut loaded, &plan, &work, others_run).await?;
    failed.extend(work.leave_out(&failed));
    let observer = context.ui.observer();
    let options = start::Options {
        timeout: Duration::from_secs(args.timeout),
        unpause: true,
    };
    let served = serve(
        &machine,
        &whole,
        options.timeout,
        observer.as_ref(),
        &cancel,
    )
    .await?;
    let renewed = renew(&machine, &statuses).await?;
    let carried_out = carry_out(&machine, &plan, work, options, observer.as_ref(), &cancel);
    let mut outcome = carried_out.await?;
    drop(observer);
    failed.append(&mut outcome.failed);
    let started = outcome.started;
    let running = running(&statuses, &started);
    let supervisor = if args.no_supervise || running.is_empty() {
        context.run.supervisor(&plan.platform)
    } else {
        let fresh: Vec<String> = started.iter().map(|one| one.name.clone()).collect();
        let (wanted, statuses) = (plan.clone(), statuses.clone());
        let as_it_runs =
            move |m: &Machine| supervised::as_it_runs(m.store.as_ref(), wanted, &statuses, &fresh);
        let supervised = machine.run(as_it_runs).await?;
        supervisor::ensure(context, &supervised, args.timeout).await?
    };
    if running.is_empty() && !failed.is_empty() {
        return Err(Error::not_started(failed, running));
    }
    let result = Done {
        served: &served,
        statuses: &statuses,
        started: &started,
        renewed: &renewed,
        failed: &failed,
        supervisor,
    };
    report(context, &plan, &result);
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::not_started(failed, running)),
    }
}

/// Names of the domains that run now, in the document's order.
fn running(statuses: &[(DomainPlan, Status)], started: &[Started]) -> Vec<String> {
    let runs = |(domain, status): &&(DomainPlan, Status)| {
        let alive = matches!(
            status,
            Status::Matches { .. } | Status::Differs { .. } | Status::BackendGone { .. }
        );
        let now = started.iter().any(|started| started.name == domain.name);
        now || alive
    };
    let running = statuses.iter().filter(runs);
    running.map(|(domain, _)| domain.name.clone()).collect()
}

/// Gives domains that run as they are the rights in the secure world that their document has by now; those that had others.
async fn renew(machine: &Machine, statuses: &[(DomainPlan, Status)]) -> Result<BTreeSet<String>> {
    let running: Vec<(DomainPlan, u32)> = statuses
        .iter()
        .filter_map(|(domain, status)| match status {
            Status::Matches { domid, .. } => Some((domain.clone(), *domid)),
            _ => None,
        })
        .collect();
    machine
        .run(move |m| {
            let mut renewed = BTreeSet::new();
            for (domain, domid) in running {
                if mediation::renew(m, domid, &domain)? {
                    renewed.insert(domain.name);
                }
            }
            Ok(renewed)
        })
        .await
}

/// Refuses before anything is touched when this machine cannot do it. Tells which domains it cannot start, when it can start
/// others or others run.
async fn check_this_machine(
    context: &Context,
    machine: &Machine,
    loaded: &mut Loaded,
    plan: &Plan,
    work: &Work,
    others_run: bool,
) -> Result<Vec<NotStarted>> {
    if work.start.is_empty() {
        return Ok(Vec::new());
    }
    let (host, running) = machine
        .run(|m| Ok((m.domains.host()?, m.domains.list()?)))
        .await?;
    let total = host.total_memory_kib.saturating_mul(1024);
    let on_host = Host {
        memory_bytes: Some(total),
    };
    let lacking = check_files(context, loaded, plan, &work.start, on_host, others_run)?;
    let wanted: u64 = work.start.iter().map(|domain| domain.memory_bytes).sum();
    let freed: u64 = running
        .iter()
        .filter(|info| work.frees(info.domid))
        .map(|info| info.memory_kib)
        .sum();
    let free = host
        .free_memory_kib
        .saturating_add(freed)
        .saturating_mul(1024);
    if wanted > free {
        return Err(Error::NotEnoughMemory {
            wanted_mib: wanted / MIB,
            free_mib: free / MIB,
        });
    }
    Ok(lacking)
}

/// Finds what this machine lacks for the domains that are to be started. Refuses when none of them could be and no others run; else
/// tells which cannot.
pub(super) fn check_files(
    context: &Context,
    loaded: &mut Loaded,
    plan: &Plan,
    start: &[DomainPlan],
    host: Host,
    others_run: bool,
) -> Result<Vec<NotStarted>> {
    let findings: Vec<Finding> = check_host(plan, &host)
        .into_iter()
        .chain(context.ramdisks().findings(plan))
        .collect();
    let (whole, of_domains): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| finding.rule.id == rules::MEMORY_BEYOND_HOST.id);
    let mut lacking = Vec::new();
    let mut shown = whole.clone();
    // A file of a domain that is left alone may be gone by now; that is not this run's affair.
    let concerned = plan.domains.iter().enumerate();
    for (index, domain) in concerned.filter(|(_, domain)| start.contains(domain)) {
        let table = format!("domain[{index}].");
        let own = of_domains.iter().filter(|one| one.at.starts_with(&table));
        let own: Vec<Finding> = own.cloned().collect();
        let errors = own.iter().filter(|one| one.severity() == Severity::Error);
        let errors: Vec<String> = errors.map(|one| one.message.clone()).collect();
        shown.extend(own);
        if !errors.is_empty() {
            lacking.push(NotStarted {
                name: domain.name.clone(),
                cause: Error::Lacks(errors),
            });
        }
    }
    if shown.is_empty() {
        return Ok(lacking);
    }
    let none_is_left = lacking.len() == start.len() && !others_run;
    let refused = none_is_left || !whole.is_empty();
    loaded.add(shown);
    // For programs they stand at the domains, in the result.
    if refused || !context.ui.json {
        loaded.complain(&context.ui);
    }
    if !refused {
        return Ok(lacking);
    }
    match loaded.plan() {
        Err(Error::Findings { errors }) => Err(Error::HostFindings { errors }),
        other => other.map(|_| lacking),
    }
}

/// What `up` has done.
struct Done<'a> {
    served: &'a [Served],
    statuses: &'a [(DomainPlan, Status)],
    started: &'a [Started],
    renewed: &'a BTreeSet<String>,
    failed: &'a [NotStarted],
    supervisor: Option<u32>,
}

fn report(context: &Context, plan: &Plan, done: &Done<'_>) {
    let ui = &context.ui;
    let Done {
        served,
        statuses,
        started,
        renewed,
        failed,
        supervisor,
    } = *done;
    let mut rows: Vec<_> = served
        .iter()
        .map(|served| {
            let action = served.after.map_or(Action::Unchanged, |_| Action::Served);
            (served.name.as_str(), (action, served.domid, served.after))
        })
        .collect();
    let changed = !started.is_empty()
        || !renewed.is_empty()
        || served.iter().any(|served| served.after.is_some());
    for (domain, status) in statuses {
        let now = started.iter().find(|started| started.name == domain.name);
        let row = match (now, status) {
            (Some(now), Status::Absent | Status::Unfinished { .. } | Status::Ended { .. }) => {
                (Action::Started, now.domid, Some(now.after))
            }
            (Some(now), _) => (Action::Replaced, now.domid, Some(now.after)),
            (None, Status::Matches { domid, paused }) => {
                if *paused {
                    ui.note(&format!(
                        "{0}: is paused and stays so; avpsctl unpause {0} lets it run",
                        domain.name
                    ));
                }
                match renewed.contains(&domain.name) {
                    true => (Action::RightsChanged, *domid, None),
                    false => (Action::Unchanged, *domid, None),
                }
            }
            // Everything else was started, or the run has failed before.
            (None, _) => continue,
        };
        rows.push((domain.name.as_str(), row));
    }
    if ui.json {
        let mut domains: Vec<Value> = rows
            .iter()
            .map(|(name, (action, domid, after))| {
                let seconds = after.map(|after| after.as_secs_f64());
                json!({"name": name, "domid": domid, "action": action, "seconds": seconds})
            })
            .collect();
        domains.extend(failed.iter().map(
            |one| json!({"name": one.name, "action": Action::Failed, "error": one.cause.to_string()}),
        ));
        ui.json(&json!({
            "schema": "avps-up/1",
            "platform": plan.platform,
            "changed": changed,
            "domains": domains,
            "supervisor": supervisor,
        }));
        return;
    }
    if ui.quiet {
        return;
    }
    let distinct: BTreeSet<_> = rows.iter().map(|(_, (action, ..))| *action).collect();
    for (name, (action, domid, _)) in &rows {
        ui.line(&format!("{name}: {} (domain {domid})", action.words()));
    }
    for one in failed {
        ui.line(&format!("{}: not started: {}", one.name, one.cause));
    }
    if !rows.is_empty() && failed.is_empty() && distinct == BTreeSet::from([Action::Unchanged]) {
        ui.line("nothing to change");
    }
}

/// `avpsctl diff`.
pub(super) async fn diff(context: &Context, args: &DocumentArg) -> Result<()> {
    let (_, plan) = load_startable(context, &args.document)?;
    let machine = context.machine()?;
    let wanted = plan.clone();
    let (pools, statuses, renewals) = machine
        .run(move |m| {
            let statuses = compare(m, &wanted)?;
            let renewals = renewals(m, &statuses)?;
            Ok((missing_pools(m, &wanted)?, statuses, renewals))
        })
        .await?;
    let ui = &context.ui;
    let mut differences = Vec::new();
    for (name, text) in &pools {
        differences.push(text.clone());
        if !ui.json {
            ui.line(&format!("+ CPU pool {name} {text}"));
        }
    }
    for (domain, status) in &statuses {
        let name = &domain.name;
        let (sign, text) = match status {
            Status::Matches { domid, .. } if renewals.contains(name) => (
                "~",
                format!(
                    "{name} (domain {domid}) would get the rights in the secure world that the document has now"
                ),
            ),
            Status::Matches { domid, paused } => {
                let how = if *paused { "is paused" } else { "runs" };
                ("=", format!("{name} {how} as domain {domid}"))
            }
            Status::Absent => ("+", format!("{name} would be started")),
            Status::BackendGone { domid, backends } => (
                "~",
                format!(
                    "{name} (domain {domid}) would be removed and started again: {}",
                    work::lost(backends)
                ),
            ),
            Status::Unfinished { domid } => (
                "~",
                format!(
                    "{name} was created and never finished (domain {domid}); it would be created again"
                ),
            ),
            Status::Ended { domid } => (
                "~",
                format!("{name} has ended (domain {domid}) and would be started again"),
            ),
            Status::Differs { domid, what } => (
                "~",
                format!(
                    "{name} runs differently (domain {domid}): {}",
                    what.join(", ")
                ),
            ),
        };
        if sign != "=" {
            differences.push(text.clone());
        }
        if !ui.json {
            ui.line(&format!("{sign} {text}"));
        }
    }
    if ui.json {
        let domains: Vec<Value> = statuses
            .iter()
            .map(|(domain, status)| {
                let mut value = serde_json::to_value(status).unwrap_or_default();
                value["name"] = json!(domain.name);
                value["rights_change"] = json!(renewals.contains(&domain.name));
                value
            })
            .collect();
        let pools: Vec<Value> = pools
            .iter()
            .map(|(name, text)| json!({"name": name, "what": text}))
            .collect();
        ui.json(&json!({
            "schema": "avps-diff/1",
            "platform": plan.platform,
            "cpupools": pools,
            "domains": domains,
        }));
    }
    // Shown already; only the exit code is left to say.
    match differences.len() {
        0 => Ok(()),
        count => Err(Error::Differences(count)),
    }
}

/// Names of the domains that run as they are, and whose rights in the secure world `up` would change.
fn renewals(machine: &Machine, statuses: &[(DomainPlan, Status)]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (domain, status) in statuses {
        if let Status::Matches { domid, .. } = status
            && mediation::renewal(machine, *domid, domain)?.is_some()
        {
            names.insert(domain.name.clone());
        }
    }
    Ok(names)
}

/// The pools that would be made, with what is to be said about each.
fn missing_pools(machine: &Machine, plan: &Plan) -> Result<Vec<(String, String)>> {
    let pools = pools::compare(machine, plan)?.into_iter();
    Ok(pools
        .filter_map(|(pool, status)| match status {
            pools::Status::There(_) => None,
            pools::Status::Absent { leave } => {
                let cpus = pools::list(&pool.cpus);
                let mut text = format!("would be made of CPUs {cpus}");
                if !leave.is_empty() {
                    text.push_str("; out of the first pool go ");
                    text.push_str(&pools::list(&leave));
                }
                Some((pool.name.clone(), text))
            }
        })
        .collect())
}
