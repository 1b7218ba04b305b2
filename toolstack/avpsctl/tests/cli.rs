//! The command as users and programs meet it: output, errors and exit codes, on a machine that is
//! no dom0. What needs Xen is tested in the bed.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{code, command, configs, err, json, out};

fn demo() -> String {
    configs().join("demo.avps.toml").display().to_string()
}

fn fixture(name: &str) -> String {
    configs().join("fixtures").join(name).display().to_string()
}

fn avpsctl(args: &[&str]) -> Output {
    command(args).output().expect("runs")
}

#[test]
fn a_good_document_has_exit_code_0() {
    let output = avpsctl(&["check", &demo()]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("no findings"));
}

#[test]
fn each_mistake_is_shown_in_its_line_with_exit_code_1() {
    for (name, line) in [
        ("AVPS0002-unknown-key.toml", "vcpu = 2"),
        ("AVPS0102-duplicate-domain.toml", "name = \"cockpit\""),
        ("AVPS0202-pool-memory.toml", "memory = \"pool\""),
    ] {
        let output = avpsctl(&["check", &fixture(name)]);
        assert_eq!(code(&output), 1, "{name}");
        let shown = out(&output);
        assert!(shown.contains(line) && shown.contains("^"), "{shown}");
        assert!(shown.contains(&name[..8]), "{shown}");
        assert!(shown.contains("help:"), "{shown}");
    }
}

#[test]
fn warnings_do_not_fail() {
    let output = avpsctl(&["check", &fixture("AVPS0103-no-domain.toml")]);
    assert_eq!(code(&output), 0);
    assert!(
        out(&output).contains("0 error(s), 1 warning(s)"),
        "{}",
        out(&output)
    );
}

#[test]
fn programs_get_findings_with_line_and_column() {
    let output = avpsctl(&["--json", "check", &fixture("AVPS0002-unknown-key.toml")]);
    assert_eq!(code(&output), 1);
    let report = json(&output);
    assert_eq!(report["schema"], "avps-findings/1");
    let finding = &report["findings"][0];
    assert_eq!(finding["id"], "AVPS0002");
    assert_eq!(finding["path"], "domain[0].vcpu");
    assert_eq!(finding["start"]["line"], 11);
    assert_eq!(finding["start"]["column"], 1);
    assert!(
        finding["help"]
            .as_str()
            .is_some_and(|help| help.contains("\"vcpus\""))
    );
}

#[test]
fn a_command_that_needs_a_good_document_shows_the_findings_too() {
    for command in ["plan", "up", "down", "diff"] {
        let output = avpsctl(&[command, &fixture("AVPS0113-vcpus.toml")]);
        assert_eq!(code(&output), 1, "{command}");
        assert!(
            err(&output).contains("AVPS0113"),
            "{command}: {}",
            err(&output)
        );
        let output = avpsctl(&["--json", command, &fixture("AVPS0113-vcpus.toml")]);
        assert_eq!(json(&output)["findings"][0]["id"], "AVPS0113", "{command}");
    }
}

#[test]
fn a_document_that_is_not_there_is_a_wrong_command_line() {
    let output = avpsctl(&["check", "/nonexistent.avps.toml"]);
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("/nonexistent.avps.toml"),
        "{}",
        err(&output)
    );
    assert_eq!(code(&avpsctl(&["check", "/"])), 2, "a folder");
}

#[test]
fn a_document_that_is_no_text_is_shown_where() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("x.avps.toml");
    fs::write(&path, b"schema = \"avps/1\"\nname = \"\xff\xfe\"\n").expect("written");
    let path = path.display().to_string();
    let output = avpsctl(&["--json", "check", &path]);
    assert_eq!(code(&output), 1);
    let finding = &json(&output)["findings"][0];
    assert_eq!(finding["id"], "AVPS0001");
    assert_eq!(finding["start"]["line"], 2);
    assert_eq!(code(&avpsctl(&["check", &path])), 1);
}

#[test]
fn a_disk_image_given_instead_of_a_document_is_refused_quickly() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("disk.img");
    fs::File::create(&path)
        .and_then(|file| file.set_len(8 << 30))
        .expect("created");
    let output = avpsctl(&["--json", "check", &path.display().to_string()]);
    assert_eq!(code(&output), 1);
    assert_eq!(json(&output)["findings"][0]["id"], "AVPS0008");
}

#[test]
fn what_the_host_lacks_is_found_by_check_host() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("p.avps.toml");
    let text = fs::read_to_string(demo())
        .expect("readable")
        .replace("/usr/lib/avps/guest/", "")
        .replace("/var/lib/avps/images/", "");
    fs::write(&path, text).expect("written");
    fs::write(dir.path().join("initramfs.cpio.gz"), "x").expect("written");
    fs::write(dir.path().join("cockpit.img"), [0; 1000]).expect("written");
    let path = path.display().to_string();
    assert_eq!(
        code(&avpsctl(&["check", &path])),
        0,
        "without --host no file is looked at"
    );
    let output = avpsctl(&["--json", "check", "--host", &path]);
    assert_eq!(code(&output), 1);
    let report = json(&output);
    let ids: Vec<_> = report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| finding["id"].as_str().expect("text"))
        .collect();
    assert_eq!(
        ids,
        ["AVPS0301", "AVPS0304"],
        "no kernel, and an image that is no whole sectors"
    );
    assert!(
        report["findings"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|f| f["start"].is_object())
    );
}

#[test]
fn the_plan_is_json_and_deterministic() {
    let output = avpsctl(&["plan", &demo()]);
    assert_eq!(code(&output), 0);
    assert_eq!(json(&output)["schema"], "avps-plan/1");
    assert_eq!(out(&output), out(&avpsctl(&["plan", &demo()])));
}

#[test]
fn xl_configurations_are_emitted_to_standard_output_or_into_a_folder() {
    let output = avpsctl(&["emit", "xl", &demo()]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("virtio = ["), "{}", out(&output));
    let dir = tempfile::tempdir().expect("temporary folder");
    let folder = dir.path().display().to_string();
    assert_eq!(code(&avpsctl(&["emit", "xl", "-o", &folder, &demo()])), 0);
    let written = fs::read_to_string(dir.path().join("cockpit.cfg")).expect("written");
    assert_eq!(written, out(&output));
    let output = avpsctl(&["emit", "xl", "--domain", "nobody", &demo()]);
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("cockpit"),
        "tells what there is: {}",
        err(&output)
    );
}

/// A folder with the dom0less sample, its machine's device tree, and a kernel of 4 KiB.
fn dom0less() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let machine = "../platform/tests/machines/virt.dts";
    let machine = Path::new(env!("CARGO_MANIFEST_DIR")).join(machine);
    let status = Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
        .arg(dir.path().join("virt.dtb"))
        .arg(machine)
        .status()
        .expect("dtc runs; Debian has it in the package device-tree-compiler");
    assert!(status.success());
    fs::write(dir.path().join("guest.bin"), [0; 4096]).expect("writes");
    let document = dir.path().join("dom0less.avps.toml");
    fs::copy(configs().join("dom0less.avps.toml"), &document).expect("copies");
    let document = document.display().to_string();
    (dir, document)
}

#[test]
fn a_document_is_emitted_in_every_language_and_modules_have_the_sizes_of_their_files() {
    let (dir, document) = dom0less();
    let folder = dir.path().display().to_string();
    let text = |language: &str| {
        let output = avpsctl(&["emit", language, &document]);
        assert_eq!(code(&output), 0, "{language}: {}", err(&output));
        out(&output)
    };
    let source = text("dom0less-dts");
    assert!(
        source.contains("reg = <0 0x50000000 0 0x1000>;"),
        "{source}"
    );
    assert!(text("uboot").contains("load virtio 0:1 0x50000000 guest.bin"));
    assert!(text("cmdline").contains("xen: console=dtuart"));
    assert!(text("kconfig").contains("CONFIG_STATIC_MEMORY=y"));
    assert!(text("libxl-json").is_empty(), "the toolstack starts none");
    for (language, file) in [
        ("dom0less-dtb", "dom0less.dtb"),
        ("dom0less-dtbo", "dom0less.dtbo"),
    ] {
        let output = avpsctl(&["emit", language, &document]);
        assert_eq!(code(&output), 2, "not to standard output");
        let output = avpsctl(&["emit", language, "-o", &folder, &document]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        let written = fs::read(dir.path().join(file)).expect("written");
        assert_eq!(written[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    }
    let output = avpsctl(&["emit", "dom0less-dts", "--domain", "cluster", &document]);
    assert_eq!(code(&output), 2, "{}", err(&output));
}

#[test]
fn a_device_tree_that_is_not_there_is_a_finding_at_its_line() {
    let (dir, document) = dom0less();
    fs::remove_file(dir.path().join("virt.dtb")).expect("removes");
    let output = avpsctl(&["check", &document]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).contains("AVPS0010"), "{}", out(&output));
    fs::write(dir.path().join("virt.dtb"), "no tree").expect("writes");
    let output = avpsctl(&["check", &document]);
    assert!(out(&output).contains("AVPS0011"), "{}", out(&output));
}

#[test]
fn outside_dom0_every_command_that_needs_xen_says_so_with_exit_code_3() {
    if Path::new("/dev/xen/privcmd").exists() {
        panic!("these tests are for machines without Xen; in dom0 the bed tests avpsctl");
    }
    let dir = tempfile::tempdir().expect("temporary folder");
    let run_dir = dir.path().display().to_string();
    let demo = demo();
    let commands: [&[&str]; 14] = [
        &["up", &demo],
        &["down", &demo],
        &["diff", &demo],
        &["supervise", &demo],
        &["create", &demo, "cockpit"],
        &["destroy", "cockpit"],
        &["pause", "cockpit"],
        &["unpause", "cockpit"],
        &["shutdown", "cockpit"],
        &["shutdown", "--wait", "cockpit"],
        &["reboot", "cockpit"],
        &["list"],
        &["info"],
        &["console", "cockpit"],
    ];
    for command in commands {
        let mut args = vec!["--run-dir", &run_dir];
        args.extend(command);
        let output = avpsctl(&args);
        assert_eq!(code(&output), 3, "{command:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{command:?}");
        let said = err(&output);
        assert!(
            said.starts_with("error: this needs dom0 on Xen: /dev/xen/privcmd not found\n"),
            "{command:?}: {said}"
        );
        args.insert(0, "--json");
        let error = json(&avpsctl(&args));
        assert_eq!(error["schema"], "avps-error/1");
        assert_eq!(error["exit_code"], 3);
    }
}

#[test]
fn a_wrong_command_line_has_exit_code_2_and_a_proposal() {
    let output = avpsctl(&["lst"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("list"), "{}", err(&output));
    assert_eq!(code(&avpsctl(&[])), 2);
    assert_eq!(code(&avpsctl(&["up"])), 2);
    assert_eq!(code(&avpsctl(&["up", "--timeout", "0", &demo()])), 2);
    assert_eq!(code(&avpsctl(&["destroy"])), 2);
    assert_eq!(code(&avpsctl(&["explain", "AVPS9999"])), 2);
}

#[test]
fn help_teaches_exit_codes_examples_and_json_fields() {
    let output = avpsctl(&["--help"]);
    assert_eq!(code(&output), 0);
    let help = out(&output);
    for word in [
        "Exit codes:",
        "4    only a part",
        "130  ended by Ctrl-C",
        "Examples:",
        "avpsctl up cockpit.avps.toml",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for command in ["up", "list", "info", "check"] {
        assert!(
            out(&avpsctl(&[command, "--help"])).contains("json"),
            "{command}"
        );
    }
    for command in ["check", "emit", "explain", "graph", "diff", "import"] {
        let help = out(&avpsctl(&["platform", command, "--help"]));
        assert!(help.contains("Fields of --json"), "{command}: {help}");
    }
    for command in ["graph", "schema", "diff", "new", "import", "migrate"] {
        let help = out(&avpsctl(&["platform", command, "--help"]));
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn every_rule_is_explained() {
    let list = out(&avpsctl(&["explain"]));
    for rule in platform::rules::all() {
        assert!(list.contains(rule.id), "{}", rule.id);
    }
    let output = avpsctl(&["explain", "avps0205"]);
    assert_eq!(code(&output), 0);
    assert!(
        out(&output).contains("destroy its file system"),
        "{}",
        out(&output)
    );
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&avpsctl(&["completion", shell]));
        for command in [
            "up",
            "console",
            "supervise",
            "platform",
            "migrate",
            "svg-links",
        ] {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
}

#[test]
fn manual_pages_are_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let folder = dir.path().join("man1");
    assert_eq!(code(&avpsctl(&["man", &folder.display().to_string()])), 0);
    let page = fs::read_to_string(folder.join("avpsctl-up.1")).expect("written");
    assert!(page.contains(".TH avpsctl-up 1"), "{page}");
    assert!(folder.join("avpsctl.1").exists());
    let page = fs::read_to_string(folder.join("avpsctl-platform-diff.1")).expect("written");
    assert!(page.contains("avps\\-platform\\-diff/1"), "{page}");
}

#[test]
fn colours_are_used_only_when_wanted() {
    let document = fixture("AVPS0113-vcpus.toml");
    let plain = avpsctl(&["check", &document]);
    assert!(!out(&plain).contains('\u{1b}'), "not on a pipe");
    let colored = avpsctl(&["--color", "always", "check", &document]);
    assert!(out(&colored).contains('\u{1b}'));
    let never = avpsctl(&["--color", "never", "check", &document]);
    assert!(!out(&never).contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let mut child = command(&["explain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_backends_counters_are_shown_as_a_table_as_json_and_as_openmetrics() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let socket = dir.path().join("s");
    let path = socket.display().to_string();
    let ask = |more: &[&str]| {
        let mut args = vec!["backend", "stats", "--socket", &path];
        args.extend(more);
        avpsctl(&args)
    };
    let absent = ask(&[]);
    assert_eq!(code(&absent), 3);
    assert!(
        err(&absent).contains("no avps-backend answers"),
        "{}",
        err(&absent)
    );

    let report = backend_stats::Report {
        schema: backend_stats::SCHEMA.into(),
        version: "0.1.0".into(),
        pid: 41,
        guests: vec![backend_stats::Guest {
            domid: 3,
            name: Some("cockpit".into()),
            worker_pid: Some(42),
            sandbox_lacks: None,
            restarts: 2,
            stale: false,
            counters: backend_stats::Counters::from([("hypercalls".into(), 9)]),
            devices: Vec::new(),
        }],
    };
    let listener = daemon::socket::listen(&socket).expect("socket");
    let daemon = std::thread::spawn(move || {
        for client in listener.incoming().take(4) {
            daemon::socket::answer(client.expect("client"), &report).expect("answer");
        }
    });
    let table = ask(&["cockpit"]);
    assert_eq!(code(&table), 0);
    assert!(out(&table).contains("cockpit (domain 3), worker 42, 2 restarts"));
    assert_eq!(
        json(&ask(&["--json"]))["guests"][0]["counters"]["hypercalls"],
        9
    );
    let metrics = ask(&["--openmetrics", "3"]);
    assert!(
        out(&metrics).contains("avps_worker_hypercalls_total{domid=\"3\",domain=\"cockpit\"} 9\n"),
        "{}",
        out(&metrics)
    );
    let other = ask(&["cluster"]);
    assert_eq!(code(&other), 2);
    assert!(err(&other).contains("cluster"), "{}", err(&other));
    daemon.join().expect("daemon");
}

#[test]
fn findings_that_somebody_answers_for_are_counted_apart_and_listed_for_programs() {
    let document = fixture("good/AVPS0956-waiver-of-unknown-subject.toml");
    let output = avpsctl(&["check", &document]);
    assert_eq!(code(&output), 0, "{}", out(&output));
    assert!(out(&output).contains("no findings"));
    assert!(out(&output).contains("1 finding(s) waived"));
    let report = json(&avpsctl(&["--json", "check", &document]));
    assert_eq!(report["errors"], 0);
    assert_eq!(report["waived"][0]["id"], "AVPS0820");
    assert_eq!(report["waived"][0]["waiver"]["owner"], "safety@example.com");
}

#[test]
fn check_writes_sarif_and_keeps_its_exit_code() {
    let document = fixture("AVPS0820-control-domain-below-level.toml");
    let output = avpsctl(&["check", "--sarif", &document]);
    assert_eq!(code(&output), 1);
    let log = json(&output);
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "AVPS0820");
    assert_eq!(
        code(&avpsctl(&["--json", "check", "--sarif", &document])),
        2
    );
}

#[test]
fn the_safety_report_is_written_to_standard_output_or_into_a_folder() {
    let document = fixture("good/AVPS0820-control-domain-below-level.toml");
    let output = avpsctl(&["emit", "report", &document]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).starts_with("# Safety report: fixture"));
    let folder = tempfile::tempdir().expect("a folder");
    let folder_name = folder.path().display().to_string();
    let output = avpsctl(&["emit", "report", "--output", &folder_name, &document]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(folder.path().join("fixture-safety.md").exists());
    assert_eq!(
        code(&avpsctl(&["emit", "report", "--domain", "adas", &document])),
        2
    );
}

#[test]
fn a_domain_with_more_than_libxl_can_give_is_not_started_without_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let document = dir.path().join("more.avps.toml");
    let path = document.display().to_string();
    let pool = "[[cpupool]]\nname = \"p\"\ncpus = [1]\nscheduler = \"arinc653\"\n";
    let cases = [
        (
            pool,
            "cpupool = \"p\"\narinc653 = { runtime = \"5ms\" }",
            "arinc653: libxl has no call",
        ),
        (
            "",
            "console = \"none\"",
            "console: libxl gives every domain",
        ),
    ];
    for (pool, keys, word) in cases {
        let text = format!(
            "schema = \"avps/1\"\n[platform]\nname = \"d\"\n[machine]\ncpus = 4\n{pool}[[domain]]\nname = \"a\"\n\
             kernel = \"Image\"\nmemory = \"64MiB\"\n{keys}\n"
        );
        fs::write(&document, text).expect("written");
        for command in [&["up", &path] as &[&str], &["create", &path, "a"]] {
            let output = avpsctl(command);
            assert_eq!(code(&output), 2, "{}", err(&output));
            assert!(err(&output).contains(word), "{}", err(&output));
        }
    }
}
