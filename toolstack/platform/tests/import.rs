//! Documents from xl configurations, and documents written from their tables: nothing is lost without a word.

use std::fs;
use std::path::Path;

use platform::import::{Source, import};
use platform::plan::*;
use platform::{Comments, analyse, document};
use proptest::prelude::*;

const DRIVER_DOMAIN: &str = include_str!("data/domd.cfg");

fn one(text: &str) -> platform::import::Imported {
    let sources = [Source {
        name: "domd.cfg",
        text,
    }];
    import("board", &sources).expect("valid")
}

fn plan(text: &str) -> Plan {
    let analysis = analyse(text, "/");
    assert!(
        analysis.findings.is_empty(),
        "{text}\n{:#?}",
        analysis.findings
    );
    analysis.plan.expect("no findings")
}

#[test]
fn a_driver_domain_of_the_field_is_imported_and_every_loss_is_told_with_its_line() {
    let imported = one(DRIVER_DOMAIN);
    insta::assert_snapshot!("import-domd", imported.text);
    let warnings: Vec<_> = imported
        .warnings
        .iter()
        .map(|w| format!("{}:{}: {}: {}", w.file, w.line, w.key, w.message))
        .collect();
    insta::assert_snapshot!("import-domd-warnings", warnings.join("\n"));
}

#[test]
fn every_key_is_carried_over_or_kept_as_a_comment_with_a_warning() {
    let assignments = platform::import::xl::parse(DRIVER_DOMAIN).expect("valid");
    let imported = one(DRIVER_DOMAIN);
    let carried = [
        "name",
        "kernel",
        "device_tree",
        "extra",
        "root",
        "memory",
        "vcpus",
        "cpus",
        "dtdev",
        "on_reboot",
        "llc_colors",
        "tee",
    ];
    for assignment in assignments {
        let key = assignment.key.as_str();
        let told = imported
            .warnings
            .iter()
            .any(|w| w.key == key && w.line == assignment.line);
        assert!(told || carried.contains(&key), "{key} is lost");
    }
    for kept in [
        "seclabel = \"system_u:system_r:domd_t\"",
        "coredump-restart",
        "e6055,1",
        "device22",
    ] {
        let comment = imported
            .text
            .lines()
            .any(|line| line.starts_with('#') && line.contains(kept));
        assert!(comment, "{kept}: {}", imported.text);
    }
}

#[test]
fn what_xl_ignores_or_overwrites_is_told_too() {
    let text = "name = 'a'\nkernel='/k'\nmemory=64\nmemory=128\nroot='/dev/vda'\ncmdline='quiet'\n\
                extra += 'x'\nunknown_key = [['a', 1]]\n";
    let imported = one(text);
    let lines: Vec<_> = imported
        .warnings
        .iter()
        .map(|w| (w.line, w.key.as_str()))
        .collect();
    assert_eq!(
        lines,
        [(3, "memory"), (7, "extra"), (8, "unknown_key"), (5, "root")]
    );
    let plan = plan(&imported.text);
    assert_eq!(plan.domains[0].memory_bytes, 128 << 20);
    assert_eq!(plan.domains[0].cmdline, "quiet");
    assert!(
        imported.text.contains("unknown_key = [[\"a\", 1]]"),
        "{}",
        imported.text
    );
}

#[test]
fn an_empty_configuration_becomes_a_document_that_says_what_is_missing() {
    let imported = one("");
    let keys: Vec<_> = imported.warnings.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["name", "kernel", "memory"]);
    assert_eq!(plan(&imported.text).domains.len(), 1);
    assert!(imported.text.contains("# TODO: kernel"));
}

#[test]
fn a_wrong_configuration_is_refused_with_file_and_line() {
    let sources = [Source {
        name: "x.cfg",
        text: "name = 'a'\nmemory = sixty\n",
    }];
    let error = import("board", &sources).expect_err("no number");
    assert!(error.to_string().starts_with("x.cfg, line 2: "), "{error}");
}

#[test]
fn what_we_emit_for_xl_comes_back_as_the_same_domains() {
    let text = include_str!("../../../configs/demo.avps.toml");
    let before = plan(text);
    let xl = platform::emit::xl::emit(&before).expect("emits");
    let sources: Vec<_> = xl
        .iter()
        .map(|file| Source {
            name: &file.file_name,
            text: &file.text,
        })
        .collect();
    let after = plan(&import(&before.platform, &sources).expect("valid").text);
    assert_eq!(after.domains[0].uuid, before.domains[0].uuid);
    let mut changes = platform::diff::diff(&before, &after);
    // xl cannot name an image: what is imported is a guess, which here is right.
    changes.retain(|change| !change.path.ends_with("image"));
    assert_eq!(changes, []);
}

#[test]
fn a_document_written_from_its_tables_means_the_same() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let shipped = fs::read_dir(configs).expect("readable");
    let mut texts: Vec<_> = shipped
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.to_string_lossy().ends_with(".avps.toml"))
        .map(|path| fs::read_to_string(path).expect("readable"))
        .collect();
    texts.push(include_str!("data/sixteen.avps.toml").to_owned());
    for text in texts {
        let read = |text: &str| {
            let (document, findings) = document::read(text);
            assert!(findings.is_empty(), "{text}\n{findings:#?}");
            document.expect("readable")
        };
        let before = read(&text);
        let written = document::write(&before.content, &Comments::new());
        let after = read(&written);
        let resolve = |document| platform::resolve(document, "/base", MachinePlan::default());
        assert_eq!(resolve(&before), resolve(&after), "{written}");
        assert_eq!(written, document::write(&after.content, &Comments::new()));
    }
}

#[test]
fn a_comment_cannot_become_a_line_of_its_own() {
    let mut comments = Comments::new();
    comments.insert(String::new(), vec!["a\nx = 1\u{0}\rb".into()]);
    let text = document::write(&document::DocumentTable::default(), &comments);
    assert_eq!(text, "# a\n# x = 1??b\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_imported_can_be_read_again(
        lines in proptest::collection::vec(
            (
                "(name|kernel|memory|maxmem|vcpus|cpus|extra|root|disk|virtio|dtdev|iomem|irqs|tee|pool|period|x)",
                prop_oneof![
                    "[0-9]{1,6}",
                    "\"[ -!#-\\[\\]-~]{0,20}\"",
                    "'\\PC{0,8}'",
                    "\\[ *('[a-z0-9,=@/:]{0,24}', *){0,3}\\]",
                ],
            ),
            0..12,
        )
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let sources = [Source { name: "a.cfg", text: &text }];
        if let Ok(imported) = import("p", &sources) {
            let (document, findings) = document::read(&imported.text);
            prop_assert!(document.is_some(), "{}", imported.text);
            // An RTDS share of one half is what the configuration says; everything else can be read.
            for finding in findings {
                prop_assert!(finding.at.contains("rtds"), "{finding:?}\n{}", imported.text);
            }
        }
    }
}
