//! What `avpsctl up` does about domains that differ from the document: which go, in which order, and which are started.
//!
//! Guests go before the domain that serves them: as long as they live, Xen does not free it. A guest whose backend is gone is removed
//! without being asked, since it could not write to its disk any more; one whose backend is replaced shuts down in order first.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use crate::cancel::Cancel;
use crate::compare::Standing;
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
pub struct Going {
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
    pub remove: Vec<Going>,
}

impl Work {
    /// Decides. With `replace`, domains that differ are replaced, and those they serve with them.
    ///
    /// # Errors
    /// [`Error::Drift`] when some differ and may not be replaced.
    pub fn of(standings: &[(DomainPlan, Standing)], replace: bool) -> Result<Work> {
        let domains: Vec<DomainPlan> = standings.iter().map(|(d, _)| d.clone()).collect();
        let mut work = Work::default();
        let mut drift = Vec::new();
        for domain in order::in_order(&domains) {
            let mut standings = standings.iter();
            let Some((_, standing)) = standings.find(|(d, _)| d.name == domain.name) else {
                continue;
            };
            if let Standing::Differs { what, .. } = standing
                && !replace
            {
                drift.push(format!("{} ({})", domain.name, what.join(", ")));
                continue;
            }
            let going = work.going(&domain, standing, &domains);
            if going.is_some() || *standing == Standing::Absent {
                work.start.push(domain);
            }
            work.remove.extend(going);
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
    fn going(
        &self,
        domain: &DomainPlan,
        standing: &Standing,
        domains: &[DomainPlan],
    ) -> Option<Going> {
        let backends = order::backends_of(domain, domains);
        let replaced = backends
            .iter()
            .find_map(|backend| self.remove.iter().find(|going| going.name == backend.name));
        let (in_order, why) = match (standing, replaced) {
            (Standing::Absent, _) | (Standing::Matches { .. }, None) => return None,
            (Standing::Ended { .. }, _) => (false, None),
            (Standing::Unfinished { .. }, _) => {
                (false, Some("it was created and never finished".to_owned()))
            }
            (Standing::BackendGone { backends, .. }, _) => (false, Some(lost(backends))),
            (Standing::Differs { .. }, None) => (true, None),
            (Standing::Matches { .. } | Standing::Differs { .. }, Some(backend)) => (
                backend.in_order,
                Some(format!(
                    "{} serves its devices and is started anew",
                    backend.name
                )),
            ),
        };
        Some(Going {
            name: domain.name.clone(),
            domid: standing.domid()?,
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
        self.remove.retain(|going| !out.contains(&going.name));
        waiting
    }

    /// Memory that becomes free, of these domains.
    pub fn frees(&self, domid: u32) -> bool {
        self.remove.iter().any(|going| going.domid == domid)
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
    let (running, dead): (Vec<&Going>, Vec<&Going>) =
        work.remove.iter().partition(|going| going.in_order);
    for going in work.remove.iter() {
        if let Some(why) = &going.why {
            observer.observe(Event::Note(format!("{}: {why}", going.name)));
        }
    }
    // Nobody can be asked any more, and they may hold each other.
    let leaving: Vec<Leaving> = dead
        .iter()
        .map(|going| Leaving::new(&going.name, going.domid))
        .collect();
    for result in remove::remove_all(machine, &leaving, observer).await {
        result?;
    }
    for going in running {
        let domid = going.domid;
        let list = machine.run(|m| m.domains.list()).await?;
        let guest = list.into_iter().find(|info| info.domid == domid);
        remove::shut_down(machine, guest.as_slice(), REPLACED_ENDS, observer, cancel).await?;
        replaced.push(going.name.clone());
        remove::remove(machine, &going.name, domid, observer).await?;
    }
    Ok(())
}
