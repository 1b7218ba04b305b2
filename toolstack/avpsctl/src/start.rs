//! Starts domains: created paused, their backends told and awaited, then unpaused; or nothing.
//!
//! A guest that touches a device nobody emulates takes a synchronous abort and never recovers:
//! so no guest runs before each of its devices is ready. When anything fails, or the user
//! interrupts, every domain created by this call is removed again before the error is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use platform::plan::DomainPlan;
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::keys::{self, DeviceState};
use crate::machine::{Changes, Machine};
use crate::observe::{Event, Observer};
use crate::remove;

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
    pub(crate) plan: DomainPlan,
    pub(crate) domid: u32,
    pub(crate) since: Instant,
}

/// Starts domains of a platform, in order.
///
/// # Errors
/// What failed, with nothing left behind; [`Error::Remains`] when something could not be taken back.
pub async fn start(
    machine: &Machine,
    platform: &str,
    domains: &[DomainPlan],
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Started>> {
    require_backends(machine, domains).await?;
    let mut built = Vec::new();
    let result = build_all(
        machine, platform, domains, options, observer, cancel, &mut built,
    )
    .await;
    match result {
        Ok(started) => Ok(started),
        Err(cause) => Err(take_back(machine, built, cause, observer).await),
    }
}

async fn build_all(
    machine: &Machine,
    platform: &str,
    domains: &[DomainPlan],
    options: Options,
    observer: &dyn Observer,
    cancel: &Cancel,
    built: &mut Vec<Building>,
) -> Result<Vec<Started>> {
    for plan in domains {
        check_cancel(cancel)?;
        observer.observe(Event::Creating {
            domain: plan.name.clone(),
        });
        let since = Instant::now();
        let wanted = plan.clone();
        // Not interruptible: whether the domain exists must be known before it can be taken back.
        let domid = machine.run(move |m| m.domains.create(&wanted)).await?;
        built.push(Building {
            plan: plan.clone(),
            domid,
            since,
        });
        observer.observe(Event::Created {
            domain: plan.name.clone(),
            domid,
        });
        let mut writes = keys::marks(domid, platform, plan);
        for device in &plan.virtio {
            writes.extend(keys::tell_backend(domid, device));
        }
        machine.run(move |m| m.store.write_all(&writes)).await?;
    }
    wait_for_backends(machine, built, options.timeout, observer, cancel).await?;
    let mut started = Vec::new();
    for building in built.iter() {
        check_cancel(cancel)?;
        let (name, domid) = (building.plan.name.clone(), building.domid);
        if options.unpause {
            machine.run(move |m| m.domains.unpause(domid)).await?;
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

fn check_cancel(cancel: &Cancel) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Refuses before anything is created when nobody would serve the devices.
pub(crate) async fn require_backends(machine: &Machine, domains: &[DomainPlan]) -> Result<()> {
    let mut needed: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for domain in domains {
        let backends: BTreeSet<u16> = domain.virtio.iter().map(|d| d.backend_domid).collect();
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
    // A daemon that was killed leaves its keys behind; only in our own domain can we look.
    let pid = machine.store.read(&format!("{folder}/pid"))?;
    let pid = pid.and_then(|text| text.parse::<u32>().ok());
    Ok(match pid {
        Some(pid) if backend == 0 => machine.domains.process_exists(pid),
        _ => true,
    })
}

/// A device that is awaited.
#[derive(Clone)]
struct Awaited {
    domain: String,
    device: String,
    backend: u16,
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
            building.plan.virtio.iter().map(|device| Awaited {
                domain: building.plan.name.clone(),
                device: format!("{} {}", device.device.kind(), device.index),
                backend: device.backend_domid,
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
        let name = building.plan.name;
        if let Err(error) = remove::remove(machine, &name, building.domid, observer).await {
            remains.push(format!("domain {} (\"{name}\": {error})", building.domid));
        }
    }
    if remains.is_empty() {
        cause
    } else {
        Error::Remains {
            cause: Box::new(cause),
            remains,
        }
    }
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
