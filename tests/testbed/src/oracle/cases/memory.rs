//! Memory that Xen chooses, and memory that the layout chooses.

use super::sketch::cells;
use super::{Case, Sign, Sketch, accepted, refused, stuck, wrong};

pub(super) const MIB: u64 = 1 << 20;
/// Free RAM on the oracle's machine.
pub(super) const FREE: u64 = 0x6000_0000;

pub(super) fn cases() -> Vec<Case> {
    [amounts(), fixed(), refused_fixed(), direct()]
        .into_iter()
        .flatten()
        .collect()
}

fn memory(kib: u64) -> Sketch {
    Sketch::of(1).domain(1, |domain| {
        domain.memory = format!("memory = <{}>;", cells(kib))
    })
}

fn amounts() -> Vec<Case> {
    vec![
        accepted("memory-small", "memory-5-mib", memory(5 << 10)),
        refused("memory-small", "memory-4-mib", memory(4 << 10)),
        refused("memory-small", "memory-3-mib", memory(3 << 10)),
        refused("memory-small", "memory-2-mib", memory(2 << 10)),
        refused("memory-small", "memory-0", memory(0)),
        refused("memory-small", "memory-4-kib", memory(4)),
        stuck("memory-odd", "memory-32769-kib", memory(32769)),
        stuck("memory-odd", "memory-32770-kib", memory(32770)),
        accepted("memory-odd", "memory-32772-kib", memory(32772)),
        accepted("memory-large", "memory-512-mib", memory(512 << 10)),
        accepted("memory-large", "memory-800-mib", memory(800 << 10)),
        accepted("memory-large", "memory-960-mib", memory(960 << 10)),
        accepted("memory-large", "memory-1000-mib", memory(1000 << 10)),
        refused("memory-large", "memory-1-gib", memory(1 << 20)),
        refused("memory-large", "memory-2-gib", memory(2 << 20)),
        refused("memory-large", "memory-4-tib", memory(4 << 30)),
        refused("memory-large", "memory-all-ones", memory(u64::MAX)),
        refused(
            "memory-large",
            "memory-two-times-512-mib",
            Sketch::of(2)
                .domain(1, |domain| domain.memory = "memory = <0 0x80000>;".into())
                .domain(2, |domain| domain.memory = "memory = <0 0x80000>;".into()),
        ),
        refused(
            "memory-missing",
            "memory-missing",
            Sketch::of(1).domain(1, |domain| domain.memory.clear()),
        ),
        refused(
            "memory-missing",
            "memory-missing-in-second",
            Sketch::of(2).domain(2, |domain| domain.memory.clear()),
        ),
        refused(
            "memory-cells",
            "memory-one-cell",
            Sketch::of(1).domain(1, |domain| domain.memory = "memory = <32768>;".into()),
        ),
        refused(
            "memory-cells",
            "memory-empty",
            Sketch::of(1).domain(1, |domain| domain.memory = "memory;".into()),
        ),
        wrong(
            "memory-cells",
            "memory-three-cells",
            Sketch::of(1).domain(1, |domain| domain.memory = "memory = <0 32768 7>;".into()),
            Sign::new("it has what the first two cells say", |seen| {
                seen.memory(1, &[(0x4000_0000, 32 * MIB)])
            }),
        ),
        wrong(
            "memory-cells",
            "memory-one-cell-and-cpus-before",
            // Two cells that are not what they should be: 32768 in the upper one would be 128 TiB.
            Sketch::of(1).domain(1, |domain| {
                domain.memory = "memory = <0 0x8000 0 0>;".into()
            }),
            Sign::new("it has what the first two cells say", |seen| {
                seen.memory(1, &[(0x4000_0000, 32 * MIB)])
            }),
        ),
    ]
}

/// A domain of 32 MiB unless told otherwise, with static memory in these ranges.
fn with_static(ranges: &[(u64, u64)], kib: u64) -> Sketch {
    memory(kib).domain(1, |domain| {
        domain.with(&static_memory(ranges));
    })
}

/// The property with these ranges.
pub(super) fn static_memory(ranges: &[(u64, u64)]) -> String {
    let list: Vec<String> = ranges
        .iter()
        .map(|(start, size)| format!("{} {}", cells(*start), cells(*size)))
        .collect();
    format!("xen,static-mem = <{}>;", list.join(" "))
}

fn two_static(first: (u64, u64), second: (u64, u64)) -> Sketch {
    let mut sketch = Sketch::of(2);
    for (number, range) in [(1, first), (2, second)] {
        sketch = sketch.domain(number, |domain| {
            domain.memory = format!("memory = <{}>;", cells(range.1 >> 10));
            domain.with(&static_memory(&[range]));
        });
    }
    sketch
}

fn fixed() -> Vec<Case> {
    vec![
        accepted(
            "static",
            "static-one",
            with_static(&[(FREE, 32 * MIB)], 32768),
        ),
        accepted(
            "static",
            "static-page-granular",
            with_static(&[(FREE + 0x3000, 32 * MIB)], 32768),
        ),
        accepted(
            "static",
            "static-two-pieces",
            with_static(&[(FREE, 16 * MIB), (FREE + 64 * MIB, 16 * MIB)], 32768),
        ),
        accepted(
            "static",
            "static-pieces-out-of-order",
            with_static(&[(FREE + 64 * MIB, 16 * MIB), (FREE, 16 * MIB)], 32768),
        ),
        accepted(
            "static",
            "static-neighbours",
            two_static((FREE, 32 * MIB), (FREE + 32 * MIB, 32 * MIB)),
        ),
        accepted(
            "static",
            "static-up-to-the-end-of-ram",
            with_static(&[(0x7e00_0000, 32 * MIB)], 32768),
        ),
        accepted(
            "static",
            "static-beside-heap-memory",
            Sketch::of(2).domain(1, |domain| {
                domain.with(&static_memory(&[(FREE, 32 * MIB)]));
            }),
        ),
        refused(
            "static-small",
            "static-4-mib",
            with_static(&[(FREE, 4 * MIB)], 4096),
        ),
        refused(
            "static-small",
            "static-2-mib",
            with_static(&[(FREE, 2 * MIB)], 2048),
        ),
        accepted(
            "static-small",
            "static-first-piece-of-a-page",
            with_static(&[(FREE, 4096), (FREE + 64 * MIB, 32 * MIB - 4096)], 32768),
        ),
    ]
}

fn refused_fixed() -> Vec<Case> {
    let same = |class, name, range| refused(class, name, with_static(&[range], 32768));
    vec![
        refused(
            "static-sum",
            "static-less-than-memory",
            with_static(&[(FREE, 16 * MIB)], 32768),
        ),
        refused(
            "static-sum",
            "static-more-than-memory",
            with_static(&[(FREE, 64 * MIB)], 32768),
        ),
        refused(
            "static-sum",
            "static-a-page-more",
            with_static(&[(FREE, 32 * MIB + 4096)], 32768),
        ),
        refused(
            "static-overlap",
            "static-overlaps-the-other",
            two_static((FREE, 32 * MIB), (FREE + 16 * MIB, 32 * MIB)),
        ),
        refused(
            "static-overlap",
            "static-same-as-the-other",
            two_static((FREE, 32 * MIB), (FREE, 32 * MIB)),
        ),
        refused(
            "static-overlap",
            "static-overlaps-by-a-page",
            two_static((FREE, 32 * MIB), (FREE + 32 * MIB - 4096, 32 * MIB)),
        ),
        refused(
            "static-overlap",
            "static-overlaps-itself",
            with_static(&[(FREE, 16 * MIB), (FREE + 8 * MIB, 16 * MIB)], 32768),
        ),
        same(
            "static-outside",
            "static-outside-ram",
            (0x9000_0000, 32 * MIB),
        ),
        same(
            "static-outside",
            "static-below-ram",
            (0x2000_0000, 32 * MIB),
        ),
        same(
            "static-outside",
            "static-half-outside",
            (0x7f00_0000, 32 * MIB),
        ),
        same(
            "static-outside",
            "static-past-the-end-by-a-page",
            (0x7e00_1000, 32 * MIB),
        ),
        same(
            "static-unaligned",
            "static-address-512",
            (FREE + 512, 32 * MIB),
        ),
        same("static-unaligned", "static-address-1", (FREE + 1, 32 * MIB)),
        wrong(
            "static-unaligned",
            "static-size-unaligned",
            with_static(&[(FREE, 32 * MIB + 1024)], 32769),
            Sign::new("it is told of memory that is no whole page", |seen| {
                seen.memory(1, &[(0x4000_0000, 32 * MIB + 1024)])
                    && seen.domain(1, |domain| domain.pages == Some(8192))
            }),
        ),
        refused(
            "static-empty",
            "static-size-0",
            with_static(&[(FREE, 0)], 32768),
        ),
        refused(
            "static-empty",
            "static-no-cells",
            Sketch::of(1).domain(1, |domain| {
                domain.with("xen,static-mem;");
            }),
        ),
        refused(
            "static-cells",
            "static-two-cells",
            Sketch::of(1).domain(1, |domain| {
                domain.with("xen,static-mem = <0x60000000 0x2000000>;");
            }),
        ),
        wrong(
            "static-cells",
            "static-five-cells",
            Sketch::of(1).domain(1, |domain| {
                domain.with("xen,static-mem = <0 0x60000000 0 0x2000000 7>;");
            }),
            Sign::new("it has what the first four cells say", |seen| {
                seen.domain(1, |domain| domain.host_banks == [(FREE, 32 * MIB)])
            }),
        ),
        same(
            "static-over-xen",
            "static-over-xen",
            (0x4000_0000, 32 * MIB),
        ),
        same(
            "static-over-xen",
            "static-over-xens-last-page",
            (0x4037_3000, 32 * MIB),
        ),
        accepted(
            "static-over-xen",
            "static-right-after-xen",
            with_static(&[(0x4037_4000, 32 * MIB)], 32768),
        ),
        same(
            "static-over-dtb",
            "static-over-dtb",
            (0x4700_0000, 32 * MIB),
        ),
        same(
            "static-over-dtb",
            "static-from-dtb-on",
            (0x4800_0000, 32 * MIB),
        ),
        same(
            "static-over-module",
            "static-over-own-kernel",
            (0x5000_0000, 32 * MIB),
        ),
        same(
            "static-over-module",
            "static-over-end-of-kernel",
            (0x5001_0000, 32 * MIB),
        ),
        refused(
            "static-over-module",
            "static-over-later-kernel",
            Sketch::of(2).domain(1, |domain| {
                domain.with(&static_memory(&[(0x5100_0000, 32 * MIB)]));
            }),
        ),
        refused(
            "static-over-module",
            "static-over-earlier-kernel",
            Sketch::of(2).domain(2, |domain| {
                domain.with(&static_memory(&[(0x4fff_0000, 32 * MIB)]));
            }),
        ),
        refused(
            "static-over-reserved",
            "static-over-reserved-memory",
            reserved(with_static(&[(FREE, 32 * MIB)], 32768), FREE + MIB, MIB),
        ),
        refused(
            "static-over-reserved",
            "static-inside-reserved-memory",
            reserved(with_static(&[(FREE, 32 * MIB)], 32768), FREE, 64 * MIB),
        ),
        accepted(
            "static-over-reserved",
            "static-beside-reserved-memory",
            reserved(
                with_static(&[(FREE, 32 * MIB)], 32768),
                FREE + 32 * MIB,
                MIB,
            ),
        ),
    ]
}

fn reserved(mut sketch: Sketch, start: u64, size: u64) -> Sketch {
    sketch.root = format!(
        "reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; \
         firmware@{start:x} {{ reg = <{} {}>; }}; }};",
        cells(start),
        cells(size)
    );
    sketch
}

fn direct() -> Vec<Case> {
    let direct = |sketch: Sketch| {
        sketch.domain(1, |domain| {
            domain.with("direct-map;");
        })
    };
    vec![
        accepted(
            "direct-map",
            "direct-map-static",
            direct(with_static(&[(FREE, 32 * MIB)], 32768)),
        ),
        accepted(
            "direct-map",
            "direct-map-two-pieces",
            direct(with_static(
                &[(FREE, 16 * MIB), (0x7000_0000, 16 * MIB)],
                32768,
            )),
        ),
        refused(
            "direct-map-without-static",
            "direct-map-alone",
            direct(Sketch::of(1)),
        ),
        refused(
            "direct-map-without-static",
            "direct-map-in-second",
            Sketch::of(2).domain(2, |domain| {
                domain.with("direct-map;");
            }),
        ),
        refused(
            "direct-map-sum",
            "direct-map-less-than-memory",
            direct(with_static(&[(FREE, 16 * MIB)], 32768)),
        ),
        refused(
            "direct-map-sum",
            "direct-map-more-than-memory",
            direct(with_static(&[(FREE, 64 * MIB)], 32768)),
        ),
        refused(
            "direct-map-small-first",
            "direct-map-first-piece-too-small",
            direct(with_static(&[(FREE, MIB), (0x7000_0000, 31 * MIB)], 32768)),
        ),
        refused(
            "direct-map-small-first",
            "direct-map-first-piece-of-a-page",
            direct(with_static(
                &[(FREE, 4096), (0x7000_0000, 32 * MIB - 4096)],
                32768,
            )),
        ),
        accepted(
            "direct-map",
            "direct-map-out-of-order",
            direct(with_static(
                &[(0x7000_0000, 16 * MIB), (FREE, 16 * MIB)],
                32768,
            )),
        ),
        accepted(
            "direct-map",
            "direct-map-vpl011",
            direct(with_static(&[(FREE, 32 * MIB)], 32768)).domain(1, |domain| {
                domain.with("vpl011;");
            }),
        ),
    ]
}
