//! `avpsctl policy …` as users and programs meet it, as far as it needs neither Xen nor its source; the bed does the rest.

mod common;

use std::process::Output;

use common::{code, command, configs, err, json, out};

fn policy(args: &[&str]) -> Output {
    command(&[&["policy"], args].concat())
        .output()
        .expect("runs")
}

fn document(name: &str) -> String {
    let file = format!("{name}.avps.toml");
    configs().join(file).display().to_string()
}

#[test]
fn show_lists_every_rule_that_is_emitted() {
    let driver = document("driver-domain");
    let shown = json(&policy(&["show", "--json", &driver]));
    let rules = shown["rules"].as_array().expect("a list");
    let emitted = out(&command(&["emit", "flask", &driver]).output().expect("runs"));
    let allowed = emitted.lines().filter(|line| line.starts_with("allow "));
    assert_eq!(rules.len(), allowed.count());
    assert_eq!(shown["types"][0]["domain"], "storage");
    let table = out(&policy(&["show", &driver]));
    assert_eq!(table.lines().count(), rules.len() + 1);
}

#[test]
fn explain_tells_in_words_what_a_domain_may_and_that_others_may_nothing() {
    let driver = document("driver-domain");
    let text = out(&policy(&["explain", &driver, "storage", "cockpit"]));
    for words in [
        "be its device model",
        "(hvm dm)",
        "Everything else between these domains is refused.",
    ] {
        assert!(text.contains(words), "{text}");
    }
    // A right without words would be a right that nobody explained.
    assert!(!text.contains("may  ("), "{text}");
    let nothing = out(&policy(&["explain", &driver, "cockpit", "telematics"]));
    assert_eq!(nothing, "cockpit may do nothing to telematics\n");
    let by_dom0 = out(&policy(&["explain", &driver, "dom0"]));
    assert!(
        by_dom0.contains("may create it (domain create)"),
        "{by_dom0}"
    );
    let unknown = policy(&["explain", &driver, "stranger"]);
    assert_eq!(code(&unknown), 2);
}

#[test]
fn a_document_without_flask_has_no_policy() {
    let shown = policy(&["show", &document("demo")]);
    assert_eq!(code(&shown), 2);
    assert!(
        err(&shown).contains("flask = \"enforcing\""),
        "{}",
        err(&shown)
    );
}

#[test]
fn build_wants_xens_source_and_writes_nothing_without_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (xen, output) = (folder.path().join("xen"), folder.path().join("xenpolicy"));
    let (xen, output) = (xen.display().to_string(), output.display().to_string());
    let driver = document("driver-domain");
    let built = policy(&["build", "--xen-source", &xen, "--output", &output, &driver]);
    assert_eq!(code(&built), 2);
    assert!(
        err(&built).contains("folder of Xen's source"),
        "{}",
        err(&built)
    );
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
}

#[test]
fn load_and_check_need_xen_and_say_so() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("xenpolicy");
    std::fs::write(&file, "no policy").expect("written");
    let loaded = policy(&["load", &file.display().to_string()]);
    let checked = policy(&["check", &document("driver-domain")]);
    for output in [loaded, checked] {
        assert_eq!(code(&output), 3, "{}", err(&output));
        assert!(err(&output).contains("dom0"), "{}", err(&output));
    }
}
