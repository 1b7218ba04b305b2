//! What `avpsctl up` does about domains that differ from the document: which go, in which order, and which are started.
//!
//! Guests go before the domain that serves them: as long as they live, Xen does not free it. A guest whose backend is gone is removed
//! without being asked, since it could not write to its disk any more; one whose backend is replaced shuts down in order first.

use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use crate::cancel::Cancel;
use crate::compare::Standing;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::observe::{Event, Observer};
use crate::order;
use crate::remove::{self, Leaving};
use crate::start::{self, Started};

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

/// Brings the machine to the plan.
///
/// # Errors
/// What failed; [`Error::NotReplaced`] names those that ran before and do not any more.
pub async fn carry_out(
    machine: &Machine,
    plan: &Plan,
    work: &Work,
    options: start::Options,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Started>> {
    start::require_backends(machine, plan, &work.start).await?;
    let mut replaced = Vec::new();
    let result = async {
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
        start::start(machine, plan, &work.start, options, observer, cancel).await
    }
    .await;
    result.map_err(|cause| {
        if replaced.is_empty() {
            cause
        } else {
            Error::NotReplaced {
                cause: Box::new(cause),
                removed: replaced,
            }
        }
    })
}
