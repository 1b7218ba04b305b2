//! Rights in the secure world.

use std::collections::{HashMap, HashSet};

use super::places::PAGE;
use crate::finding::Finding;
use crate::plan::{DomainKind, DomainPlan, Plan, TeeMode, TeeRights, TeeStandIn};
use crate::rules;
use crate::units::ByteSize;

/// Calls of a guest that avps-tee has under way at most.
const MOST_CALLS: u32 = 8;
/// The largest share.
const MOST_WEIGHT: u32 = 1000;
/// Memory that Xen's mediator for OP-TEE shares for a guest, in bytes (Xen: `MAX_SHM_BUFFER_COUNT`, `MAX_SHM_BUFFER_PG`; less
/// than `MAX_TOTAL_SMH_BUF_PG` pages).
const SHARED_BY_SMC: u64 = 16 * 129 * PAGE;
/// The same for FF-A (Xen: `FFA_MAX_SHM_COUNT`; a region has fewer pages than `FFA_MAX_SHM_PAGE_COUNT`).
const SHARED_BY_FFA: u64 = 32 * 255 * PAGE;
/// Domains that OP-TEE has room for where nobody built it for others (OP-TEE: mk/config.mk).
const USUAL_PARTITIONS: u32 = 2;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    for (number, domain) in plan.domains.iter().enumerate() {
        let Some(tee) = &domain.tee else { continue };
        let at = format!("domain[{number}].tee");
        let by_xen = domain.is_dom0less();
        if by_xen && tee.mode != TeeMode::None {
            let message = format!(
                "domain \"{}\" is started by Xen, and cannot reach the secure world",
                domain.name
            );
            findings.push(
                Finding::new(&rules::TEE_OF_DOM0LESS, format!("{at}.mode"), message)
                    .label("nobody carries out its calls"),
            );
            continue;
        }
        applications(&at, &domain.name, tee, findings);
        limits(&at, &domain.name, tee, findings);
    }
    storage(plan, findings);
    modes(plan, findings);
    partitions(plan, findings);
}

/// Domains that call the secure world, with their places in the document; the control domain, which always can, not among them.
fn calling(plan: &Plan) -> impl Iterator<Item = (usize, &DomainPlan)> {
    let domains = plan.domains.iter().enumerate();
    domains.filter(|(_, domain)| {
        let guest = domain.kind != DomainKind::Control && !domain.is_dom0less();
        guest && (domain.is_mediated() || domain.tee_of_xen().is_some())
    })
}

/// Xen has one mediator.
fn modes(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut domains = calling(plan).filter_map(|(number, domain)| {
        let mode = domain.tee_of_xen()?;
        Some((number, domain, mode))
    });
    let Some((_, first, mode)) = domains.next() else {
        return;
    };
    if let Some((number, domain, _)) = domains.find(|(_, _, other)| *other != mode) {
        let message = format!(
            "Xen cannot carry out the calls of both \"{}\" and \"{}\"",
            first.name, domain.name
        );
        let at = format!("domain[{number}].tee.mode");
        findings.push(
            Finding::new(&rules::TEE_MODES, at, message)
                .label(format!("not that of \"{}\"", first.name))
                .subject(&first.name)
                .subject(&domain.name),
        );
    }
}

/// OP-TEE has room for so many domains. One is the control domain, which makes the calls of mediated ones, too.
fn partitions(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut needed = 1_u32;
    for (number, domain) in calling(plan) {
        needed = needed.saturating_add(domain.tee_of_xen().is_some().into());
        if needed <= plan.tee.partitions.unwrap_or(USUAL_PARTITIONS) {
            continue;
        }
        let name = &domain.name;
        let (rule, message) = match plan.tee.partitions {
            Some(partitions) => (
                &rules::TEE_PARTITIONS,
                format!(
                    "with domain \"{name}\" OP-TEE needs {needed} partitions, and has {partitions}"
                ),
            ),
            None => (
                &rules::TEE_PARTITIONS_UNKNOWN,
                format!(
                    "with domain \"{name}\" OP-TEE needs {needed} partitions, and nobody says how many it has"
                ),
            ),
        };
        let at = format!("domain[{number}].tee.mode");
        let finding = Finding::new(rule, at, message);
        findings.push(finding.label("the control domain has one").subject(name));
        return;
    }
}

/// Applications that keep the objects of several domains in one place.
fn storage(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut first: HashMap<String, &DomainPlan> = HashMap::new();
    for (number, domain) in plan.domains.iter().enumerate() {
        let mediated = domain.tee.as_ref().filter(|_| domain.is_mediated());
        for (key, uuid) in mediated
            .into_iter()
            .flat_map(|tee| uuids(tee, "opens", |one| &one.opens))
        {
            let before = first.entry(uuid.to_ascii_lowercase()).or_insert(domain);
            if before.name == domain.name {
                continue;
            }
            let message = format!(
                "domains \"{}\" and \"{}\" find each other's objects in {uuid}",
                before.name, domain.name
            );
            let at = format!("domain[{number}].tee.{key}");
            findings.push(
                Finding::new(&rules::TEE_STORAGE_SHARED, at, message)
                    .label(format!("also of \"{}\"", before.name))
                    .subject(&before.name)
                    .subject(&domain.name)
                    .for_level(before.asil.max(domain.asil)),
            );
        }
    }
}

/// UUIDs of a domain's applications, with the keys that say so: those that are listed, and one of each stand-in.
fn uuids<'a>(
    tee: &'a TeeRights,
    key: &'static str,
    of: fn(&TeeStandIn) -> &str,
) -> impl Iterator<Item = (String, &'a str)> {
    let listed = tee.applications.iter().enumerate();
    let listed = listed.map(|(number, uuid)| (format!("applications[{number}]"), uuid.as_str()));
    let others = tee.stand_ins.iter().enumerate();
    listed.chain(others.map(move |(number, one)| (format!("stand_in[{number}].{key}"), of(one))))
}

/// A UUID in the usual form, in either case.
fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
}

fn applications(at: &str, domain: &str, tee: &TeeRights, findings: &mut Vec<Finding>) {
    let not_one = |key: &str, uuid: &str| {
        let message = format!("\"{uuid}\" is not a UUID");
        Finding::new(&rules::TEE_UUID, format!("{at}.{key}"), message)
            .label("8-4-4-4-12 digits in base 16")
    };
    let mut seen = HashSet::new();
    for (key, uuid) in uuids(tee, "application", |one| &one.application) {
        if !is_uuid(uuid) {
            findings.push(not_one(&key, uuid));
        } else if !seen.insert(uuid.to_ascii_lowercase()) {
            let message = format!("domain \"{domain}\" is allowed {uuid} twice");
            let at = format!("{at}.{key}");
            findings.push(Finding::new(&rules::TEE_UUID_TWICE, at, message).label("again"));
        }
    }
    for (number, one) in tee.stand_ins.iter().enumerate() {
        if !is_uuid(&one.opens) {
            findings.push(not_one(&format!("stand_in[{number}].opens"), &one.opens));
        }
    }
    let given = [
        (!tee.applications.is_empty(), "applications"),
        (!tee.stand_ins.is_empty(), "stand_in"),
        (tee.rate.is_some(), "rate"),
        (tee.timeout_us.is_some(), "timeout"),
    ];
    let given = given.iter().find(|(given, _)| *given);
    if tee.mode == TeeMode::Mediated {
        if tee.applications.is_empty() && tee.stand_ins.is_empty() {
            let message = format!("domain \"{domain}\" may open no trusted application");
            findings.push(
                Finding::new(
                    &rules::TEE_NO_APPLICATION,
                    format!("{at}.applications"),
                    message,
                )
                .label("no application is listed"),
            );
        }
    } else if let Some((_, key)) = given {
        let message = format!(
            "nobody applies the rights of domain \"{domain}\" with mode = \"{}\"",
            tee.mode.word()
        );
        findings.push(
            Finding::new(&rules::TEE_RIGHTS_UNUSED, format!("{at}.{key}"), message)
                .label("without effect"),
        );
    }
}

fn limits(at: &str, domain: &str, tee: &TeeRights, findings: &mut Vec<Finding>) {
    if tee.mode == TeeMode::None {
        return;
    }
    if tee.sessions == 0 {
        let message = format!("domain \"{domain}\" may open no session");
        let at = format!("{at}.sessions");
        findings.push(Finding::new(&rules::TEE_SESSIONS, at, message).label("zero"));
    }
    let ranges = [
        ("concurrency", tee.concurrency, MOST_CALLS),
        ("weight", tee.weight, MOST_WEIGHT),
    ];
    for (key, given, most) in ranges {
        if !(1..=most).contains(&given) {
            let message = format!("domain \"{domain}\" has {key} = {given} in the secure world");
            let at = format!("{at}.{key}");
            findings
                .push(Finding::new(&rules::TEE_SHARE, at, message).label(format!("1 to {most}")));
        }
    }
    let bytes = tee.shared_memory_bytes;
    let most = match tee.mode {
        TeeMode::None | TeeMode::Mediated => u64::MAX,
        TeeMode::Hypervisor => SHARED_BY_SMC,
        TeeMode::Ffa => SHARED_BY_FFA,
    };
    let beyond = bytes > most;
    if beyond || !bytes.is_multiple_of(PAGE) {
        let message = format!(
            "domain \"{domain}\" cannot share {} with the secure world",
            ByteSize(bytes)
        );
        let label = match beyond {
            true => format!("at most {}", ByteSize(most)),
            false => "no multiple of 4KiB".to_owned(),
        };
        let at = format!("{at}.shared_memory");
        findings.push(Finding::new(&rules::TEE_SHARED_MEMORY, at, message).label(label));
    }
}
