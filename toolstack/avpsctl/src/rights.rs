//! What a driver domain may read in XenStore beyond its own part of it.
//!
//! Its `avps-backend` has to know when a guest ends, and which guest it serves: a number alone is given again. So a driver domain may watch
//! the special path `@releaseDomain` from before its first instruction until it is removed, and may read `name` and `vm` of each guest it
//! serves, which neither it nor the guest can write. The guest's side of each device is libxl's to show it. Nothing else is needed: how
//! much memory a guest has matters to who maps all of it, and that is the control domain alone (`memory = "foreign"`).

use std::collections::BTreeSet;

use platform::plan::{DomainKind, DomainPlan};

use crate::error::Result;
use crate::machine::{DOMAIN_ENDED, Store};

/// What a backend may read of a guest.
const OF_A_GUEST: [&str; 2] = ["name", "vm"];

/// Gives the rights that come with a domain that was just created: its own, and its backends'. `bound` has the backends' numbers, and
/// `control` is the domain that this program runs in.
///
/// # Errors
/// XenStore's.
pub fn give(store: &dyn Store, bound: &DomainPlan, domid: u32, control: u16) -> Result<()> {
    if bound.kind == DomainKind::Driver {
        store.permit(DOMAIN_ENDED, domid)?;
    }
    let devices = bound.virtio.iter();
    let backends: BTreeSet<u16> = devices.map(|device| device.backend_domid).collect();
    // The control domain may read everything.
    for backend in backends.into_iter().filter(|backend| *backend != control) {
        for name in OF_A_GUEST {
            let path = format!("/local/domain/{domid}/{name}");
            store.permit(&path, u32::from(backend))?;
        }
    }
    Ok(())
}

/// Takes back what a domain that is gone was given of its own. What others could read of it went with it.
///
/// # Errors
/// XenStore's.
pub fn take_back(store: &dyn Store, domid: u32) -> Result<()> {
    store.forbid(DOMAIN_ENDED, domid)
}
