//! Driver domains: what runs in them, and how Xen keeps those that hold each other.
//!
//! A guest's ioreq server names the domain that made it, and keeps its number taken until the guest is gone or the backend ends in order
//! (xen/common/ioreq.c). A domain that crashed still maps pages of the guests it served, until it is destroyed: these cannot be freed
//! before. A backend that runs lets go of a guest at once.

use std::collections::BTreeSet;

use super::super::{DOMAIN_ENDED, DomainState};
use super::{Inner, Model};

/// What is known of driver domains.
#[derive(Default)]
pub(super) struct Driver {
    /// Names of domains in which a backend starts.
    with_backend: BTreeSet<String>,
    /// Guest and backend, for each ioreq server.
    servers: BTreeSet<(u32, u32)>,
    /// Domains that are destroyed and not freed.
    destroyed: BTreeSet<u32>,
}

impl Driver {
    /// The backend of a domain ended in order.
    pub(super) fn lets_go(&mut self, backend: u32) {
        self.servers.retain(|(_, by)| *by != backend);
    }
}

/// Guest and backend of a device's folder.
fn parties(folder: &str) -> Option<(u32, u32)> {
    let rest = folder.strip_prefix("/local/domain/")?;
    let mut parts = rest.split('/');
    let backend = parts.next()?.parse().ok()?;
    Some((parts.nth(2)?.parse().ok()?, backend))
}

impl Inner {
    /// Whether a backend says that it runs in a domain.
    pub(super) fn serves(&self, domid: u32) -> bool {
        let ready = format!("/local/domain/{domid}/data/avps-backend/ready");
        self.nodes.contains_key(&ready)
    }

    /// A domain begins to run, and so does the backend in it.
    pub(super) fn boots(&mut self, domid: u32) {
        let info = self.domains.iter().find(|info| info.domid == domid);
        if info.is_some_and(|info| self.driver.with_backend.contains(&info.name)) {
            let ready = format!("/local/domain/{domid}/data/avps-backend/ready");
            self.nodes.insert(ready, "1".into());
        }
    }

    /// Why a backend in a driver domain cannot serve: it has to know its guest, and to be told of its end.
    pub(super) fn driver_refuses(&self, folder: &str) -> Option<String> {
        let (guest, backend) = parties(folder)?;
        let needed = [
            DOMAIN_ENDED.to_owned(),
            format!("/local/domain/{guest}/vm"),
            format!("/local/domain/{guest}/name"),
        ];
        let missing = needed.iter().find(|path| !self.may_read(backend, path));
        missing.map(|path| format!("domain {backend} may not read {path}"))
    }

    /// A backend serves a device now.
    pub(super) fn becomes_server(&mut self, folder: &str) {
        self.driver
            .servers
            .extend(parties(folder).filter(|(_, backend)| *backend != 0));
    }

    /// A domain is destroyed. It goes when nobody holds it, and with it those it held.
    pub(super) fn leave(&mut self, domid: u32) {
        self.driver.destroyed.insert(domid);
        for info in self.domains.iter_mut().filter(|info| info.domid == domid) {
            info.state = DomainState::Dying;
            info.name = "(null)".into();
        }
        // The guest's ioreq servers end with its destruction, the backend's maps with that of its domain.
        for domid in self.driver.destroyed.clone() {
            let (servers, destroyed) = (&self.driver.servers, &self.driver.destroyed);
            let state = |domid: u32| {
                let mut domains = self.domains.iter();
                domains
                    .find(|info| info.domid == domid)
                    .map(|info| info.state)
            };
            let held = servers.iter().any(|(guest, backend)| {
                let names_it = *backend == domid && !destroyed.contains(guest);
                let maps_it = *guest == domid && state(*backend) == Some(DomainState::Shutdown);
                names_it || maps_it
            });
            if !held {
                self.domains.retain(|info| info.domid != domid);
            }
        }
    }
}

impl Model {
    /// In domains of this name a backend starts.
    pub(crate) fn backend_starts_in(&self, name: &str) {
        self.inner().driver.with_backend.insert(name.to_owned());
    }

    /// In domains of this name no backend starts any more.
    pub(crate) fn no_backend_starts_in(&self, name: &str) {
        self.inner().driver.with_backend.remove(name);
    }
}
