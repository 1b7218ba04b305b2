//! Resets, stops and storms while requests are in flight.

use transport_xen::fake::{features, mmio, registers as reg};

use super::{Found, IN, OUT, Trial, Where, same, trial, up, works};
use crate::choices::Choices;
use crate::lab::{DATA, Lab, Layout, flag};
use crate::machine::{BASE, IRQ, VCPUS};

pub(super) const TRIALS: &[Trial] = &[
    trial(
        "a reset with requests in flight",
        Where::Everywhere,
        reset_in_flight,
    ),
    trial(
        "a queue stopped with requests in flight",
        Where::Everywhere,
        stop_in_flight,
    ),
    trial(
        "accesses of all vCPUs during a reset",
        Where::Everywhere,
        during_reset,
    ),
    trial("a storm of notifications", Where::Everywhere, notify_storm),
    trial("a storm of interrupts", Where::Everywhere, interrupt_storm),
    trial(
        "a broken device that is driven on",
        Where::Everywhere,
        driven_on,
    ),
    trial(
        "a reset of everything, again and again",
        Where::Everywhere,
        resets,
    ),
];

/// Offers `count` requests of `len` bytes and notifies once, without waiting.
fn fill(lab: &mut Lab<'_>, choices: &mut Choices<'_>, count: u16, len: u32) {
    for number in 0..count {
        let kind = choices.pick(&[IN, OUT]);
        let sector = choices.below(1000);
        let at = DATA + u64::from(number) * 0x2_0000;
        let buffers = lab.buffers(number.into(), kind, sector, &[(lab.addr(at), len)]);
        lab.chain(lab.layout.desc, 3 * number, &buffers);
    }
    for number in 0..count {
        lab.offer(3 * number);
    }
    lab.write(reg::QUEUE_NOTIFY, 0);
}

fn load(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.bring_up(features::INDIRECT, Layout::of_size(64))?;
    let (count, len) = (
        1 + choices.below(16) as u16,
        choices.pick(&[512, 4096, 65536]),
    );
    fill(lab, choices, count, len);
    Ok(())
}

fn nothing_mapped(lab: &mut Lab<'_>) -> Found {
    let mapped = lab.guest().mapped_pages();
    if lab.has_grants() && mapped > 0 {
        return Err(format!("{mapped} pages are still mapped"));
    }
    Ok(())
}

fn reset_in_flight(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    load(lab, choices)?;
    if choices.once_in(2) {
        lab.flush();
    }
    lab.write(reg::STATUS, 0);
    same("the status after a reset", lab.status(), 0)?;
    nothing_mapped(lab)?;
    up(lab, choices)?;
    works(lab, choices)
}

fn stop_in_flight(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    load(lab, choices)?;
    lab.write(reg::QUEUE_READY, 0);
    same("QueueReady", lab.read(reg::QUEUE_READY), 0)?;
    nothing_mapped(lab)?;
    lab.write(reg::QUEUE_NOTIFY, 0);
    lab.write(reg::QUEUE_READY, 1);
    same("QueueReady", lab.read(reg::QUEUE_READY), 0)?;
    up(lab, choices)?;
    works(lab, choices)
}

fn during_reset(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    load(lab, choices)?;
    lab.flush();
    lab.write(reg::STATUS, 0);
    for _ in 1..VCPUS {
        let offset = 4 * choices.below(0x80);
        let write = (!choices.once_in(4)).then(|| choices.below(16));
        lab.access(mmio(BASE + offset, 4, write));
    }
    lab.flush();
    lab.write(reg::STATUS, 0);
    same("the status after a reset", lab.status(), 0)?;
    nothing_mapped(lab)?;
    up(lab, choices)?;
    works(lab, choices)
}

fn notify_storm(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let before = lab.guest().interrupts(IRQ);
    for _ in 0..256 {
        let queue = choices.pick(&[0, 0, 0, 1, 0xffff, 0x1_0000, u32::MAX]);
        lab.write(reg::QUEUE_NOTIFY, queue);
    }
    lab.flush();
    let after = lab.guest().interrupts(IRQ);
    if after > before {
        return Err(format!("{} interrupts without a request", after - before));
    }
    works(lab, choices)
}

fn interrupt_storm(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.bring_up(features::EVENT_IDX, Layout::of_size(256))?;
    let header = lab.header(0, 99, 0);
    let buffers = [
        (lab.addr(header), 16, 0),
        (lab.addr(header) + 16, 1, flag::WRITE),
    ];
    let before = lab.guest().interrupts(IRQ);
    let count = 64 + choices.below(64);
    for number in 0..count {
        // Each its own head: one that is in flight would end the queue.
        let head = 2 * number as u16;
        lab.chain(lab.layout.desc, head, &buffers);
        lab.offer(head);
        if number % 8 == 0 {
            lab.write(reg::QUEUE_NOTIFY, 0);
            let ack = choices.below(4) as u32;
            lab.write(reg::INTERRUPT_ACK, ack);
            lab.flush();
        }
    }
    lab.kick();
    let guest = lab.guest();
    let used = lab.layout.used + 2;
    let all = || u64::from(guest.observe(used)) >= count;
    if !guest.wait_for(crate::lab::PATIENCE, all) {
        return Err(format!(
            "{} of {count} requests were answered",
            guest.observe(used)
        ));
    }
    let came = guest.interrupts(IRQ) - before;
    if came > count {
        return Err(format!("{came} interrupts for {count} requests"));
    }
    lab.bring_up(0, Layout::of_size(64))?;
    works(lab, choices)
}

fn driven_on(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let before = lab.machine.log().needs_resets;
    let interrupts = lab.guest().interrupts(IRQ);
    lab.guest().write(&[0; 16], lab.layout.desc);
    for _ in 0..64 {
        lab.offer(0);
        lab.write(reg::QUEUE_NOTIFY, 0);
        let value = choices.pick(&[1, 15, 0x4f, 0xff]);
        lab.write(reg::STATUS, value);
        lab.write(reg::QUEUE_READY, 1);
    }
    lab.flush();
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while lab.status() & 64 == 0 && !lab.stuck {
        if std::time::Instant::now() > deadline {
            return Err("the device accepts a buffer of no bytes".into());
        }
    }
    lab.write(reg::STATUS, 15);
    lab.write(reg::STATUS, 0);
    same("the status after a reset", lab.status(), 0)?;
    let told = lab.machine.log().needs_resets - before;
    let came = lab.guest().interrupts(IRQ) - interrupts;
    if told != 1 || came > 1 {
        return Err(format!("it was told {told} times, with {came} interrupts"));
    }
    Ok(())
}

fn resets(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    for _ in 0..4 {
        load(lab, choices)?;
        lab.write(reg::STATUS, 0);
        // The second one finds nothing to do.
        lab.write(reg::STATUS, 0);
    }
    same("the status after a reset", lab.status(), 0)?;
    nothing_mapped(lab)?;
    up(lab, choices)?;
    works(lab, choices)
}
