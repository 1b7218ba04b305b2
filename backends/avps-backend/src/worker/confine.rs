//! What a worker keeps of a process's means: its descriptors, and the calls that serve a guest.

use confinement::{Missing, Needs};
use xen_sys::{evtchn, gntdev, privcmd};

use super::WorkerError;
use crate::cli::SandboxMode;

/// User id of domain 0's worker, if it had one; each domain has its own above. Neither system users nor the ranges for
/// containers and subordinate ids are there on usual distributions.
const FIRST_ID: u32 = 65_536;

/// Every request a worker issues on its devices, the most frequent first: they are compared in this order. It neither
/// binds nor restricts, issues no hypercall of its choice, and has no grant's unmapping ring a bell elsewhere.
const REQUESTS: [u32; 8] = [
    // Interrupts. The kernel compares the domain with the handle's; so it does for both kinds of mappings below.
    privcmd::DM_OP,
    // Answers to the guest's vCPUs.
    evtchn::NOTIFY,
    // The guest's rings and requests.
    gntdev::GRANT_COPY,
    gntdev::MAP_GRANT_REF,
    gntdev::UNMAP_GRANT_REF,
    // Memory model `foreign`; the ioreq page.
    privcmd::MMAPBATCH_V2,
    privcmd::MMAP_RESOURCE,
    // After more events came than there are ports.
    evtchn::RESET,
];

/// How it went.
#[derive(Debug)]
pub(super) struct Confined {
    /// What the holder is told.
    pub(super) missing: Vec<String>,
    /// Why this worker must not serve.
    pub(super) refusal: Option<WorkerError>,
}

/// Confines this process, which serves `domid` from now on.
pub(super) fn confine(mode: SandboxMode, domid: u16) -> Confined {
    if mode == SandboxMode::Off {
        return Confined {
            missing: vec!["everything (switched off)".to_owned()],
            refusal: None,
        };
    }
    let needs = Needs {
        id: FIRST_ID.saturating_add(u32::from(domid)),
        ioctls: REQUESTS.to_vec(),
    };
    let missing: Vec<String> = confinement::confine(&needs)
        .iter()
        .map(Missing::to_string)
        .collect();
    let refusal = (mode == SandboxMode::Required && !missing.is_empty())
        .then(|| WorkerError::Sandbox(missing.join(", ")));
    Confined { missing, refusal }
}
