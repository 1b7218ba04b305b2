//! Promises about what reviewers and their tools are given: the safety report and SARIF.

use std::fs;
use std::path::PathBuf;

use crate::common::corpus;
use platform::emit::report::emit;
use platform::{Analysis, Severity};
use serde_json::Value;

fn fixtures() -> PathBuf {
    corpus::configs().join("fixtures")
}

fn read(name: &str) -> String {
    fs::read_to_string(fixtures().join(name)).expect("part of the repository")
}

/// Every document among the fixtures, good ones too, with its analysis.
fn documents() -> Vec<(String, String, Analysis)> {
    let folders = [fixtures(), fixtures().join("good")];
    let documents = folders
        .iter()
        .flat_map(|folder| corpus::documents(folder, ".toml"));
    let analysed = documents.map(|(name, text)| {
        let analysis = platform::analyse(&text, "/base");
        (name, text, analysis)
    });
    analysed.collect()
}

#[test]
fn the_report_of_a_platform_with_everything_is_what_reviewers_were_promised() {
    let text = read("good/AVPS0905-level-by-way-of-another.toml");
    let analysis = platform::analyse(&text, "/base");
    let plan = analysis.plan.expect("no errors");
    insta::assert_snapshot!(
        "report-toolstack",
        emit(&plan, &analysis.findings, &analysis.waived)
    );
    let text = read("good/AVPS0809-cpu-shared-across-levels.toml");
    let text = format!(
        "{text}[[ipc]]\nname = \"speed\"\nfrom = \"adas\"\nto = \"cluster\"\nat = 0x7000_0000\n\n\
         [[waive]]\nrule = \"AVPS0801\"\nsubject = \"speed\"\nreason = \"E2E profile 5\"\nowner = \"safety@example.com\"\n\
         expires = 2099-12-31\n"
    );
    let analysis = platform::analyse(&text, "/base");
    let plan = analysis
        .plan
        .unwrap_or_else(|| panic!("{:#?}", analysis.findings));
    insta::assert_snapshot!(
        "report-dom0less",
        emit(&plan, &analysis.findings, &analysis.waived)
    );
}

#[test]
fn the_same_document_gives_the_same_report_whatever_it_holds() {
    for (name, text, analysis) in documents() {
        let Some(plan) = &analysis.plan else {
            continue;
        };
        let report = emit(plan, &analysis.findings, &analysis.waived);
        let again = platform::analyse(&text, "/base");
        assert_eq!(report, emit(plan, &again.findings, &again.waived), "{name}");
        assert!(report.contains("not a certificate"));
        for domain in &plan.domains {
            assert!(report.contains(&domain.name), "{name}");
        }
        for finding in &analysis.findings {
            assert!(report.contains(finding.rule.id), "{name}");
        }
    }
}

#[test]
fn a_name_cannot_break_out_of_the_report() {
    let text = "schema = \"avps/1\"\n[platform]\nname = \"p\"\ndescription = \"x\\n# Certified ASIL D\"\n\
                [[domain]]\nname = \"a\"\nkernel = \"k\"\nmemory = \"1MiB\"\n\
                block = [{ image = \"a | b ` <script>\" }]\n";
    let analysis = platform::analyse(text, "/");
    let report = emit(&analysis.plan.expect("no errors"), &[], &[]);
    assert!(!report.contains("\n# Certified"), "{report}");
    assert!(report.contains("`/a \\| b ' <script>`"), "{report}");
}

/// Walks a required path of a JSON object.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value
        .pointer(path)
        .unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

fn check_location(location: &Value, lines: usize) {
    let physical = at(location, "/physicalLocation");
    assert!(at(physical, "/artifactLocation/uri").is_string());
    assert_eq!(at(physical, "/artifactLocation/index"), 0);
    let Some(region) = physical.get("region") else {
        return;
    };
    let number =
        |key: &str| usize::try_from(at(region, key).as_u64().expect("a number")).expect("fits");
    let start = (number("/startLine"), number("/startColumn"));
    let end = (number("/endLine"), number("/endColumn"));
    assert!(
        start <= end && start >= (1, 1) && end.0 <= lines + 1,
        "{region}"
    );
}

#[test]
fn sarif_has_the_shape_of_version_2_1_0() {
    for (name, text, analysis) in documents() {
        let log = platform::sarif(&name, &text, &analysis.findings, &analysis.waived);
        let log: Value = serde_json::from_str(&log).expect("JSON");
        assert_eq!(at(&log, "/version"), "2.1.0");
        assert!(
            at(&log, "/$schema")
                .as_str()
                .expect("a text")
                .contains("sarif-2.1.0")
        );
        assert_eq!(at(&log, "/runs").as_array().expect("a list").len(), 1);
        let run = at(&log, "/runs/0");
        assert_eq!(at(run, "/tool/driver/name"), "avpsctl");
        let rules = at(run, "/tool/driver/rules").as_array().expect("a list");
        for rule in rules {
            for key in [
                "/id",
                "/name",
                "/shortDescription/text",
                "/fullDescription/text",
                "/help/text",
            ] {
                assert!(!at(rule, key).as_str().expect("a text").is_empty());
            }
            assert!(matches!(
                at(rule, "/defaultConfiguration/level").as_str(),
                Some("error" | "warning")
            ));
        }
        let results = at(run, "/results").as_array().expect("a list");
        assert_eq!(
            results.len(),
            analysis.findings.len() + analysis.waived.len(),
            "{name}"
        );
        for (number, result) in results.iter().enumerate() {
            let index = usize::try_from(at(result, "/ruleIndex").as_u64().expect("a number"))
                .expect("fits");
            assert_eq!(at(&rules[index], "/id"), at(result, "/ruleId"), "{name}");
            assert!(
                !at(result, "/message/text")
                    .as_str()
                    .expect("a text")
                    .is_empty()
            );
            let finding = match analysis.findings.get(number) {
                Some(finding) => finding,
                None => &analysis.waived[number - analysis.findings.len()].finding,
            };
            let level = match finding.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            assert_eq!(at(result, "/level"), level);
            let lines = text.lines().count();
            check_location(at(result, "/locations/0"), lines);
            for (related, id) in at(result, "/relatedLocations")
                .as_array()
                .expect("a list")
                .iter()
                .zip(1..)
            {
                assert_eq!(at(related, "/id"), id);
                assert!(at(related, "/message/text").is_string());
                check_location(related, lines);
            }
            let suppressions = at(result, "/suppressions").as_array().expect("a list");
            assert_eq!(
                suppressions.len(),
                usize::from(number >= analysis.findings.len())
            );
            for suppression in suppressions {
                assert_eq!(at(suppression, "/kind"), "inSource");
                assert_eq!(at(suppression, "/status"), "accepted");
                assert!(
                    !at(suppression, "/justification")
                        .as_str()
                        .expect("a text")
                        .is_empty()
                );
            }
        }
    }
}

#[test]
fn sarif_of_a_waived_finding_is_what_programs_were_promised() {
    let name = "good/AVPS0956-waiver-of-unknown-subject.toml";
    let text = read(name);
    let analysis = platform::analyse(&text, "/base");
    let log = platform::sarif(name, &text, &analysis.findings, &analysis.waived);
    let log = log.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!("waived-sarif", log);
    let report =
        platform::Report::new(name, &text, &analysis.findings).with_waived(&text, &analysis.waived);
    insta::assert_snapshot!(
        "waived-json",
        serde_json::to_string_pretty(&report).expect("serialises")
    );
}
