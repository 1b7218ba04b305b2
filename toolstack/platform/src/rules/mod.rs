//! The rules a document is held to, as data: id, severity, what to do, why, and where it comes from.
//!
//! Ids are stable: scripts, waivers and bug reports name them. An id is never given to another
//! rule; a rule that goes away leaves a gap. Hundreds: 00 the text itself, 01 domains,
//! 02 devices, 03 this machine, 04 places in memory, 05 CPUs and their time, 06 what domains share,
//! 07 the machine's own devices and the secure world, 08 freedom from interference, 09 safety levels and
//! waivers, 10 what no program carries out yet. `avpsctl explain ID` prints what stands here.

mod cpus;
mod devices;
mod domains;
mod flask;
mod host;
mod interference;
mod levels;
mod links;
mod machine_devices;
mod memory;
mod pending;
mod text;
mod waivers;

pub use cpus::*;
pub use devices::*;
pub use domains::*;
pub use flask::*;
pub use host::*;
pub use interference::*;
pub use levels::*;
pub use links::*;
pub use machine_devices::*;
pub use memory::*;
pub use pending::*;
pub use text::*;
pub use waivers::*;

use crate::finding::Severity;
use crate::words::Asil;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Stable id, `AVPS` and four digits.
    pub id: &'static str,
    /// Stable name in words.
    pub name: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// The level from which on it is an error, for a rule that is otherwise a warning.
    pub error_from: Option<Asil>,
    /// Whether a finding can be waived (`[[waive]]`): not for what Xen would refuse or get wrong.
    pub waivable: bool,
    /// General advice; a finding may have a better one.
    pub help: &'static str,
    /// Why the rule exists.
    pub rationale: &'static str,
    /// Where it comes from: a specification, a file of Xen or Linux, or this project's design.
    pub source: &'static str,
}

impl Rule {
    /// How bad it is to break it for a domain of this level.
    pub fn severity_at(&self, level: Asil) -> Severity {
        match self.error_from {
            Some(from) if level >= from => Severity::Error,
            _ => self.severity,
        }
    }
}

/// What the macro was given, if anything: a macro cannot write "this, or nothing" in one place.
const fn first(levels: &[Asil]) -> Option<Asil> {
    match levels {
        [level, ..] => Some(*level),
        [] => None,
    }
}

/// Declares the rules of one subject. Behind the severity may stand `error from LEVEL` and `waivable true`.
macro_rules! rules {
    ($($(#[$doc:meta])* $ident:ident = $id:literal, $name:literal, $severity:ident
        $(error from $level:ident)? $(waivable $waivable:literal)?,
        help $help:literal, why $why:literal, source $source:literal;)*) => {
        $($(#[$doc])* pub static $ident: $crate::rules::Rule = $crate::rules::Rule {
            id: $id, name: $name, severity: $crate::finding::Severity::$severity,
            error_from: $crate::rules::first(&[$($crate::words::Asil::$level)?]),
            waivable: false $(|| $waivable)?,
            help: $help, rationale: $why, source: $source,
        };)*
        /// The rules of this subject, ordered by id.
        pub(super) static RULES: &[&$crate::rules::Rule] = &[$(&$ident),*];
    };
}
use rules;

/// The rules by subject, ordered by id.
#[expect(
    unused_qualifications,
    reason = "the lists share a name that the imports above make ambiguous"
)]
static SUBJECTS: &[&[&Rule]] = &[
    text::RULES,
    domains::RULES,
    devices::RULES,
    host::RULES,
    memory::RULES,
    cpus::RULES,
    links::RULES,
    flask::RULES,
    machine_devices::RULES,
    interference::RULES,
    levels::RULES,
    waivers::RULES,
    pending::RULES,
];

/// Every rule, ordered by id.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    SUBJECTS.iter().copied().flatten().copied()
}

/// The rule with this id, in any case, or with this name.
pub fn find(id_or_name: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id_or_name) || rule.name == id_or_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_ordered_and_well_formed() {
        let rules: Vec<_> = all().collect();
        for pair in rules.windows(2) {
            assert!(pair[0].id < pair[1].id, "{} {}", pair[0].id, pair[1].id);
        }
        for rule in rules {
            assert!(
                rule.id.len() == 8 && rule.id.starts_with("AVPS"),
                "{}",
                rule.id
            );
            assert!(!rule.help.is_empty() && !rule.rationale.is_empty() && !rule.source.is_empty());
            assert!(
                !rule.help.contains("  ") && !rule.rationale.contains("  "),
                "{}",
                rule.id
            );
            assert!(
                std::ptr::eq(rule, find(rule.name).unwrap()),
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn a_rule_is_found_by_its_id_in_any_case() {
        assert_eq!(find("avps0102").unwrap().name, "duplicate-domain");
        assert!(find("AVPS9999").is_none());
    }
}
