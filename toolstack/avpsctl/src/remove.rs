//! Removes domains so that nothing of them is left: no domain, no XenStore key.
//!
//! libxl removes a backend's folder in dom0 once the backend says it is closed; in a driver domain
//! it leaves that to the backend. When the backend does neither, the folders are removed here,
//! after the domain is gone and the backend had its time.

use std::time::Duration;

use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::keys::{self, DeviceState};
use crate::machine::{Changes, DOMAIN_ENDED, DomainInfo, DomainState, Domains, Machine};
use crate::observe::{Event, Observer};
use crate::start::changed_before;
use crate::{order, rights};

/// How long a backend may take to let go of a domain that is gone.
const BACKEND_CLOSES: Duration = Duration::from_secs(5);
/// How long Xen may take to free a destroyed domain: others may still map its memory.
const DOMAIN_GOES: Duration = Duration::from_secs(10);
/// How often a dying domain is looked at. `@releaseDomain` fires when Xen has taken a domain apart
/// (`VIRQ_DOM_EXC` in `domain_kill`, xen/common/domain.c); the last reference to it, and with it
/// its number, goes a little later, and nobody tells.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A domain that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Name.
    pub name: String,
    /// Number.
    pub domid: u32,
    /// Who stays and keeps Xen from freeing it: a guest that names it in its ioreq server, or a domain that maps its memory. It is not
    /// waited for then.
    pub held_by: Option<String>,
}

impl Leaving {
    /// Nobody holds it.
    pub fn new(name: &str, domid: u32) -> Self {
        Leaving {
            name: name.to_owned(),
            domid,
            held_by: None,
        }
    }
}

/// Destroys a domain, waits until its backends let go of it, and removes what they left.
///
/// # Errors
/// What could not be removed.
pub async fn remove(
    machine: &Machine,
    name: &str,
    domid: u32,
    observer: &dyn Observer,
) -> Result<()> {
    let results = remove_all(machine, &[Leaving::new(name, domid)], observer).await;
    results.into_iter().collect()
}

/// Removes domains that may hold each other: all are destroyed, in this order, before the first is waited for. A driver domain that
/// crashed still maps pages of its guests, whose ioreq servers name it. Tells how it went for each.
pub async fn remove_all(
    machine: &Machine,
    leaving: &[Leaving],
    observer: &dyn Observer,
) -> Vec<Result<()>> {
    let mut destroyed = Vec::new();
    for domain in leaving {
        destroyed.push(destroy(machine, domain, observer).await);
    }
    let mut results = Vec::new();
    for (domain, destroyed) in leaving.iter().zip(destroyed) {
        results.push(match destroyed {
            Ok((result, changes)) => finish(machine, domain, result, changes, observer).await,
            Err(error) => Err(error),
        });
    }
    results
}

/// Destroys a domain. What libxl says comes back: it may complain and yet the domain be gone.
async fn destroy(
    machine: &Machine,
    domain: &Leaving,
    observer: &dyn Observer,
) -> Result<(Result<()>, Changes)> {
    let domid = domain.domid;
    observer.observe(Event::Removing {
        domain: domain.name.clone(),
        domid,
    });
    let paths = machine.run(move |m| close_orphans(m, domid)).await?;
    let changes = machine.run(move |m| m.store.watch(&paths)).await?;
    let destroyed = machine.run(move |m| m.domains.destroy(domid)).await;
    Ok((destroyed, changes))
}

/// The folders of a domain's devices. Where their backend's domain ended, nobody else will close them.
fn close_orphans(machine: &Machine, domid: u32) -> Result<Vec<String>> {
    let store = machine.store.as_ref();
    let mut paths = Vec::new();
    for (backend, _, folder) in keys::guest_folders(store, domid)? {
        if backend != u32::from(machine.own) && !order::is_alive(machine, backend)? {
            keys::close(store, &folder)?;
        }
        paths.push(folder);
    }
    Ok(paths)
}

/// Waits until a destroyed domain is gone, and removes what is left of it.
async fn finish(
    machine: &Machine,
    domain: &Leaving,
    destroyed: Result<()>,
    mut changes: Changes,
    observer: &dyn Observer,
) -> Result<()> {
    let domid = domain.domid;
    let gone = if domain.held_by.is_some() {
        destroyed.as_ref().is_ok()
    } else {
        wait_until_gone(machine, domid, Instant::now() + DOMAIN_GOES).await?
    };
    if !gone {
        destroyed?;
        return Err(Error::StillRunning {
            seconds: DOMAIN_GOES.as_secs(),
            domains: vec![domain.name.clone()],
        });
    }
    let leftovers = clean(machine, domid, &mut changes).await?;
    observer.observe(match domain.held_by.clone() {
        Some(by) => Event::Held {
            domain: domain.name.clone(),
            domid,
            by,
        },
        None => Event::Removed {
            domain: domain.name.clone(),
            domid,
            leftovers,
        },
    });
    Ok(())
}

/// Waits until Xen no longer knows a domain; `false` when it still does at the deadline.
///
/// # Errors
/// XenStore's or libxl's.
pub async fn wait_until_gone(machine: &Machine, domid: u32, deadline: Instant) -> Result<bool> {
    let paths = vec![DOMAIN_ENDED.to_owned()];
    let mut changes = machine.run(move |m| m.store.watch(&paths)).await?;
    loop {
        // One that is dying counts: it still holds memory that others map.
        let list = machine.run(|m| m.domains.list()).await?;
        if list.iter().all(|domain| domain.domid != domid) {
            return Ok(true);
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(false);
        }
        let look = deadline.min(now + LOOK_AGAIN);
        changed_before(&mut changes, look, &Cancel::never()).await?;
    }
}

/// Waits for the backends of a domain that is gone, then removes its folders. Tells how many had
/// to be removed.
async fn clean(machine: &Machine, domid: u32, changes: &mut Changes) -> Result<usize> {
    let deadline = Instant::now() + BACKEND_CLOSES;
    loop {
        let devices = machine
            .run(move |m| keys::devices(m.store.as_ref(), domid))
            .await?;
        if devices
            .iter()
            .all(|device| device.state == DeviceState::Closed)
        {
            break;
        }
        let backends: Vec<u32> = devices.iter().map(|device| device.backend_domid).collect();
        let somebody_cares = machine
            .run(move |m| {
                let mut any = false;
                for backend in backends {
                    any |= crate::start::backend_runs(m, backend)?;
                }
                Ok(any)
            })
            .await?;
        if !somebody_cares || !changed_before(changes, deadline, &Cancel::never()).await? {
            break;
        }
    }
    machine
        .run(move |machine| {
            let store = machine.store.as_ref();
            let mut removed = 0;
            for (backend, _, folder) in keys::guest_folders(store, domid)? {
                store.remove(&folder)?;
                removed += 1;
                forget_backend(machine, backend)?;
            }
            rights::take_back(store, domid)?;
            for path in [format!("/local/domain/{domid}"), format!("/libxl/{domid}")] {
                if store.read(&path)?.is_some() {
                    store.remove(&path)?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await
}

/// Removes what is left in XenStore of a backend's domain that is gone, when nobody's device stands there any more.
fn forget_backend(machine: &Machine, backend: u32) -> Result<()> {
    let list = machine.domains.list()?;
    let store = machine.store.as_ref();
    if list.iter().any(|info| info.domid == backend) || keys::serves_any(store, backend)? {
        return Ok(());
    }
    store.remove(&format!("/local/domain/{backend}"))
}

/// Waits until each of these domains has ended or is gone. Those that still run at the deadline
/// come back.
///
/// # Errors
/// XenStore's, libxl's, or [`Error::Interrupted`].
pub async fn wait_until_ended(
    machine: &Machine,
    domids: &[u32],
    deadline: Instant,
    cancel: &Cancel,
) -> Result<Vec<u32>> {
    let paths = vec![DOMAIN_ENDED.to_owned()];
    let mut changes = machine.run(move |m| m.store.watch(&paths)).await?;
    loop {
        let list = machine.run(|m| m.domains.list()).await?;
        let running: Vec<u32> = domids
            .iter()
            .copied()
            .filter(|domid| {
                list.iter().any(|domain| {
                    domain.domid == *domid
                        && !matches!(domain.state, DomainState::Shutdown | DomainState::Dying)
                })
            })
            .collect();
        if running.is_empty() || !changed_before(&mut changes, deadline, cancel).await? {
            return Ok(running);
        }
    }
}

/// Asks guests to power off, all of them before the first is waited for, and waits until they have. Those that cannot be asked, or
/// still run at the end of the time, come back. A paused guest is let run first, since it could not answer otherwise; one that never
/// ran is not asked, and has nothing to lose.
///
/// # Errors
/// XenStore's, libxl's, or [`Error::Interrupted`].
pub async fn shut_down(
    machine: &Machine,
    guests: &[DomainInfo],
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<u32>> {
    let deadline = Instant::now() + timeout;
    let mut deaf = Vec::new();
    let mut asked = Vec::new();
    for guest in guests.iter().filter(|guest| can_be_asked(guest)) {
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        observer.observe(Event::ShuttingDown {
            domain: guest.name.clone(),
        });
        let one = guest.clone();
        let ask = move |m: &Machine| ask(m, &one, |domains, domid| domains.shutdown(domid));
        match machine.run(ask).await {
            Ok(()) => asked.push(guest.domid),
            Err(error) => {
                // There is nobody to wait for; whether it is removed all the same is the caller's
                // decision.
                observer.observe(Event::Note(format!("{}: {error}", guest.name)));
                deaf.push(guest.domid);
            }
        }
    }
    deaf.extend(wait_until_ended(machine, &asked, deadline, cancel).await?);
    Ok(deaf)
}

/// Whether somebody in it could hear: it has begun to run, and not ended.
pub fn can_be_asked(guest: &DomainInfo) -> bool {
    guest.is_alive() && !guest.never_ran()
}

/// Asks a guest for something, and lets it run before that when it is paused.
///
/// # Errors
/// XenStore's and libxl's.
pub fn ask(
    machine: &Machine,
    guest: &DomainInfo,
    wish: impl FnOnce(&dyn Domains, u32) -> Result<()>,
) -> Result<()> {
    if guest.state == DomainState::Paused {
        machine.domains.unpause(guest.domid)?;
    }
    wish(machine.domains.as_ref(), guest.domid)
}
