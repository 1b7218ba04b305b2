//! What differs between two documents is told for whom, and nothing else is told.

use platform::diff::{Change, What, diff, text};
use platform::{Plan, analyse};

const SAFETY: &str = include_str!("../../../configs/dom0less-safety.avps.toml");

fn plan(text: &str) -> Plan {
    let analysis = analyse(text, "/base");
    analysis
        .plan
        .unwrap_or_else(|| panic!("{:#?}", analysis.findings))
}

fn changes(replace: &str, by: &str) -> Vec<Change> {
    let changed = SAFETY.replace(replace, by);
    assert_ne!(changed, SAFETY, "{replace}");
    diff(&plan(SAFETY), &plan(&changed))
}

#[test]
fn the_same_meaning_written_differently_is_no_difference() {
    assert_eq!(diff(&plan(SAFETY), &plan(SAFETY)), []);
    assert_eq!(changes("vcpus = 1\n", "# one vCPU is the default\n"), []);
    assert_eq!(changes("cpus = [2]", "cpus = \"2\""), []);
}

#[test]
fn a_change_is_told_for_its_domain_with_units() {
    let found = changes(
        "0x8800_0000, size = \"128MiB\"",
        "0x8800_0000, size = \"64MiB\"",
    );
    let told = text(&found, false);
    assert_eq!(
        told,
        "~ domain cluster\n      memory: 128MiB -> 64MiB\n      static_memory[0].size: 128MiB -> 64MiB\n"
    );
}

#[test]
fn a_thing_that_moves_in_the_document_is_found_again_by_its_name() {
    let before = "# A pool of one CPU";
    let pool = format!("[[cpupool]]\nname = \"other\"\ncpus = [1]\n\n{before}");
    let found = changes(before, &pool);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].group.as_str(), found[0].what),
        ("xen", What::Added)
    );
    assert_eq!(found[0].path, "cpupools[other]");
}

#[test]
fn added_and_removed_domains_and_links_are_told_as_a_whole() {
    let mut found = changes("name = \"infotainment\"\n", "name = \"cockpit\"\n");
    found.retain(|change| change.group == "domain");
    let told: Vec<_> = found
        .iter()
        .map(|c| (c.subject.as_deref(), c.what))
        .collect();
    assert_eq!(
        told,
        [
            (Some("infotainment"), What::Removed),
            (Some("cockpit"), What::Added)
        ]
    );
    let found = changes("kind = \"mailbox\"", "kind = \"rpmsg\"");
    let told = text(&found, true);
    assert!(
        told.contains("~ IPC link speed\n      kind: \"mailbox\" → \"rpmsg\""),
        "{told}"
    );
    assert!(
        told.contains("users[cluster].writes: false → true"),
        "{told}"
    );
}

#[test]
fn no_escape_sequence_reaches_the_terminal() {
    let mut other = plan(SAFETY);
    other.description = Some("\u{1b}[2J".into());
    let told = text(&diff(&plan(SAFETY), &other), true);
    assert!(
        told.chars().all(|c| c == '\n' || !c.is_control()),
        "{told:?}"
    );
}
