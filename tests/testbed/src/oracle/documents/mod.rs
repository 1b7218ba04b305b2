//! The checker against Xen: a document is checked, emitted and booted, and both opinions are compared.
//!
//! The checker must accept nothing that Xen refuses or gets wrong, and refuse nothing that Xen runs as planned. Documents come
//! from the rules' fixtures, written by hand, and from good ones with one thing changed at random.

mod compare;
mod layout;
mod mutate;
mod random;
mod run;
mod shipped;
mod sources;

use compare::Judgement;
pub(crate) use compare::differences;
pub(crate) use layout::{layout, machine};
pub(crate) use random::Random;
pub(crate) use run::{Wanted, run, trials};
pub(crate) use shipped::shipped;

use super::{Answer, Content, Error, Machine, Oracle, Result};
use platform::document::{Document, RangeTable};
use platform::plan::{DomainPlan, MachinePlan, Module, ModuleRole};
use platform::units::{Address, ByteSize, XenVersion};
use platform::{Plan, Severity};

/// Rules that Xen has no opinion on, by the beginning of their ids. Such a refusal is right whatever Xen does.
const NOT_XENS: [&str; 20] = [
    // The text, names and images, virtio's own limits, this host, interference, safety.
    "AVPS00", "AVPS01", "AVPS02", "AVPS03", "AVPS08", "AVPS09",
    // A share of time is something the toolstack gives: what runs does not show that it was not given.
    "AVPS0526",
    // Shared memory that nobody uses, a domain or channel that is named twice, and a channel from a domain to itself, do what they say; no document means it.
    "AVPS0609", "AVPS0610", "AVPS0622", "AVPS0626",
    // The channel is there; what is not is the node by which a driver finds Xen.
    "AVPS0623", // Networks and the secure world are not in the device tree.
    "AVPS064", "AVPS072", // Which release the document is for.
    "AVPS050", // Names that lead nowhere, or twice to the same.
    "AVPS0512", "AVPS0601",
    // The guest's report does not show it: the last letter of a long command line, whether owners of memory from Xen's heap
    // have the same pages, an address that the guest cannot reach.
    "AVPS0424", "AVPS0608", "AVPS0615",
];

/// What the checker thinks of a document.
#[derive(Debug)]
struct Opinion {
    /// The plan, whether it is accepted or not.
    plan: Plan,
    /// Ids of the rules that refuse it, and the paths of what they are about.
    refusals: Vec<(&'static str, String)>,
}

impl Opinion {
    /// Checks a document. `None` when there is nothing for Xen to judge: it cannot be read, or needs more than Xen, or another
    /// machine.
    fn of(text: &str, facts: &MachinePlan) -> Option<Self> {
        let (document, mut findings) = platform::document::read(text);
        let mut document = document?;
        place_modules(&mut document);
        let plan = platform::resolve(&document, "/oracle", facts.clone());
        if findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error)
        {
            return None;
        }
        if plan.domains.is_empty() || !plan.domains.iter().all(DomainPlan::is_dom0less) {
            return None;
        }
        machine(&plan)?;
        if plan.xen.version != XenVersion::DEFAULT {
            return None;
        }
        findings.extend(platform::check::check(&plan));
        let errors = findings.iter().filter(|f| f.severity() == Severity::Error);
        Some(Self {
            refusals: errors
                .map(|finding| (finding.rule.id, finding.at.clone()))
                .collect(),
            plan,
        })
    }

    /// A rule about Xen refuses it.
    fn is_about_xen(&self) -> bool {
        let others = |id: &str| NOT_XENS.iter().any(|family| id.starts_with(family));
        // Where modules are put is the boot loader's affair.
        let loaded = |at: &str| at.starts_with("boot.");
        self.refusals
            .iter()
            .any(|(id, at)| !others(id) && !loaded(at))
    }
}

/// A document that does not say where modules are loaded leaves that to whoever boots it: here.
fn place_modules(document: &mut Document) {
    let boot = document.content.boot.get_or_insert_default();
    boot.xen_at = boot.xen_at.or(Some(Address(layout::XEN.start)));
    boot.device_tree_at = boot.device_tree_at.or(Some(Address(layout::TREE.start)));
    if boot.window.is_none() {
        boot.window = Some(RangeTable {
            at: Some(Address(0x4200_0000)),
            size: Some(ByteSize(64 << 20)),
        });
        boot.slot = boot.slot.or(Some(ByteSize(1 << 20)));
    }
}

/// How the two opinions stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// They agree.
    Agree,
    /// The checker refuses, for a reason that Xen does not see.
    NotXens,
    /// The checker accepts what Xen refuses or gets wrong.
    FalseAccept,
    /// The checker refuses what Xen runs as planned.
    FalseReject,
}

fn outcome(opinion: &Opinion, judgement: &Judgement) -> Outcome {
    match (opinion.refusals.is_empty(), judgement) {
        (true, Judgement::Right) => Outcome::Agree,
        (true, _) => Outcome::FalseAccept,
        (false, Judgement::Right) if opinion.is_about_xen() => Outcome::FalseReject,
        (false, Judgement::Right) => Outcome::NotXens,
        (false, _) => Outcome::Agree,
    }
}

/// One document's trial.
#[derive(Debug)]
struct Trial {
    opinion: Opinion,
    judgement: Judgement,
    outcome: Outcome,
    answer: Answer,
}

/// Checks and boots a document. `None` when there is nothing for Xen to judge.
///
/// # Errors
/// When it could not be booted; what Xen thinks of it is no error.
fn put_to_trial(
    oracle: &Oracle,
    facts: &MachinePlan,
    name: &str,
    text: &str,
) -> Result<Option<Trial>> {
    let Some(opinion) = Opinion::of(text, facts) else {
        return Ok(None);
    };
    let mut plan = opinion.plan.clone();
    compare::touch(&mut plan);
    let Some(layout) = layout(oracle, &plan, &stand_in)? else {
        return Ok(None);
    };
    let answer = oracle.ask(name, &layout)?;
    let judgement = compare::judge(&plan, &answer);
    Ok(Some(Trial {
        outcome: outcome(&opinion, &judgement),
        opinion,
        judgement,
        answer,
    }))
}

/// What is known of the machine of a document that says nothing about it: QEMU's.
fn facts(oracle: &Oracle) -> Result<MachinePlan> {
    let machine = Machine {
        cpus: 4,
        ..Machine::default()
    };
    let tree = oracle.tree(&machine)?;
    platform::device_tree::facts(&tree).map_err(|error| Error::Tree {
        name: "facts".to_owned(),
        said: error.to_string(),
    })
}

/// What is loaded for a domain whose files are of no interest.
fn stand_in(module: &Module) -> Content {
    match module.role {
        ModuleRole::Ramdisk => Content::Bytes(vec![0; 4096]),
        ModuleRole::Kernel | ModuleRole::DeviceTree => Content::Guest,
    }
}
