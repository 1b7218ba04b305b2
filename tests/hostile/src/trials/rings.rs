//! Rings of wrong sizes, at wrong places, in pages that are not there.

use transport_xen::fake::{FakeGuest, features, registers as reg};

use super::{Found, OK, OUT, Trial, Where, expect, same, size, trial, works};
use crate::choices::Choices;
use crate::lab::{DATA, Lab, Layout, RINGS, Verdict};

pub(super) const TRIALS: &[Trial] = &[
    trial("a queue size that is none", Where::Everywhere, bad_size),
    trial("a ring that is not aligned", Where::Everywhere, misaligned),
    trial(
        "a ring beyond the range of addresses",
        Where::Everywhere,
        beyond,
    ),
    trial(
        "a ring in a page that is not granted",
        Where::Everywhere,
        withheld,
    ),
    trial(
        "rings granted for reading where that suffices",
        Where::Grants,
        read_only,
    ),
    trial(
        "a used ring in a page granted for reading",
        Where::Grants,
        used_read_only,
    ),
    trial(
        "a used ring in the page of the descriptors",
        Where::Everywhere,
        shared_page,
    ),
    trial(
        "a ring across pages that are mapped one by one",
        Where::Grants,
        across,
    ),
    trial(
        "an available index that runs ahead",
        Where::Everywhere,
        runs_ahead,
    ),
];

/// The queue is not taken, and however often that is tried, it is told once.
fn refuses_queue(lab: &mut Lab<'_>) -> Found {
    let before = lab.machine.log().needs_resets;
    for _ in 0..3 {
        lab.write(reg::QUEUE_READY, 1);
    }
    same("QueueReady", lab.read(reg::QUEUE_READY), 0)?;
    same("the status", lab.status(), 11 | 64)?;
    let told = lab.machine.log().needs_resets - before;
    same("the number of events", told, 1)
}

fn bad_size(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.negotiate(0);
    lab.place(Layout::of_size(64));
    let size = choices.pick(&[
        0,
        3,
        48,
        255,
        1025,
        2048,
        0x8000,
        0x1_0000,
        0x1_0040,
        u32::MAX,
    ]);
    lab.write(reg::QUEUE_SIZE, size);
    refuses_queue(lab)
}

/// The registers of the three areas, with the alignment of each.
const AREAS: [(u64, u64); 3] = [
    (reg::QUEUE_DESC_LOW, 16),
    (reg::QUEUE_DRIVER_LOW, 2),
    (reg::QUEUE_DEVICE_LOW, 4),
];

fn misaligned(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.negotiate(0);
    lab.place(Layout::of_size(64));
    let (register, alignment) = choices.pick(&AREAS);
    let addr = lab.addr(RINGS + 0x4000) + 1 + choices.below(alignment - 1);
    lab.address(register, addr);
    refuses_queue(lab)
}

fn beyond(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let end = 0x4000_0000 + FakeGuest::MEMORY_KIB * 1024;
    let addresses = if lab.has_grants() {
        [
            0,
            lab.addr(RINGS) & !(1 << 63),
            lab.addr(RINGS) + (1 << 44),
            (1 << 63) - 16,
            (1 << 63) + (1 << 44) - 16,
            u64::MAX - 15,
        ]
    } else {
        [
            0,
            0x4000_0000 - 16,
            end - 16,
            end,
            0x2_0000_0000,
            u64::MAX - 15,
        ]
    };
    for addr in addresses {
        lab.negotiate(0);
        lab.place(Layout::of_size(256));
        let (register, _) = choices.pick(&AREAS);
        lab.address(register, addr);
        refuses_queue(lab)?;
    }
    Ok(())
}

fn withheld(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let deed = if lab.has_grants() {
        choices.pick::<fn(&FakeGuest, u64)>(&[FakeGuest::revoke, FakeGuest::grant_elsewhere])
    } else {
        FakeGuest::balloon_out
    };
    lab.negotiate(0);
    let mut layout = size(choices);
    // The area may have a second page, of which only one is missing.
    let area = choices.below(3);
    let missing = RINGS + 0x1000 * area + choices.pick(&[0, 0x4000]);
    if missing >= RINGS + 0x4000 {
        let start = missing - 16;
        match area {
            0 => layout.desc = start,
            1 => (layout.size, layout.avail) = (16, start),
            _ => layout.used = start,
        }
    }
    lab.place(layout);
    lab.page(deed, missing);
    lab.write(reg::QUEUE_READY, 1);
    same("QueueReady", lab.read(reg::QUEUE_READY), 1)?;
    lab.write(reg::STATUS, 15);
    same("the status", lab.status(), 15 | 64)?;
    lab.write(reg::STATUS, 0);
    same("the status after a reset", lab.status(), 0)
}

fn read_only(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.page(FakeGuest::make_read_only, RINGS);
    lab.page(FakeGuest::make_read_only, RINGS + 0x1000);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    works(lab, choices)
}

fn used_read_only(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.negotiate(0);
    let layout = size(choices);
    lab.place(layout);
    lab.page(FakeGuest::make_read_only, layout.used);
    lab.write(reg::QUEUE_READY, 1);
    lab.write(reg::STATUS, 15);
    same("the status", lab.status(), 15 | 64)
}

fn shared_page(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = Layout {
        size: choices.pick(&[4, 8, 16, 64]),
        desc: RINGS,
        avail: RINGS + 0x400,
        used: RINGS + 0x800,
    };
    lab.bring_up(features::INDIRECT, layout)?;
    works(lab, choices)?;
    works(lab, choices)
}

fn across(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    // For good, in this guest: its backend's kernel does not change.
    lab.guest().use_large_kernel_pages();
    let element = choices.below(4);
    let layout = Layout {
        size: 64,
        desc: RINGS,
        avail: RINGS + 0x1000,
        // An element of the used ring lies in two pages.
        used: RINGS + 0x3000 - 4 - 4 - 8 * element,
    };
    lab.bring_up(0, layout)?;
    for _ in 0..=element / 2 + 1 {
        works(lab, choices)?;
    }
    let verdict = lab.request(OUT, 0, &[(lab.addr(DATA), 65536)]);
    expect(verdict, Verdict::Status(OK))
}

fn runs_ahead(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    let ahead = choices.pick(&[1, 2, 1000]);
    lab.publish(layout.size as u16 + ahead);
    lab.kick();
    expect(lab.verdict(0), Verdict::NeedsReset)
}
