//! Promises about documents that are not single broken rules: several findings at once, defaults,
//! and that no input whatsoever panics.

use std::sync::LazyLock;

use crate::common::corpus::{configs, documents};
use platform::{Finding, Style, analyse, render};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.rule.id).collect()
}

#[test]
fn one_run_shows_every_mistake_in_the_order_of_the_document() {
    let text = r#"
schema = "avps/1"
[platform]
name = "demo"
colour = "blue"
[[domain]]
name = "a"
kernel = "Image"
memory = "1GB"
vcpus = 0
[[domain]]
name = "a"
kernel = ""
memory = "64MiB"
[[domain.block]]
image = "x"
readonly = "yes"
memory = "pool"
"#;
    let analysis = analyse(text, "/base");
    assert_eq!(
        ids(&analysis.findings),
        [
            "AVPS0002", "AVPS0007", "AVPS0113", "AVPS0102", "AVPS0120", "AVPS0003", "AVPS0202"
        ]
    );
    assert!(analysis.plan.is_none());
    let shown = render("demo", text, &analysis.findings, Style::PLAIN);
    insta::assert_snapshot!("several-findings", shown);
}

#[test]
fn a_mistake_is_not_reported_a_second_time_by_its_consequences() {
    let text = "schema = \"avps/1\"\n[platform]\nname = \"d\"\n[[domain]]\n";
    let analysis = analyse(text, "/base");
    assert_eq!(
        ids(&analysis.findings),
        ["AVPS0004", "AVPS0004", "AVPS0004"],
        "name, kernel and memory are missing, and nothing else is said"
    );
}

#[test]
fn defaults_are_the_documented_ones() {
    let text = r#"
schema = "avps/1"
platform = { name = "d" }
[[domain]]
name = "a"
kernel = "Image"
memory = "64MiB"
block = [{ image = "a.img" }, { image = "/b.img", readonly = true, block_size = 4096, cache = "direct" }]
"#;
    let plan = analyse(text, "/base").plan.expect("no errors");
    let json: serde_json::Value = serde_json::from_str(&plan.to_json()).expect("JSON");
    insta::assert_snapshot!(
        "defaults-plan",
        serde_json::to_string_pretty(&json).expect("JSON")
    );
}

#[test]
fn a_document_that_is_too_long_is_refused_before_it_is_parsed() {
    let text = "#".repeat(platform::MAX_DOCUMENT_BYTES + 1);
    assert_eq!(ids(&analyse(&text, "/").findings), ["AVPS0008"]);
}

#[test]
fn tables_nested_without_end_are_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}1{}", open.repeat(100_000), close.repeat(100_000));
        let analysis = analyse(&text, "/");
        assert_eq!(analysis.findings[0].rule.id, "AVPS0001");
    }
}

/// Processor time this thread has used, in nanoseconds: other work on the machine does not count.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let first = text.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

#[test]
fn the_time_for_a_document_grows_with_its_length_and_not_faster() {
    let time = |tables: usize| {
        let text = format!(
            "schema = \"avps/1\"\n[platform]\nname = \"d\"\n{}",
            "[[domain]]\nx=1\n".repeat(tables)
        );
        let before = cpu_time();
        let analysis = analyse(&text, "/");
        assert_eq!(analysis.findings.len(), 4 * tables);
        let shown = render("d", &text, &analysis.findings, Style::PLAIN);
        assert!(shown.contains("more findings"));
        let report = platform::Report::new("d", &text, &analysis.findings);
        assert_eq!(report.errors, 4 * tables);
        cpu_time() - before
    };
    time(1_000);
    let (small, large) = (time(2_500), time(20_000));
    assert!(
        large < small * 24,
        "8 times as long: {small} ns, {large} ns"
    );
}

/// Runs everything that is ever done with a text.
fn exercise(text: &str) {
    static VIRT: LazyLock<Vec<u8>> = LazyLock::new(|| crate::common::machine("virt.dts"));
    crate::common::exercise::exercise(text, &VIRT);
}

/// The documents of configs/, fixtures and all.
static DOCUMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folders = ["", "fixtures", "fixtures/good"].map(|folder| configs().join(folder));
    let documents = folders.iter().flat_map(|folder| documents(folder, ".toml"));
    let texts: Vec<String> = documents.map(|(_, text)| text).collect();
    assert!(texts.len() > 300, "{} documents", texts.len());
    texts
});

/// Values at the edge of what a key takes.
const EDGES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "4095",
    "0xffff_ffff",
    "0x1_0000_0000",
    "0x7fff_ffff_ffff_ffff",
    "-0x1",
    "\"\"",
    "\"0MiB\"",
    "\"17EiB\"",
    "[]",
    "{}",
    "[{}]",
];

/// One change of a document's lines.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Repeat(Index, Index),
    /// A line of another document, there.
    Foreign(Index, Index, Index),
    /// Another value for the key in that line.
    Edge(Index, Index),
    /// The value of another line for the key in that line.
    Swap(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Change::Drop),
        (at(), at()).prop_map(|(a, b)| Change::Repeat(a, b)),
        (at(), at(), at()).prop_map(|(a, b, c)| Change::Foreign(a, b, c)),
        (at(), at()).prop_map(|(a, b)| Change::Edge(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn changed(document: &str, changes: &[Change]) -> String {
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    let value = |line: &str| line.split_once('=').map(|(_, value)| value.to_owned());
    for change in changes {
        if lines.is_empty() {
            break;
        }
        let number = lines.len();
        match change {
            Change::Drop(at) => drop(lines.remove(at.index(number))),
            Change::Repeat(from, to) => {
                lines.insert(to.index(number), lines[from.index(number)].clone());
            }
            Change::Foreign(document, from, to) => {
                let other = document.get(&DOCUMENTS[..]);
                let other: Vec<&str> = other.lines().collect();
                if !other.is_empty() {
                    lines.insert(to.index(number), (*from.get(&other)).to_owned());
                }
            }
            Change::Edge(at, edge) => {
                let line = &mut lines[at.index(number)];
                if let Some((key, _)) = line.clone().split_once('=') {
                    *line = format!("{key}= {}", edge.get(&EDGES[..]));
                }
            }
            Change::Swap(at, from) => {
                let value = value(&lines[from.index(number)]);
                let line = &mut lines[at.index(number)];
                if let (Some((key, _)), Some(value)) = (line.clone().split_once('='), value) {
                    *line = format!("{key}={value}");
                }
            }
        }
    }
    lines.join("\n")
}

/// Pieces of real documents, so that the tests get past the parser.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("schema = \"avps/1\"\n".to_owned()),
        Just("[platform]\nname = \"d\"\n".to_owned()),
        Just("[machine]\nmemory = \"1GiB\"\n".to_owned()),
        Just("[[domain]]\nname = \"a\"\nkernel = \"k\"\nmemory = \"1MiB\"\n".to_owned()),
        Just("[[domain.block]]\nimage = \"i\"\n".to_owned()),
        Just("domain = 3\n".to_owned()),
        Just("[platform]\n".to_owned()),
        Just("[boot]\nwindow = { at = 0x5000_0000, size = \"1GiB\" }\n".to_owned()),
        Just("boot = \"dom0less\"\n".to_owned()),
        Just("static_memory = [{ at = 0x6000_0000, size = \"1MiB\" }]\n".to_owned()),
        Just("[[cpupool]]\nname = \"p\"\ncpus = [1]\n".to_owned()),
        Just("device = [{ path = \"/soc/can@1\" }]\n".to_owned()),
        (
            "(schema|name|kernel|memory|vcpus|block|image|cache|domain|[a-z]{1,5})",
            prop_oneof![
                any::<i64>().prop_map(|n| n.to_string()),
                "\"[ -!#-\\[\\]-~]{0,12}\"",
                "\"\\PC{0,8}\"",
                Just("[{}, 1, [2]]".to_owned()),
                Just("{ a = 1 }".to_owned()),
                Just("0xffff_ffff_ffff_ffff".to_owned()),
                Just("1979-05-27".to_owned()),
                Just("-inf".to_owned()),
            ]
        )
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}

/// A document of configs/ with some changes.
fn mutant() -> impl Strategy<Value = String> {
    let changes = proptest::collection::vec(change(), 1..8);
    (any::<Index>(), changes).prop_map(|(document, changes)| {
        let document: &String = document.get(&DOCUMENTS[..]);
        changed(document, &changes)
    })
}

#[test]
fn of_the_mutants_some_are_still_planned_and_many_are_not() {
    let mut runner = TestRunner::deterministic();
    let mut planned = 0;
    for _ in 0..400 {
        let text = mutant()
            .new_tree(&mut runner)
            .expect("nothing is filtered out")
            .current();
        planned += usize::from(analyse(&text, "/base").plan.is_some());
    }
    println!("{planned} of 400 have a plan");
    assert!((20..380).contains(&planned), "{planned} of 400 have a plan");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        exercise(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_mixture_of_pieces_panics(pieces in proptest::collection::vec(piece(), 0..12)) {
        exercise(&format!("schema = \"avps/1\"\n{}", pieces.concat()));
    }

    #[test]
    fn no_mutant_of_a_document_panics(text in mutant()) {
        exercise(&text);
    }

    #[test]
    fn no_cut_or_changed_document_panics(cut in 0_usize..400, at in 0_usize..400, with: char) {
        let demo = include_str!("../../../configs/demo.avps.toml");
        let mut chars: Vec<char> = demo.chars().collect();
        let length = chars.len();
        chars[at % length] = with;
        chars.truncate(length - cut % length);
        exercise(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn the_same_document_gives_the_same_plan(vcpus in 1_u32..=128, mib in 1_u64..4096) {
        let text = format!(
            "schema=\"avps/1\"\n[platform]\nname=\"d\"\n[[domain]]\nname=\"a\"\nkernel=\"k\"\n\
             memory=\"{mib}MiB\"\nvcpus={vcpus}\n"
        );
        let plan = |text| analyse(text, "/b").plan.map(|p| p.to_json());
        prop_assert!(plan(&text).is_some());
        prop_assert_eq!(plan(&text), plan(&text));
    }
}
