//! Each fixture in configs/fixtures breaks one rule and is refused for exactly that one; the fixture of the same name in
//! configs/fixtures/good is as near to it as can be, and has no finding. Each document that ships is accepted. What people
//! see is kept as snapshots.

use std::fs;

use crate::common::corpus::{configs, documents};
use platform::{Report, Style, rules};

#[test]
fn every_fixture_breaks_exactly_the_rule_it_is_named_after() {
    for (name, text) in documents(&configs().join("fixtures"), ".toml") {
        let analysis = platform::analyse(&text, "/base");
        let ids: Vec<_> = analysis.findings.iter().map(|f| f.rule.id).collect();
        assert_eq!(ids, [&name[..8]], "{name}: {:#?}", analysis.findings);
        let finding = &analysis.findings[0];
        assert!(finding.span.is_some(), "{name} is not located");
        assert_eq!(&name[9..name.len() - 5], finding.rule.name);
        assert_eq!(
            analysis.plan.is_none(),
            finding.severity() == platform::Severity::Error,
            "{name}"
        );
    }
}

/// Rules that no document can break by itself, each with a test of its own.
fn needs_more_than_a_document(id: &str) -> bool {
    // The document that is too long is made by a test; what is on this machine, and what is in its device tree.
    let elsewhere = [
        rules::TOO_LONG.id,
        rules::DEVICE_TREE_UNREADABLE.id,
        rules::DEVICE_TREE_BROKEN.id,
        rules::DEVICE_DISABLED.id,
        rules::SUPPLIER_LEVEL.id,
    ];
    id.starts_with("AVPS03") || elsewhere.contains(&id)
}

#[test]
fn every_rule_that_needs_no_machine_has_a_fixture_that_breaks_it_and_one_that_just_does_not() {
    let bad = documents(&configs().join("fixtures"), ".toml");
    let good = documents(&configs().join("fixtures/good"), ".toml");
    for rule in rules::all() {
        if needs_more_than_a_document(rule.id) {
            continue;
        }
        let file = format!("{}-{}.toml", rule.id, rule.name);
        let has = |list: &[(String, String)]| list.iter().any(|(name, _)| *name == file);
        assert!(has(&bad), "no fixtures/{file}");
        // Whatever can be read keeps the rules about the text.
        if !rule.id.starts_with("AVPS00") {
            assert!(has(&good), "no fixtures/good/{file}");
        }
    }
    for (name, _) in &good {
        assert!(rules::find(&name[..8]).is_some(), "{name}: no such rule");
    }
}

#[test]
fn a_document_that_just_keeps_a_rule_has_no_finding() {
    for (name, text) in documents(&configs().join("fixtures/good"), ".toml") {
        let analysis = platform::analyse(&text, "/base");
        assert!(
            analysis.findings.is_empty(),
            "{name}: {:#?}",
            analysis.findings
        );
        assert!(analysis.plan.is_some(), "{name}");
    }
}

#[test]
fn what_people_see_is_the_underlined_line_and_what_to_do() {
    for (name, text) in documents(&configs().join("fixtures"), ".toml") {
        let findings = platform::analyse(&text, "/base").findings;
        let style = Style {
            unicode: true,
            ..Style::PLAIN
        };
        let shown = platform::render(&name, &text, &findings, style);
        insta::assert_snapshot!(name.trim_end_matches(".toml"), shown);
    }
}

#[test]
fn documents_that_ship_have_no_finding() {
    for (name, text) in documents(&configs(), ".avps.toml") {
        let analysis = platform::analyse(&text, "/base");
        assert!(
            analysis.findings.is_empty(),
            "{name}: {:#?}",
            analysis.findings
        );
        assert!(analysis.plan.is_some());
    }
}

#[test]
fn the_plan_of_the_demo_is_what_other_programs_were_promised() {
    let text = fs::read_to_string(configs().join("demo.avps.toml")).expect("readable");
    let plan = platform::analyse(&text, "/base").plan.expect("no errors");
    insta::assert_snapshot!("demo-plan", plan.to_json());
    let back: platform::Plan = serde_json::from_str(&plan.to_json()).expect("reads back");
    assert_eq!(back, plan);
    let xl = platform::emit::xl::emit(&plan).expect("emits");
    assert_eq!(xl[0].file_name, "cockpit.cfg");
    insta::assert_snapshot!("demo-xl", xl[0].text);
}

#[test]
fn findings_for_programs_have_line_and_column() {
    let name = "AVPS0102-duplicate-domain.toml";
    let text = fs::read_to_string(configs().join("fixtures").join(name)).expect("readable");
    let findings = platform::analyse(&text, "/base").findings;
    let report = Report::new(name, &text, &findings);
    insta::assert_snapshot!(
        "duplicate-domain-json",
        serde_json::to_string_pretty(&report).expect("serialises")
    );
}
