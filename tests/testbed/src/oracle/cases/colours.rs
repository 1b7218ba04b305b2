//! Colours of the last-level cache.

use super::{Case, Sign, Sketch, accepted, refused, unnoticed, wrong};

/// A cache of sixteen colours.
const LLC: &str = "llc-coloring=on llc-size=1M llc-nr-ways=16";

/// All of its colours.
const ALL: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Shared memory with this place.
fn shared(place: &str) -> String {
    format!(
        "shared {{ compatible = \"xen,domain-shared-memory-v1\"; xen,shm-id = \"s\"; \
         role = \"owner\"; xen,shared-mem = <{place}>; }};"
    )
}

pub(super) fn cases() -> Vec<Case> {
    let coloured = |first: &str, second: &str| {
        let property = |colours: &str| {
            if colours.is_empty() {
                String::new()
            } else {
                format!("llc-colors = \"{colours}\";")
            }
        };
        Sketch::of(2)
            .xen(LLC)
            .xen("xen-llc-colors=0")
            .domain(1, |domain| {
                domain.with(&property(first));
            })
            .domain(2, |domain| {
                domain.with(&property(second));
            })
    };
    vec![
        accepted("llc", "llc-disjoint", coloured("1-4", "5-8")),
        accepted("llc", "llc-lists", coloured("1,3,5", "2,4,6-15")),
        wrong(
            "llc-default",
            "llc-second-without",
            coloured("1-4", ""),
            Sign::new("the second has the first one's colours", |seen| {
                seen.colours(2, &[1, 2, 3, 4])
            }),
        ),
        wrong(
            "llc-default",
            "llc-none-at-all",
            coloured("", ""),
            Sign::new("both have all colours, Xen's too", |seen| {
                seen.colours(1, &ALL) && seen.colours(2, &ALL)
            }),
        ),
        wrong(
            "llc-overlap",
            "llc-overlapping",
            coloured("1-4", "4-8"),
            Sign::new("they share a colour", |seen| {
                seen.colours(1, &[1, 2, 3, 4]) && seen.colours(2, &[4, 5, 6, 7, 8])
            }),
        ),
        wrong(
            "llc-overlap",
            "llc-same",
            coloured("1-4", "1-4"),
            Sign::new("they share all colours", |seen| {
                seen.colours(1, &[1, 2, 3, 4]) && seen.colours(2, &[1, 2, 3, 4])
            }),
        ),
        wrong(
            "llc-overlap",
            "llc-with-xens",
            coloured("0-4", "5-8"),
            Sign::new("the first has Xen's colour", |seen| {
                seen.colours(1, &[0, 1, 2, 3, 4])
            }),
        ),
        wrong(
            "llc-twice",
            "llc-0-0",
            coloured("1,1", "5-8"),
            Sign::new("it has a colour twice", |seen| seen.colours(1, &[1, 1])),
        ),
        wrong(
            "llc-twice",
            "llc-descending",
            coloured("4,3,2,1", "5-8"),
            Sign::new("its colours descend", |seen| seen.colours(1, &[4, 3, 2, 1])),
        ),
        refused("llc-range", "llc-16-of-16", coloured("1-4", "16")),
        refused("llc-range", "llc-128", coloured("1-4", "128")),
        refused("llc-range", "llc-across-the-end", coloured("1-4", "12-16")),
        refused("llc-text", "llc-backwards", coloured("4-1", "5-8")),
        refused("llc-text", "llc-words", coloured("all", "5-8")),
        refused("llc-text", "llc-space", coloured("1, 2", "5-8")),
        wrong(
            "llc-text",
            "llc-comma-at-the-end",
            coloured("1-4,", "5-8"),
            Sign::new("it has what stands before the comma", |seen| {
                seen.colours(1, &[1, 2, 3, 4])
            }),
        ),
        wrong(
            "llc-text",
            "llc-negative",
            coloured("-1", "5-8"),
            Sign::new("it has colours 0 and 1", |seen| seen.colours(1, &[0, 1])),
        ),
        refused(
            "llc-off",
            "llc-without-coloring",
            Sketch::of(1).domain(1, |domain| {
                domain.with("llc-colors = \"1-4\";");
            }),
        ),
        refused(
            "llc-off",
            "llc-without-coloring-in-second",
            Sketch::of(2).domain(2, |domain| {
                domain.with("llc-colors = \"1-4\";");
            }),
        ),
        refused(
            "llc-static",
            "llc-and-static-memory",
            coloured("1-4", "5-8").domain(1, |domain| {
                domain.with("xen,static-mem = <0 0x60000000 0 0x2000000>;");
            }),
        ),
        refused(
            "llc-static",
            "llc-on-and-static-memory-elsewhere",
            coloured("1-4", "").domain(2, |domain| {
                domain.with("xen,static-mem = <0 0x60000000 0 0x2000000>;");
            }),
        ),
        refused(
            "llc-way",
            "llc-way-not-power-of-two",
            Sketch::of(1)
                .xen("llc-coloring=on llc-size=768K")
                .xen("llc-nr-ways=16"),
        ),
        refused(
            "llc-way",
            "llc-way-of-a-page",
            Sketch::of(1)
                .xen("llc-coloring=on llc-size=64K")
                .xen("llc-nr-ways=16"),
        ),
        accepted(
            "llc-way",
            "llc-probed",
            Sketch::of(1).xen("llc-coloring=on"),
        ),
        refused(
            "llc-xen",
            "llc-xens-color-out-of-range",
            Sketch::of(1).xen(LLC).xen("xen-llc-colors=16"),
        ),
        unnoticed(
            "llc-xen",
            "llc-xens-colors-backwards",
            Sketch::of(1).xen(LLC).xen("xen-llc-colors=3-1"),
        ),
        unnoticed(
            "llc-xen",
            "llc-xens-color-128",
            Sketch::of(1).xen(LLC).xen("xen-llc-colors=128"),
        ),
        refused(
            "llc-memory",
            "llc-too-little-memory-in-a-color",
            coloured("1", "5-8").domain(1, |domain| {
                domain.memory = "memory = <0 0x20000>;".into();
            }),
        ),
        accepted(
            "llc-memory",
            "llc-enough-memory-in-two-colors",
            coloured("1-2", "5-8").domain(1, |domain| {
                domain.memory = "memory = <0 0x10000>;".into();
            }),
        ),
        unnoticed(
            "llc-shm",
            "llc-and-shared-memory",
            coloured("1-4", "5-8").domain(1, |domain| {
                domain.with(&shared("0 0x70000000 1 0 0 0x100000"));
            }),
        ),
        unnoticed(
            "llc-shm",
            "llc-and-shared-memory-from-heap",
            coloured("1-4", "5-8").domain(1, |domain| {
                domain.with(&shared("1 0 0 0x100000"));
            }),
        ),
    ]
}
