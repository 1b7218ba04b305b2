//! Chains that are none: the device must ask for a reset, since nobody knows where the status would be.

use transport_xen::fake::features;

use super::{Found, IN, OUT, Trial, Where, expect, place, size, trial, up};
use crate::choices::Choices;
use crate::lab::{DATA, Descriptor, Lab, TABLES, Verdict, flag};

pub(super) const TRIALS: &[Trial] = &[
    trial("a loop of descriptors", Where::Everywhere, a_loop),
    trial(
        "a loop in an indirect table",
        Where::Everywhere,
        loop_in_table,
    ),
    trial("a buffer of no bytes", Where::Everywhere, empty),
    trial("a buffer that wraps around", Where::Everywhere, wraps),
    trial("more than 4 GiB in a chain", Where::Everywhere, too_big),
    trial(
        "a readable buffer after a writable one",
        Where::Everywhere,
        order,
    ),
    trial(
        "an indirect table without the feature",
        Where::Everywhere,
        not_negotiated,
    ),
    trial(
        "an indirect descriptor that continues",
        Where::Everywhere,
        indirect_next,
    ),
    trial(
        "an indirect table in an indirect table",
        Where::Everywhere,
        nested,
    ),
    trial(
        "an indirect table of a wrong length",
        Where::Everywhere,
        table_length,
    ),
    trial(
        "an indirect table that wraps around",
        Where::Everywhere,
        table_wraps,
    ),
    trial(
        "an indirect table out of reach",
        Where::Everywhere,
        table_out_of_reach,
    ),
    trial("an index beyond the ring's table", Where::Everywhere, index),
    trial("a request offered twice", Where::Everywhere, twice),
    trial(
        "a next beyond the indirect table",
        Where::Everywhere,
        table_index,
    ),
    trial(
        "more segments than the queue is large",
        Where::Everywhere,
        too_many,
    ),
    trial("no room for a status", Where::Everywhere, no_status),
];

/// A request's buffers with data, of which one is to be spoilt.
fn good(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Vec<(u64, u32, u16)> {
    let kind = choices.pick(&[IN, OUT]);
    let at = place(choices, 4096);
    lab.buffers(0, kind, choices.below(1000), &[(lab.addr(at), 4096)])
}

/// Puts the chain into the ring's table or an indirect one, and offers it.
fn either(lab: &mut Lab<'_>, choices: &mut Choices<'_>, buffers: &[(u64, u32, u16)]) -> Found {
    if choices.once_in(2) {
        lab.bring_up(features::INDIRECT, size_for(buffers))?;
        lab.chain(lab.layout.desc, 0, buffers);
    } else {
        let layout = size(choices);
        lab.bring_up(0, layout)?;
        table(lab, buffers, 16 * buffers.len() as u32);
    }
    expect(lab.submit(), Verdict::NeedsReset)
}

fn size_for(buffers: &[(u64, u32, u16)]) -> crate::lab::Layout {
    crate::lab::Layout::of_size((buffers.len() as u32).next_power_of_two().max(2))
}

/// An indirect table of `buffers` that claims `len` bytes.
fn table(lab: &mut Lab<'_>, buffers: &[(u64, u32, u16)], len: u32) {
    lab.chain(TABLES, 0, buffers);
    let descriptor = Descriptor {
        addr: lab.addr(TABLES),
        len,
        flags: flag::INDIRECT,
        next: 0,
    };
    lab.descriptor(lab.layout.desc, descriptor);
}

fn a_loop(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = size(choices);
    lab.bring_up(features::INDIRECT, layout)?;
    let at = lab.addr(place(choices, 16));
    let last = choices.below(4.min(u64::from(layout.size))) as u16;
    for index in 0..=last {
        let next = if index == last {
            choices.below(u64::from(last) + 1) as u16
        } else {
            index + 1
        };
        let descriptor = Descriptor {
            addr: at,
            len: 16,
            flags: flag::NEXT,
            next,
        };
        lab.descriptor(layout.desc + 16 * u64::from(index), descriptor);
    }
    expect(lab.submit(), Verdict::NeedsReset)
}

fn loop_in_table(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    let entries = 1 + choices.below(64) as u32;
    let buffers = vec![(lab.addr(DATA), 16, flag::NEXT); entries as usize];
    table(lab, &buffers, 16 * entries);
    let back = choices.below(u64::from(entries)) as u16;
    let descriptor = Descriptor {
        addr: lab.addr(DATA),
        len: 16,
        flags: flag::NEXT,
        next: back,
    };
    lab.descriptor(TABLES + 16 * u64::from(entries - 1), descriptor);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn empty(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let mut buffers = good(lab, choices);
    buffers[choices.below(3) as usize].1 = 0;
    either(lab, choices, &buffers)
}

fn wraps(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let mut buffers = good(lab, choices);
    let len = 1 + choices.below(0x2000);
    buffers[1].0 = u64::MAX - choices.below(len);
    buffers[1].1 = len as u32;
    either(lab, choices, &buffers)
}

fn too_big(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let (at, half) = (lab.addr(DATA), 0x8000_0000_u32);
    let mut buffers = good(lab, choices);
    buffers.truncate(1);
    // In one direction or over both.
    let readable = choices.below(3);
    for number in 0..2 {
        let flags = if number < readable { 0 } else { flag::WRITE };
        buffers.push((at, half + choices.below(0x1000) as u32, flags));
    }
    buffers.push((lab.addr(DATA), 1, flag::WRITE));
    either(lab, choices, &buffers)
}

fn order(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let mut buffers = good(lab, choices);
    buffers.rotate_right(1);
    buffers.push((lab.addr(DATA), 1, flag::WRITE));
    either(lab, choices, &buffers)
}

fn not_negotiated(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(features::INDIRECT, layout)?;
    table(lab, &buffers, 48);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn indirect_next(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    table(lab, &buffers, 48);
    let descriptor = Descriptor {
        addr: lab.addr(TABLES),
        len: 48,
        flags: flag::INDIRECT | flag::NEXT,
        next: 1,
    };
    lab.descriptor(layout.desc, descriptor);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn nested(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let mut buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    buffers[choices.below(3) as usize].2 |= flag::INDIRECT;
    table(lab, &buffers, 48);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn table_length(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    let len = choices.pick(&[
        0,
        1,
        15,
        17,
        47,
        49,
        16 * 1025,
        16 * 1300,
        0x1_0000,
        u32::MAX,
    ]);
    table(lab, &buffers, len);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn table_wraps(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    let descriptor = Descriptor {
        addr: u64::MAX - choices.below(48),
        len: 48,
        flags: flag::INDIRECT,
        next: 0,
    };
    lab.descriptor(layout.desc, descriptor);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn table_out_of_reach(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    table(lab, &buffers, 48);
    if choices.once_in(2) {
        let descriptor = Descriptor {
            addr: choices.pick(&[0, 0x1000, 0x3_0000_0000]),
            len: 48,
            flags: flag::INDIRECT,
            next: 0,
        };
        lab.descriptor(layout.desc, descriptor);
    } else if lab.has_grants() {
        lab.page(transport_xen::fake::FakeGuest::revoke, TABLES);
    } else {
        lab.page(transport_xen::fake::FakeGuest::balloon_out, TABLES);
        lab.forget();
    }
    expect(lab.submit(), Verdict::NeedsReset)
}

fn index(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = crate::lab::Layout::of_size(choices.pick(&[4, 16, 64]));
    lab.bring_up(features::INDIRECT, layout)?;
    let size = layout.size as u16;
    let beyond = choices.pick(&[size, size + 1, 100.max(size), u16::MAX]);
    // A proper request would lie there.
    if beyond < 253 {
        lab.chain(layout.desc, beyond, &buffers);
    }
    if choices.once_in(2) {
        lab.offer(beyond);
    } else {
        lab.chain(layout.desc, 0, &buffers[..1]);
        let descriptor = Descriptor {
            addr: buffers[0].0,
            len: 16,
            flags: flag::NEXT,
            next: beyond,
        };
        lab.descriptor(layout.desc, descriptor);
        if beyond < 253 {
            lab.chain(layout.desc, beyond, &buffers[1..]);
        }
        lab.offer(0);
    }
    lab.kick();
    expect(lab.verdict(0), Verdict::NeedsReset)
}

fn twice(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = crate::lab::Layout::of_size(choices.pick(&[4, 16, 64]));
    lab.bring_up(features::INDIRECT, layout)?;
    lab.chain(layout.desc, 0, &buffers);
    // Both at once, or the first might be answered before the second is there.
    for entry in 0..2 {
        lab.put(0_u16, layout.avail + 4 + 2 * entry);
    }
    lab.publish(2);
    lab.kick();
    // The first is a request like any other, and may be answered.
    match lab.verdict(0) {
        Verdict::Status(_) => expect(lab.verdict(0), Verdict::NeedsReset),
        verdict => expect(verdict, Verdict::NeedsReset),
    }
}

fn table_index(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let buffers = good(lab, choices);
    let layout = size(choices);
    lab.bring_up(0, layout)?;
    table(lab, &buffers, 48);
    let descriptor = Descriptor {
        addr: buffers[0].0,
        len: 16,
        flags: flag::NEXT,
        // A modulo of it would be the proper next one.
        next: choices.pick(&[4, 3 + 1 + 3, 301]),
    };
    lab.descriptor(TABLES, descriptor);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn too_many(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let layout = crate::lab::Layout::of_size(256);
    lab.bring_up(0, layout)?;
    let header = lab.buffers(0, OUT, 0, &[]);
    let direct = 2 + choices.below(200) as u16;
    // More than the largest queue has, in all.
    let entries = 1024 - direct + 1 + choices.below(u64::from(direct)) as u16;
    let mut buffers = vec![(lab.addr(DATA), 1, 0); usize::from(direct) + 1];
    buffers[0] = header[0];
    lab.chain(layout.desc, 0, &buffers);
    let mut rest = vec![(lab.addr(DATA), 1, 0); usize::from(entries)];
    rest[usize::from(entries) - 1] = header[1];
    lab.chain(TABLES, 0, &rest);
    let descriptor = Descriptor {
        addr: lab.addr(TABLES),
        len: 16 * u32::from(entries),
        flags: flag::INDIRECT,
        next: 0,
    };
    lab.descriptor(layout.desc + 16 * u64::from(direct), descriptor);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn no_status(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let mut buffers = lab.buffers(0, OUT, 0, &[(lab.addr(DATA), 512)]);
    buffers.truncate(1 + choices.below(2) as usize);
    lab.chain(lab.layout.desc, 0, &buffers);
    expect(lab.submit(), Verdict::NeedsReset)
}
