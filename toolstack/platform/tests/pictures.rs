//! Pictures: nothing in them overlaps, nothing leaves them, nothing from a document becomes part of their language.

use std::fs;
use std::path::Path;

use platform::Plan;
use platform::emit::svg::{self, Picture};
use platform::plan::*;

fn plan(text: &str) -> Plan {
    let analysis = platform::analyse(text, "/base");
    let findings = analysis.findings;
    analysis.plan.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// Sixteen domains of all levels, with every kind of link; every rule about them is somebody else's affair, so the plan is made
/// from the document without the checks.
fn sixteen() -> Plan {
    unchecked(include_str!("data/sixteen.avps.toml"))
}

fn unchecked(text: &str) -> Plan {
    let (document, _) = platform::document::read(text);
    platform::resolve(
        &document.expect("readable"),
        "/base",
        MachinePlan::default(),
    )
}

fn plans() -> Vec<(String, Plan)> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut plans: Vec<_> = fs::read_dir(configs)
        .expect("part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.to_string_lossy().ends_with(".avps.toml"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path.display().to_string(), plan(&text))
        })
        .collect();
    plans.sort_by(|a, b| a.0.cmp(&b.0));
    plans.push(("sixteen".into(), sixteen()));
    let mut long = sixteen();
    let rename = |name: &mut String| *name = format!("{name}-with-a-name-of-many-many-letters");
    long.platform = "WWWWWWWW".repeat(30);
    for domain in &mut long.domains {
        rename(&mut domain.name);
    }
    plans.push(("long names".into(), long));
    let mut empty = sixteen();
    empty.domains.clear();
    empty.machine.banks.clear();
    plans.push(("links to nobody".into(), empty));
    plans
}

fn check(name: &str, picture: &Picture) {
    for (index, a) in picture.texts.iter().enumerate() {
        assert!(
            a.x >= 0.0
                && a.y >= 0.0
                && a.x + a.width <= picture.width
                && a.y + a.height <= picture.height,
            "{name}: outside of the picture: {a:?}"
        );
        for b in &picture.texts[index + 1..] {
            let apart = a.x + a.width <= b.x
                || b.x + b.width <= a.x
                || a.y + a.height <= b.y
                || b.y + b.height <= a.y;
            assert!(apart, "{name}: {a:?} overlaps {b:?}");
        }
    }
}

#[test]
fn no_two_texts_overlap_and_none_leaves_the_picture() {
    for (name, plan) in plans() {
        for (kind, picture) in svg::all(&plan) {
            assert!(picture.texts.len() > 3, "{name} {kind}");
            check(&format!("{name} {kind}"), &picture);
        }
    }
}

#[test]
fn sixteen_domains_are_all_named_in_full() {
    let plan = sixteen();
    assert_eq!(plan.domains.len(), 16);
    for (kind, picture) in svg::all(&plan) {
        for domain in &plan.domains {
            assert!(
                picture.svg.contains(&domain.name),
                "{kind}: {}",
                domain.name
            );
        }
    }
}

#[test]
fn a_page_of_memory_is_seen_beside_gigabytes() {
    let picture = svg::memory(&sixteen());
    for label in [
        "speed",
        "4 KiB",
        "not to scale",
        "0x6e00_0000 – 0x6e00_0fff",
    ] {
        let found = picture.texts.iter().any(|text| text.text == label);
        assert!(found, "{label}");
    }
}

#[test]
fn a_link_across_safety_levels_is_marked_by_shape_and_word_as_well_as_by_colour() {
    let picture = svg::links(&sixteen());
    assert!(picture.texts.iter().any(|text| text.text == "D → B"));
    assert!(picture.svg.contains("class=\"link cross\""));
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    for ((_, a), (_, b)) in svg::all(&sixteen()).into_iter().zip(svg::all(&sixteen())) {
        assert_eq!(a.svg, b.svg);
    }
}

#[test]
fn a_picture_needs_nothing_from_elsewhere_and_speaks_to_screen_readers() {
    for (kind, picture) in svg::all(&sixteen()) {
        let svg = picture.svg.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "<script",
            "href",
            "http:",
            "https:",
            "@import",
            "@font-face",
            "<image",
            "data:",
        ] {
            assert!(!svg.contains(word), "{kind}: {word}");
        }
        for word in [
            "role=\"img\"",
            "<title id=",
            "<desc id=",
            "prefers-color-scheme:dark",
        ] {
            assert!(svg.contains(word), "{kind}: {word}");
        }
    }
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "\"><script>alert('1')</script>&\u{0}\u{202e}]]>\n<!--";
    let mut plan = sixteen();
    plan.platform = HOSTILE.into();
    for domain in &mut plan.domains {
        domain.name.push_str(HOSTILE);
        domain.cpupool = Some(HOSTILE.into());
        for device in &mut domain.devices {
            device.path = HOSTILE.into();
        }
    }
    for pool in &mut plan.xen.cpupools {
        pool.name = HOSTILE.into();
    }
    for reserved in &mut plan.machine.reserved {
        reserved.name = HOSTILE.into();
    }
    for memory in &mut plan.shared_memory {
        memory.id = HOSTILE.into();
    }
    for (kind, picture) in svg::all(&plan) {
        check(kind, &picture);
        well_formed(kind, &picture.svg);
        assert!(!picture.svg.contains("<script"), "{kind}");
        let forbidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!picture.svg.contains(forbidden), "{kind}");
    }
    well_formed("dot", "");
    let dot = platform::graph::dot(&platform::graph::Graph::of(&plan));
    assert!(
        dot.lines()
            .all(|line| line.matches('"').count() % 2 == line.matches("\\\"").count() % 2)
    );
}

/// Every tag is closed in order, every ampersand begins a reference: as much of XML as can break here.
fn well_formed(name: &str, svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..];
        let end = tag
            .find('>')
            .unwrap_or_else(|| panic!("{name}: tag without an end"));
        let (tag, behind) = (&tag[..end], &tag[end + 1..]);
        assert_eq!(tag.matches('"').count() % 2, 0, "{name}: {tag}");
        let word = tag.trim_start_matches('/').split([' ', '/']).next();
        let word = word.unwrap_or_default();
        assert!(
            word.chars().all(|c| c.is_ascii_alphabetic()),
            "{name}: {tag}"
        );
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(word), "{name}");
        } else if !tag.ends_with('/') {
            open.push(word);
        }
        rest = behind;
    }
    assert!(open.is_empty(), "{name}: {open:?}");
    for (at, _) in svg.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(
            known
                .iter()
                .any(|reference| svg[at..].starts_with(reference)),
            "{name}"
        );
    }
}

#[test]
fn numbers_without_measure_make_no_picture_without_measure() {
    let mut plan = sixteen();
    plan.machine.cpus = Some(u32::MAX);
    plan.machine.banks = vec![
        Range {
            at: u64::MAX - 5,
            size_bytes: u64::MAX
        };
        5000
    ];
    for domain in &mut plan.domains {
        domain.static_memory = vec![
            Range {
                at: 0,
                size_bytes: u64::MAX
            };
            50
        ];
        domain.memory_bytes = u64::MAX;
        domain.vcpus = u32::MAX;
    }
    for (kind, picture) in svg::all(&plan) {
        assert!(picture.svg.len() < 4 << 20, "{kind}: {}", picture.svg.len());
        assert!(picture.height.is_finite() && picture.width.is_finite());
        check(kind, &picture);
    }
}
