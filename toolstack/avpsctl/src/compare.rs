//! Compares what runs with a plan: what `avpsctl up` would do, and what `avpsctl diff` shows.

use platform::plan::{DomainPlan, Plan};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{DomainInfo, DomainState, Machine, by_uuid};
use crate::{bound, order};

/// What is to be done about one domain of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Status {
    /// It does not run.
    Absent,
    /// It runs as the plan says.
    Matches {
        /// Number.
        domid: u32,
        /// Somebody paused it, or it was created to stay paused.
        paused: bool,
    },
    /// It runs, but as another version of the plan said.
    Differs {
        /// Number.
        domid: u32,
        /// What differs: field, what runs, and what the document says.
        what: Vec<String>,
    },
    /// It runs, and a domain that served its devices does so no more: they are lost, and only a new start gives it others.
    #[serde(rename = "backend-gone")]
    BackendGone {
        /// Number.
        domid: u32,
        /// The domains that served it.
        backends: Vec<String>,
    },
    /// Whoever created it ended before it was complete. It never ran, so nothing is lost when it is created again.
    Unfinished {
        /// Number.
        domid: u32,
    },
    /// It has ended and was not removed, or is being removed.
    Ended {
        /// Number.
        domid: u32,
    },
}

impl Status {
    /// The number of the domain, when there is one.
    pub fn domid(&self) -> Option<u32> {
        match self {
            Status::Absent => None,
            Status::Matches { domid, .. }
            | Status::Differs { domid, .. }
            | Status::BackendGone { domid, .. }
            | Status::Unfinished { domid }
            | Status::Ended { domid } => Some(*domid),
        }
    }
}

/// Compares each domain of a plan with the machine, in the plan's order.
///
/// # Errors
/// [`Error::NameTaken`] when a name belongs to a domain that is not of this plan; libxl's and
/// XenStore's.
pub fn compare(machine: &Machine, plan: &Plan) -> Result<Vec<(DomainPlan, Status)>> {
    let running = machine.domains.list()?;
    let status = |domain: &DomainPlan| {
        // By its identity: one that is being removed may have lost its name.
        let ours = by_uuid(&running, &domain.uuid);
        let stays = ours.filter(|info| info.state != DomainState::Dying);
        let namesake = running.iter().find(|info| info.name == domain.name);
        match (stays, namesake, ours) {
            (Some(info), _, _) => status(machine, plan, domain, info, &running),
            (None, Some(other), _) if !other.is(&domain.uuid) => Err(Error::NameTaken {
                name: domain.name.clone(),
                domid: other.domid,
            }),
            (None, _, Some(dying)) => Ok(Status::Ended { domid: dying.domid }),
            (None, _, None) => Ok(Status::Absent),
        }
    };
    let domains = plan.domains.iter();
    domains
        .map(|domain| Ok((domain.clone(), status(domain)?)))
        .collect()
}

fn status(
    machine: &Machine,
    plan: &Plan,
    domain: &DomainPlan,
    info: &DomainInfo,
    running: &[DomainInfo],
) -> Result<Status> {
    let domid = info.domid;
    if !info.is_alive() {
        return Ok(Status::Ended { domid });
    }
    let store = machine.store.as_ref();
    if info.never_ran() && !keys::is_held(store, domid)? {
        return Ok(Status::Unfinished { domid });
    }
    let lost = order::lost(store, running, domain, domid, &plan.domains)?;
    if !lost.is_empty() {
        return Ok(Status::BackendGone {
            domid,
            backends: lost,
        });
    }
    let record = keys::read_record(store, domid)?;
    let what = match record.and_then(|record| record.differences(domain)) {
        Some(what) => what,
        None => {
            // Without its backend's domain no key is where the plan has it.
            let bound = bound::with_backends(domain, &plan.domains, running, machine.own);
            observed(machine, bound.as_ref().unwrap_or(domain), info)?
        }
    };
    Ok(if what.is_empty() {
        let paused = info.state == DomainState::Paused;
        Status::Matches { domid, paused }
    } else {
        Status::Differs { domid, what }
    })
}

/// How a domain without a readable record differs from the plan, as far as that can be seen; never nothing.
fn observed(machine: &Machine, bound: &DomainPlan, info: &DomainInfo) -> Result<Vec<String>> {
    let (store, domid) = (machine.store.as_ref(), info.domid);
    let mut what = Vec::new();
    if info.vcpus != bound.vcpus {
        what.push(format!("vcpus: {} → {}", info.vcpus, bound.vcpus));
    }
    for device in &bound.virtio {
        for (path, planned) in keys::parameters(domid, device) {
            let found = store.read(&path)?;
            if found.as_deref() != Some(planned.as_str()) {
                let key = path.rsplit('/').next().unwrap_or_default();
                what.push(format!(
                    "{} {} {key}: {} → {planned}",
                    device.device.kind(),
                    device.index,
                    found.as_deref().unwrap_or("nothing"),
                ));
            }
        }
    }
    let devices = keys::devices(store, domid)?.len();
    if devices != bound.virtio.len() {
        what.push(format!(
            "virtio devices: {devices} → {}",
            bound.virtio.len()
        ));
    }
    what.push(
        "it was not started by this release of avpsctl, so that other fields cannot be compared"
            .into(),
    );
    Ok(what)
}
