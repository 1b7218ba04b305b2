//! Promises of the checks as a whole: one cause, one finding; the borders that real Xen has; what needs a device tree that no
//! document can bring with it; models of what is checked, and time that grows with the document and not faster.

mod borders;
mod causes;
mod devices;
mod models;

use platform::{Analysis, Document, Finding, MachinePlan, analyse, check, document, resolve};

pub(crate) const HEAD: &str = "schema = \"avps/1\"\n[platform]\nname = \"d\"\n";

pub(crate) fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule.id).collect()
}

pub(crate) fn of(text: &str) -> Analysis {
    analyse(&format!("{HEAD}{text}"), "/base")
}

/// What is found with facts from a device tree.
pub(crate) fn with_facts(text: &str, facts: MachinePlan) -> Vec<Finding> {
    let (document, findings) = document::read(&format!("{HEAD}{text}"));
    assert!(findings.is_empty(), "{findings:#?}");
    let document: Document = document.expect("readable");
    check::check(&resolve(&document, "/base", facts))
}

pub(crate) const RAM: &str = "[[machine.bank]]\nat = 0x4000_0000\nsize = \"1GiB\"\n";

pub(crate) fn guest(name: &str, rest: &str) -> String {
    format!("[[domain]]\nname = \"{name}\"\nboot = \"dom0less\"\nkernel = \"k\"\n{rest}")
}
