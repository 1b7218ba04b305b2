//! Promises about safety: what holds a rule has no finding, waivers take a finding away and give it back, and levels
//! follow from who can affect whom and from nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use platform::check::levels::{Levels, Node};
use platform::plan::{Asil, MachineDevice, Range};
use platform::units::Date;
use platform::{MachinePlan, NoFiles, Options, Plan};
use proptest::prelude::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fixtures")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("part of the repository")
}

#[test]
fn what_holds_a_rule_has_no_finding() {
    let mut names = 0;
    for entry in fs::read_dir(fixtures().join("good")).expect("part of the repository") {
        let path = entry.expect("readable").path();
        let findings = platform::analyse(&read(&path), "/base").findings;
        assert!(findings.is_empty(), "{}: {findings:#?}", path.display());
        let name = path.file_name().expect("a file");
        assert!(
            fixtures().join(name).exists(),
            "{name:?} has no counterpart that fails"
        );
        names += 1;
    }
    assert!(names > 0);
}

/// A document of domains with these levels, backends and CPUs; the control domain comes first.
fn platform_of(domains: &[String]) -> String {
    let head = "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[machine]\ncpus = 4\n\
                [[cpupool]]\nname = \"a\"\ncpus = [1]\n[[cpupool]]\nname = \"b\"\ncpus = [2]\n\
                [[cpupool]]\nname = \"n\"\ncpus = [3]\nscheduler = \"null\"\n";
    format!("{head}{}", domains.concat())
}

/// A random domain: level, pool, backend of its disk, what it waits for, who keeps its watchdog.
fn domain() -> impl Strategy<Value = Random> {
    (
        0_usize..5,
        0_usize..4,
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        0_u8..6,
    )
}

type Random = (usize, usize, u8, u8, u8, u8);

fn tables(random: &[Random]) -> Vec<String> {
    let name = |number: u8| format!("d{}", usize::from(number) % random.len());
    let written = |(index, (level, pool, backend, after, keeper, parts)): (usize, &Random)| {
        let level = ["QM", "A", "B", "C", "D"][*level];
        let mut text = format!(
            "[[domain]]\nname = \"d{index}\"\nkernel = \"k\"\nmemory = \"1MiB\"\nasil = \"{level}\"\n"
        );
        if let Some(pool) = ["a", "b", "n"].get(*pool) {
            text += &format!("cpupool = \"{pool}\"\n");
        }
        if parts & 1 != 0 {
            text += &format!("after = [\"{}\"]\n", name(*after));
        }
        if parts & 2 != 0 {
            text += &format!(
                "watchdog = {{ timeout = \"1s\", owner = \"{}\" }}\n",
                name(*keeper)
            );
        }
        if parts & 4 != 0 {
            text += &format!(
                "[[domain.block]]\nimage = \"{index}\"\nbackend = \"{}\"\n",
                name(*backend)
            );
        }
        text
    };
    random.iter().enumerate().map(written).collect()
}

fn plan(text: &str) -> Plan {
    let (document, findings) = platform::document::read(text);
    assert!(findings.is_empty(), "{findings:#?}");
    platform::resolve(&document.expect("a document"), "/", MachinePlan::default())
}

/// Findings without their places, which follow the order of the document.
fn said(plan: &Plan) -> BTreeSet<(&'static str, String)> {
    let findings = platform::check::check(plan);
    let about_levels = findings
        .iter()
        .filter(|finding| finding.rule.id >= "AVPS09");
    about_levels
        .map(|finding| (finding.rule.id, finding.message.clone()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn required_levels_are_the_least_fixpoint(random in proptest::collection::vec(domain(), 1..8)) {
        let plan = plan(&platform_of(&tables(&random)));
        let levels = Levels::of(&plan);
        let mut least: BTreeMap<Node, Asil> = BTreeMap::new();
        for domain in &plan.domains {
            least.insert(Node::Domain(domain.name.clone()), domain.asil);
        }
        // The slow way: raise until nothing rises any more.
        loop {
            let mut risen = false;
            for (from, edges) in levels.graph().sources() {
                let needed = edges.iter().filter_map(|edge| least.get(&edge.to)).max().copied();
                let level = least.entry(from.clone()).or_insert(Asil::Qm);
                if let Some(needed) = needed.filter(|needed| *needed > *level) {
                    *level = needed;
                    risen = true;
                }
            }
            if !risen {
                break;
            }
        }
        for (node, level) in &least {
            prop_assert_eq!(levels.required(node), *level, "{:?}", node);
        }
    }

    #[test]
    fn a_level_never_falls_and_its_chain_ends_where_it_comes_from(random in proptest::collection::vec(domain(), 1..8)) {
        let plan = plan(&platform_of(&tables(&random)));
        let levels = Levels::of(&plan);
        for domain in &plan.domains {
            let node = Node::Domain(domain.name.clone());
            prop_assert!(levels.required(&node) >= domain.asil);
            let chain = levels.chain(&node);
            let mut at = node.clone();
            for edge in &chain {
                prop_assert!(levels.graph().from(&at).contains(edge));
                prop_assert!(levels.required(&edge.to) >= levels.required(&node));
                at = edge.to.clone();
            }
            prop_assert_eq!(levels.own(&at), Some(levels.required(&node)));
            prop_assert_eq!(chain.is_empty(), !levels.is_below(&node));
        }
    }

    #[test]
    fn levels_do_not_depend_on_the_order_of_the_domains(
        random in proptest::collection::vec(domain(), 1..8),
        turn in 0_usize..8,
    ) {
        let mut domains = tables(&random);
        let one = plan(&platform_of(&domains));
        let turn = turn % domains.len();
        domains.rotate_left(turn);
        domains.reverse();
        let other = plan(&platform_of(&domains));
        let required = |plan: &Plan| {
            let levels = Levels::of(plan);
            let domains = plan.domains.iter().map(|domain| Node::Domain(domain.name.clone()));
            domains.map(|node| (node.clone(), levels.required(&node))).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(required(&one), required(&other));
        // Whatever is found can be shown.
        let text = platform_of(&domains);
        let analysis = platform::analyse(&text, "/");
        platform::sarif("p", &text, &analysis.findings, &analysis.waived);
        platform::emit::report::emit(&other, &analysis.findings, &analysis.waived);
        prop_assert_eq!(said(&one), said(&other));
    }

    #[test]
    fn raising_a_domain_lowers_nothing(random in proptest::collection::vec(domain(), 1..8), which in 0_usize..8) {
        let before = Levels::of(&plan(&platform_of(&tables(&random))));
        let mut higher = random.clone();
        let which = which % higher.len();
        higher[which].0 = (higher[which].0 + 1).min(4);
        let after = Levels::of(&plan(&platform_of(&tables(&higher))));
        for number in 0..random.len() {
            let node = Node::Domain(format!("d{number}"));
            prop_assert!(after.required(&node) >= before.required(&node));
        }
    }

    #[test]
    fn a_waiver_takes_a_finding_away_and_its_removal_brings_it_back(random in proptest::collection::vec(domain(), 1..6)) {
        let bare = platform_of(&tables(&random));
        let before = platform::analyse(&bare, "/");
        let finding = before.findings.iter().find(|finding| finding.rule.waivable);
        prop_assume!(finding.is_some());
        let finding = finding.expect("there is one");
        let subject = finding.subjects.iter().find(|subject| subject.starts_with('d'));
        let waived = format!(
            "{bare}[[waive]]\nrule = \"{}\"\n{}reason = \"r\"\nowner = \"o\"\nexpires = 2099-01-01\n",
            finding.rule.id,
            subject.map_or_else(String::new, |subject| format!("subject = \"{subject}\"\n")),
        );
        let with = platform::analyse(&waived, "/");
        let key = |finding: &platform::Finding| (finding.rule.id, finding.at.clone(), finding.message.clone());
        prop_assert!(!with.findings.iter().any(|other| key(other) == key(finding)));
        prop_assert!(with.waived.iter().any(|other| key(&other.finding) == key(finding)));
        let mut all: Vec<_> = with.findings.iter().map(key).collect();
        all.extend(with.waived.iter().map(|waived| key(&waived.finding)));
        all.sort();
        let mut expected: Vec<_> = before.findings.iter().map(key).collect();
        expected.sort();
        prop_assert_eq!(all, expected, "nothing is lost and nothing is added");
    }
}

#[test]
fn a_waiver_ends_with_its_last_day() {
    let text = read(&fixtures().join("good/AVPS0820-control-domain-below-level.toml")).replace(
        "[[domain]]\nname = \"cluster\"\nboot = \"dom0less\"",
        "[[domain]]\nname = \"cluster\"",
    );
    let text = format!(
        "{text}[[waive]]\nrule = \"AVPS0820\"\nreason = \"r\"\nowner = \"o\"\nexpires = 2027-06-30\n"
    );
    let on = |year, month, day| {
        let today = Some(Date { year, month, day });
        platform::analyse_with(&text, "/", &NoFiles, Options { today })
    };
    let last = on(2027, 6, 30);
    assert_eq!(last.waived.len(), 1);
    assert!(last.plan.is_some(), "{:#?}", last.findings);
    let next = on(2027, 7, 1);
    let ids: Vec<_> = next
        .findings
        .iter()
        .map(|finding| finding.rule.id)
        .collect();
    assert_eq!(ids, ["AVPS0820", "AVPS0953"]);
    assert!(next.waived.is_empty() && next.plan.is_none());
}

#[test]
fn a_clock_that_was_never_set_brings_no_waiver_back_to_life() {
    let text = read(&fixtures().join("AVPS0953-waiver-expired.toml"));
    let today = Some(Date {
        year: 1970,
        month: 1,
        day: 1,
    });
    let findings = platform::analyse_with(&text, "/", &NoFiles, Options { today }).findings;
    assert_eq!(findings[0].rule.id, "AVPS0953");
}

/// Facts that only a device tree gives.
fn device(path: &str, suppliers: &[&str]) -> MachineDevice {
    MachineDevice {
        path: path.to_owned(),
        regions: vec![Range {
            at: 0x900_0000,
            size_bytes: 4096,
        }],
        suppliers: suppliers.iter().map(|path| (*path).to_owned()).collect(),
        behind_iommu: true,
        ..MachineDevice::default()
    }
}

#[test]
fn clocks_behind_clocks_are_found_and_shown_with_the_whole_chain() {
    let text = read(&fixtures().join("good/AVPS0812-dma-everywhere.toml"));
    let mut plan = plan(&text);
    plan.machine.devices = vec![
        device("/soc/watchdog@9000000", &["/soc/clock@1"]),
        device("/soc/clock@1", &["/soc/gpu@9040000"]),
        device("/soc/gpu@9040000", &[]),
    ];
    let findings = platform::check::check(&plan);
    let finding = findings
        .iter()
        .find(|finding| finding.rule.id == "AVPS0902");
    let finding = finding.unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(
        finding.message,
        "\"cluster\" (QM) needs ASIL B: \"cluster\" (QM) → /soc/gpu@9040000 → clock, reset, power or pins of \
         /soc/clock@1 → clock, reset, power or pins of /soc/watchdog@9000000 → watchdog of \"adas\" (ASIL B)"
    );
    assert_eq!(finding.at, "domain[1].device[0].path");
    assert!(finding.subjects.contains(&"/soc/clock@1".to_owned()));
    plan.machine.devices.pop();
    plan.machine.devices[1].suppliers.clear();
    assert!(
        said(&plan).is_empty(),
        "what nobody can reach is nobody's fault"
    );
}

#[test]
fn pins_and_regulators_belong_to_the_device_around_them() {
    let text = read(&fixtures().join("good/AVPS0812-dma-everywhere.toml"));
    let mut plan = plan(&text);
    plan.machine.devices = vec![
        device("/soc/watchdog@9000000", &["/soc/gpu@9040000/pins/a"]),
        device("/soc/gpu@9040000", &[]),
    ];
    let findings = platform::check::check(&plan);
    let ids: Vec<_> = findings.iter().map(|finding| finding.rule.id).collect();
    assert_eq!(ids, ["AVPS0902"], "{findings:#?}");
    assert_eq!(findings[0].at, "domain[1].device[0].path");
}

#[test]
fn what_nobody_owns_is_in_the_hands_of_the_control_domain() {
    let text = read(&fixtures().join("good/AVPS0817-console-of-control-domain.toml"));
    let mut plan = plan(&text);
    plan.machine.devices = vec![
        device("/soc/watchdog@9000000", &["/soc/clock@1"]),
        device("/soc/clock@1", &[]),
    ];
    let findings = platform::check::check(&plan);
    let found = findings
        .iter()
        .find(|finding| finding.rule.id == "AVPS0902");
    let found = found.unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(found.at, "domain[0].kind");
    // A fixed clock has no registers: nobody can stop it.
    plan.machine.devices[1].regions.clear();
    let findings = platform::check::check(&plan);
    assert!(
        findings.iter().all(|finding| finding.rule.id != "AVPS0902"),
        "{findings:#?}"
    );
}
