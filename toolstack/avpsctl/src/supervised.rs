//! The plan that a platform's supervisor knows: of each domain that runs, the plan it was started with.
//!
//! A document may have changed since its domains were started. A guest that crashes is started again as it was, not as a document
//! says that nobody has applied yet.

use std::fs;
use std::path::{Path, PathBuf};

use platform::plan::{DomainPlan, Plan};

use crate::compare::Status;
use crate::error::{Error, Result};
use crate::keys;
use crate::machine::{Machine, Store};
use crate::rundir::RunDir;

/// Where the plan of a platform's supervisor is.
pub fn path(run: &RunDir, platform: &str) -> PathBuf {
    run.path().join(format!("{platform}.plan.json"))
}

/// Reads a plan.
///
/// # Errors
/// The system's; [`Error::Io`] for a text that is no plan.
pub fn read(path: &Path) -> Result<Plan> {
    let wanted = || format!("reading {}", path.display());
    let text = fs::read_to_string(path).map_err(Error::io(wanted()))?;
    serde_json::from_str(&text).map_err(|error| Error::Io {
        wanted: wanted(),
        source: error.into(),
    })
}

/// Writes the plan of a platform's supervisor: completely, or not at all.
///
/// # Errors
/// The system's.
pub fn write(run: &RunDir, plan: &Plan) -> Result<()> {
    let path = path(run, &plan.platform);
    let unfinished = path.with_extension("part");
    let written = fs::create_dir_all(run.path())
        .and_then(|()| fs::write(&unfinished, plan.to_json()))
        .and_then(|()| fs::rename(&unfinished, &path));
    written.map_err(Error::io(format!("writing {}", path.display())))
}

/// Nobody supervises a platform any more, and nothing of it runs.
pub fn forget(run: &RunDir, platform: &str) {
    // A file that stays is rewritten before it is read again.
    let _ = fs::remove_file(path(run, platform));
}

/// The plan of a document, with the domains that run otherwise as they run. `fresh` were started just now.
///
/// # Errors
/// XenStore's.
pub fn as_it_runs(
    store: &dyn Store,
    mut plan: Plan,
    statuses: &[(DomainPlan, Status)],
    fresh: &[String],
) -> Result<Plan> {
    for domain in &mut plan.domains {
        let mut statuses = statuses.iter();
        let status = statuses.find(|(other, _)| other.name == domain.name);
        if let Some((_, Status::Differs { domid, .. })) = status
            && !fresh.contains(&domain.name)
            && let Some(record) = keys::read_record(store, *domid)?
        {
            *domain = record.plan.unwrap_or_else(|| domain.clone());
        }
    }
    Ok(plan)
}

/// The plan that a supervisor knows, with one domain more or renewed. Everything else stays.
pub fn with_domain(mut known: Plan, document: &Plan, domain: &DomainPlan) -> Plan {
    match known
        .domains
        .iter_mut()
        .find(|other| other.name == domain.name)
    {
        Some(other) => *other = domain.clone(),
        None => known.domains.push(domain.clone()),
    }
    for pool in &document.xen.cpupools {
        if known
            .xen
            .cpupools
            .iter()
            .all(|other| other.name != pool.name)
        {
            known.xen.cpupools.push(pool.clone());
        }
    }
    known
}

/// What a supervisor is to know after one domain of a document was created.
///
/// # Errors
/// libxl's and XenStore's.
pub fn after_create(
    machine: &Machine,
    known: Option<Plan>,
    document: &Plan,
    domain: &DomainPlan,
) -> Result<Plan> {
    if let Some(known) = known {
        return Ok(with_domain(known, document, domain));
    }
    let statuses = crate::compare::compare(machine, document)?;
    let fresh = [domain.name.clone()];
    as_it_runs(machine.store.as_ref(), document.clone(), &statuses, &fresh)
}
