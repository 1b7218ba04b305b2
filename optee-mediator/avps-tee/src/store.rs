//! What avpsctl says in XenStore: which guests are mediated, and what they may.
//!
//! `/libxl/<domid>/avps/tee/rights` holds a guest's rights as JSON; writing it again changes them. The daemon answers beside it:
//! `state` is `ready` once the guest's calls come here, `error` says why not. The folder is libxl's own: no guest can reach it, and
//! it goes with the domain.

use std::collections::BTreeMap;

use xen::DomId;
use xenstore::{Client, Watch};

use crate::rights::Rights;

/// The folder of all domains.
const DOMAINS: &str = "/libxl";
/// Fires when a domain has ended.
const RELEASED: &str = "@releaseDomain";

/// A guest that is to be mediated.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Its name.
    pub(crate) name: String,
    /// Its UUID, which tells it from another that gets its number.
    pub(crate) uuid: String,
    /// Its rights, or what is wrong with them.
    pub(crate) rights: Result<Rights, String>,
}

/// XenStore, and what has changed in it.
#[derive(Debug)]
pub(crate) struct Store {
    client: Client,
}

impl Store {
    /// Connects.
    pub(crate) fn open() -> xenstore::Result<Self> {
        Ok(Self {
            client: Client::open()?,
        })
    }

    /// The domain that this daemon runs in. Only dom0's socket of xenstored has no folder of its own to be relative to.
    fn own(&self) -> xenstore::Result<u16> {
        let own = self.client.read_string_opt("domid")?;
        Ok(own.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    /// Told of each change of rights and each end of a domain.
    pub(crate) fn watches(&self) -> xenstore::Result<[Watch; 2]> {
        Ok([self.client.watch(DOMAINS)?, self.client.watch(RELEASED)?])
    }

    /// The guests that are to be mediated.
    pub(crate) fn wanted(&self) -> xenstore::Result<BTreeMap<DomId, Wanted>> {
        let mut wanted = BTreeMap::new();
        // No domain was ever made.
        if !self.client.exists(DOMAINS)? {
            return Ok(wanted);
        }
        for child in self.client.directory(DOMAINS)? {
            let Ok(domid) = child.parse::<DomId>() else {
                continue;
            };
            let Some(text) = self.client.read_string_opt(&folder(domid, "rights"))? else {
                continue;
            };
            let rights = serde_json::from_str(&text).map_err(|error| error.to_string());
            let name = self
                .client
                .read_string_opt(&format!("/local/domain/{domid}/name"))?;
            let name = name.unwrap_or_else(|| domid.to_string());
            let uuid = self
                .client
                .read_string_opt(&format!("/local/domain/{domid}/vm"))?;
            let uuid = uuid.unwrap_or_default();
            wanted.insert(domid, Wanted { name, uuid, rights });
        }
        Ok(wanted)
    }

    /// Says what became of a guest. Nothing is said of one that is gone.
    pub(crate) fn tell(
        &self,
        domid: DomId,
        state: &str,
        error: Option<&str>,
    ) -> xenstore::Result<()> {
        if !self.client.exists(&folder(domid, "rights"))? {
            return Ok(());
        }
        match error {
            Some(error) => self
                .client
                .write(&folder(domid, "error"), error.as_bytes())?,
            None => self.client.rm(&folder(domid, "error"))?,
        }
        self.client.write(&folder(domid, "state"), state.as_bytes())
    }

    /// Says that the daemon runs, or does not any more.
    pub(crate) fn announce(&self, ready: bool) -> xenstore::Result<()> {
        let pid = std::process::id().to_string();
        let folder = tee_report::daemon(self.own()?);
        self.client
            .write(&format!("{folder}/pid"), pid.as_bytes())?;
        let ready = if ready { "1" } else { "0" };
        self.client
            .write(&format!("{folder}/ready"), ready.as_bytes())
    }
}

fn folder(domid: DomId, key: &str) -> String {
    format!("{}/{key}", tee_report::folder(domid.get().into()))
}
