//! What a look at the machine finds lost: domains that served others and ended, and those they served.

use std::collections::BTreeSet;

use platform::plan::{Action, DomainPlan};

use super::policy::action;
use crate::error::{Error, Result};
use crate::machine::{DomainInfo, DomainState, Machine, ShutdownReason, by_uuid};
use crate::order;

/// A domain that served others and does so no more.
pub(super) struct Server {
    pub(super) plan: DomainPlan,
    /// It is still there, and ended in this way; none when it was destroyed, or is being.
    pub(super) ended: Option<ShutdownReason>,
    /// Its numbers that Xen still knows.
    pub(super) domids: Vec<u32>,
}

/// A domain that lost devices.
pub(super) struct Guest {
    pub(super) plan: DomainPlan,
    pub(super) domid: u32,
    /// What its document wants: it counts as crashed, unless it ended in another way by itself.
    pub(super) action: Action,
    /// Those that served it, by name.
    pub(super) by: Vec<String>,
}

/// What is lost, those that serve others first.
#[derive(Default)]
pub(super) struct Outage {
    pub(super) servers: Vec<Server>,
    pub(super) guests: Vec<Guest>,
}

impl Outage {
    /// Looks at the machine. `kept` are numbers that are left alone; `coming` are domains that are being removed or started, or
    /// are to be started. Beside what is lost, the first error that was met on looking at one of the domains.
    ///
    /// # Errors
    /// libxl's.
    pub(super) fn look(
        machine: &Machine,
        domains: &[DomainPlan],
        kept: &BTreeSet<u32>,
        coming: &BTreeSet<String>,
    ) -> Result<(Outage, Option<Error>)> {
        let list = machine.domains.list()?;
        let mut outage = Outage::default();
        let mut trouble = None;
        for domain in domains.iter().filter(|d| !coming.contains(&d.name)) {
            match guest(machine, domain, domains, &list, kept, &outage) {
                Ok(guest) => outage.guests.extend(guest),
                Err(error) => {
                    trouble.get_or_insert(error);
                }
            }
        }
        for domain in domains {
            let served = |guest: &Guest| guest.by.contains(&domain.name);
            if outage.guests.iter().any(served)
                && !outage.guests.iter().any(|g| g.plan.name == domain.name)
                && !coming.contains(&domain.name)
            {
                outage.servers.extend(server(domain, &list, kept));
            }
        }
        Ok((outage, trouble))
    }

    /// The same in parts that have no domain in common.
    pub(super) fn parts(self) -> Vec<Outage> {
        let mut groups: Vec<BTreeSet<String>> = Vec::new();
        for guest in &self.guests {
            let mut group: BTreeSet<String> = guest.by.iter().cloned().collect();
            group.insert(guest.plan.name.clone());
            let (joined, apart): (Vec<_>, Vec<_>) = groups
                .into_iter()
                .partition(|other| !other.is_disjoint(&group));
            group.extend(joined.into_iter().flatten());
            groups = apart;
            groups.push(group);
        }
        let Outage {
            mut servers,
            mut guests,
        } = self;
        let part = |group: BTreeSet<String>| Outage {
            servers: servers
                .extract_if(.., |server| group.contains(&server.plan.name))
                .collect(),
            guests: guests
                .extract_if(.., |guest| group.contains(&guest.plan.name))
                .collect(),
        };
        groups.into_iter().map(part).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.guests.is_empty()
    }
}

/// The domain, if it is there and lost devices.
fn guest(
    machine: &Machine,
    domain: &DomainPlan,
    domains: &[DomainPlan],
    list: &[DomainInfo],
    kept: &BTreeSet<u32>,
    outage: &Outage,
) -> Result<Option<Guest>> {
    let info = by_uuid(list, &domain.uuid)
        .filter(|info| info.state != DomainState::Dying && !kept.contains(&info.domid));
    let Some(info) = info else {
        return Ok(None);
    };
    let mut by = order::lost(machine.store.as_ref(), list, domain, info.domid, domains)?;
    by.retain(|name| !is_suspended(name, domains, list));
    // Those that go because they lost theirs serve nobody any more.
    for backend in order::backends_of(domain, domains) {
        let goes = |guest: &&Guest| guest.plan.name == backend.name;
        let goes = outage.guests.iter().find(goes);
        if goes.is_some_and(|guest| guest.action != Action::Preserve) && !by.contains(&backend.name)
        {
            by.push(backend.name.clone());
        }
    }
    if by.is_empty() {
        return Ok(None);
    }
    let crashed = ShutdownReason::Crash;
    let reason = match info.state {
        DomainState::Shutdown => info.reason.unwrap_or(crashed),
        _ => crashed,
    };
    Ok(Some(Guest {
        plan: domain.clone(),
        domid: info.domid,
        action: action(domain, reason),
        by,
    }))
}

/// Whoever suspended a domain wants to resume it; that is no end.
fn is_suspended(name: &str, domains: &[DomainPlan], list: &[DomainInfo]) -> bool {
    let domain = domains.iter().find(|domain| domain.name == name);
    let info = domain.and_then(|domain| by_uuid(list, &domain.uuid));
    info.is_some_and(|info| {
        info.state == DomainState::Shutdown && info.reason == Some(ShutdownReason::Suspend)
    })
}

/// The domain as one that serves nobody any more; none when it runs.
fn server(domain: &DomainPlan, list: &[DomainInfo], kept: &BTreeSet<u32>) -> Option<Server> {
    let ours = list.iter().filter(|info| info.is(&domain.uuid));
    let ended = match by_uuid(list, &domain.uuid) {
        Some(info) if info.is_alive() || kept.contains(&info.domid) => return None,
        Some(info) if info.state == DomainState::Shutdown => {
            Some(info.reason.unwrap_or(ShutdownReason::Unknown))
        }
        _ => None,
    };
    Some(Server {
        plan: domain.clone(),
        ended,
        domids: ours.map(|info| info.domid).collect(),
    })
}
