//! Starts domains: created paused, their backends told and awaited, then unpaused.
//!
//! A guest that touches a device nobody emulates takes a synchronous abort and never recovers:
//! so no guest runs before each of its devices is ready.
//!
//! Domains that do not wait for each other are started side by side. A domain waits for those that serve its devices, whose
//! numbers libxl is given, and for those its document names in `after`: it is created when they run with their devices ready. When
//! one fails, those that wait for it are not created, and all others are started. Taken back is only what never ran: a guest that
//! ran keeps running.

mod ready;
mod side_by_side;

use std::collections::BTreeSet;
use std::time::Duration;

use platform::plan::{DomainKind, DomainPlan, Plan};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, NotStarted, Result};
use crate::keys;
use crate::machine::{DomainInfo, Machine, by_uuid};
use crate::observe::{Event, Observer};
use crate::pools::{self, Numbers};
use crate::{bound, mediation, order, remove, rights};

pub use ready::backend_runs;
pub(crate) use ready::{
    backend_domain_ready, changed_before, require_backends, require_devices, wait_for_backends,
};
use side_by_side::all;

/// How to start.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long backends may take to become ready.
    pub timeout: Duration,
    /// Let the guests run; otherwise they stay paused.
    pub unpause: bool,
}

/// A domain that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Name.
    pub name: String,
    /// Number.
    pub domid: u32,
    /// From the begin of its creation until it ran.
    pub after: Duration,
}

/// What became of domains that were to be started, those that others wait for first.
#[derive(Debug, Default)]
pub struct Report {
    /// Those that run, or are complete and stay paused.
    pub started: Vec<Started>,
    /// Those that do not, and of which nothing is left unless the error says so.
    pub failed: Vec<NotStarted>,
}

impl Report {
    /// All of them, or why not.
    ///
    /// # Errors
    /// The cause when one alone keeps all from running; else [`Error::NotStarted`].
    pub fn complete(self) -> Result<Vec<Started>> {
        if self.failed.is_empty() {
            return Ok(self.started);
        }
        let running = self.started.into_iter().map(|started| started.name);
        Err(Error::not_started(self.failed, running.collect()))
    }
}

/// A domain under construction.
pub(crate) struct Building {
    /// With the numbers of its backends.
    pub(crate) bound: DomainPlan,
    pub(crate) domid: u32,
    pub(crate) since: Instant,
}

/// What is needed for every domain.
struct Site<'a> {
    machine: &'a Machine,
    plan: &'a Plan,
    /// Those that are started, in the order of their numbers in `progress`.
    domains: &'a [DomainPlan],
    numbers: &'a Numbers,
    options: Options,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    progress: &'a watch::Sender<Vec<Progress>>,
}

/// How far a domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Pending,
    Ready,
    Failed,
}

/// Starts domains of a plan, all of them or with an error. What failed takes nothing with it but what waits for it.
///
/// # Errors
/// As [`Report::complete`] and [`start_each`].
pub async fn start(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Started>> {
    let report = start_each(machine, plan, domains, options, observer, cancel).await?;
    report.complete()
}

/// Starts domains of a plan and tells what became of each.
///
/// # Errors
/// What keeps all of them from being started, before anything was created; [`Error::Remains`] when pools that were made for
/// nothing could not be removed.
pub async fn start_each(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Report> {
    let lacking = lacking(machine, plan, domains).await?;
    let (whole, wanted) = (plan.clone(), domains.to_vec());
    if domains.is_empty() {
        return Ok(Report::default());
    }
    let (numbers, made) = machine
        .run(move |m| pools::provide(m, &whole, &wanted))
        .await?;
    for pool in &made {
        observer.observe(Event::Note(pool.to_string()));
    }
    let domains = order::in_order(domains);
    let (progress, _) = watch::channel(vec![Progress::Pending; domains.len()]);
    let site = Site {
        machine,
        plan,
        domains: &domains,
        numbers: &numbers,
        options,
        observer,
        cancel,
        progress: &progress,
    };
    let site = &site;
    let mut lacking: Vec<_> = lacking.into_iter().map(Some).collect();
    let started = domains.iter().enumerate().map(|(number, domain)| {
        let named = |lack: &&mut Option<NotStarted>| {
            lack.as_ref().is_some_and(|lack| lack.name == domain.name)
        };
        let lack = lacking.iter_mut().find(named).and_then(Option::take);
        async move {
            let result = match lack {
                Some(lack) => Err(lack.cause),
                None => one(site, number, domain).await,
            };
            site.progress.send_modify(|all| {
                if let Some(progress) = all.get_mut(number) {
                    *progress = match result {
                        Ok(_) => Progress::Ready,
                        Err(_) => Progress::Failed,
                    };
                }
            });
            result
        }
    });
    let results = all(started).await;
    let mut report = Report::default();
    let mut used = BTreeSet::new();
    for (domain, result) in domains.iter().zip(results) {
        match result {
            Ok(started) => {
                used.extend(domain.cpupool.clone());
                report.started.push(started);
            }
            Err(cause) => report.failed.push(NotStarted {
                name: domain.name.clone(),
                cause,
            }),
        }
    }
    if let Some(failed) = report.failed.first_mut() {
        let give_back = move |m: &Machine| Ok(pools::take_back_unused(m, made, &used));
        let remains = machine.run(give_back).await.unwrap_or_default();
        let cause = std::mem::replace(&mut failed.cause, Error::Interrupted);
        failed.cause = cause.with_remains(remains);
    }
    Ok(report)
}

/// Those that nobody would serve.
///
/// # Errors
/// The same for all, when none of them could be started.
pub(crate) async fn lacking(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
) -> Result<Vec<NotStarted>> {
    let mut lacking = Vec::new();
    for domain in domains {
        let result = require(machine, plan, std::slice::from_ref(domain)).await;
        lacking.extend(result.err().map(|cause| NotStarted {
            name: domain.name.clone(),
            cause,
        }));
    }
    if lacking.len() == domains.len() {
        require(machine, plan, domains).await?;
    }
    Ok(lacking)
}

async fn require(machine: &Machine, plan: &Plan, domains: &[DomainPlan]) -> Result<()> {
    require_backends(machine, plan, domains).await?;
    let mediated = domains.to_vec();
    machine.run(move |m| mediation::require(m, &mediated)).await
}

/// Starts one domain when those it waits for are ready.
async fn one(site: &Site<'_>, number: usize, domain: &DomainPlan) -> Result<Started> {
    wait_for_others(site, number, domain).await?;
    let building = build(site, domain).await?;
    match finish(site, domain, &building).await {
        Ok(()) => Ok(Started {
            name: building.bound.name,
            domid: building.domid,
            after: building.since.elapsed(),
        }),
        Err(cause) => Err(take_back(site, building, cause).await),
    }
}

/// Waits until those run that serve a domain or that its document names in `after`, with their devices ready.
async fn wait_for_others(site: &Site<'_>, number: usize, domain: &DomainPlan) -> Result<()> {
    let backends = order::backends_of(domain, &site.plan.domains);
    let mut progress = site.progress.subscribe();
    for other in order::waits_for(domain, &site.plan.domains) {
        let named = |started: &DomainPlan| started.name == other.name;
        // Those that wait for each other are started as they stand, and tell what is missing.
        let before = site.domains.iter().take(number).position(named);
        if let Some(before) = before {
            let decided = |all: &Vec<Progress>| all.get(before) != Some(&Progress::Pending);
            let became = tokio::select! {
                biased;
                () = site.cancel.cancelled() => return Err(Error::Interrupted),
                all = progress.wait_for(decided) => all.ok().and_then(|all| all.get(before).copied()),
            };
            if became != Some(Progress::Ready) {
                let other = other.name.clone();
                return Err(Error::WaitsFor { other });
            }
        }
        let serves = backends.iter().any(|backend| backend.name == other.name);
        if serves || (before.is_some() && other.kind == DomainKind::Driver) {
            backend_domain_ready(
                site.machine,
                other,
                &domain.name,
                site.options.timeout,
                site.observer,
                site.cancel,
            )
            .await?;
        }
    }
    check_cancel(site.cancel)
}

/// Waits until domains run that others name in `after` and that are not started with them, with their devices ready.
///
/// # Errors
/// [`Error::NotRunning`]; a device's backend does not serve it; [`Error::Interrupted`].
pub(crate) async fn require_after(
    machine: &Machine,
    plan: &Plan,
    domain: &DomainPlan,
    with: &[DomainPlan],
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    for name in &domain.after {
        if with.iter().any(|other| other.name == *name) {
            continue;
        }
        let Some(other) = plan.domain(name).cloned() else {
            // One that Xen itself starts.
            continue;
        };
        let domains = plan.domains.clone();
        let wanted = other.clone();
        let running = machine
            .run(move |m| {
                let list = m.domains.list()?;
                let info = by_uuid(&list, &wanted.uuid);
                let info = info.filter(|info| info.is_alive() && !info.never_ran());
                let Some(domid) = info.map(|info| info.domid) else {
                    return Ok(None);
                };
                let bound = bound::with_backends(&wanted, &domains, &list, m.own)?;
                Ok(Some((domid, bound)))
            })
            .await?;
        let Some((domid, bound)) = running else {
            return Err(Error::NotRunning {
                name: domain.name.clone(),
                other: other.name,
            });
        };
        let building = Building {
            bound,
            domid,
            since: Instant::now(),
        };
        wait_for_backends(machine, &building, timeout, observer, cancel).await?;
    }
    Ok(())
}

async fn build(site: &Site<'_>, domain: &DomainPlan) -> Result<Building> {
    site.observer.observe(Event::Creating {
        domain: domain.name.clone(),
    });
    let since = Instant::now();
    let (wanted, domains) = (domain.clone(), site.plan.domains.clone());
    let bound = site
        .machine
        .run(move |m| bound::with_backends(&wanted, &domains, &m.domains.list()?, m.own))
        .await?;
    let config = bound::config(&bound, site.numbers);
    let wanted = domain.clone();
    let create = move |m: &Machine| {
        // libxl has read it when the domain is created.
        let ramdisk = m.ramdisks.of(&wanted)?;
        let interrupt = mediation::interrupt(m, &wanted)?;
        let tree = m.ramdisks.tree(&wanted, interrupt)?;
        let config = bound::with_ramdisk(config, ramdisk.as_ref());
        let config = bound::with_tree(config, tree.as_ref(), interrupt);
        m.domains.create(&config)
    };
    // Not interruptible: whether the domain exists must be known before it can be taken back.
    let created = site.machine.run(create).await;
    let domid = created.map_err(|cause| bound::explain(domain, cause))?;
    site.observer.observe(Event::Created {
        domain: domain.name.clone(),
        domid,
    });
    Ok(Building {
        bound,
        domid,
        since,
    })
}

/// Everything between creation and the guest's first instruction, and that. After an error the guest never ran.
async fn finish(site: &Site<'_>, domain: &DomainPlan, building: &Building) -> Result<()> {
    let Site {
        machine,
        options,
        observer,
        cancel,
        ..
    } = *site;
    check_cancel(cancel)?;
    tell(site, domain, building).await?;
    wait_for_backends(machine, building, options.timeout, observer, cancel).await?;
    mediation::wait(machine, building, options.timeout, observer, cancel).await?;
    check_cancel(cancel)?;
    let (name, domid) = (building.bound.name.clone(), building.domid);
    if !options.unpause {
        let held = keys::mark_held(domid);
        machine.run(move |m| m.store.write_all(&[held])).await?;
        observer.observe(Event::LeftPaused {
            domain: name,
            domid,
        });
        return Ok(());
    }
    machine.run(move |m| m.domains.unpause(domid)).await?;
    observer.observe(Event::Running {
        domain: name,
        domid,
        after: building.since.elapsed(),
    });
    Ok(())
}

/// Gives rights in XenStore, then tells the backends what to serve, and this program's later runs what was started.
async fn tell(site: &Site<'_>, domain: &DomainPlan, building: &Building) -> Result<()> {
    let domid = building.domid;
    let mut writes = keys::marks(domid, &site.plan.platform, domain);
    for device in &building.bound.virtio {
        writes.extend(keys::tell_backend(domid, device));
    }
    let (bound, domain) = (building.bound.clone(), domain.clone());
    let told = move |m: &Machine| {
        writes.extend(mediation::tell(m, domid, &domain)?);
        rights::give(m.store.as_ref(), &bound, domid, m.own)?;
        m.store.write_all(&writes)
    };
    site.machine.run(told).await
}

/// Removes a domain that never ran. Not interruptible: half a clean-up helps nobody.
async fn take_back(site: &Site<'_>, building: Building, cause: Error) -> Error {
    let (name, domid) = (building.bound.name, building.domid);
    let list = site.machine.run(|m| m.domains.list()).await;
    let ran = |list: &Vec<DomainInfo>| {
        let mut list = list.iter().filter(|info| info.domid == domid);
        list.any(|info| info.is_alive() && !info.never_ran())
    };
    if list.as_ref().is_ok_and(ran) {
        // Somebody else let it run.
        return cause.with_remains(vec![format!("domain {domid} (\"{name}\", which runs)")]);
    }
    site.observer.observe(Event::TakingBack {
        domain: name.clone(),
        because: cause.to_string(),
    });
    match remove::remove(site.machine, &name, domid, site.observer).await {
        Ok(()) => cause,
        Err(error) => cause.with_remains(vec![format!("domain {domid} (\"{name}\": {error})")]),
    }
}

fn check_cancel(cancel: &Cancel) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(())
}
