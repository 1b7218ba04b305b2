//! Xen's own heap, when the layout chooses it.

use super::memory::{FREE, MIB, static_memory};
use super::{Case, Sketch, accepted, refused, unnoticed};

pub(super) fn cases() -> Vec<Case> {
    let heap = |ranges: &[(u64, u64)]| {
        let list = static_memory(ranges).replace("xen,static-mem", "xen,static-heap");
        Sketch::of(1).chosen(&list)
    };
    vec![
        accepted(
            "static-heap",
            "static-heap-256-mib",
            heap(&[(FREE, 256 * MIB)]),
        ),
        accepted(
            "static-heap",
            "static-heap-two-banks",
            heap(&[(FREE, 128 * MIB), (0x7000_0000, 128 * MIB)]),
        ),
        accepted(
            "static-heap",
            "static-heap-and-static-memory",
            heap(&[(FREE, 128 * MIB)]).domain(1, |domain| {
                domain.with(&static_memory(&[(0x7000_0000, 32 * MIB)]));
            }),
        ),
        refused(
            "static-heap-small",
            "static-heap-1-mib",
            heap(&[(FREE, MIB)]),
        ),
        refused(
            "static-heap-small",
            "static-heap-16-mib",
            heap(&[(FREE, 16 * MIB)]),
        ),
        refused(
            "static-heap-small",
            "static-heap-smaller-than-domain",
            heap(&[(FREE, 32 * MIB)]),
        ),
        unnoticed(
            "static-heap-unaligned",
            "static-heap-4-kib-aligned",
            heap(&[(FREE + 0x1000, 256 * MIB)]),
        ),
        unnoticed(
            "static-heap-unaligned",
            "static-heap-byte",
            heap(&[(FREE + 1, 256 * MIB)]),
        ),
        unnoticed(
            "static-heap-unaligned",
            "static-heap-size-4-kib-aligned",
            heap(&[(FREE, 256 * MIB + 0x1000)]),
        ),
        refused(
            "static-heap-outside",
            "static-heap-outside-ram",
            heap(&[(0x9000_0000, 256 * MIB)]),
        ),
        refused(
            "static-heap-outside",
            "static-heap-half-outside",
            heap(&[(0x7800_0000, 256 * MIB)]),
        ),
        refused(
            "static-heap-overlap",
            "static-heap-over-static-memory",
            heap(&[(FREE, 256 * MIB)]).domain(1, |domain| {
                domain.with(&static_memory(&[(FREE + 64 * MIB, 32 * MIB)]));
            }),
        ),
        refused(
            "static-heap-overlap",
            "static-heap-over-kernel",
            heap(&[(0x5000_0000, 256 * MIB)]),
        ),
        refused(
            "static-heap-overlap",
            "static-heap-over-xen",
            heap(&[(0x4000_0000, 64 * MIB)]),
        ),
        refused(
            "static-heap-empty",
            "static-heap-size-0",
            heap(&[(FREE, 0)]),
        ),
        refused(
            "static-heap-empty",
            "static-heap-no-cells",
            Sketch::of(1).chosen("xen,static-heap;"),
        ),
    ]
}
