//! Who is on the machine, at which level, and on which CPUs: what the checks of safety ask again and again.

use crate::finding::Finding;
use crate::plan::{Asil, Boot, DomainKind, DomainPlan, Plan, Scheduler};

/// The level in words: `QM`, `ASIL B`.
pub(crate) fn level(asil: Asil) -> String {
    match asil {
        Asil::Qm => "QM".to_owned(),
        _ => format!("ASIL {}", asil.word()),
    }
}

/// A domain as findings name it: `"adas" (ASIL B)`.
pub(crate) fn who(domain: &DomainPlan) -> String {
    format!("\"{}\" ({})", domain.name, level(domain.asil))
}

/// Domains that a finding names, with a place and a remark for each; more are only counted: a finding has to stay short
/// whatever a document holds.
const MAX_NAMED: usize = 16;

/// Several of them: `"a" (QM)`, `"a" (QM) and "b" (QM)`, `"a" (QM), "b" (QM) and 3 more`.
pub(crate) fn several(names: impl IntoIterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let mut names = names.into_iter();
    let mut shown: Vec<_> = names.by_ref().take(SHOWN).collect();
    // Where the number is known, nobody has to be named to be counted.
    let more = match names.size_hint() {
        (least, Some(most)) if least == most => least,
        _ => names.count(),
    };
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    match shown.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

/// Names others in a finding: each becomes a subject, and its place is shown with a remark.
pub(crate) fn with_others<'a>(
    finding: Finding,
    others: impl IntoIterator<Item = (&'a DomainPlan, String, String)>,
) -> Finding {
    let others = others.into_iter().take(MAX_NAMED);
    others.fold(finding, |finding, (domain, at, remark)| {
        finding.subject(&domain.name).related(at, remark)
    })
}

/// Domains that something is asked of, with their place in the document.
pub(crate) fn safety(plan: &Plan) -> impl Iterator<Item = (usize, &DomainPlan)> {
    let domains = plan.domains.iter().enumerate();
    domains.filter(|(_, domain)| domain.asil > Asil::Qm)
}

/// The highest level of the platform.
pub(crate) fn highest(plan: &Plan) -> Asil {
    let levels = plan.domains.iter().map(|domain| domain.asil);
    levels.max().unwrap_or(Asil::Qm)
}

/// The control domain, which exists as soon as a toolstack starts something, whether the document describes it or not.
#[derive(Debug, Clone)]
pub(crate) struct Control<'a> {
    /// The domain of the document.
    pub(crate) domain: Option<&'a DomainPlan>,
    /// Its level; QM for one that is not described.
    pub(crate) level: Asil,
    /// Where the document says that there is one.
    pub(crate) at: String,
}

impl Control<'_> {
    /// As findings name it.
    pub(crate) fn who(&self) -> String {
        match self.domain {
            Some(domain) => who(domain),
            None => "the control domain (not described, so QM)".to_owned(),
        }
    }

    /// Its name in the document; empty for one that is not described.
    pub(crate) fn name(&self) -> &str {
        self.domain.map_or("", |domain| domain.name.as_str())
    }
}

/// The control domain of the platform; none for one that Xen starts alone.
pub(crate) fn control(plan: &Plan) -> Option<Control<'_>> {
    for (index, domain) in plan.domains.iter().enumerate() {
        if domain.kind == DomainKind::Control {
            return Some(Control {
                domain: Some(domain),
                level: domain.asil,
                at: format!("domain[{index}].kind"),
            });
        }
    }
    let mut domains = plan.domains.iter();
    let first = domains.position(|domain| domain.boot == Boot::Toolstack)?;
    Some(Control {
        domain: None,
        level: Asil::Qm,
        at: format!("domain[{first}].boot"),
    })
}

/// Where a domain's vCPUs run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The pool; none for Xen's first one.
    pub(crate) pool: Option<&'a str>,
    /// The pool's scheduler.
    pub(crate) scheduler: Scheduler,
    /// The pool's CPUs, where they are known.
    pub(crate) pool_cpus: &'a [u32],
    /// Those the domain is held to; empty for all of the pool.
    pub(crate) cpus: &'a [u32],
}

impl Place<'_> {
    /// Whether both may run on one CPU.
    pub(crate) fn meets(&self, other: &Place<'_>) -> bool {
        let common = self.cpus.iter().any(|cpu| other.cpus.contains(cpu));
        let anywhere = self.cpus.is_empty() || other.cpus.is_empty();
        self.pool == other.pool && (anywhere || common)
    }

    /// The CPUs it may run on; empty where that is not known.
    pub(crate) fn known_cpus(&self) -> &[u32] {
        if self.cpus.is_empty() {
            self.pool_cpus
        } else {
            self.cpus
        }
    }

    /// Whether the scheduler itself keeps domains of one CPU apart in time: a CPU for each vCPU, or slots.
    pub(crate) fn partitions_time(&self) -> bool {
        matches!(self.scheduler, Scheduler::Null | Scheduler::Arinc653)
    }
}

/// Where a domain runs. A pool that the document does not have counts as one with Xen's first scheduler.
pub(crate) fn place<'a>(plan: &'a Plan, domain: &'a DomainPlan) -> Place<'a> {
    let name = domain.cpupool.as_deref();
    let mut pools = plan.xen.cpupools.iter();
    let pool = pools.find(|pool| Some(pool.name.as_str()) == name);
    Place {
        pool: name,
        scheduler: pool.map_or(plan.xen.scheduler, |pool| pool.scheduler),
        pool_cpus: pool.map_or(&[], |pool| pool.cpus.as_slice()),
        cpus: &domain.cpus,
    }
}

/// The domain that serves a virtio device: its name, level and words for it. The control domain where none is named.
pub(crate) fn backend<'a>(plan: &'a Plan, name: Option<&str>) -> (Option<&'a DomainPlan>, String) {
    let domain = match name {
        Some(name) => plan.domain(name),
        None => plan.control(),
    };
    let words = match (domain, name) {
        (Some(domain), _) => who(domain),
        (None, Some(name)) => format!("\"{name}\""),
        (None, None) => "the control domain (not described, so QM)".to_owned(),
    };
    (domain, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_people_do() {
        let names = |n: usize| (0..n).map(|i| i.to_string());
        assert_eq!(several(names(0)), "");
        assert_eq!(several(names(1)), "0");
        assert_eq!(several(names(2)), "0 and 1");
        assert_eq!(several(names(3)), "0, 1 and 2");
        assert_eq!(several(names(6)), "0, 1, 2 and 3 more");
    }

    #[test]
    fn domains_meet_on_a_cpu_unless_pools_or_affinity_keep_them_apart() {
        let place = |pool, cpus| Place {
            pool,
            scheduler: Scheduler::Credit2,
            pool_cpus: &[],
            cpus,
        };
        assert!(place(None, &[]).meets(&place(None, &[])));
        assert!(place(None, &[1]).meets(&place(None, &[])));
        assert!(place(None, &[1, 2]).meets(&place(None, &[2, 3])));
        assert!(!place(None, &[1]).meets(&place(None, &[2])));
        assert!(!place(Some("a"), &[]).meets(&place(None, &[])));
    }
}
