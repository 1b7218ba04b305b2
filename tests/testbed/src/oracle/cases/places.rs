//! Where nodes stand, what surrounds them, and how large what Xen makes of them becomes.

use super::sketch::cells;
use super::{Case, Sign, Sketch, accepted, refused, stuck, wrong};

pub(super) fn cases() -> Vec<Case> {
    [nodes(), inherited(), sizes()]
        .into_iter()
        .flatten()
        .collect()
}

/// A whole domain as source, with a kernel where the oracle's second domain has its own.
fn domain(name: &str, before: &str) -> String {
    format!(
        "{name} {{ compatible = \"xen,domain\"; {before} cpus = <1>; memory = <0 32768>; \
         module@51000000 {{ compatible = \"multiboot,kernel\", \"multiboot,module\"; \
         reg = <0 0x51000000 0 0x10000>; }}; }};"
    )
}

const CELLS: &str = "#address-cells = <2>; #size-cells = <2>;";

/// A layout whose second domain is written by hand, and whose kernel is loaded all the same.
fn second(root: &str, chosen: &str) -> Sketch {
    let mut sketch = Sketch::of(2);
    let kernel = sketch.domains.pop().and_then(|domain| domain.module());
    sketch.modules.extend(kernel);
    sketch.root = root.to_owned();
    sketch.chosen(chosen)
}

fn nodes() -> Vec<Case> {
    let below = |source: &str| format!("domains {{ {CELLS} {source} }};");
    vec![
        accepted(
            "domain-place",
            "domain-by-hand",
            second("", &domain("two", CELLS)),
        ),
        wrong(
            "domain-place",
            "domain-in-root",
            second(&domain("two", CELLS), ""),
            Sign::new("the second domain is not there", |seen| {
                seen.domain(1, |_| true) && !seen.domain(2, |_| true)
            }),
        ),
        wrong(
            "domain-place",
            "domain-too-deep",
            second("", &below(&domain("two", CELLS))),
            Sign::new("the second domain is not there", |seen| {
                seen.domain(1, |_| true) && !seen.domain(2, |_| true)
            }),
        ),
        accepted(
            "domain-cells",
            "domain-without-cells",
            second("", &domain("two", "")),
        ),
        refused(
            "domain-cells",
            "domain-with-single-cells",
            second(
                "",
                &domain("two", "#address-cells = <1>; #size-cells = <1>;"),
            ),
        ),
        refused(
            "domain-cells",
            "domain-with-zero-cells",
            second(
                "",
                &domain("two", "#address-cells = <0>; #size-cells = <0>;"),
            ),
        ),
    ]
}

/// Xen 4.20 forgets to reset two things between domains.
fn inherited() -> Vec<Case> {
    let colours = |first: &str, second: &str| {
        Sketch::of(2)
            .xen("llc-coloring=on llc-size=1M llc-nr-ways=16")
            .domain(1, |domain| {
                domain.with(first);
            })
            .domain(2, |domain| {
                domain.with(second);
            })
    };
    vec![
        wrong(
            "inherited",
            "colours-of-the-domain-before",
            colours("llc-colors = \"2-3\";", ""),
            Sign::new("the second has the first one's colours", |seen| {
                seen.colours(2, &[2, 3])
            }),
        ),
        accepted(
            "inherited",
            "colours-of-both",
            colours("llc-colors = \"2-3\";", "llc-colors = \"0-15\";"),
        ),
        wrong(
            "inherited",
            "no-colours-first",
            colours("", "llc-colors = \"2-3\";"),
            Sign::new("the first has all colours", |seen| {
                seen.colours(1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
            }),
        ),
    ]
}

/// The device tree that Xen writes for a guest has 4 KiB, with everything in it.
fn sizes() -> Vec<Case> {
    let vcpus = |count: u32| {
        Sketch::of(1).domain(1, move |domain| domain.cpus = format!("cpus = <{count}>;"))
    };
    let line = |count: u32, length: usize| {
        vcpus(count).domain(1, move |domain| domain.arguments = "x".repeat(length))
    };
    vec![
        accepted("guest-tree-size", "tree-16-vcpus", vcpus(16)),
        accepted("guest-tree-size", "tree-24-vcpus", vcpus(24)),
        accepted("guest-tree-size", "tree-30-vcpus", vcpus(30)),
        refused("guest-tree-size", "tree-34-vcpus", vcpus(34)),
        refused("guest-tree-size", "tree-40-vcpus", vcpus(40)),
        refused("guest-tree-size", "tree-64-vcpus", vcpus(64)),
        accepted(
            "guest-tree-size",
            "tree-8-vcpus-and-a-long-line",
            line(8, 1000),
        ),
        refused(
            "guest-tree-size",
            "tree-24-vcpus-and-a-long-line",
            line(24, 1000),
        ),
        accepted(
            "guest-tree-size",
            "tree-direct-map-16-pieces",
            pieces(16, "direct-map;"),
        ),
        accepted(
            "guest-tree-size",
            "tree-direct-map-64-pieces",
            pieces(64, "direct-map;"),
        ),
        accepted("static-count", "static-64-pieces", pieces(64, "")),
        accepted("static-count", "static-128-pieces", pieces(128, "")),
        accepted("static-count", "static-200-pieces", pieces(200, "")),
        stuck("static-count", "static-255-pieces", pieces(255, "")),
        stuck("static-count", "static-256-pieces", pieces(256, "")),
        refused("static-count", "static-257-pieces", pieces(257, "")),
    ]
}

/// A domain with so many pieces of static memory, the first of 16 MiB and the others of 64 KiB with gaps between them.
fn pieces(count: u64, more: &str) -> Sketch {
    let first = 16 << 20;
    let others = (1..count).map(|index| {
        let start = 0x6100_0000 + index * 0x2_0000;
        format!("{} {}", cells(start), cells(0x1_0000))
    });
    let list: Vec<String> = [format!("{} {}", cells(0x6000_0000), cells(first))]
        .into_iter()
        .chain(others)
        .collect();
    let kib = (first >> 10) + (count - 1) * 64;
    let properties = format!("xen,static-mem = <{}>; {more}", list.join(" "));
    Sketch::of(1).domain(1, |domain| {
        domain.memory = format!("memory = <{}>;", cells(kib));
        domain.with(&properties);
    })
}
