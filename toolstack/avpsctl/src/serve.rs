//! Virtio devices of guests that Xen itself started: the backend is told of them and awaited, then the guest is shown them.
//!
//! Such a guest runs already, and a driver that touches registers before somebody serves them ends its kernel. So its device
//! tree lets no driver bind (`platform`'s partial trees), and the guest waits until the device's folder is in its own part
//! of XenStore, where Linux makes a device of its Xen bus of it. That folder is written last. `init-dom0less` of Xen's tools
//! connects a guest with XenStore; until it was there, the guest cannot be told anything.

use std::time::Duration;

use platform::Plan;
use platform::plan::{DomainPlan, MemoryModel, VirtioPlan};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{Machine, Write};
use crate::observe::Observer;
use crate::start::{self, Building};

/// A guest whose devices are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Name.
    pub name: String,
    /// Number.
    pub domid: u32,
    /// From the first word to the backend until the guest was shown its devices; none when they were served before.
    pub after: Option<Duration>,
}

/// Has the devices served of those of a plan's domains that Xen started. Their order is kept.
///
/// # Errors
/// A domain does not run or has no XenStore, its devices are others, or its backend does not serve them. Devices that a guest
/// was not shown are taken back from the backend.
pub async fn serve(
    machine: &Machine,
    plan: &Plan,
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Served>> {
    let with_devices = plan.dom0less().filter(|domain| !domain.virtio.is_empty());
    let wanted: Vec<DomainPlan> = with_devices.cloned().collect();
    start::require_backends(machine, plan, &wanted).await?;
    let mut served = Vec::new();
    for domain in wanted {
        let domid = u32::from(domain.domid.unwrap_or_default());
        let since = Instant::now();
        let plan = domain.clone();
        let told = machine.run(move |m| tell_backend(m, domid, &plan)).await?;
        let building = Building {
            bound: domain.clone(),
            domid,
            since,
        };
        let waited = start::wait_for_backends(machine, &building, timeout, observer, cancel).await;
        if let Err(error) = waited {
            machine.run(move |m| take_back(m, &told)).await?;
            return Err(error);
        }
        let plan = domain.clone();
        let shown = machine.run(move |m| show_guest(m, domid, &plan)).await?;
        served.push(Served {
            name: domain.name,
            domid,
            after: shown.then(|| since.elapsed()),
        });
    }
    Ok(served)
}

/// The guest's folder of a device.
fn front(guest: u32, device: &VirtioPlan) -> String {
    format!("/local/domain/{guest}/device/virtio/{}", device.index)
}

/// Tells the backend of devices it does not know yet: their folders.
fn tell_backend(machine: &Machine, domid: u32, plan: &DomainPlan) -> Result<Vec<String>> {
    is_the_one(machine, domid, plan)?;
    let store = machine.store.as_ref();
    let mut told = Vec::new();
    let mut writes = vec![Write::value(
        format!("/local/domain/{domid}/name"),
        &*plan.name,
    )];
    for device in &plan.virtio {
        let folder = keys::device_folder(domid, device);
        let parameters = keys::parameters(domid, device);
        let mut found = Vec::new();
        for (path, _) in &parameters {
            found.push(store.read(path)?);
        }
        if found.iter().all(Option::is_none) {
            writes.extend(as_libxl(domid, device, &folder));
            writes.extend(keys::tell_backend(domid, device));
            told.push(folder);
            continue;
        }
        let differs = |((_, planned), found): &(&(String, String), &Option<String>)| {
            found.as_deref() != Some(planned.as_str())
        };
        if let Some(((path, planned), found)) = parameters.iter().zip(&found).find(differs) {
            let key = path.rsplit('/').next().unwrap_or_default();
            return Err(Error::Drift(vec![format!(
                "{} ({} {} {key}: {} runs, {planned} planned)",
                plan.name,
                device.device.kind(),
                device.index,
                found.as_deref().unwrap_or("nothing"),
            )]));
        }
    }
    store.write_all(&writes)?;
    Ok(told)
}

/// Whether the domain of this number can be the document's: Xen gave it the number, and the tools a name.
fn is_the_one(machine: &Machine, domid: u32, plan: &DomainPlan) -> Result<()> {
    let list = machine.domains.list()?;
    if !list.iter().any(|info| info.domid == domid) {
        return Err(Error::NoSuchDomain(plan.name.clone()));
    }
    let name = machine.store.read(&format!("/local/domain/{domid}/name"))?;
    match name {
        None => Err(Error::NoXenStore {
            name: plan.name.clone(),
            domid,
        }),
        Some(name) if name == plan.name || name == format!("dom0less-{domid}") => Ok(()),
        Some(name) => Err(Error::AnotherDomain {
            name: plan.name.clone(),
            domid,
            found: name,
        }),
    }
}

/// What libxl writes for the devices of a domain that it starts (Xen: tools/libs/light/libxl_virtio.c).
fn as_libxl(domid: u32, device: &VirtioPlan, folder: &str) -> Vec<Write> {
    let grants = device.memory == MemoryModel::Grant;
    [
        ("frontend", front(domid, device)),
        ("frontend-id", domid.to_string()),
        ("online", "1".to_owned()),
        ("state", "1".to_owned()),
        ("irq", device.irq.to_string()),
        ("base", format!("{:#x}", device.mmio_base)),
        ("type", format!("virtio,device{:x}", device.device_id)),
        ("transport", "mmio".to_owned()),
        ("grant_usage", u8::from(grants).to_string()),
    ]
    .map(|(key, value)| Write::value(format!("{folder}/{key}"), value))
    .into()
}

/// Shows a guest the devices that it does not see yet; whether there were any.
fn show_guest(machine: &Machine, domid: u32, plan: &DomainPlan) -> Result<bool> {
    let store = machine.store.as_ref();
    let mut writes = Vec::new();
    for device in &plan.virtio {
        let front = front(domid, device);
        if store.read(&format!("{front}/state"))?.is_some() {
            continue;
        }
        let back = keys::device_folder(domid, device);
        writes.push(Write::value(format!("{front}/backend"), back));
        let backend = device.backend_domid.to_string();
        writes.push(Write::value(format!("{front}/backend-id"), backend));
        // Linux looks for devices in this state.
        writes.push(Write::value(format!("{front}/state"), "1"));
    }
    store.write_all(&writes)?;
    Ok(!writes.is_empty())
}

/// Takes devices back that no guest has seen.
fn take_back(machine: &Machine, told: &[String]) -> Result<()> {
    told.iter()
        .try_for_each(|folder| machine.store.remove(folder))
}
