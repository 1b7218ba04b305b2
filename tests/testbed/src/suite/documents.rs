//! Documents that ship, booted as they are: nothing but Xen and the domains that it starts itself.
//!
//! The oracle's guest stands in for what a document's domains run, with orders of its own behind their command lines. Xen and
//! the guests must tell the plan, shared memory must be where the plan has it and nowhere else, and safety guests' hearts beat.

mod shared;

use super::case::Case;
use super::run::Run;
use super::{Failed, Outcome, ensure};
use crate::artefacts::{self, Workshop};
use crate::failure::Failure;
use crate::oracle::documents::{differences, layout, shipped};
use crate::oracle::{Content, GuestReport, Oracle, Stranger, Verdict};
use crate::progress::Step;
use platform::Plan;
use platform::plan::{Asil, Module, ModuleRole, SharedMemory};
use std::path::PathBuf;
use std::time::Instant;

/// Begins the names of these tests.
const NAME: &str = "document: ";
/// Beats of a safety guest's heart.
const BEATS: u32 = 200;

/// A document's test.
struct Test {
    /// The rest of its name.
    promise: &'static str,
    body: fn(&Oracle) -> Outcome,
}

const TESTS: [Test; 5] = [
    Test {
        promise: "dom0less.avps.toml runs as planned",
        body: |oracle| {
            whole(oracle, "dom0less.avps.toml", |plan| {
                plan.dom0less().count() > 1
            })
        },
    },
    Test {
        promise: "cache-colors.avps.toml runs as planned, each guest with its colours",
        body: |oracle| whole(oracle, "cache-colors.avps.toml", has_colours),
    },
    Test {
        promise: "shared-memory.avps.toml runs as planned, shared memory is there for its users and for nobody else",
        body: |oracle| whole(oracle, "shared-memory.avps.toml", shares_with_some),
    },
    Test {
        promise: "dom0less-safety.avps.toml runs as planned without a hardware domain, its mailbox is for its two ends",
        body: |oracle| {
            whole(oracle, "dom0less-safety.avps.toml", |plan| {
                has_a_heart(plan) && shares_with_some(plan)
            })
        },
    },
    Test {
        promise: "dom0less-safety.avps.toml: hearts beat while Linux boots beside them",
        body: beside_linux,
    },
];

/// Names of all.
pub(super) fn names() -> impl Iterator<Item = String> {
    TESTS.iter().map(|test| format!("{NAME}{}", test.promise))
}

/// Runs those whose names are wanted.
pub(super) fn run(oracle: &Oracle, run: &Run) -> Result<(), Failure> {
    for (name, test) in names().zip(&TESTS) {
        if !run.wants_or_skips(&name) {
            continue;
        }
        let step = Step::begin("documents", test.promise);
        let began = Instant::now();
        let outcome = (test.body)(oracle);
        step.done("done");
        if crate::interrupt::interrupted() {
            return Err(crate::oracle::Error::Interrupted.into());
        }
        let logs = oracle.logs().display();
        let failure = outcome
            .err()
            .map(|Failed(seen)| format!("{seen}\nLogs: {logs}"));
        run.report
            .case(Case::new("oracle", name, began.elapsed(), failure));
    }
    Ok(())
}

/// Guests of Xen's own boot have colours, each its own.
fn has_colours(plan: &Plan) -> bool {
    let mut domains = plan.dom0less();
    plan.dom0less().count() > 1 && domains.all(|domain| !domain.colors.is_empty())
}

/// Memory is shared, and some domain has no part in it.
fn shares_with_some(plan: &Plan) -> bool {
    let has_part =
        |name: &str, memory: &SharedMemory| memory.users.iter().any(|user| user.domain == name);
    plan.shared_memory.iter().any(|memory| {
        memory.users.len() > 1
            && plan
                .dom0less()
                .any(|domain| !has_part(&domain.name, memory))
    })
}

/// Some domain has a safety level.
fn has_a_heart(plan: &Plan) -> bool {
    plan.dom0less().any(|domain| domain.asil != Asil::Qm)
}

/// The oracle's guest in all domains. The document has what its test is about.
fn whole(oracle: &Oracle, document: &str, is_about: fn(&Plan) -> bool) -> Outcome {
    let mut plan = plan(oracle, document)?;
    ensure(is_about(&plan), || {
        format!("{document} has nothing of what this test is about")
    })?;
    let orders = shared::orders(&plan);
    for (domain, orders) in &orders {
        order(&mut plan, domain, &orders.words);
    }
    let guests = booted(oracle, document, &plan, &|_| Content::Guest, &[])?;
    for domain in plan.dom0less() {
        let guest = guest(&guests, &plan, &domain.name)?;
        if let Some(orders) = orders.get(&domain.name) {
            orders.were_obeyed(guest)?;
        }
    }
    Ok(())
}

/// Linux, with its own files, in the domain without a safety level.
fn beside_linux(oracle: &Oracle) -> Outcome {
    let plan = plan(oracle, "dom0less-safety.avps.toml")?;
    ensure(has_a_heart(&plan), || "no domain has a heart")?;
    let linux = artefacts::plain(&Workshop::open())?;
    let mut domains = plan.dom0less();
    let beside = domains
        .find(|domain| domain.asil == Asil::Qm)
        .ok_or_else(|| Failed("no domain is without a safety level".into()))?;
    let content = |module: &Module| match (module.domain == beside.name, module.role) {
        (true, ModuleRole::Kernel) => Content::File(linux.kernel.clone()),
        (true, ModuleRole::Ramdisk) => Content::File(linux.initramfs.clone()),
        _ => Content::Guest,
    };
    let stranger = Stranger {
        domain: beside.domid.unwrap_or_default(),
        words: "Run /init as init process",
    };
    booted(oracle, "beside-linux", &plan, &content, &[stranger])?;
    Ok(())
}

/// The document's plan, with a heart in each domain that has a safety level.
fn plan(oracle: &Oracle, document: &str) -> Result<Plan, Failed> {
    let mut plan = shipped(oracle, document).map_err(|failure| Failed(failure.message))?;
    let safe: Vec<String> = plan
        .dom0less()
        .filter(|domain| domain.asil != Asil::Qm)
        .map(|domain| domain.name.clone())
        .collect();
    for domain in safe {
        order(&mut plan, &domain, &format!("heartbeat={BEATS}"));
    }
    Ok(plan)
}

/// Puts words behind a domain's command line.
fn order(plan: &mut Plan, domain: &str, words: &str) {
    let mut domains = plan.domains.iter_mut();
    if let Some(domain) = domains.find(|found| found.name == domain) {
        domain.cmdline = format!("{} {words}", domain.cmdline).trim().to_owned();
    }
}

/// Boots a plan, and sees that Xen and guests tell the same, and that each heart has beaten.
fn booted(
    oracle: &Oracle,
    name: &str,
    plan: &Plan,
    content: &dyn Fn(&Module) -> Content,
    strangers: &[Stranger],
) -> Result<Vec<GuestReport>, Failed> {
    for module in &plan.boot.modules {
        if let Content::File(path) = content(module) {
            fits(&path, plan.boot.slot_bytes)?;
        }
    }
    let mut layout = layout(oracle, plan, content)?
        .ok_or_else(|| Failed("it cannot be emitted for QEMU's machine".into()))?;
    // Hearts are heard under this host's load as well.
    layout.machine.counted = true;
    layout.strangers = strangers.to_vec();
    let answer = oracle.ask(name, &layout)?;
    let Verdict::Boots { guests } = &answer.verdict else {
        let verdict = &answer.verdict;
        return Err(Failed(format!("{}: {}", verdict.word(), verdict.line())));
    };
    let is_stranger = |id: Option<u16>| strangers.iter().any(|s| Some(s.domain) == id);
    let domains = plan.dom0less();
    let others: Vec<&str> = domains
        .filter(|domain| is_stranger(domain.domid))
        .map(|domain| domain.name.as_str())
        .collect();
    let differences = differences(plan, guests, &answer.readback, &others);
    ensure(differences.is_empty(), || differences.join("; "))?;
    for domain in plan.dom0less().filter(|domain| domain.asil != Asil::Qm) {
        let guest = guest(guests, plan, &domain.name)?;
        let steady = guest.said.iter().any(|said| {
            said.starts_with(&format!("heartbeat beats={BEATS} ")) && said.contains(" missed=0 ")
        });
        ensure(steady, || format!("{}: {:?}", domain.name, guest.said))?;
    }
    Ok(guests.clone())
}

/// A file must fit where the document has room for it.
fn fits(path: &PathBuf, slot: u64) -> Outcome {
    let length = std::fs::metadata(path)?.len();
    ensure(length <= slot, || {
        format!("{} does not fit into {slot} bytes", path.display())
    })
}

/// What the guest in this domain told.
fn guest<'a>(
    guests: &'a [GuestReport],
    plan: &Plan,
    domain: &str,
) -> Result<&'a GuestReport, Failed> {
    let id = plan.domain(domain).and_then(|domain| domain.domid);
    let mut guests = guests.iter();
    let found = guests.find(|guest| Some(guest.domain) == id);
    found.ok_or_else(|| Failed(format!("{domain} did not report")))
}
