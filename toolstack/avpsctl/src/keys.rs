//! The XenStore keys this program shares with libxl and with `avps-backend`.
//!
//! A device's folder is `/local/domain/<backend>/backend/<class>/<guest>/<number>`. libxl writes
//! where the device is; [`tell_backend`] adds below `avps/` what it is, the version last: with it the
//! backend opens the image and says `state` 2. What this program must know about a running domain
//! stands in libxl's own private folder, `/libxl/<domid>/avps`, which no guest can reach and libxl
//! removes with the domain.

use platform::plan::{DevicePlan, DomainPlan, VirtioPlan};
use serde::Serialize;

use crate::applied::{self, Record};
use crate::error::Result;
use crate::machine::{Store, Write};

/// Version of the parameter keys, the value of `avps/version`.
const PARAMETERS_VERSION: &str = "1";

/// Classes of folders in which virtio devices are found: libxl's generic one, and its own for disks.
const CLASSES: [&str; 2] = ["virtio", "virtio_disk"];

/// The folder of all devices of one guest in one backend domain.
pub fn guest_folder(backend: u32, class: &str, guest: u32) -> String {
    format!("/local/domain/{backend}/backend/{class}/{guest}")
}

/// The folder of a device of a plan.
pub fn device_folder(guest: u32, device: &VirtioPlan) -> String {
    let backend = u32::from(device.backend_domid);
    format!(
        "{}/{}",
        guest_folder(backend, "virtio", guest),
        device.index
    )
}

/// The folder in which `avps-backend` says that it runs.
pub fn backend_folder(backend: u32) -> String {
    format!("/local/domain/{backend}/data/avps-backend")
}

/// The folder for what this program remembers of a domain.
fn own_folder(domid: u32) -> String {
    format!("/libxl/{domid}/avps")
}

/// How the backend of one device is told what to serve, in the order it is written.
///
/// libxl lets a guest read its devices' folders. What is behind a device is no affair of the guest:
/// the parameters are the backend's alone.
pub fn tell_backend(guest: u32, device: &VirtioPlan) -> Vec<Write> {
    let private = Write::Private {
        path: format!("{}/avps", device_folder(guest, device)),
        owner: device.backend_domid,
    };
    let values = parameters(guest, device)
        .into_iter()
        .map(|(path, value)| Write::Value { path, value });
    std::iter::once(private).chain(values).collect()
}

/// The parameters of one device as paths and values, the version last.
pub fn parameters(guest: u32, device: &VirtioPlan) -> Vec<(String, String)> {
    let folder = format!("{}/avps", device_folder(guest, device));
    let mut keys: Vec<(&str, String)> = vec![("kind", device.device.kind().to_owned())];
    match &device.device {
        DevicePlan::Block(block) => {
            keys.push(("image", block.image.clone()));
            keys.push(("readonly", u8::from(block.readonly).to_string()));
            keys.push(("block-size", block.block_size.to_string()));
            keys.push(("cache", block.cache.word().to_owned()));
            keys.extend(block.serial.clone().map(|serial| ("serial", serial)));
        }
    }
    keys.push(("memory", device.memory.word().to_owned()));
    keys.push(("version", PARAMETERS_VERSION.to_owned()));
    keys.into_iter()
        .map(|(key, value)| (format!("{folder}/{key}"), value))
        .collect()
}

/// What this program remembers of a domain it created.
pub fn marks(domid: u32, platform: &str, domain: &DomainPlan) -> Vec<Write> {
    let folder = own_folder(domid);
    let mut writes = vec![Write::value(format!("{folder}/platform"), platform)];
    writes.extend(applied::write(&folder, domain));
    writes
}

/// What [`marks`] wrote, if anything: the platform and the digest of the plan.
///
/// # Errors
/// XenStore's.
pub fn read_marks(store: &dyn Store, domid: u32) -> Result<Option<(String, String)>> {
    let folder = own_folder(domid);
    let platform = store.read(&format!("{folder}/platform"))?;
    let digest = store.read(&format!("{folder}/digest"))?;
    Ok(platform.zip(digest))
}

/// The platform that a domain was created for.
///
/// # Errors
/// XenStore's.
pub fn platform_of(store: &dyn Store, domid: u32) -> Result<Option<String>> {
    store.read(&format!("{}/platform", own_folder(domid)))
}

/// What [`marks`] wrote of the plan, if anything.
///
/// # Errors
/// XenStore's.
pub fn read_record(store: &dyn Store, domid: u32) -> Result<Option<Record>> {
    applied::read(store, &own_folder(domid))
}

/// Notes that a domain is complete and left paused on purpose. One that never ran and has no such note was not finished.
pub fn mark_held(domid: u32) -> Write {
    Write::value(format!("{}/held", own_folder(domid)), "1")
}

/// Whether [`mark_held`] was written.
///
/// # Errors
/// XenStore's.
pub fn is_held(store: &dyn Store, domid: u32) -> Result<bool> {
    let held = store.read(&format!("{}/held", own_folder(domid)))?;
    Ok(held.is_some())
}

/// States of a device (Xen: xen/include/public/io/xenbus.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// 1, 3 or unknown: the backend is not ready.
    Waiting,
    /// 2: the backend is ready for the driver.
    Ready,
    /// 4: the driver uses it.
    Connected,
    /// 5: it is being removed.
    Closing,
    /// 6: it is gone.
    Closed,
}

impl DeviceState {
    fn parse(text: &str) -> Self {
        match text {
            "2" => DeviceState::Ready,
            "4" => DeviceState::Connected,
            "5" => DeviceState::Closing,
            "6" => DeviceState::Closed,
            _ => DeviceState::Waiting,
        }
    }

    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            DeviceState::Waiting => "waiting",
            DeviceState::Ready => "ready",
            DeviceState::Connected => "connected",
            DeviceState::Closing => "closing",
            DeviceState::Closed => "closed",
        }
    }

    /// Whether a guest may touch the device.
    pub fn is_ready(self) -> bool {
        matches!(self, DeviceState::Ready | DeviceState::Connected)
    }
}

/// A virtio device as XenStore shows it. Also the JSON form of `avpsctl list` and `info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `virtio`, or `virtio_disk` for those of `xl`'s `disk=`.
    pub class: &'static str,
    /// Number among the guest's devices of this class.
    pub index: String,
    /// Domain number of the backend.
    pub backend_domid: u32,
    /// Kind as avpsctl wrote it, else libxl's type.
    pub kind: String,
    /// State.
    pub state: DeviceState,
    /// Image, when it is a disk that avpsctl set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Memory model, when avpsctl set it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Guest physical address of its registers, as libxl wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Interrupt number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irq: Option<String>,
    /// Why the backend cannot serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The XenStore folder.
    pub folder: String,
}

impl Device {
    /// Reads a device's folder.
    ///
    /// # Errors
    /// XenStore's.
    fn read(
        store: &dyn Store,
        class: &'static str,
        backend: u32,
        folder: String,
        index: String,
    ) -> Result<Self> {
        let key = |name: &str| store.read(&format!("{folder}/{name}"));
        let kind = match key("avps/kind")? {
            Some(kind) => kind,
            None => key("type")?.unwrap_or_else(|| "disk".to_owned()),
        };
        let image = match key("avps/image")? {
            Some(image) => Some(image),
            None => key("params")?,
        };
        Ok(Device {
            class,
            index,
            backend_domid: backend,
            kind,
            state: key("state")?.map_or(DeviceState::Waiting, |text| DeviceState::parse(&text)),
            image,
            memory: key("avps/memory")?,
            base: key("base")?,
            irq: key("irq")?,
            error: key("avps/error")?,
            folder,
        })
    }
}

/// The state of one device and, when the backend refuses it, why.
///
/// # Errors
/// XenStore's.
pub fn device_state(store: &dyn Store, folder: &str) -> Result<(DeviceState, Option<String>)> {
    let state = store.read(&format!("{folder}/state"))?;
    let error = store.read(&format!("{folder}/avps/error"))?;
    let state = state.map_or(DeviceState::Closed, |text| DeviceState::parse(&text));
    // A driver domain's own words.
    let error = error.map(|text| printable::line(&text).into_owned());
    Ok((state, error))
}

/// Every folder that holds devices of a guest, in any backend domain, also of a guest that is gone.
///
/// # Errors
/// XenStore's.
pub fn guest_folders(store: &dyn Store, guest: u32) -> Result<Vec<(u32, &'static str, String)>> {
    let mut found = Vec::new();
    for backend in store.children("/local/domain")? {
        let Ok(backend) = backend.parse::<u32>() else {
            continue;
        };
        for class in CLASSES {
            let all = format!("/local/domain/{backend}/backend/{class}");
            if store.children(&all)?.contains(&guest.to_string()) {
                found.push((backend, class, guest_folder(backend, class, guest)));
            }
        }
    }
    Ok(found)
}

/// The domains that serve a guest's virtio devices, by number, as libxl noted them when the guest was made (`libxl__device_generic_add` in
/// libxl_device.c). The note is the toolstack's own and outlives the backend's domain, whose folders do not.
///
/// # Errors
/// XenStore's.
pub fn served_by(store: &dyn Store, guest: u32) -> Result<Vec<(String, u32)>> {
    let mut found = Vec::new();
    for class in CLASSES {
        let all = format!("/libxl/{guest}/device/{class}");
        for index in store.children(&all)? {
            let path = store.read(&format!("{all}/{index}/backend"))?;
            let backend = path.as_deref().and_then(domain_of);
            found.extend(backend.map(|backend| (index, backend)));
        }
    }
    Ok(found)
}

/// The number in `/local/domain/<number>/…`.
fn domain_of(path: &str) -> Option<u32> {
    let rest = path.strip_prefix("/local/domain/")?;
    rest.split('/').next()?.parse().ok()
}

/// Says in place of a backend that is gone that a guest's devices are closed: libxl would wait ten seconds for each
/// (`LIBXL_DESTROY_TIMEOUT`).
///
/// # Errors
/// XenStore's.
pub fn close(store: &dyn Store, folder: &str) -> Result<()> {
    let mut writes = Vec::new();
    for index in store.children(folder)? {
        let state = format!("{folder}/{index}/state");
        if store.read(&state)?.is_some() {
            writes.push(Write::value(state, "6"));
        }
    }
    store.write_all(&writes)
}

/// Whether any guest's device stands in a backend's folder.
///
/// # Errors
/// XenStore's.
pub fn serves_any(store: &dyn Store, backend: u32) -> Result<bool> {
    for class in CLASSES {
        let all = format!("/local/domain/{backend}/backend/{class}");
        if !store.children(&all)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The virtio devices of a guest, by backend, class and number.
///
/// # Errors
/// XenStore's.
pub fn devices(store: &dyn Store, guest: u32) -> Result<Vec<Device>> {
    let mut found = Vec::new();
    for (backend, class, folder) in guest_folders(store, guest)? {
        let mut indices = store.children(&folder)?;
        indices.sort_by_key(|index| (index.parse::<u32>().unwrap_or(u32::MAX), index.clone()));
        for index in indices {
            let device = format!("{folder}/{index}");
            found.push(Device::read(store, class, backend, device, index)?);
        }
    }
    Ok(found)
}
