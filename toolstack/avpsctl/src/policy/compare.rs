//! What the running Xen allows, compared with what a plan needs.

use std::collections::{BTreeMap, BTreeSet};

use platform::flask::classes::{CLASSES, Class};
use platform::flask::{CONTROL, Policy};
use serde::Serialize;

use crate::error::Result;

/// Permissions of one pair and class that the running policy has too many of, or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Who acts: a type.
    pub source: String,
    /// On what: a type.
    pub target: String,
    /// Class of the object.
    pub class: &'static str,
    /// Needed, and not allowed.
    pub missing: Vec<String>,
    /// Allowed, and not needed.
    pub beyond: Vec<String>,
}

/// Compares a plan's policy with the running one, for all pairs of types of which one at least is the plan's. `allowed` asks
/// Xen about two contexts and the number of a class; it answers with bits, none where the running policy does not have such a
/// context.
///
/// # Errors
/// Those of `allowed`.
pub fn compare(
    policy: &Policy,
    mut allowed: impl FnMut(&str, &str, u32) -> Result<Option<u32>>,
) -> Result<Vec<Difference>> {
    let needed = needed(policy);
    let own = own(policy);
    let control = [CONTROL.to_owned(), format!("{CONTROL}_channel")];
    let everybody: BTreeSet<&String> = own.iter().chain(&control).collect();
    let mut differences = Vec::new();
    for source in &everybody {
        for target in &everybody {
            if !own.contains(*source) && !own.contains(*target) {
                continue;
            }
            for class in &CLASSES {
                let key = (source.as_str(), target.as_str(), class.name);
                let wanted = needed.get(&key).copied().unwrap_or(0);
                let found = allowed(&context(source), &context(target), class.number)?.unwrap_or(0);
                differences.extend(difference(key, class, wanted, found));
            }
        }
    }
    Ok(differences)
}

/// The plan's types: of domains, their ends of event channels, their devices.
fn own(policy: &Policy) -> BTreeSet<String> {
    let domains = policy.types.iter();
    let ends = domains.flat_map(|(_, of_type)| [of_type.clone(), format!("{of_type}_channel")]);
    let devices = policy.labels.iter().map(|label| label.of_type.clone());
    ends.chain(devices).collect()
}

/// What the plan needs, as bits by source, target and class.
fn needed(policy: &Policy) -> BTreeMap<(&str, &str, &'static str), u32> {
    let mut needed = BTreeMap::new();
    for rule in &policy.rules {
        let class = platform::flask::classes::class(rule.class);
        let bits = class.and_then(|class| class.bits(&rule.permissions));
        let key = (rule.source.as_str(), rule.target.as_str(), rule.class);
        *needed.entry(key).or_insert(0) |= bits.unwrap_or(0);
    }
    needed
}

fn difference(
    (source, target, _): (&str, &str, &str),
    class: &'static Class,
    wanted: u32,
    found: u32,
) -> Option<Difference> {
    (wanted != found).then(|| Difference {
        source: source.to_owned(),
        target: target.to_owned(),
        class: class.name,
        missing: class.names(wanted & !found),
        beyond: class.names(found & !wanted),
    })
}

/// The context of a type. Domains have a role; what is acted on has none of its own.
fn context(of_type: &str) -> String {
    let object = of_type.ends_with("_channel") || of_type.ends_with("_device");
    let role = if object { "object_r" } else { "system_r" };
    format!("system_u:{role}:{of_type}")
}

#[cfg(test)]
mod tests {
    use super::{Difference, compare};
    use platform::flask::Policy;

    fn policy() -> Policy {
        let text = "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[xen]\nflask = \"enforcing\"\n\
                    [[domain]]\nname = \"d\"\nkind = \"driver\"\nkernel = \"k\"\nramdisk = \"r\"\nmemory = \"64MiB\"\n\
                    [[domain]]\nname = \"g\"\nkernel = \"k\"\nmemory = \"64MiB\"\nafter = [\"d\"]\n\
                    [[domain.block]]\nimage = \"i\"\nbackend = \"d\"\n";
        Policy::of(&platform::analyse(text, "/base").plan.unwrap())
    }

    /// A Xen with the plan's policy, after `change`.
    fn running(change: impl Fn(&str, &str, u32, u32) -> Option<u32>) -> Vec<Difference> {
        let policy = policy();
        let needed = super::needed(&policy);
        compare(&policy, |source, target, class| {
            let plain = |context: &str| context.rsplit(':').next().unwrap().to_owned();
            let (source, target) = (plain(source), plain(target));
            let known = super::CLASSES
                .iter()
                .find(|known| known.number == class)
                .unwrap();
            let bits = needed.get(&(source.as_str(), target.as_str(), known.name));
            Ok(change(&source, &target, class, bits.copied().unwrap_or(0)))
        })
        .unwrap()
    }

    #[test]
    fn a_running_policy_that_is_the_plans_does_not_differ() {
        assert_eq!(running(|_, _, _, bits| Some(bits)), []);
    }

    #[test]
    fn one_permission_too_many_and_one_too_few_are_named() {
        let differences = running(|source, target, class, bits| {
            let pair = source == "avps_d_t" && target == "avps_g_t";
            Some(match (pair, class) {
                // Reads of its memory; no being its device model.
                (true, 6) => bits | 1,
                (true, 5) => 0,
                _ => bits,
            })
        });
        let [hvm, mmu] = differences.as_slice() else {
            panic!("{differences:#?}");
        };
        assert_eq!(
            (hvm.class, hvm.missing.as_slice()),
            ("hvm", ["dm".to_owned()].as_slice())
        );
        assert_eq!(
            (mmu.class, mmu.beyond.as_slice()),
            ("mmu", ["map_read".to_owned()].as_slice())
        );
    }

    #[test]
    fn a_policy_without_the_plans_types_lacks_everything() {
        let differences = running(|_, _, _, _| None);
        let missing: usize = differences
            .iter()
            .map(|difference| difference.missing.len())
            .sum();
        let policy = policy();
        let wanted: usize = policy.rules.iter().map(|rule| rule.permissions.len()).sum();
        assert_eq!(missing, wanted);
    }
}
