//! Starts domains: created paused, their backends told and awaited, then unpaused; or nothing.
//!
//! A guest that touches a device nobody emulates takes a synchronous abort and never recovers:
//! so no guest runs before each of its devices is ready. When anything fails, or the user
//! interrupts, every domain and every CPU pool made by this call is removed again before the error is returned.
//!
//! A domain whose devices another domain of the document serves is created once that one runs and its backend is ready: the
//! backend's number is part of what libxl is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::keys::{self, DeviceState};
use crate::machine::{Changes, DOMAIN_ENDED, Machine, by_uuid};
use crate::observe::{Event, Observer};
use crate::pools::{self, Numbers};
use crate::{mediation, order, placed, remove, rights};

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

/// A domain under construction.
pub(crate) struct Building {
    /// With the numbers of its backends.
    pub(crate) placed: DomainPlan,
    pub(crate) domid: u32,
    pub(crate) since: Instant,
}

/// What is needed for every domain.
struct Site<'a> {
    machine: &'a Machine,
    plan: &'a Plan,
    options: Options,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// Starts domains of a plan: those that serve others first, else in the order given.
///
/// # Errors
/// What failed, with nothing left behind; [`Error::Remains`] when something could not be taken back.
pub async fn start(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Started>> {
    require_backends(machine, plan, domains).await?;
    let mediated = domains.to_vec();
    machine
        .run(move |m| mediation::require(m, &mediated))
        .await?;
    if domains.is_empty() {
        return Ok(Vec::new());
    }
    let domains = order::in_order(domains);
    let (whole, wanted) = (plan.clone(), domains.clone());
    let (numbers, made) = machine
        .run(move |m| pools::provide(m, &whole, &wanted))
        .await?;
    for pool in &made {
        observer.observe(Event::Note(pool.to_string()));
    }
    let site = Site {
        machine,
        plan,
        options,
        observer,
        cancel,
    };
    let mut built = Vec::new();
    match build_all(&site, &domains, &numbers, &mut built).await {
        Ok(started) => Ok(started),
        Err(cause) => {
            let cause = take_back(machine, built, cause, observer).await;
            let remains = machine.run(move |m| Ok(pools::take_back(m, made))).await;
            Err(cause.with_remains(remains.unwrap_or_default()))
        }
    }
}

async fn build_all(
    site: &Site<'_>,
    domains: &[DomainPlan],
    numbers: &Numbers,
    built: &mut Vec<Building>,
) -> Result<Vec<Started>> {
    let mut started = Vec::new();
    for domain in domains {
        check_cancel(site.cancel)?;
        let backends = order::backends_of(domain, &site.plan.domains);
        if !backends.is_empty() {
            // It may be among those that were created just now, and serves only when it runs.
            started.extend(let_run(site, built.get(started.len()..).unwrap_or_default()).await?);
            for backend in backends {
                wait_for_backend_domain(site, backend, &domain.name).await?;
            }
        }
        built.push(build(site, domain, numbers).await?);
        if let Some(building) = built.last() {
            tell(site, domain, building).await?;
        }
    }
    started.extend(let_run(site, built.get(started.len()..).unwrap_or_default()).await?);
    Ok(started)
}

async fn build(site: &Site<'_>, domain: &DomainPlan, numbers: &Numbers) -> Result<Building> {
    site.observer.observe(Event::Creating {
        domain: domain.name.clone(),
    });
    let since = Instant::now();
    let (wanted, domains) = (domain.clone(), site.plan.domains.clone());
    let placed = site
        .machine
        .run(move |m| placed::with_backends(&wanted, &domains, &m.domains.list()?, m.own))
        .await?;
    let config = placed::config(&placed, numbers);
    let wanted = domain.clone();
    let create = move |m: &Machine| {
        // libxl has read it when the domain is created.
        let ramdisk = m.ramdisks.of(&wanted)?;
        let interrupt = mediation::interrupt(m, &wanted)?;
        let tree = m.ramdisks.tree(&wanted, interrupt)?;
        let config = placed::with_ramdisk(config, ramdisk.as_ref());
        let config = placed::with_tree(config, tree.as_ref(), interrupt);
        m.domains.create(&config)
    };
    // Not interruptible: whether the domain exists must be known before it can be taken back.
    let created = site.machine.run(create).await;
    let domid = created.map_err(|cause| placed::explain(domain, cause))?;
    site.observer.observe(Event::Created {
        domain: domain.name.clone(),
        domid,
    });
    Ok(Building {
        placed,
        domid,
        since,
    })
}

/// Gives rights in XenStore, then tells the backends what to serve, and this program's later runs what was started.
async fn tell(site: &Site<'_>, domain: &DomainPlan, building: &Building) -> Result<()> {
    let domid = building.domid;
    let mut writes = keys::marks(domid, &site.plan.platform, domain);
    for device in &building.placed.virtio {
        writes.extend(keys::tell_backend(domid, device));
    }
    let (placed, domain) = (building.placed.clone(), domain.clone());
    let told = move |m: &Machine| {
        writes.extend(mediation::tell(m, domid, &domain)?);
        rights::give(m.store.as_ref(), &placed, domid, m.own)?;
        m.store.write_all(&writes)
    };
    site.machine.run(told).await
}

/// Waits until the devices of these domains are ready, and lets the domains run.
async fn let_run(site: &Site<'_>, built: &[Building]) -> Result<Vec<Started>> {
    let Site {
        machine,
        options,
        observer,
        cancel,
        ..
    } = *site;
    wait_for_backends(machine, built, options.timeout, observer, cancel).await?;
    mediation::wait(machine, built, options.timeout, observer, cancel).await?;
    let mut started = Vec::new();
    for building in built {
        check_cancel(cancel)?;
        let (name, domid) = (building.placed.name.clone(), building.domid);
        if options.unpause {
            machine.run(move |m| m.domains.unpause(domid)).await?;
        } else {
            let held = keys::mark_held(domid);
            machine.run(move |m| m.store.write_all(&[held])).await?;
        }
        let after = building.since.elapsed();
        observer.observe(if options.unpause {
            Event::Running {
                domain: name.clone(),
                domid,
                after,
            }
        } else {
            Event::LeftPaused {
                domain: name.clone(),
                domid,
            }
        });
        started.push(Started { name, domid, after });
    }
    Ok(started)
}

async fn wait_for_backend_domain(
    site: &Site<'_>,
    backend: &DomainPlan,
    needed_by: &str,
) -> Result<()> {
    let Site {
        machine,
        options,
        observer,
        cancel,
        ..
    } = *site;
    backend_domain_ready(
        machine,
        backend,
        needed_by,
        options.timeout,
        observer,
        cancel,
    )
    .await
}

/// Waits until a domain of the document runs a backend.
///
/// # Errors
/// [`Error::NoBackendDomain`] when it is not there or ends meanwhile, [`Error::BackendNotRunning`] at the time limit, XenStore's, libxl's, and
/// [`Error::Interrupted`].
pub(crate) async fn backend_domain_ready(
    machine: &Machine,
    backend: &DomainPlan,
    needed_by: &str,
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut changes: Option<Changes> = None;
    loop {
        let list = machine.run(|m| m.domains.list()).await?;
        let running = by_uuid(&list, &backend.uuid).filter(|info| info.is_alive());
        let domid = running.map(|info| info.domid);
        let domid = domid.ok_or_else(|| Error::NoBackendDomain {
            backend: backend.name.clone(),
            needed_by: needed_by.to_owned(),
        })?;
        if machine.run(move |m| backend_runs(m, domid)).await? {
            return Ok(());
        }
        let Some(changes) = &mut changes else {
            let paths = vec![keys::backend_folder(domid), DOMAIN_ENDED.to_owned()];
            changes = Some(machine.run(move |m| m.store.watch(&paths)).await?);
            let name = &backend.name;
            observer.observe(Event::Note(format!(
                "{name}: waiting for its backend, which {needed_by} needs"
            )));
            continue;
        };
        if !changed_before(changes, deadline, cancel).await? {
            return Err(Error::BackendNotRunning {
                domid: u16::try_from(domid).unwrap_or(u16::MAX),
                name: Some(backend.name.clone()),
                needed_by: format!("\"{needed_by}\""),
            });
        }
    }
}

fn check_cancel(cancel: &Cancel) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Refuses before anything is created when nobody would serve the devices. Domains that are started with the others come later.
pub(crate) async fn require_backends(
    machine: &Machine,
    plan: &Plan,
    domains: &[DomainPlan],
) -> Result<()> {
    let mut needed: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for domain in domains {
        let devices = domain.virtio.iter();
        let backends: BTreeSet<u16> = devices
            .filter(|device| placed::started_by_us(device, &plan.domains).is_none())
            .map(|device| placed::known_backend(device, machine.own))
            .collect();
        for backend in backends {
            needed
                .entry(backend)
                .or_default()
                .push(format!("\"{}\"", domain.name));
        }
    }
    machine
        .run(move |machine| {
            for (backend, needed_by) in needed {
                if !backend_runs(machine, u32::from(backend))? {
                    return Err(Error::BackendNotRunning {
                        domid: backend,
                        name: None,
                        needed_by: needed_by.join(", "),
                    });
                }
            }
            Ok(())
        })
        .await
}

/// Whether `avps-backend` says that it runs in a domain and, as far as can be seen, does.
///
/// # Errors
/// XenStore's.
pub fn backend_runs(machine: &Machine, backend: u32) -> Result<bool> {
    let folder = keys::backend_folder(backend);
    if machine.store.read(&format!("{folder}/ready"))?.as_deref() != Some("1") {
        return Ok(false);
    }
    // A daemon that was killed leaves its keys behind, and so does a domain that crashed; only in our own domain can we look closer.
    let own = u32::from(machine.own);
    if backend != own && !order::is_alive(machine, backend)? {
        return Ok(false);
    }
    let pid = machine.store.read(&format!("{folder}/pid"))?;
    let pid = pid.and_then(|text| text.parse::<u32>().ok());
    Ok(match pid {
        Some(pid) if backend == own => machine.domains.process_exists(pid),
        _ => true,
    })
}

/// A device that is awaited.
#[derive(Clone)]
struct Awaited {
    domain: String,
    device: String,
    backend: u16,
    /// The name of its backend's domain; none for the control domain.
    served_by: Option<String>,
    folder: String,
}

pub(crate) async fn wait_for_backends(
    machine: &Machine,
    built: &[Building],
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let awaited: Vec<Awaited> = built
        .iter()
        .flat_map(|building| {
            building.placed.virtio.iter().map(|device| Awaited {
                domain: building.placed.name.clone(),
                device: format!("{} {}", device.device.kind(), device.index),
                backend: device.backend_domid,
                served_by: device.backend.clone(),
                folder: keys::device_folder(building.domid, device),
            })
        })
        .collect();
    if awaited.is_empty() {
        return Ok(());
    }
    let mut paths: Vec<String> = awaited.iter().map(|device| device.folder.clone()).collect();
    let backends: BTreeSet<u16> = awaited.iter().map(|device| device.backend).collect();
    paths.extend(backends.iter().map(|b| keys::backend_folder(u32::from(*b))));
    paths.push(DOMAIN_ENDED.to_owned());
    let mut changes = machine.run(move |m| m.store.watch(&paths)).await?;
    let deadline = Instant::now() + timeout;
    let mut shown = None;
    loop {
        let devices = awaited.clone();
        let waiting = machine.run(move |m| not_ready(m, &devices)).await?;
        let ready = awaited.len() - waiting.len();
        if shown != Some(ready) {
            observer.observe(Event::Waiting {
                total: awaited.len(),
                ready,
            });
            shown = Some(ready);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::Interrupted),
            changed = changes.changed() => changed?,
            () = tokio::time::sleep_until(deadline) => {
                return Err(Error::BackendTimeout { seconds: timeout.as_secs(), waiting });
            }
        }
    }
}

/// The devices whose backend is not ready, told as texts; an error when one never will be.
fn not_ready(machine: &Machine, awaited: &[Awaited]) -> Result<Vec<String>> {
    let mut waiting = Vec::new();
    for device in awaited {
        let (state, error) = keys::device_state(machine.store.as_ref(), &device.folder)?;
        if let Some(text) = error {
            return Err(Error::BackendRefused {
                domain: device.domain.clone(),
                backend: device.served_by.clone(),
                device: device.device.clone(),
                text,
            });
        }
        match state {
            state if state.is_ready() => {}
            DeviceState::Closed | DeviceState::Closing => {
                return Err(Error::Disappeared(device.domain.clone()));
            }
            state => {
                if !backend_runs(machine, u32::from(device.backend))? {
                    return Err(Error::BackendNotRunning {
                        domid: device.backend,
                        name: device.served_by.clone(),
                        needed_by: format!("\"{}\"", device.domain),
                    });
                }
                waiting.push(format!(
                    "{} of \"{}\" ({})",
                    device.device,
                    device.domain,
                    state.word()
                ));
            }
        }
    }
    Ok(waiting)
}

/// Removes what was built, the last first. Not interruptible: half a clean-up helps nobody.
async fn take_back(
    machine: &Machine,
    built: Vec<Building>,
    cause: Error,
    observer: &dyn Observer,
) -> Error {
    if built.is_empty() {
        return cause;
    }
    observer.observe(Event::TakingBack {
        because: cause.to_string(),
        domains: built.len(),
    });
    let mut remains = Vec::new();
    for building in built.into_iter().rev() {
        let name = building.placed.name;
        if let Err(error) = remove::remove(machine, &name, building.domid, observer).await {
            remains.push(format!("domain {} (\"{name}\": {error})", building.domid));
        }
    }
    cause.with_remains(remains)
}

/// Waits for a change, a time limit or the user, whichever is first. `false` at the time limit.
pub(crate) async fn changed_before(
    changes: &mut Changes,
    deadline: Instant,
    cancel: &Cancel,
) -> Result<bool> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        changed = changes.changed() => changed.map(|()| true),
        () = tokio::time::sleep_until(deadline) => Ok(false),
    }
}
