//! Compares what runs with a plan: what `avpsctl up` would do, and what `avpsctl diff` shows.

use platform::plan::{DomainPlan, Plan};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{DomainInfo, DomainState, Machine};
use crate::placed;

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
        /// Somebody paused it, or it was created and never let run.
        paused: bool,
    },
    /// It runs, but as another version of the plan said.
    Differs {
        /// Number.
        domid: u32,
        /// What is known to differ.
        what: Vec<String>,
    },
    /// It has ended and was not removed.
    Ended {
        /// Number.
        domid: u32,
    },
}

/// Compares each domain of a plan with the machine, in the plan's order.
///
/// # Errors
/// [`Error::NameTaken`] when a name belongs to a domain that is not of this plan; libxl's and
/// XenStore's.
pub fn compare(machine: &Machine, plan: &Plan) -> Result<Vec<(DomainPlan, Standing)>> {
    let running = machine.domains.list()?;
    plan.domains
        .iter()
        .map(|domain| {
            let standing = match running.iter().find(|info| info.name == domain.name) {
                Some(info) => {
                    // Without its backend's domain no key is where the plan has it.
                    let placed = placed::with_backends(domain, &plan.domains, &running);
                    standing(machine, domain, placed.as_ref().unwrap_or(domain), info)?
                }
                None => Standing::Absent,
            };
            Ok((domain.clone(), standing))
        })
        .collect()
}

fn standing(
    machine: &Machine,
    domain: &DomainPlan,
    placed: &DomainPlan,
    info: &DomainInfo,
) -> Result<Standing> {
    let domid = info.domid;
    if !info.uuid.eq_ignore_ascii_case(&domain.uuid) {
        return Err(Error::NameTaken {
            name: domain.name.clone(),
            domid,
        });
    }
    if matches!(info.state, DomainState::Shutdown | DomainState::Dying) {
        return Ok(Standing::Ended { domid });
    }
    let store = machine.store.as_ref();
    let marks = keys::read_marks(store, domid)?;
    if marks.is_some_and(|(_, digest)| digest == keys::digest(domain)) {
        let paused = info.state == DomainState::Paused;
        return Ok(Standing::Matches { domid, paused });
    }
    let mut what = Vec::new();
    if info.vcpus != domain.vcpus {
        what.push(format!(
            "vcpus: {} run, {} planned",
            info.vcpus, domain.vcpus
        ));
    }
    for device in &placed.virtio {
        for (path, planned) in keys::parameters(domid, device) {
            let found = store.read(&path)?;
            if found.as_deref() != Some(planned.as_str()) {
                let key = path.rsplit('/').next().unwrap_or_default();
                what.push(format!(
                    "{} {} {key}: {} runs, {planned} planned",
                    device.device.kind(),
                    device.index,
                    found.as_deref().unwrap_or("nothing"),
                ));
            }
        }
    }
    let devices = keys::devices(store, domid)?.len();
    if devices != domain.virtio.len() {
        what.push(format!(
            "virtio devices: {devices} run, {} planned",
            domain.virtio.len()
        ));
    }
    if what.is_empty() {
        what.push(
            "memory, CPUs, kernel, ramdisk, command line, passed-through devices or on_* actions"
                .into(),
        );
    }
    Ok(Standing::Differs { domid, what })
}
