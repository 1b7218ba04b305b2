//! XenStore as the holder sees it. Workers never come here.
//!
//! Everything is addressed absolutely below `/local/domain/<own>`. Nothing is ever written into a
//! device folder that libxl has removed meanwhile: that would bring it back to life half empty.

pub(crate) mod folder;
mod locate;

use std::time::Duration;

use thiserror::Error;
use xen::{DomId, IoservId};
use xenstore::{Access, Client, Permission, Watch};

use folder::{BusState, Class, DeviceKey, Keys};
pub(crate) use locate::{Located, locate};

/// Keys of a device folder that mean something to us.
const KEYS: &[&str] = &[
    "frontend-id",
    "online",
    "state",
    "irq",
    "base",
    "type",
    "transport",
    "grant_usage",
    "params",
    "mode",
    "avps/version",
    "avps/kind",
    "avps/image",
    "avps/readonly",
    "avps/memory",
    "avps/block-size",
    "avps/serial",
    "avps/cache",
    "avps/queues",
    "avps/error",
];

/// How long xenstored may take for an answer before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// XenStore could not do what was needed.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// No XenStore.
    #[error("{0} (without Xen there is nothing to serve)")]
    Unreachable(xenstore::Error),
    /// Who are we?
    #[error(
        "XenStore does not say which domain this is (key \"domid\"): {0}; in dom0, xen-init-dom0 writes it"
    )]
    OwnDomain(String),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] xenstore::Error),
}

/// What XenStore tells about a guest, as far as this domain may read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `vm` key: names the domain for good, unlike its number.
    pub(crate) vm: Option<String>,
    /// Domain name.
    pub(crate) name: Option<String>,
    /// Most memory the guest can have, in KiB.
    pub(crate) memory_kib: Option<u64>,
}

/// A connection, and who we are.
#[derive(Debug)]
pub(crate) struct Store {
    client: Client,
    own: DomId,
}

impl Store {
    /// Connects and finds out which domain this is.
    ///
    /// # Errors
    /// This is no Xen domain, or XenStore does not answer.
    pub(crate) fn open() -> Result<Self, StoreError> {
        let client = Client::open()
            .map_err(StoreError::Unreachable)?
            .with_timeout(PATIENCE);
        let own = own_domain(&client)?;
        Ok(Self { client, own })
    }

    /// The domain we run in.
    pub(crate) fn own(&self) -> DomId {
        self.own
    }

    /// Watches all device folders of a class.
    pub(crate) fn watch_class(&self, class: Class) -> Result<Watch, StoreError> {
        Ok(self.client.watch(&self.class_path(class))?)
    }

    /// Watches for domains that become known to XenStore.
    pub(crate) fn watch_introductions(&self) -> Result<Watch, StoreError> {
        Ok(self.client.watch("@introduceDomain")?)
    }

    /// Watches for domains that go away.
    pub(crate) fn watch_releases(&self) -> Result<Watch, StoreError> {
        Ok(self.client.watch("@releaseDomain")?)
    }

    /// All devices there are folders for.
    pub(crate) fn devices(&self) -> Result<Vec<DeviceKey>, StoreError> {
        let mut found = Vec::new();
        for class in Class::ALL {
            let top = self.class_path(class);
            for guest in self.children(&top)? {
                let Ok(domid) = guest.parse::<DomId>() else {
                    continue;
                };
                for device in self.children(&format!("{top}/{guest}"))? {
                    if let Ok(device) = device.parse() {
                        found.push(DeviceKey {
                            guest: domid,
                            class,
                            device,
                        });
                    }
                }
            }
        }
        Ok(found)
    }

    /// A device folder's keys at one moment; `None` when there is no folder.
    pub(crate) fn read(&self, key: DeviceKey) -> Result<Option<Keys>, StoreError> {
        let path = self.path(key);
        let keys = self.client.transaction(|tx| {
            let children = |path: &str| match tx.directory(path) {
                Ok(names) => Ok(Some(names)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            };
            let Some(mut there) = children(&path)? else {
                return Ok(None);
            };
            // Only what is there is asked for: each question is a round trip, and a guest may be running towards its window.
            if there.iter().any(|name| name == "avps") {
                let own = children(&format!("{path}/avps"))?.unwrap_or_default();
                there.extend(own.into_iter().map(|name| format!("avps/{name}")));
            }
            let mut keys = Keys::new();
            for name in there {
                if KEYS.contains(&name.as_str())
                    && let Some(value) = tx.read_opt(&format!("{path}/{name}"))?
                {
                    keys.insert(name, String::from_utf8_lossy(&value).into_owned());
                }
            }
            Ok(Some(keys))
        })?;
        Ok(keys)
    }

    /// Writes the `state` key of a folder that still exists.
    pub(crate) fn publish(&self, key: DeviceKey, state: BusState) -> Result<(), StoreError> {
        let path = format!("{}/state", self.path(key));
        self.client.transaction(|tx| {
            if tx.exists(&path)? {
                tx.write(&path, state.number())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes `avps/error` into a folder that still exists. The guest may read its device's folder, but
    /// not this key: it can name paths of this domain.
    pub(crate) fn show_error(&self, key: DeviceKey, text: &str) -> Result<(), StoreError> {
        let folder = self.path(key);
        let path = format!("{folder}/avps/error");
        let only_us = [Permission::new(self.own.get(), Access::None)];
        self.client.transaction(|tx| {
            if tx.exists(&folder)? {
                tx.write(&path, text)?;
                tx.set_permissions(&path, &only_us)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Removes `avps/error`.
    pub(crate) fn clear_error(&self, key: DeviceKey) -> Result<(), StoreError> {
        absent_is_fine(self.client.rm(&format!("{}/avps/error", self.path(key))))
    }

    /// Removes a device's folder, and its guest's when that is empty then.
    pub(crate) fn remove_folder(&self, key: DeviceKey) -> Result<(), StoreError> {
        absent_is_fine(self.client.rm(&self.path(key)))?;
        let guest = format!("{}/{}", self.class_path(key.class), key.guest);
        if self.children(&guest)?.is_empty() {
            absent_is_fine(self.client.rm(&guest))?;
        }
        Ok(())
    }

    /// Whether the domain exists and has not begun to die.
    pub(crate) fn is_alive(&self, guest: DomId) -> Result<bool, StoreError> {
        match self.client.is_introduced(guest.get()) {
            // Only the control domain may ask.
            Err(error) if error.is_permission_denied() => self.has_frontend(guest),
            answer => Ok(answer?),
        }
    }

    /// Whether the guest's side of one of our devices is there: libxl lets a backend's domain read that, and removes it with
    /// the domain. A guest that takes it away does without its devices.
    fn has_frontend(&self, guest: DomId) -> Result<bool, StoreError> {
        for class in Class::ALL {
            for device in self.children(&format!("{}/{guest}", self.class_path(class)))? {
                let frontend = format!("/local/domain/{guest}/device/{}/{device}", class.folder());
                if self.readable(&format!("{frontend}/backend-id"))?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What can be read about a guest.
    pub(crate) fn facts(&self, guest: DomId) -> Result<Facts, StoreError> {
        let text = |name: &str| self.readable(&format!("/local/domain/{guest}/{name}"));
        Ok(Facts {
            vm: text("vm")?,
            name: text("name")?,
            memory_kib: text("memory/static-max")?.and_then(|text| text.parse().ok()),
        })
    }

    /// The `vm` key alone.
    pub(crate) fn vm(&self, guest: DomId) -> Result<Option<String>, StoreError> {
        self.readable(&format!("/local/domain/{guest}/vm"))
    }

    /// Tells avpsctl that devices are being served.
    pub(crate) fn announce(&self) -> Result<(), StoreError> {
        let folder = self.data_path();
        self.client.transaction(|tx| {
            tx.write(
                &format!("{folder}/pid"),
                std::process::id().to_string().as_str(),
            )?;
            tx.write(&format!("{folder}/version"), env!("CARGO_PKG_VERSION"))?;
            tx.write(&format!("{folder}/ready"), "1")
        })?;
        Ok(())
    }

    /// Takes [`Store::announce`] back. What is remembered about ioreq servers stays for the next holder.
    pub(crate) fn withdraw(&self) -> Result<(), StoreError> {
        let folder = self.data_path();
        for name in ["ready", "pid", "version"] {
            absent_is_fine(self.client.rm(&format!("{folder}/{name}")))?;
        }
        if self.children(&folder)?.is_empty() {
            absent_is_fine(self.client.rm(&folder))?;
        }
        Ok(())
    }

    /// Remembers a guest's ioreq server beyond our own life.
    pub(crate) fn remember_server(
        &self,
        guest: DomId,
        server: IoservId,
        vm: Option<&str>,
    ) -> Result<(), StoreError> {
        let folder = self.server_path(guest);
        self.client.transaction(|tx| {
            tx.write(&format!("{folder}/vm"), vm.unwrap_or_default())?;
            tx.write(&format!("{folder}/ioserv"), server.0.to_string().as_str())
        })?;
        Ok(())
    }

    /// The ioreq server an earlier holder made for this guest, if it is still the same guest. One that was made before this domain
    /// could read who the guest is counts as well: of another guest it could not be bound, and left alone it would stay for ever.
    pub(crate) fn recall_server(
        &self,
        guest: DomId,
        vm: Option<&str>,
    ) -> Result<Option<IoservId>, StoreError> {
        let folder = self.server_path(guest);
        let server = self.readable(&format!("{folder}/ioserv"))?;
        let of = self.readable(&format!("{folder}/vm"))?;
        Ok(server
            .filter(|_| of.is_some_and(|of| of.is_empty() || Some(of.as_str()) == vm))
            .and_then(|text| text.parse().ok())
            .map(IoservId))
    }

    /// The guest's ioreq server is gone.
    pub(crate) fn forget_server(&self, guest: DomId) -> Result<(), StoreError> {
        absent_is_fine(self.client.rm(&self.server_path(guest)))?;
        let folder = format!("{}/guests", self.data_path());
        if self.children(&folder)?.is_empty() {
            absent_is_fine(self.client.rm(&folder))?;
        }
        Ok(())
    }

    /// Guests an ioreq server is remembered for.
    pub(crate) fn remembered(&self) -> Result<Vec<DomId>, StoreError> {
        let folder = format!("{}/guests", self.data_path());
        let names = self.children(&folder)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn class_path(&self, class: Class) -> String {
        format!("/local/domain/{}/backend/{}", self.own, class.folder())
    }

    fn path(&self, key: DeviceKey) -> String {
        format!(
            "{}/{}/{}",
            self.class_path(key.class),
            key.guest,
            key.device
        )
    }

    fn data_path(&self) -> String {
        format!("/local/domain/{}/data/avps-backend", self.own)
    }

    fn server_path(&self, guest: DomId) -> String {
        format!("{}/guests/{guest}", self.data_path())
    }

    fn children(&self, path: &str) -> Result<Vec<String>, StoreError> {
        match self.client.directory(path) {
            Ok(names) => Ok(names),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// A value as text; `None` where it is absent or not ours to read (a driver domain sees little).
    fn readable(&self, path: &str) -> Result<Option<String>, StoreError> {
        match self.client.read_opt(path) {
            Ok(value) => Ok(value.map(|value| String::from_utf8_lossy(&value).trim().to_owned())),
            Err(error) if error.is_permission_denied() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn own_domain(client: &Client) -> Result<DomId, StoreError> {
    match client.read_string("domid") {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| StoreError::OwnDomain(format!("it holds {text:?}"))),
        // Through xenstored's own socket relative paths have no domain to be relative to; the
        // socket exists only where xenstored runs.
        Err(error) if error.is_not_found() && std::path::Path::new(xenstore::SOCKET).exists() => {
            Ok(DomId::DOM0)
        }
        Err(error) => Err(StoreError::OwnDomain(error.to_string())),
    }
}

fn absent_is_fine(result: xenstore::Result<()>) -> Result<(), StoreError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
