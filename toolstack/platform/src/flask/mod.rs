//! What Xen's security module FLASK must allow so that a plan works, and nothing more.
//!
//! Xen's own rules (SILO, or none) know control domains and others: a driver domain that serves several guests as their
//! device model is neither. With FLASK each domain has a type of its own, and each operation on another domain or its event
//! channels is a question to the policy. [`Policy::of`] answers those that a plan needs; the text of [`source`](Policy::source)
//! stands on top of Xen's reference policy (tools/flask/policy), whose rules for the control domain and for what every domain
//! may ask of Xen it uses.
//!
//! An event channel has two ends, each with a type made from its owner's and the other side's: here `X_channel` for all ends
//! of `X`. Its other side is asked too (`bind`).

pub mod classes;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::plan::Plan;

/// The control domain's type in the reference policy.
pub const CONTROL: &str = "dom0_t";

/// Modules of the reference policy that the source builds on, in the order in which they are read.
pub const MODULES: [&str; 6] = [
    "xen",
    "dom0",
    "guest_features",
    "domU",
    "xenstore",
    "all_system_role",
];

/// Why a rule is there: the rules of one need are given and taken together in an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The control domain builds it.
    Build,
    /// The control domain pauses, watches and ends it.
    Manage,
    /// XenStore and console: rings in its memory, channels to the control domain.
    Store,
    /// It runs.
    Itself,
    /// A backend is its device model: it answers for registers, and raises interrupts.
    DeviceModel,
    /// A backend reaches what the guest granted.
    Grants,
    /// A backend reaches all of the guest's memory.
    Foreign,
    /// Devices of the machine are its own.
    Devices,
    /// avps-tee takes its calls into the secure world.
    Mediator,
}

impl Need {
    /// In words, after "so that".
    pub fn words(self) -> &'static str {
        match self {
            Need::Build => "the control domain can build it",
            Need::Manage => "the control domain can pause, watch and end it",
            Need::Store => "it has XenStore and a console",
            Need::Itself => "its kernel can run",
            Need::DeviceModel => "the backend can stand in for the guest's virtio registers",
            Need::Grants => "the backend can copy and map what the guest granted for a request",
            Need::Foreign => "the backend can map the guest's memory",
            Need::Devices => "it gets its devices of the machine, and nobody else can",
            Need::Mediator => "avps-tee can see and answer its calls into the secure world",
        }
    }
}

/// One `allow` statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The domain that would lack something without it.
    pub domain: String,
    /// What it would lack.
    pub need: Need,
    /// Who acts: a type.
    pub source: String,
    /// On what: a type.
    pub target: String,
    /// The object's class in Xen's list (xen/xsm/flask/policy/access_vectors).
    pub class: &'static str,
    /// The permissions, one at least.
    pub permissions: Vec<&'static str>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule {
            source,
            target,
            class,
            permissions,
            ..
        } = self;
        match permissions.as_slice() {
            [one] => write!(f, "allow {source} {target}:{class} {one};"),
            several => {
                let several = several.join(" ");
                write!(f, "allow {source} {target}:{class} {{ {several} }};")
            }
        }
    }
}

/// The types and rules of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the platform.
    pub platform: String,
    /// Each domain of the toolstack with its type.
    pub types: Vec<(String, String)>,
    /// What is allowed, in a fixed order, each once.
    pub rules: Vec<Rule>,
    /// Registers, interrupts and nodes of the machine that have a type of their own.
    pub labels: Vec<Label>,
}

/// A type for a part of the machine: a statement that stands at the end of the whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Keyword and value, as checkpolicy takes them.
    pub what: String,
    /// The type.
    pub of_type: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} system_u:object_r:{}", self.what, self.of_type)
    }
}

impl Policy {
    /// What the domains that the toolstack starts need.
    pub fn of(plan: &Plan) -> Policy {
        let types = plan
            .toolstack()
            .map(|domain| (domain.name.clone(), type_of(&domain.name)));
        let mut rules: Vec<Rule> = plan
            .toolstack()
            .flat_map(|domain| rules::of(domain, plan.xen.version))
            .collect();
        // Two disks of one backend need the same.
        let mut seen = BTreeSet::new();
        rules.retain(|rule| seen.insert(rule.to_string()));
        Policy {
            platform: plan.platform.clone(),
            types: types.collect(),
            rules,
            labels: plan.toolstack().flat_map(rules::labels).collect(),
        }
    }

    /// The domain of the toolstack that has a type, or the ends of event channels of one.
    pub fn domain_of(&self, of_type: &str) -> Option<&str> {
        let plain = of_type.strip_suffix("_channel").unwrap_or(of_type);
        let mut types = self.types.iter();
        types
            .find(|(_, known)| known == plain)
            .map(|(name, _)| name.as_str())
    }
}

/// The type of a domain. Two names that differ only in what a type cannot have in its name still get different types.
pub fn type_of(domain: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let word: String = domain
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    if word == domain {
        return format!("avps_{word}_t");
    }
    let digest = Sha256::digest(domain.as_bytes());
    let suffix: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("avps_{word}_{suffix}_t")
}

/// The security label of a domain, as libxl takes it.
pub fn label_of(domain: &str) -> String {
    format!("system_u:system_r:{}", type_of(domain))
}
