//! Compares what runs with a plan: what `avpsctl up` would do, and what `avpsctl diff` shows.

use platform::plan::{DomainPlan, Plan};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{DomainInfo, DomainState, Machine, by_uuid};
use crate::{order, placed};

/// What is to be done about one domain of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Standing {
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

impl Standing {
    /// The number of the domain, when there is one.
    pub fn domid(&self) -> Option<u32> {
        match self {
            Standing::Absent => None,
            Standing::Matches { domid, .. }
            | Standing::Differs { domid, .. }
            | Standing::BackendGone { domid, .. }
            | Standing::Unfinished { domid }
            | Standing::Ended { domid } => Some(*domid),
        }
    }
}

/// Compares each domain of a plan with the machine, in the plan's order.
///
/// # Errors
/// [`Error::NameTaken`] when a name belongs to a domain that is not of this plan; libxl's and
/// XenStore's.
pub fn compare(machine: &Machine, plan: &Plan) -> Result<Vec<(DomainPlan, Standing)>> {
    let running = machine.domains.list()?;
    let standing = |domain: &DomainPlan| {
        // By its identity: one that is being removed may have lost its name.
        let ours = by_uuid(&running, &domain.uuid);
        let stays = ours.filter(|info| info.state != DomainState::Dying);
        let namesake = running.iter().find(|info| info.name == domain.name);
        match (stays, namesake, ours) {
            (Some(info), _, _) => standing(machine, plan, domain, info, &running),
            (None, Some(other), _) if !other.is(&domain.uuid) => Err(Error::NameTaken {
                name: domain.name.clone(),
                domid: other.domid,
            }),
            (None, _, Some(dying)) => Ok(Standing::Ended { domid: dying.domid }),
            (None, _, None) => Ok(Standing::Absent),
        }
    };
    let domains = plan.domains.iter();
    domains
        .map(|domain| Ok((domain.clone(), standing(domain)?)))
        .collect()
}

fn standing(
    machine: &Machine,
    plan: &Plan,
    domain: &DomainPlan,
    info: &DomainInfo,
    running: &[DomainInfo],
) -> Result<Standing> {
    let domid = info.domid;
    if !info.is_alive() {
        return Ok(Standing::Ended { domid });
    }
    let store = machine.store.as_ref();
    if info.never_ran() && !keys::is_held(store, domid)? {
        return Ok(Standing::Unfinished { domid });
    }
    let lost = order::lost(store, running, domain, domid, &plan.domains)?;
    if !lost.is_empty() {
        return Ok(Standing::BackendGone {
            domid,
            backends: lost,
        });
    }
    let record = keys::read_record(store, domid)?;
    let what = match record.and_then(|record| record.differences(domain)) {
        Some(what) => what,
        None => {
            // Without its backend's domain no key is where the plan has it.
            let placed = placed::with_backends(domain, &plan.domains, running, machine.own);
            observed(machine, placed.as_ref().unwrap_or(domain), info)?
        }
    };
    Ok(if what.is_empty() {
        let paused = info.state == DomainState::Paused;
        Standing::Matches { domid, paused }
    } else {
        Standing::Differs { domid, what }
    })
}

/// How a domain without a readable record differs from the plan, as far as that can be seen; never nothing.
fn observed(machine: &Machine, placed: &DomainPlan, info: &DomainInfo) -> Result<Vec<String>> {
    let (store, domid) = (machine.store.as_ref(), info.domid);
    let mut what = Vec::new();
    if info.vcpus != placed.vcpus {
        what.push(format!("vcpus: {} → {}", info.vcpus, placed.vcpus));
    }
    for device in &placed.virtio {
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
    if devices != placed.virtio.len() {
        what.push(format!(
            "virtio devices: {devices} → {}",
            placed.virtio.len()
        ));
    }
    what.push(
        "it was not started by this release of avpsctl, so that other fields cannot be compared"
            .into(),
    );
    Ok(what)
}
