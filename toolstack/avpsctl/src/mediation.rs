//! Domains whose calls into the secure world `avps-tee` carries out (`tee.mode = "mediated"`).
//!
//! Their rights stand in `/libxl/<domid>/avps/tee/rights`, where no guest can reach them; the daemon says beside them what became of
//! it. A domain runs only once its calls come to the daemon: its driver looks for the secure world once, when its kernel starts.

use std::time::Duration;

use platform::plan::DomainPlan;
use platform::units::XenVersion;
use serde_json::json;
use tee_report::{Rights, daemon, folder};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{Changes, Machine, Write};
use crate::observe::{Event, Observer};
use crate::start::{Building, changed_before};

/// First release of libxl that can be told how many interrupts a domain has.
const INTERRUPTS_SINCE: XenVersion = XenVersion::new(4, 20);

/// The interrupt by which the daemon tells a domain that a call has ended, if it can have one.
///
/// # Errors
/// libxl's.
pub(crate) fn interrupt(m: &Machine, domain: &DomainPlan) -> Result<Option<u32>> {
    let Some(interrupt) = domain.tee_interrupt() else {
        return Ok(None);
    };
    let release = m.domains.host()?.libxl_release.parse::<XenVersion>();
    let can = release.is_ok_and(|release| release >= INTERRUPTS_SINCE);
    Ok(can.then_some(interrupt))
}

/// The rights of a domain as the daemon reads them.
fn rights(m: &Machine, domain: &DomainPlan) -> Result<Option<String>> {
    let Some(tee) = domain.tee.as_ref().filter(|_| domain.is_mediated()) else {
        return Ok(None);
    };
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let rights = Rights {
        applications: tee.applications.clone(),
        stand_ins: tee
            .stand_ins
            .iter()
            .map(|one| (one.application.clone(), one.opens.clone()))
            .collect(),
        sessions: tee.sessions,
        shared_memory_bytes: tee.shared_memory_bytes,
        rate: tee.rate.map(number),
        concurrency: tee.concurrency,
        timeout_ms: tee.timeout_us.map(|us| number(us.div_ceil(1000))),
        weight: tee.weight,
        interrupt: interrupt(m, domain)?,
    };
    Ok(Some(json!(rights).to_string()))
}

/// What tells the daemon about a domain.
///
/// # Errors
/// libxl's.
pub(crate) fn tell(m: &Machine, domid: u32, domain: &DomainPlan) -> Result<Option<Write>> {
    let path = format!("{}/rights", folder(domid));
    Ok(rights(m, domain)?.map(|rights| Write::value(path, rights)))
}

/// What gives a running domain the rights that its document has by now, if it has others.
///
/// # Errors
/// XenStore's, and libxl's.
pub(crate) fn renewal(m: &Machine, domid: u32, domain: &DomainPlan) -> Result<Option<Write>> {
    let Some(rights) = rights(m, domain)? else {
        return Ok(None);
    };
    let path = format!("{}/rights", folder(domid));
    let has = m.store.read(&path)?.as_ref() == Some(&rights);
    Ok((!has).then(|| Write::value(path, rights)))
}

/// Gives a running domain the rights that its document has by now; whether it had others.
///
/// # Errors
/// XenStore's, and libxl's.
pub(crate) fn renew(m: &Machine, domid: u32, domain: &DomainPlan) -> Result<bool> {
    let Some(renewal) = renewal(m, domid, domain)? else {
        return Ok(false);
    };
    m.store.write_all(&[renewal])?;
    Ok(true)
}

/// Refuses before anything is created when nobody would carry the calls out.
///
/// # Errors
/// [`Error::NoMediator`], and XenStore's.
pub(crate) fn require(machine: &Machine, domains: &[DomainPlan]) -> Result<()> {
    let mediated: Vec<_> = domains
        .iter()
        .filter(|domain| domain.is_mediated())
        .map(|domain| format!("\"{}\"", domain.name))
        .collect();
    if mediated.is_empty() || runs(machine)? {
        return Ok(());
    }
    Err(Error::NoMediator {
        needed_by: mediated.join(", "),
    })
}

fn runs(machine: &Machine) -> Result<bool> {
    let daemon = daemon(machine.own);
    let read = |key: &str| machine.store.read(&format!("{daemon}/{key}"));
    if read("ready")?.as_deref() != Some("1") {
        return Ok(false);
    }
    // One that was killed leaves its keys behind.
    let pid = read("pid")?.and_then(|text| text.parse().ok());
    Ok(pid.is_some_and(|pid| machine.domains.process_exists(pid)))
}

/// Waits until the calls of a domain come to the daemon.
///
/// # Errors
/// [`Error::MediatorRefused`] with the daemon's words, [`Error::NoMediator`], [`Error::MediatorTimeout`], [`Error::Interrupted`], and
/// XenStore's.
pub(crate) async fn wait(
    machine: &Machine,
    building: &Building,
    timeout: Duration,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    if !building.bound.is_mediated() {
        return Ok(());
    }
    let awaited = (building.bound.name.clone(), building.domid);
    let paths = vec![folder(building.domid), daemon(machine.own)];
    let mut changes: Changes = machine.run(move |m| m.store.watch(&paths)).await?;
    let deadline = Instant::now() + timeout;
    let mut told = false;
    loop {
        let (name, domid) = awaited.clone();
        if machine.run(move |m| is_ready(m, &name, domid)).await? {
            return Ok(());
        }
        if !told {
            let name = &awaited.0;
            observer.observe(Event::Note(format!("{name}: waiting for avps-tee")));
            told = true;
        }
        if !changed_before(&mut changes, deadline, cancel).await? {
            return Err(Error::MediatorTimeout {
                seconds: timeout.as_secs(),
                waiting: vec![awaited.0],
            });
        }
    }
}

/// Whether a domain has rights in the secure world, and its calls do not come to the daemon yet.
///
/// # Errors
/// XenStore's.
pub(crate) fn is_pending(machine: &Machine, domid: u32) -> Result<bool> {
    let read = |key: &str| machine.store.read(&format!("{}/{key}", folder(domid)));
    Ok(read("rights")?.is_some() && read("state")?.as_deref() != Some("ready"))
}

fn is_ready(machine: &Machine, name: &str, domid: u32) -> Result<bool> {
    let read = |key: &str| machine.store.read(&format!("{}/{key}", folder(domid)));
    if let Some(text) = read("error")? {
        return Err(Error::MediatorRefused {
            domain: name.to_owned(),
            text: printable::line(&text).into_owned(),
        });
    }
    if read("state")?.as_deref() == Some("ready") {
        return Ok(true);
    }
    if !runs(machine)? {
        return Err(Error::NoMediator {
            needed_by: format!("\"{name}\""),
        });
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::model::Model;
    use crate::tests::plan_of;

    #[test]
    fn rights_that_the_document_has_changed_are_seen_before_they_are_given_and_not_afterwards() {
        let text = |sessions| {
            format!(
                "schema = \"avps/1\"\n[platform]\nname = \"test\"\n[[domain]]\nname = \"a\"\nkernel = \"/Image\"\n\
                 memory = \"64MiB\"\n[domain.tee]\nmode = \"mediated\"\n\
                 applications = [\"8aaaf200-2450-11e4-abe2-0002a5d5c51b\"]\nsessions = {sessions}\n"
            )
        };
        let (before, after) = (plan_of(&text(2)), plan_of(&text(3)));
        let machine = Model::new().machine();
        let told = tell(&machine, 1, &before.domains[0]).expect("works");
        machine.store.write_all(told.as_slice()).expect("works");
        let seen = |plan: &platform::Plan| {
            let renewal = renewal(&machine, 1, &plan.domains[0]);
            renewal.expect("works").is_some()
        };
        assert!(!seen(&before));
        assert!(seen(&after));
        assert!(renew(&machine, 1, &after.domains[0]).expect("works"));
        assert!(!seen(&after) && seen(&before));
    }
}
