//! Who serves the devices of a domain, and the waiting until they do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use tokio::time::Instant;

use super::Building;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::keys::{self, DeviceState};
use crate::machine::{Changes, DOMAIN_ENDED, DomainInfo, Machine, by_uuid};
use crate::observe::{Event, Observer};
use crate::{bound, mediation, order};

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
            .filter(|device| bound::started_by_us(device, &plan.domains).is_none())
            .map(|device| bound::known_backend(device, machine.own))
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

/// Waits until the devices of a domain are ready.
///
/// # Errors
/// What the backend says, or that it ended; [`Error::BackendTimeout`] at the time limit, [`Error::Interrupted`], and XenStore's.
pub(crate) async fn wait_for_backends(
    machine: &Machine,
    building: &Building,
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let devices = building.bound.virtio.iter();
    let awaited: Vec<Awaited> = devices
        .map(|device| Awaited {
            domain: building.bound.name.clone(),
            device: format!("{} {}", device.device.kind(), device.index),
            backend: device.backend_domid,
            served_by: device.backend.clone(),
            folder: keys::device_folder(building.domid, device),
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
                domain: building.bound.name.clone(),
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

/// Refuses to let a guest run that would touch a device which nobody serves: it would stop for good. Devices of backends that are not
/// ours are their owners' affair.
///
/// # Errors
/// [`Error::DevicesNotReady`], and XenStore's.
pub(crate) fn require_devices(machine: &Machine, info: &DomainInfo) -> Result<()> {
    let mut waiting = Vec::new();
    for device in keys::devices(machine.store.as_ref(), info.domid)? {
        let served = backend_runs(machine, device.backend_domid)?;
        let ours = served || device.memory.is_some();
        let why = match (device.error, served) {
            (Some(error), _) => error,
            (None, false) => "its backend does not run".to_owned(),
            (None, true) => device.state.word().to_owned(),
        };
        if ours && !(served && device.state.is_ready()) {
            waiting.push(format!("{} {} ({why})", device.kind, device.index));
        }
    }
    if mediation::is_pending(machine, info.domid)? {
        waiting.push("OP-TEE (avps-tee has not taken over its calls)".to_owned());
    }
    if waiting.is_empty() {
        return Ok(());
    }
    Err(Error::DevicesNotReady {
        name: info.name.clone(),
        devices: waiting,
    })
}
