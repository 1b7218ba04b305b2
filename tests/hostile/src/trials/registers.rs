//! Register accesses that have no meaning, or not now.

use transport_xen::fake::{features, mmio, registers as reg};
use xen::{Ioreq, IoreqKind};

use super::{Found, Trial, Where, same, size, trial, up, works};
use crate::choices::Choices;
use crate::lab::{DATA, Lab, Layout};
use crate::machine::{BASE, VCPUS};

pub(super) const TRIALS: &[Trial] = &[
    trial(
        "every offset and width, read",
        Where::Everywhere,
        read_everywhere,
    ),
    trial(
        "every offset and width, written",
        Where::Everywhere,
        write_everywhere,
    ),
    trial("a reset of a wrong width", Where::Everywhere, widths),
    trial(
        "requests that are no register accesses",
        Where::Everywhere,
        nonsense,
    ),
    trial("an empty slot and no slot", Where::Everywhere, elsewhere),
    trial("a queue that does not exist", Where::Everywhere, no_queue),
    trial(
        "features that were not offered",
        Where::Everywhere,
        not_offered,
    ),
    trial(
        "features after they were agreed on",
        Where::Everywhere,
        features_late,
    ),
    trial("DRIVER_OK without features", Where::Everywhere, no_features),
    trial(
        "the registers of a ready queue",
        Where::Everywhere,
        ready_queue,
    ),
    trial(
        "the registers of a running device",
        Where::Everywhere,
        running,
    ),
    trial("DRIVER_OK and QueueReady twice", Where::Everywhere, twice),
];

fn read_everywhere(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let size = choices.pick(&[1, 2, 4, 8]);
    for offset in 0..0x200 {
        lab.access(mmio(BASE + offset, size, None));
    }
    lab.flush();
    if size != 4 {
        same("MagicValue", lab.ask(mmio(BASE, size, None)), 0)?;
    }
    same("Version", lab.read(reg::VERSION), 2)?;
    works(lab, choices)
}

fn write_everywhere(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let size = choices.pick(&[1, 2, 4, 8]);
    let kept = [reg::STATUS, reg::QUEUE_READY, reg::QUEUE_SEL];
    for offset in 0..0x200 {
        // Those are commands, which have trials of their own.
        if size != 4 || !kept.contains(&offset) {
            let value = choices.any();
            lab.access(mmio(BASE + offset, size, Some(value)));
        }
    }
    lab.flush();
    same("the status", lab.status(), 15)?;
    works(lab, choices)
}

fn widths(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let size = choices.pick(&[1, 2, 8]);
    lab.access(mmio(BASE + reg::STATUS, size, Some(0)));
    lab.access(mmio(BASE + reg::STATUS, size, Some(128)));
    same("the status", lab.status(), 15)?;
    works(lab, choices)
}

fn nonsense(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let fine = mmio(BASE + reg::STATUS, 4, None);
    let size = choices.pick(&[0, 3, 5, 16, u32::MAX]);
    let addr = choices.pick(&[BASE - 4, BASE + 0x1fe, BASE + 0x400, u64::MAX, u64::MAX - 3]);
    let count = choices.pick(&[0, 2, u32::MAX]);
    for request in [
        Ioreq { size, ..fine },
        Ioreq { addr, ..fine },
        Ioreq { count, ..fine },
        Ioreq {
            data_is_ptr: true,
            ..fine
        },
        Ioreq {
            kind: IoreqKind::Pio,
            ..fine
        },
        Ioreq {
            kind: IoreqKind::PciConfig,
            ..fine
        },
        Ioreq {
            kind: IoreqKind::Other(choices.pick(&[2, 9, 200])),
            ..fine
        },
    ] {
        same("a read of nothing", lab.ask(request), u64::MAX)?;
        lab.access(Ioreq {
            write: true,
            data: 0,
            ..request
        });
    }
    // What lies partly in the next, empty slot belongs to neither.
    let across = mmio(BASE + 0x1fc, 8, None);
    same("a read across slots", lab.ask(across), u64::MAX)?;
    same("the status", lab.status(), 15)?;
    works(lab, choices)
}

fn elsewhere(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    for offset in 0..0x80 {
        let write = choices.once_in(2).then_some(choices.below(16));
        lab.access(mmio(BASE + 0x200 + 4 * offset, 4, write));
    }
    let device = lab.ask(mmio(BASE + 0x200 + reg::DEVICE_ID, 4, None));
    same("the empty slot's device", device, 0)
}

fn no_queue(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let queue = choices.pick(&[1, 2, 0xffff, 0x1_0000, u32::MAX]);
    lab.write(reg::QUEUE_SEL, queue);
    same("QueueSizeMax", lab.read(reg::QUEUE_SIZE_MAX), 0)?;
    lab.write(reg::QUEUE_READY, 1);
    same("QueueReady", lab.read(reg::QUEUE_READY), 0)?;
    lab.write(reg::QUEUE_READY, 0);
    lab.write(reg::QUEUE_NOTIFY, queue);
    lab.write(reg::QUEUE_SIZE, 64);
    lab.write(reg::QUEUE_SEL, 0);
    same("QueueReady of queue 0", lab.read(reg::QUEUE_READY), 1)?;
    works(lab, choices)
}

fn not_offered(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.restart();
    let offered = lab.offered();
    let grants = if lab.has_grants() {
        offered & !(1 << 33)
    } else {
        offered | 1 << 33
    };
    let more = offered | choices.pick(&[1 << 63, 1 << 40, 1 << 34, 1 << 0]);
    // The first lacks VIRTIO_F_VERSION_1.
    for wanted in [offered & !(1 << 32), grants, more] {
        lab.restart();
        if lab.accept(wanted) {
            return Err(format!("of {offered:#x} the device agreed on {wanted:#x}"));
        }
    }
    lab.restart();
    lab.write(reg::DRIVER_FEATURES_SEL, choices.pick(&[2, 3, u32::MAX]));
    lab.write(reg::DRIVER_FEATURES, 1 << choices.below(32));
    if lab.accept(offered) {
        return Err("the device agreed on features beyond bit 63".into());
    }
    Ok(())
}

fn features_late(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    if !lab.negotiate(features::INDIRECT) {
        return Err("the device refused its own features".into());
    }
    lab.write(reg::DRIVER_FEATURES_SEL, 0);
    lab.write(reg::DRIVER_FEATURES, u32::MAX);
    let layout = size(choices);
    lab.place(layout);
    lab.write(reg::QUEUE_READY, 1);
    lab.write(reg::STATUS, 15);
    works(lab, choices)?;
    // Still not agreed on.
    let descriptor = crate::lab::Descriptor {
        addr: lab.addr(DATA),
        len: 16,
        flags: crate::lab::flag::INDIRECT,
        next: 0,
    };
    let buffers = lab.buffers(0, super::IN, 0, &[(lab.addr(DATA), 512)]);
    lab.chain(crate::lab::TABLES, 0, &buffers);
    let descriptor = crate::lab::Descriptor {
        addr: lab.addr(crate::lab::TABLES),
        len: 48,
        ..descriptor
    };
    lab.descriptor(lab.layout.desc, descriptor);
    super::expect(lab.submit(), crate::lab::Verdict::NeedsReset)
}

fn no_features(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.restart();
    lab.write(reg::STATUS, choices.pick(&[4, 7, 0x77]));
    let status = lab.status();
    same("NEEDS_RESET", status & 64, 64)?;
    same("DRIVER_OK", status & 4, 0)
}

/// Writes nonsense to all registers of the queue.
fn spoil(lab: &mut Lab<'_>, choices: &mut Choices<'_>) {
    for register in [
        reg::QUEUE_SIZE,
        reg::QUEUE_DESC_LOW,
        reg::QUEUE_DESC_HIGH,
        reg::QUEUE_DRIVER_LOW,
        reg::QUEUE_DRIVER_HIGH,
        reg::QUEUE_DEVICE_LOW,
        reg::QUEUE_DEVICE_HIGH,
    ] {
        let value = choices.pick(&[0, 1, 3, 64, 0x8000_0000, u32::MAX]);
        lab.write(register, value);
    }
}

fn ready_queue(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.negotiate(0);
    let layout = size(choices);
    lab.place(layout);
    lab.write(reg::QUEUE_READY, 1);
    spoil(lab, choices);
    lab.write(reg::QUEUE_READY, 1);
    lab.write(reg::STATUS, 15);
    same("the status", lab.status(), 15)?;
    works(lab, choices)
}

fn running(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    spoil(lab, choices);
    for value in [1, 2, u32::MAX] {
        lab.write(reg::QUEUE_READY, value);
    }
    works(lab, choices)?;
    spoil(lab, choices);
    works(lab, choices)
}

fn twice(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.bring_up(0, Layout::of_size(64))?;
    for _ in 0..VCPUS {
        lab.write(reg::QUEUE_READY, 1);
        let status = choices.pick(&[4, 8, 12, 15, 0xff, 0x1000_000f]);
        lab.write(reg::STATUS, status);
    }
    // FAILED is the driver's own word; the device goes on.
    same("the status", lab.status() & !0x80 & !0x30, 15)?;
    works(lab, choices)?;
    lab.write(reg::STATUS, 0);
    same("the status after a reset", lab.status(), 0)?;
    if lab.has_grants() && lab.guest().mapped_pages() > 0 {
        return Err("pages are mapped after a reset".into());
    }
    Ok(())
}
