//! Kernels, initial file systems, device trees and command lines.

use super::sketch::cells;
use super::{Case, Sketch, accepted, refused, unnoticed};
use crate::oracle::{Content, Module};

const MIB: usize = 1 << 20;
const KERNEL: &str = "\"multiboot,kernel\", \"multiboot,module\"";
const LINUX: &str = "\"xen,linux-zimage\", \"multiboot,module\"";
/// Where the first domain's kernel is, and a place that is free.
const KERNEL_REG: &str = "reg = <0 0x50000000 0 0x10000>;";
const OTHER_REG: &str = "reg = <0 0x58000000 0 0x10000>;";

/// A module's node.
fn node(at: u64, compatible: &str, reg: &str) -> String {
    format!("module@{at:x} {{ compatible = {compatible}; {reg} }};")
}

pub(super) fn cases() -> Vec<Case> {
    [kernels(), ramdisks(), counts(), lines()]
        .into_iter()
        .flatten()
        .collect()
}

fn kernel(content: Content) -> Sketch {
    Sketch::of(1).domain(1, move |domain| domain.content = Some(content))
}

fn kernels() -> Vec<Case> {
    let at = |address: u64| Sketch::of(1).domain(1, move |domain| domain.kernel = Some(address));
    // QEMU loads nothing over something else, nor where there is no memory: then only the node speaks of it.
    let only_told = |sketch: Sketch, number| sketch.domain(number, |domain| domain.content = None);
    vec![
        refused(
            "kernel-missing",
            "kernel-missing",
            Sketch::of(1).domain(1, |domain| domain.kernel = None),
        ),
        refused(
            "kernel-missing",
            "kernel-missing-in-second",
            Sketch::of(2).domain(2, |domain| domain.kernel = None),
        ),
        refused(
            "kernel-missing",
            "kernel-not-loaded",
            Sketch::of(1).domain(1, |domain| domain.content = None),
        ),
        refused(
            "kernel-format",
            "kernel-zeros",
            kernel(Content::Bytes(vec![0; 4096])),
        ),
        refused(
            "kernel-format",
            "kernel-text",
            kernel(Content::Bytes(b"#!/bin/sh\n".repeat(100))),
        ),
        refused(
            "kernel-format",
            "kernel-of-8-bytes",
            Sketch::of(1).domain(1, |domain| domain.size = Some(8)),
        ),
        refused(
            "kernel-format",
            "kernel-size-0",
            Sketch::of(1).domain(1, |domain| domain.size = Some(0)),
        ),
        refused(
            "kernel-size",
            "kernel-larger-than-domain",
            Sketch::of(1).domain(1, |domain| domain.size = Some(64 << 20)),
        ),
        refused(
            "kernel-size",
            "kernel-larger-than-ram",
            Sketch::of(1).domain(1, |domain| domain.size = Some(4 << 30)),
        ),
        unnoticed(
            "kernel-size",
            "kernel-cut-off",
            Sketch::of(1).domain(1, |domain| domain.size = Some(0x10000)),
        ),
        refused(
            "kernel-place",
            "kernel-over-xen",
            only_told(at(0x4030_0000), 1),
        ),
        refused(
            "kernel-place",
            "kernel-over-dtb",
            only_told(at(0x4800_0000), 1),
        ),
        refused(
            "kernel-place",
            "kernel-outside-ram",
            only_told(at(0x9000_0000), 1),
        ),
        accepted("kernel-place", "kernel-near-start-of-ram", at(0x4000_1000)),
        unnoticed("kernel-place", "kernel-unaligned", at(0x5000_0100)),
        unnoticed(
            "kernel-shared",
            "kernel-of-two-domains",
            Sketch::of(2).domain(2, |domain| {
                domain.kernel = Some(0x5000_0000);
                domain.content = None;
            }),
        ),
        unnoticed(
            "kernel-shared",
            "kernel-of-three-domains",
            Sketch::of(3)
                .domain(2, |domain| {
                    domain.kernel = Some(0x5000_0000);
                    domain.content = None;
                })
                .domain(3, |domain| {
                    domain.kernel = Some(0x5000_0000);
                    domain.content = None;
                }),
        ),
        refused(
            "kernel-overlap",
            "kernel-over-the-others",
            Sketch::of(2).domain(2, |domain| {
                domain.kernel = Some(0x5000_1000);
                domain.content = None;
            }),
        ),
        refused(
            "kernel-overlap",
            "kernel-that-claims-the-others",
            Sketch::of(2).domain(1, |domain| domain.size = Some(0x100_1000)),
        ),
        refused(
            "kernel-compatible",
            "kernel-compatible-missing",
            Sketch::of(1).domain(1, |domain| {
                domain.kernel = None;
                domain.with(&node(0x5000_0000, "\"multiboot,kernel\"", KERNEL_REG));
            }),
        ),
        refused(
            "kernel-compatible",
            "kernel-without-reg",
            Sketch::of(1).domain(1, |domain| {
                domain.kernel = None;
                domain.with(&node(0x5000_0000, KERNEL, ""));
            }),
        ),
        refused(
            "kernel-compatible",
            "kernel-with-short-reg",
            Sketch::of(1).domain(1, |domain| {
                domain.kernel = None;
                domain.with(&node(0x5000_0000, KERNEL, "reg = <0x50000000 0x10000>;"));
            }),
        ),
        unnoticed(
            "kernel-twice",
            "kernel-twice-in-one-domain",
            Sketch::of(1).domain(1, |domain| {
                domain.with(&node(0x5800_0000, KERNEL, OTHER_REG));
            }),
        ),
        unnoticed(
            "kernel-twice",
            "kernel-and-linux-image",
            Sketch::of(1).domain(1, |domain| {
                domain.with(&node(0x5800_0000, LINUX, OTHER_REG));
            }),
        ),
    ]
}

/// A domain with an initial file system of this size, which is really there.
fn ramdisk(size: usize, compatible: &str) -> Sketch {
    let at = 0x5800_0000;
    let node = format!(
        "module@{at:x} {{ compatible = \"{compatible}\", \"multiboot,module\"; reg = <{} {}>; }};",
        cells(at),
        cells(size as u64)
    );
    let mut sketch = Sketch::of(1).domain(1, |domain| {
        domain.with(&node);
    });
    sketch.modules.push(Module {
        content: Content::Bytes(vec![7; size]),
        address: at,
    });
    sketch
}

fn ramdisks() -> Vec<Case> {
    vec![
        accepted(
            "ramdisk",
            "ramdisk-1-mib",
            ramdisk(MIB, "multiboot,ramdisk"),
        ),
        accepted(
            "ramdisk",
            "ramdisk-24-mib",
            ramdisk(24 * MIB, "multiboot,ramdisk"),
        ),
        refused(
            "ramdisk-size",
            "ramdisk-30-mib",
            ramdisk(30 * MIB, "multiboot,ramdisk"),
        ),
        refused(
            "ramdisk-size",
            "ramdisk-64-mib",
            ramdisk(64 * MIB, "multiboot,ramdisk"),
        ),
        refused(
            "guest-tree",
            "guest-tree-is-none",
            ramdisk(4096, "multiboot,device-tree"),
        ),
        refused(
            "guest-tree",
            "guest-tree-is-none-of-1-mib",
            ramdisk(MIB, "multiboot,device-tree"),
        ),
        unnoticed(
            "module-unknown",
            "module-of-unknown-kind",
            ramdisk(4096, "multiboot,firmware"),
        ),
        unnoticed(
            "module-unknown",
            "module-without-kind",
            ramdisk(4096, "multiboot,module"),
        ),
    ]
}

fn counts() -> Vec<Case> {
    // Xen and the device tree are modules too, and so is each kernel.
    vec![
        accepted("module-count", "module-count-8-domains", small(8)),
        accepted("module-count", "module-count-30-domains", small(30)),
        refused("module-count", "module-count-31-domains", small(31)),
        refused("module-count", "module-count-33-domains", small(33)),
    ]
}

/// That many domains of 6 MiB, with kernels 1 MiB apart.
fn small(count: u64) -> Sketch {
    let mut sketch = Sketch::of(count);
    for (index, domain) in sketch.domains.iter_mut().enumerate() {
        domain.memory = "memory = <0 0x1800>;".into();
        domain.kernel = Some(0x5000_0000 + index as u64 * MIB as u64);
    }
    sketch
}

fn lines() -> Vec<Case> {
    let line = |length: usize| {
        Sketch::of(1).domain(1, move |domain| domain.arguments = "x".repeat(length))
    };
    let xen = |length: usize| {
        let words = " y=1".repeat(length / 4);
        Sketch::of(1).xen(words.trim())
    };
    vec![
        accepted("bootargs", "bootargs-100", line(100)),
        accepted("bootargs", "bootargs-1023", line(1023)),
        refused("bootargs", "bootargs-1025", line(1025)),
        refused("bootargs", "bootargs-3000", line(3000)),
        unnoticed("bootargs", "bootargs-1024", line(1024)),
        accepted("xen-arguments", "xen-arguments-900", xen(900)),
        unnoticed("xen-arguments", "xen-arguments-2000", xen(2000)),
        refused("domain-none", "domain-none", Sketch::of(0)),
        refused("domain-none", "domain-misspelt", {
            let mut sketch = Sketch::of(0);
            sketch.chosen = format!(
                "d {{ compatible = \"xen,dom\"; #address-cells = <2>; #size-cells = <2>; \
                 cpus = <1>; memory = <0 32768>; {} }};",
                node(0x5000_0000, KERNEL, KERNEL_REG)
            );
            sketch
        }),
    ]
}
