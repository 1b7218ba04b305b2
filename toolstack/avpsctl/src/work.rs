//! What `avpsctl up` does about domains that differ from the document: which go, in which order, and which are started.
//!
//! Guests go before the domain that serves them: as long as they live, Xen does not free it. A guest whose backend is gone is removed
//! without being asked, since it could not write to its disk any more; one whose backend is replaced shuts down in order first.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use crate::cancel::Cancel;
use crate::compare::Status;
use crate::error::{Error, NotStarted, Result};
use crate::machine::Machine;
use crate::observe::{Event, Observer};
use crate::order;
use crate::remove::{self, Leaving};
use crate::start::{self, Report};

/// How long a guest that is to be replaced may take to power off by itself.
const REPLACED_ENDS: Duration = Duration::from_secs(20);

/// A domain that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Name.
    pub name: String,
    /// Number.
    pub domid: u32,
    /// It runs, and is asked to power off first.
    pub in_order: bool,
    /// Why it goes, when the document does not show it.
    pub why: Option<String>,
}

/// What is to be done, derived from what stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Domains to start, those that serve others first.
    pub start: Vec<DomainPlan>,
    /// Domains that have to go first: guests before those that serve them.
    pub remove: Vec<Removal>,
}

impl Work {
    /// Decides. With `replace`, domains that differ are replaced, and those they serve with them.
    ///
    /// # Errors
    /// [`Error::Drift`] when some differ and may not be replaced.
    pub fn of(statuses: &[(DomainPlan, Status)], replace: bool) -> Result<Work> {
        let domains: Vec<DomainPlan> = statuses.iter().map(|(d, _)| d.clone()).collect();
        let mut work = Work::default();
        let mut drift = Vec::new();
        for domain in order::in_order(&domains) {
            let mut statuses = statuses.iter();
            let Some((_, status)) = statuses.find(|(d, _)| d.name == domain.name) else {
                continue;
            };
            if let Status::Differs { what, .. } = status
                && !replace
            {
                drift.push(format!("{} ({})", domain.name, what.join(", ")));
                continue;
            }
            let removal = work.removal(&domain, status, &domains);
            if removal.is_some() || *status == Status::Absent {
                work.start.push(domain);
            }
            work.remove.extend(removal);
        }
        // Whoever is served stands behind who serves it.
        work.remove.reverse();
        if drift.is_empty() {
            Ok(work)
        } else {
            Err(Error::Drift(drift))
        }
    }

    /// Whether a domain has to go, those that serve it decided already.
    fn removal(
        &self,
        domain: &DomainPlan,
        status: &Status,
        domains: &[DomainPlan],
    ) -> Option<Removal> {
        let backends = order::backends_of(domain, domains);
        let replaced = backends.iter().find_map(|backend| {
            self.remove
                .iter()
                .find(|removal| removal.name == backend.name)
        });
        let (in_order, why) = match (status, replaced) {
            (Status::Absent, _) | (Status::Matches { .. }, None) => return None,
            (Status::Ended { .. }, _) => (false, None),
            (Status::Unfinished { .. }, _) => {
                (false, Some("it was created and never finished".to_owned()))
            }
            (Status::BackendGone { backends, .. }, _) => (false, Some(lost(backends))),
            (Status::Differs { .. }, None) => (true, None),
            (Status::Matches { .. } | Status::Differs { .. }, Some(backend)) => (
                backend.in_order,
                Some(format!(
                    "{} serves its devices and is started again",
                    backend.name
                )),
            ),
        };
        Some(Removal {
            name: domain.name.clone(),
            domid: status.domid()?,
            in_order,
            why,
        })
    }

    /// Leaves out domains that cannot be started, and those that wait for them; one of them that runs is left alone. Tells who
    /// waits.
    pub fn leave_out(&mut self, failed: &[NotStarted]) -> Vec<NotStarted> {
        let mut out: BTreeSet<String> = failed.iter().map(|one| one.name.clone()).collect();
        let mut waiting = Vec::new();
        // Those that others wait for stand before these.
        for domain in &self.start {
            let all = &self.start;
            let first = order::waits_for(domain, all).into_iter();
            let missing = first
                .map(|other| &other.name)
                .find(|name| out.contains(*name));
            if let Some(other) = missing.cloned().filter(|_| !out.contains(&domain.name)) {
                out.insert(domain.name.clone());
                waiting.push(NotStarted {
                    name: domain.name.clone(),
                    cause: Error::WaitsFor { other },
                });
            }
        }
        self.start.retain(|domain| !out.contains(&domain.name));
        self.remove.retain(|removal| !out.contains(&removal.name));
        waiting
    }

    /// Memory that becomes free, of these domains.
    pub fn frees(&self, domid: u32) -> bool {
        self.remove.iter().any(|removal| removal.domid == domid)
    }
}

/// What is said of a guest whose backends are gone.
pub fn lost(backends: &[String]) -> String {
    let names = backends.join(" and ");
    format!("its devices are lost, because {names} served them and is gone")
}

/// Brings the machine to the plan. A domain that cannot be started keeps no other from it but those that wait for it.
///
/// # Errors
/// What keeps all from being started, or a domain from being removed; [`Error::NotReplaced`] names those that ran before and do not
/// any more.
pub async fn carry_out(
    machine: &Machine,
    plan: &Plan,
    mut work: Work,
    options: start::Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Report> {
    // Before anything is removed: what runs is better than what cannot be started.
    let mut failed = start::lacking(machine, plan, &work.start).await?;
    for domain in &work.start {
        let (with, timeout) = (&work.start, options.timeout);
        let ready =
            start::require_after(machine, plan, domain, with, timeout, observer, cancel).await;
        if let Err(cause) = ready {
            let name = domain.name.clone();
            failed.push(NotStarted { name, cause });
        }
    }
    failed.extend(work.leave_out(&failed));
    let mut replaced = Vec::new();
    let result = async {
        remove_first(machine, &work, &mut replaced, observer, cancel).await?;
        start::start_each(machine, plan, &work.start, options, observer, cancel).await
    }
    .await;
    match result {
        Ok(mut report) => {
            for one in &mut report.failed {
                if replaced.contains(&one.name) {
                    let cause = std::mem::replace(&mut one.cause, Error::Interrupted);
                    let removed = vec![one.name.clone()];
                    one.cause = not_replaced(cause, removed);
                }
            }
            failed.append(&mut report.failed);
            report.failed = failed;
            Ok(report)
        }
        Err(cause) if replaced.is_empty() => Err(cause),
        Err(cause) => Err(not_replaced(cause, replaced)),
    }
}

fn not_replaced(cause: Error, removed: Vec<String>) -> Error {
    Error::NotReplaced {
        cause: Box::new(cause),
        removed,
    }
}

/// Removes what has to go before anything is started.
async fn remove_first(
    machine: &Machine,
    work: &Work,
    replaced: &mut Vec<String>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let (running, dead): (Vec<&Removal>, Vec<&Removal>) =
        work.remove.iter().partition(|removal| removal.in_order);
    for removal in work.remove.iter() {
        if let Some(why) = &removal.why {
            observer.observe(Event::Note(format!("{}: {why}", removal.name)));
        }
    }
    // Nobody can be asked any more, and they may hold each other.
    let leaving: Vec<Leaving> = dead
        .iter()
        .map(|removal| Leaving::new(&removal.name, removal.domid))
        .collect();
    for result in remove::remove_all(machine, &leaving, observer).await {
        result?;
    }
    for removal in running {
        let domid = removal.domid;
        let list = machine.run(|m| m.domains.list()).await?;
        let guest = list.into_iter().find(|info| info.domid == domid);
        remove::shut_down(machine, guest.as_slice(), REPLACED_ENDS, observer, cancel).await?;
        replaced.push(removal.name.clone());
        remove::remove(machine, &removal.name, domid, observer).await?;
    }
    Ok(())
}
