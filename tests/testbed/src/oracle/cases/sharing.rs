//! Static shared memory.

use super::sketch::cells;
use super::{Case, Sign, Sketch, accepted, refused, unnoticed, wrong};

const MIB: u64 = 1 << 20;
/// Free RAM on the oracle's machine, and a free place in a guest.
const HOST: u64 = 0x7000_0000;
const GUEST: u64 = 0x1_0000_0000;

/// Nobody owns it: the domains have no pages but their own.
const NOBODYS: Sign = Sign::new("its pages are no domain's", |seen| {
    let own = |domain| seen.domain(domain, |domain| domain.pages == Some(8192));
    own(1) && own(2)
});
/// It is in both guests where something else is.
const COVERS: Sign = Sign::new("it lies over something else", |seen| {
    seen.is_covered(1, "xen-shmem") && seen.is_covered(2, "xen-shmem")
});

/// One domain's side of a shared region.
#[derive(Clone, Copy)]
struct Side {
    id: &'static str,
    host: Option<u64>,
    guest: u64,
    size: u64,
    role: &'static str,
}

const OWNER: Side = Side {
    id: "speed",
    host: Some(HOST),
    guest: GUEST,
    size: MIB,
    role: "role = \"owner\";",
};
const BORROWER: Side = Side {
    role: "role = \"borrower\";",
    ..OWNER
};
const NOBODY: Side = Side { role: "", ..OWNER };

impl Side {
    fn source(self, node: usize) -> String {
        let host = self
            .host
            .map_or_else(String::new, |host| format!("{} ", cells(host)));
        format!(
            "shared-{node} {{ compatible = \"xen,domain-shared-memory-v1\"; xen,shm-id = \"{}\"; {} \
             xen,shared-mem = <{host}{} {}>; }};",
            self.id,
            self.role,
            cells(self.guest),
            cells(self.size)
        )
    }
}

/// Domains with these sides each.
fn shared(sides: &[&[Side]]) -> Sketch {
    let mut sketch = Sketch::of(sides.len() as u64);
    for (index, sides) in sides.iter().enumerate() {
        sketch = sketch.domain(index + 1, |domain| {
            for (node, side) in sides.iter().enumerate() {
                domain.with(&side.source(node));
            }
        });
    }
    sketch
}

/// Owner and borrower with the same change.
fn both(change: impl Fn(Side) -> Side) -> Sketch {
    shared(&[&[change(OWNER)], &[change(BORROWER)]])
}

/// Writer and reader of a region, at its guest address.
fn used(sketch: Sketch) -> Sketch {
    let order = |access| format!("shm={GUEST:#x},{MIB:#x},{access}");
    sketch
        .domain(1, |domain| domain.arguments = order("write"))
        .domain(2, |domain| domain.arguments = order("read"))
}

pub(super) fn cases() -> Vec<Case> {
    [good(), ids(), numbers(), places(), guests(), roles()]
        .into_iter()
        .flatten()
        .collect()
}

fn good() -> Vec<Case> {
    vec![
        accepted("shm", "shm-owner-and-borrower", used(both(|side| side))),
        accepted(
            "shm",
            "shm-borrower-before-owner",
            used(shared(&[&[BORROWER], &[OWNER]])),
        ),
        accepted(
            "shm",
            "shm-without-owner",
            used(shared(&[&[NOBODY], &[NOBODY]])),
        ),
        accepted(
            "shm",
            "shm-from-heap",
            used(both(|side| Side { host: None, ..side })),
        ),
        accepted(
            "shm",
            "shm-three-domains",
            used(shared(&[&[OWNER], &[BORROWER], &[BORROWER]])),
        ),
        accepted("shm", "shm-owner-alone", shared(&[&[OWNER], &[]])),
        accepted("shm", "shm-page", both(|side| Side { size: 4096, ..side })),
        accepted(
            "shm",
            "shm-other-addresses-in-each-guest",
            shared(&[
                &[OWNER],
                &[Side {
                    guest: GUEST + 64 * MIB,
                    ..BORROWER
                }],
            ]),
        ),
        accepted(
            "shm",
            "shm-two-regions",
            shared(&[&[OWNER, second(OWNER)], &[BORROWER, second(BORROWER)]]),
        ),
    ]
}

/// Another region beside the usual one.
fn second(side: Side) -> Side {
    Side {
        id: "brake",
        host: Some(HOST + MIB),
        guest: GUEST + MIB,
        ..side
    }
}

fn ids() -> Vec<Case> {
    let id = |id: &'static str| both(move |side| Side { id, ..side });
    vec![
        accepted("shm-id-length", "shm-id-15", id("fifteen-letters")),
        refused("shm-id-length", "shm-id-16", id("sixteen-letters!")),
        refused(
            "shm-id-length",
            "shm-id-40",
            id("a-name-that-is-much-longer-than-it-may-be"),
        ),
        refused("shm-id-length", "shm-id-empty", id("")),
        accepted("shm-id-length", "shm-id-1", id("x")),
        refused(
            "shm-id-missing",
            "shm-id-missing",
            shared(&[&[OWNER]]).domain(1, |domain| {
                domain.nodes = domain.nodes.replace("xen,shm-id = \"speed\";", "");
            }),
        ),
        refused(
            "shm-id-missing",
            "shm-id-missing-at-borrower",
            shared(&[&[OWNER], &[BORROWER]]).domain(2, |domain| {
                domain.nodes = domain.nodes.replace("xen,shm-id = \"speed\";", "");
            }),
        ),
        refused(
            "shm-id-place",
            "shm-id-without-and-with-place",
            shared(&[
                &[Side {
                    host: None,
                    ..OWNER
                }],
                &[BORROWER],
            ]),
        ),
        refused(
            "shm-id-twice",
            "shm-id-with-two-sizes",
            shared(&[
                &[OWNER],
                &[Side {
                    size: 2 * MIB,
                    ..BORROWER
                }],
            ]),
        ),
        refused(
            "shm-id-twice",
            "shm-id-with-two-places",
            shared(&[
                &[OWNER],
                &[Side {
                    host: Some(HOST + MIB),
                    ..BORROWER
                }],
            ]),
        ),
        refused(
            "shm-id-twice",
            "shm-two-ids-at-one-place",
            shared(&[
                &[OWNER],
                &[Side {
                    id: "brake",
                    ..OWNER
                }],
            ]),
        ),
        wrong(
            "shm-id-place",
            "shm-id-with-and-without-place",
            shared(&[
                &[OWNER],
                &[Side {
                    host: None,
                    ..BORROWER
                }],
            ]),
            Sign::new("the borrower has it somewhere else", |seen| {
                seen.guest(2, |guest| guest.memory.contains(&(MIB, MIB)))
            }),
        ),
        refused(
            "shm-id-twice",
            "shm-id-twice-in-one-domain",
            shared(&[&[
                OWNER,
                Side {
                    guest: GUEST + 64 * MIB,
                    ..OWNER
                },
            ]]),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let size = |size| both(move |side| Side { size, ..side });
    let host = |host| {
        both(move |side| Side {
            host: Some(host),
            ..side
        })
    };
    let guest = |guest| both(move |side| Side { guest, ..side });
    let property = |value: &'static str| {
        both(|side| side).domain(1, move |domain| {
            let (before, _) = domain
                .nodes
                .split_once("xen,shared-mem")
                .unwrap_or_default();
            domain.nodes = format!("{before} {value} }};");
        })
    };
    vec![
        refused("shm-unaligned", "shm-host-512", host(HOST + 512)),
        refused("shm-unaligned", "shm-guest-512", guest(GUEST + 512)),
        refused("shm-unaligned", "shm-size-512", size(MIB + 512)),
        refused("shm-unaligned", "shm-size-1", size(1)),
        refused("shm-size", "shm-size-0", size(0)),
        refused("shm-size", "shm-size-wraps", size(0xffff_ffff_ffff_f000)),
        refused("shm-size", "shm-host-wraps", host(0xffff_ffff_ffff_f000)),
        refused(
            "shm-cells",
            "shm-one-cell",
            property("xen,shared-mem = <1>;"),
        ),
        refused("shm-cells", "shm-no-property", property("")),
        refused(
            "shm-cells",
            "shm-seven-cells",
            property("xen,shared-mem = <0 0x70000000 1 0 0 0x100000 0>;"),
        ),
        refused(
            "shm-cells",
            "shm-three-cells",
            property("xen,shared-mem = <0x70000000 0x80000000 0x100000>;"),
        ),
    ]
}

fn places() -> Vec<Case> {
    let host = |host| {
        both(move |side| Side {
            host: Some(host),
            ..side
        })
    };
    let overlapping = Side {
        id: "brake",
        host: Some(HOST + MIB / 2),
        guest: GUEST + 64 * MIB,
        ..OWNER
    };
    let fixed = |start: u64| {
        both(|side| side).domain(1, move |domain| {
            domain.with(&format!("xen,static-mem = <{} 0 0x2000000>;", cells(start)));
        })
    };
    vec![
        refused("shm-outside", "shm-outside-ram", host(0x9000_0000)),
        refused("shm-outside", "shm-below-ram", host(0x2000_0000)),
        refused("shm-outside", "shm-half-outside", host(0x7ff8_0000)),
        accepted("shm-outside", "shm-at-the-end-of-ram", host(0x7ff0_0000)),
        refused("shm-overlap", "shm-over-xen", host(0x4030_0000)),
        refused("shm-overlap", "shm-over-kernel", host(0x5000_0000)),
        refused("shm-overlap", "shm-over-later-kernel", host(0x5100_0000)),
        refused("shm-overlap", "shm-over-dtb", host(0x4800_0000)),
        refused("shm-overlap", "shm-over-static-memory", fixed(HOST)),
        refused(
            "shm-overlap",
            "shm-over-static-memorys-end",
            fixed(HOST - 0x1ff_f000),
        ),
        accepted(
            "shm-overlap",
            "shm-after-static-memory",
            fixed(HOST - 0x200_0000),
        ),
        refused(
            "shm-overlap",
            "shm-two-overlap",
            shared(&[&[OWNER], &[BORROWER, overlapping]]),
        ),
        refused(
            "shm-overlap",
            "shm-two-overlap-in-one-domain",
            shared(&[&[OWNER, overlapping]]),
        ),
    ]
}

fn guests() -> Vec<Case> {
    let guest = |guest| both(move |side| Side { guest, ..side });
    let direct = |owner: Side| {
        shared(&[&[owner], &[BORROWER]]).domain(1, |domain| {
            domain.with("direct-map; xen,static-mem = <0 0x60000000 0 0x2000000>;");
        })
    };
    vec![
        refused("shm-guest-ram", "shm-over-guest-ram", guest(0x4000_0000)),
        wrong(
            "shm-guest-ram",
            "shm-over-guest-rams-middle",
            guest(0x4100_0000),
            COVERS,
        ),
        wrong(
            "shm-guest-ram",
            "shm-over-guest-rams-end",
            guest(0x41f0_0000),
            COVERS,
        ),
        accepted("shm-guest-ram", "shm-after-guest-ram", guest(0x4200_0000)),
        wrong(
            "shm-guest-window",
            "shm-over-vgic",
            guest(0x0300_0000),
            COVERS,
        ),
        wrong(
            "shm-guest-window",
            "shm-over-redistributors",
            guest(0x0302_0000),
            COVERS,
        ),
        unnoticed("shm-guest-window", "shm-over-grants", guest(0x3800_0000)),
        unnoticed("shm-guest-window", "shm-over-magic", guest(0x3900_0000)),
        unnoticed("shm-guest-window", "shm-over-virtio", guest(0x0200_0000)),
        wrong(
            "shm-guest-window",
            "shm-over-uart",
            guest(0x2200_0000).domain(1, |domain| {
                domain.with("vpl011;");
            }),
            Sign::new("it lies over the first guest's UART", |seen| {
                seen.is_covered(1, "xen-shmem")
            }),
        ),
        refused(
            "shm-guest-width",
            "shm-beyond-guest-addresses",
            guest(1 << 45),
        ),
        refused("shm-guest-width", "shm-at-48-bits", guest((1 << 48) - MIB)),
        wrong(
            "shm-guest-overlap",
            "shm-two-at-one-guest-address",
            shared(&[&[
                OWNER,
                Side {
                    guest: GUEST,
                    ..second(OWNER)
                },
            ]]),
            Sign::new("one lies over the other", |seen| {
                seen.is_covered(1, "xen-shmem")
            }),
        ),
        wrong(
            "shm-guest-overlap",
            "shm-two-borrowed-at-one-guest-address",
            shared(&[
                &[OWNER, second(OWNER)],
                &[
                    BORROWER,
                    Side {
                        guest: GUEST,
                        ..second(BORROWER)
                    },
                ],
            ]),
            Sign::new("one lies over the other in the borrower", |seen| {
                seen.is_covered(2, "xen-shmem")
            }),
        ),
        refused("shm-direct-map", "shm-direct-map-elsewhere", direct(OWNER)),
        accepted(
            "shm-direct-map",
            "shm-direct-map-same",
            direct(Side {
                guest: HOST,
                ..OWNER
            }),
        ),
        refused(
            "shm-direct-map",
            "shm-direct-map-from-heap",
            both(|side| Side { host: None, ..side }).domain(2, |domain| {
                domain.with("direct-map; xen,static-mem = <0 0x60000000 0 0x2000000>;");
            }),
        ),
    ]
}

fn roles() -> Vec<Case> {
    vec![
        refused(
            "shm-two-owners",
            "shm-two-owners",
            shared(&[&[OWNER], &[OWNER]]),
        ),
        refused(
            "shm-two-owners",
            "shm-two-owners-of-three",
            shared(&[&[OWNER], &[BORROWER], &[OWNER]]),
        ),
        wrong(
            "shm-no-owner",
            "shm-borrower-alone",
            shared(&[&[BORROWER], &[]]),
            NOBODYS,
        ),
        wrong(
            "shm-no-owner",
            "shm-two-borrowers",
            shared(&[&[BORROWER], &[BORROWER]]),
            NOBODYS,
        ),
        refused(
            "shm-mixed-owner",
            "shm-owner-and-nobody",
            shared(&[&[OWNER], &[NOBODY]]),
        ),
        wrong(
            "shm-mixed-owner",
            "shm-nobody-and-borrower",
            shared(&[&[NOBODY], &[BORROWER]]),
            NOBODYS,
        ),
        refused(
            "shm-role",
            "shm-role-unknown",
            both(|side| Side {
                role: "role = \"reader\";",
                ..side
            }),
        ),
        refused(
            "shm-role",
            "shm-role-in-capitals",
            both(|side| Side {
                role: "role = \"Owner\";",
                ..side
            }),
        ),
        accepted("shm-one-writer", "shm-borrower-writes", {
            let order = |access| format!("shm={GUEST:#x},{MIB:#x},{access}");
            both(|side| side)
                .domain(1, |domain| domain.arguments = order("read"))
                .domain(2, |domain| domain.arguments = order("write"))
        }),
        accepted("shm-one-writer", "shm-both-write", {
            let order = format!("shm={GUEST:#x},{MIB:#x},write");
            let other = order.clone();
            both(|side| side)
                .domain(1, move |domain| domain.arguments = order)
                .domain(2, move |domain| domain.arguments = other)
        }),
        refused("shm-count", "shm-33-regions", many(33)),
        accepted("shm-count", "shm-10-regions", many(10)),
        refused("guest-tree-size", "shm-32-regions", many(32)),
    ]
}

/// One domain that owns this many regions of a page.
fn many(count: u64) -> Sketch {
    let mut sketch = Sketch::of(1);
    for index in 0..count {
        let node = format!(
            "shared-{index} {{ compatible = \"xen,domain-shared-memory-v1\"; xen,shm-id = \"s{index}\"; \
             role = \"owner\"; xen,shared-mem = <{} {} 0 0x1000>; }};",
            cells(HOST + index * 0x1000),
            cells(GUEST + index * 0x1000)
        );
        sketch = sketch.domain(1, |domain| {
            domain.with(&node);
        });
    }
    sketch
}
