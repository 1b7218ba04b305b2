//! `avpsctl platform …` as users and programs meet it.

mod common;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::{code, command, configs, err, json, out};

fn document(name: &str) -> String {
    let file = format!("{name}.avps.toml");
    configs().join(file).display().to_string()
}

fn platform(args: &[&str]) -> Output {
    command(&[&["platform"], args].concat())
        .output()
        .expect("runs")
}

/// The same, with answers on standard input.
fn answering(args: &[&str], answers: &str) -> Output {
    let mut command = command(&[&["platform"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("runs");
    let mut input = child.stdin.take().expect("piped");
    // A command that ends early closes its input.
    let _ = input.write_all(answers.as_bytes());
    drop(input);
    child.wait_with_output().expect("ends")
}

#[test]
fn the_commands_of_avpsctl_itself_do_the_same() {
    let demo = document("demo");
    for args in [
        &["check", demo.as_str()][..],
        &["plan", &demo],
        &["emit", "xl", &demo],
        &["explain", "AVPS0102"],
    ] {
        let (alone, below) = (command(args).output().expect("runs"), platform(args));
        assert_eq!(out(&alone), out(&below), "{args:?}");
        assert_eq!(code(&alone), code(&below), "{args:?}");
    }
}

#[test]
fn schema_and_reference_are_printed() {
    let schema = json(&platform(&["schema"]));
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let page = out(&platform(&["reference"]));
    assert!(page.starts_with("# Platform document") && page.contains("AVPS0102"));
}

#[test]
fn pictures_go_to_standard_output_or_into_a_folder() {
    let cockpit = document("cockpit");
    for picture in ["svg-memory", "svg-cpus", "svg-links"] {
        let output = platform(&["emit", picture, &cockpit]);
        assert!(
            out(&output).starts_with("<svg "),
            "{picture}: {}",
            err(&output)
        );
    }
    let dir = tempfile::tempdir().expect("temporary folder");
    let folder = dir.path().join("new").display().to_string();
    let output = platform(&["emit", "svg", "--output", &folder, &cockpit]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("made")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "cockpit-cpus.svg",
            "cockpit-links.svg",
            "cockpit-memory.svg"
        ]
    );
    let three = platform(&["emit", "svg", &cockpit]);
    assert_eq!(code(&three), 2, "three files need a folder");
    assert_eq!(
        code(&platform(&[
            "emit", "svg-cpus", "--domain", "cluster", &cockpit
        ])),
        2
    );
}

#[test]
fn a_graph_is_a_tree_a_description_for_graphviz_a_picture_or_json() {
    let safety = document("dom0less-safety");
    let tree = out(&platform(&["graph", &safety]));
    assert!(
        tree.contains("IPC speed -> cluster (B): mailbox, 4KiB at 0x"),
        "{tree}"
    );
    assert!(tree.is_ascii(), "the locale is C");
    let dot = out(&platform(&["graph", "--format", "dot", &safety]));
    assert!(
        dot.contains("\"domain controller\" -> \"domain cluster\""),
        "{dot}"
    );
    assert!(out(&platform(&["graph", "--svg", &safety])).starts_with("<svg "));
    let graph = json(&platform(&["graph", "--json", &safety]));
    assert_eq!(graph["schema"], "avps-graph/1");
    assert_eq!(graph["domains"][0]["asil"], "B");
    let links = graph["links"].as_array().expect("links");
    let speed = links
        .iter()
        .find(|link| link["name"] == "speed")
        .expect("speed");
    assert_eq!(speed["to"], serde_json::json!(["cluster"]));
    assert_eq!(speed["crosses_levels"], false);
}

#[test]
fn documents_that_differ_have_exit_code_1_and_documents_that_do_not_0() {
    let (single, demo) = (document("single"), document("demo"));
    let same = platform(&["diff", &single, &single]);
    assert_eq!(
        (code(&same), out(&same).as_str()),
        (0, "both documents mean the same\n")
    );
    let differ = platform(&["diff", &single, &demo]);
    assert_eq!(code(&differ), 1);
    assert!(
        out(&differ).contains("platform: \"single\" -> \"demo\""),
        "{}",
        out(&differ)
    );
    assert_eq!(err(&differ), "");
    let report = json(&platform(&["diff", "--json", &single, &demo]));
    assert_eq!(report["schema"], "avps-platform-diff/1");
    assert_eq!(report["same"], false);
    assert_eq!(report["changes"][0]["what"], "changed");
    assert_eq!(code(&platform(&["diff", &single, "/nonexistent"])), 2);
}

#[test]
fn every_template_makes_a_document_without_findings() {
    let dir = tempfile::tempdir().expect("temporary folder");
    for template in ["single", "cockpit", "driver-domain", "dom0less-safety"] {
        let path = dir.path().join(template).display().to_string();
        let args = [
            "new",
            "--template",
            template,
            "--name",
            "mine",
            "--output",
            &path,
        ];
        assert_eq!(code(&platform(&args)), 0);
        let check = platform(&["check", &path]);
        assert!(
            out(&check).contains("no findings"),
            "{template}: {}",
            out(&check)
        );
        let text = fs::read_to_string(&path).expect("written");
        assert!(text.contains("name = \"mine\""), "{template}");
        let again = platform(&args);
        assert_eq!(code(&again), 2, "a file that is there is left alone");
        assert!(err(&again).contains("exists already"), "{}", err(&again));
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }
    let hostile = platform(&["new", "--template", "single", "--name", "a\"\nx = 1"]);
    assert_eq!(code(&hostile), 2);
    assert!(err(&hostile).contains("AVPS0101"), "{}", err(&hostile));
}

#[test]
fn questions_make_a_document_from_a_pipe_and_say_when_answers_are_missing() {
    let output = answering(
        &["new"],
        "demo\n\n\n-\nsmall\n64MiB\n2\n\nyes\nnav\n\n\n\n\n-\n\n",
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(
        err(&output).contains("a size starts with a number"),
        "asks again"
    );
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("new.avps.toml");
    fs::write(&path, out(&output)).expect("written");
    let plan = json(&platform(&["plan", &path.display().to_string()]));
    assert_eq!(plan["platform"], "demo");
    assert_eq!(plan["domains"][0]["name"], "cockpit");
    assert_eq!(plan["domains"][0]["vcpus"], 2);
    assert_eq!(plan["domains"][1]["name"], "nav");
    assert_eq!(plan["domains"][1]["virtio"], serde_json::json!([]));

    let output = answering(&["new"], "demo\ncockpit\n");
    assert_eq!(code(&output), 2);
    assert_eq!(out(&output), "");
    assert!(
        err(&output).contains("the answers end before \"Its kernel\""),
        "{}",
        err(&output)
    );
}

#[test]
fn xl_configurations_are_imported_with_a_warning_for_each_loss() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let cfg = dir.path().join("domu.cfg");
    let text = "name = \"domu\"\nkernel = \"/k\"\nmemory = 64\nseclabel = 'x'\n\
                disk = ['vdev=xvda,format=raw,specification=virtio,target=/d.img']\n";
    fs::write(&cfg, text).expect("written");
    let path = cfg.display().to_string();
    let output = platform(&["import", &path]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let warning = format!("{path}:4: seclabel: ");
    assert!(err(&output).contains(&warning), "{}", err(&output));
    assert!(
        out(&output).contains("# Not carried over"),
        "{}",
        out(&output)
    );
    let written = dir.path().join("v.avps.toml").display().to_string();
    assert_eq!(
        code(&platform(&["import", "--name", "v", "-o", &written, &path])),
        0
    );
    let check = platform(&["check", &written]);
    assert!(out(&check).contains("no findings"), "{}", out(&check));
    let report = json(&platform(&["--json", "import", &path]));
    assert_eq!(report["schema"], "avps-import/1");
    assert_eq!(report["warnings"][0]["line"], 4);
    fs::write(&cfg, "name = (1)\n").expect("written");
    let wrong = platform(&["import", &path]);
    assert_eq!(code(&wrong), 2);
    assert!(err(&wrong).contains("line 1"), "{}", err(&wrong));
}

#[test]
fn a_current_document_migrates_to_itself_and_a_newer_one_is_refused() {
    let demo = document("demo");
    let output = platform(&["migrate", &demo]);
    assert_eq!(code(&output), 0);
    assert_eq!(out(&output), fs::read_to_string(&demo).expect("readable"));
    assert!(err(&output).contains("already avps/1"), "{}", err(&output));
    let dir = tempfile::tempdir().expect("temporary folder");
    let newer = dir.path().join("newer.avps.toml");
    fs::write(&newer, "schema = \"avps/7\"\n").expect("written");
    let output = platform(&["migrate", &newer.display().to_string()]);
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("use a newer avpsctl"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_rule_is_explained_with_an_example_that_fails() {
    let output = platform(&["explain", "AVPS0102"]);
    let text = out(&output);
    assert!(
        text.contains("This fails:") && text.contains("    [[domain]]"),
        "{text}"
    );
    let rule = json(&platform(&["--json", "explain", "AVPS0102"]));
    assert!(
        rule["bad"]
            .as_str()
            .is_some_and(|bad| bad.contains("schema = \"avps/1\""))
    );
    let host = json(&platform(&["--json", "explain", "AVPS0301"]));
    assert!(
        host["bad"].is_null(),
        "a rule about files has no document that fails"
    );
}

#[test]
fn a_document_is_checked_before_anybody_notices() {
    let safety = document("dom0less-safety");
    // The fastest of several: other work on the machine only ever slows it down.
    let once = |_| {
        let before = Instant::now();
        assert_eq!(code(&platform(&["check", &safety])), 0);
        before.elapsed()
    };
    let fastest = (0..10).map(once).min().expect("ten");
    println!("avpsctl platform check: {} ms", fastest.as_millis());
    let limit = if cfg!(debug_assertions) { 400 } else { 20 };
    assert!(fastest < Duration::from_millis(limit), "{fastest:?}");
}

#[test]
fn a_driver_domains_ramdisk_is_written_under_the_name_that_its_configuration_has() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let document = at("driver-domain.avps.toml");
    fs::copy(configs().join("driver-domain.avps.toml"), &document).expect("copies");
    let program = at("avps-backend");
    // A program of headers only: ELF-64, little-endian, static, for aarch64.
    let mut elf = vec![0; 120];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[16..20].copy_from_slice(&[2, 0, 183, 0]);
    (elf[24], elf[32], elf[54], elf[56], elf[64]) = (64, 64, 56, 1, 1);
    fs::write(&program, &elf).expect("writes");
    let folder = at("");
    let emit = |arguments: &[&str]| {
        let all = ["emit", "ramdisk", &document, "--output", &folder];
        platform(&[&all[..], arguments].concat())
    };
    let output = emit(&["--backend", &program, "--domain", "storage"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let archive = fs::read(at("storage.ramdisk.cpio")).expect("written");
    assert_eq!(archive[..6], *b"070701");
    let output = platform(&["emit", "xl", "--domain", "storage", &document]);
    let line = format!("ramdisk = \"{}\"", at("storage.ramdisk.cpio"));
    assert!(out(&output).contains(&line), "{}", out(&output));

    // A guest has none made, and a program with libraries cannot be alone.
    let output = emit(&["--backend", &program, "--domain", "cockpit"]);
    assert_eq!(code(&output), 2, "{}", err(&output));
    elf[64] = 3;
    fs::write(&program, &elf).expect("writes");
    let output = emit(&["--backend", &program]);
    assert_eq!(code(&output), 3);
    assert!(
        err(&output).contains("linked dynamically"),
        "{}",
        err(&output)
    );
    let output = emit(&["--backend", &at("missing")]);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("missing"), "{}", err(&output));
}
