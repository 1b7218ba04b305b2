//! Ends the domains of a platform in order: guests before those that serve them.
//!
//! Whoever serves disks is there until those that use them have written what they have, and Xen frees a driver domain only when the
//! ioreq servers of its guests are gone.

use std::time::Duration;

use platform::plan::{DomainPlan, Plan};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{DomainInfo, Machine};
use crate::observe::{Event, Observer};
use crate::order;
use crate::remove::{self, Leaving};

/// What became of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It powered off, or had ended already, and was removed.
    Removed,
    /// It ran and was removed all the same.
    Forced,
    /// It runs: it did not power off, or serves one that did not.
    Running,
}

/// Shuts down and removes the domains of a plan. With `force`, also those that do not end within `timeout`, which holds for each step.
///
/// # Errors
/// Those of the machine; [`Error::Remains`] when interrupted.
pub async fn stop(
    machine: &Machine,
    plan: &Plan,
    timeout: Duration,
    force: bool,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<(DomainInfo, Outcome)>> {
    let mut rest = present(machine, plan, observer).await?;
    let mut outcomes = Vec::new();
    while !rest.is_empty() {
        let (step, later) = next(rest, &outcomes, &plan.domains);
        if step.is_empty() {
            // They serve domains that still run.
            outcomes.extend(later.into_iter().map(|(_, info)| (info, Outcome::Running)));
            break;
        }
        let left: Vec<DomainInfo> = step
            .iter()
            .chain(&later)
            .map(|(_, info)| info.clone())
            .collect();
        let stopped = end(machine, plan, step, timeout, force, observer, cancel).await;
        outcomes.extend(stopped.map_err(|cause| interrupted(cause, &left))?);
        rest = later;
    }
    Ok(outcomes)
}

/// The domains of the plan that there are, the last of the plan first.
async fn present(
    machine: &Machine,
    plan: &Plan,
    observer: &dyn Observer,
) -> Result<Vec<(DomainPlan, DomainInfo)>> {
    let list = machine.run(|m| m.domains.list()).await?;
    let mut present = Vec::new();
    for domain in order::in_order(&plan.domains).into_iter().rev() {
        // One that others hold and a new one beside it have one identity.
        let ours: Vec<_> = list.iter().filter(|info| info.is(&domain.uuid)).collect();
        let namesake = list.iter().find(|info| info.name == domain.name);
        if let Some(other) = namesake.filter(|info| ours.is_empty() && info.domid != 0) {
            observer.observe(Event::Note(format!(
                "{}: domain {} has this name, but is not of this document; left alone",
                other.name, other.domid
            )));
        }
        present.extend(ours.into_iter().map(|info| (domain.clone(), info.clone())));
    }
    Ok(present)
}

type Domains = Vec<(DomainPlan, DomainInfo)>;

/// Splits off those that can end now: nobody that is left, or still runs, uses them. Those that ended themselves serve nobody any more,
/// and may hold their guests: they go together with these.
fn next(
    rest: Domains,
    outcomes: &[(DomainInfo, Outcome)],
    all: &[DomainPlan],
) -> (Domains, Domains) {
    let running = outcomes.iter().filter(|(_, o)| *o == Outcome::Running);
    let running: Vec<&str> = running.map(|(info, _)| info.uuid.as_str()).collect();
    let names = rest.iter().map(|(domain, _)| domain.clone());
    let stay = all
        .iter()
        .filter(|d| running.iter().any(|uuid| d.uuid.eq_ignore_ascii_case(uuid)));
    let users: Vec<DomainPlan> = names.chain(stay.cloned()).collect();
    rest.into_iter()
        .partition(|(domain, info)| !info.is_alive() || !order::serves(&domain.name, &users))
}

/// Ends domains that serve none that runs.
async fn end(
    machine: &Machine,
    plan: &Plan,
    step: Domains,
    timeout: Duration,
    force: bool,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<(DomainInfo, Outcome)>> {
    let mut asked = Vec::new();
    let list = machine.run(|m| m.domains.list()).await?;
    for (domain, info) in &step {
        let (wanted, domid) = (domain.clone(), info.domid);
        let (list, domains) = (list.clone(), plan.domains.clone());
        let lost =
            move |m: &Machine| order::lost(m.store.as_ref(), &list, &wanted, domid, &domains);
        let lost = machine.run(lost).await?;
        if lost.is_empty() {
            asked.push(info.clone());
        } else if info.is_alive() {
            let why = crate::work::lost(&lost);
            observer.observe(Event::Note(format!("{}: {why}", domain.name)));
        }
    }
    let running = remove::shut_down(machine, &asked, timeout, observer, cancel).await?;
    let mut leaving = Vec::new();
    let mut outcomes = Vec::new();
    for (domain, info) in step {
        let outcome = match (running.contains(&info.domid), force) {
            (true, false) => Outcome::Running,
            (true, true) => Outcome::Forced,
            (false, _) => Outcome::Removed,
        };
        if outcome != Outcome::Running {
            leaving.push(Leaving::new(&domain.name, info.domid));
        }
        // One that is being removed may have lost its name.
        let name = domain.name;
        outcomes.push((DomainInfo { name, ..info }, outcome));
    }
    for result in remove::remove_all(machine, &leaving, observer).await {
        result?;
    }
    Ok(outcomes)
}

/// What remains when the user stops waiting: the guests, which may be about to power off.
fn interrupted(cause: Error, guests: &[DomainInfo]) -> Error {
    if !matches!(cause, Error::Interrupted) || guests.is_empty() {
        return cause;
    }
    let remains = guests
        .iter()
        .map(|guest| format!("domain {} (\"{}\")", guest.domid, guest.name))
        .collect();
    Error::Remains {
        cause: Box::new(cause),
        remains,
    }
}
