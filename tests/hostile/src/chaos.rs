//! Operations without order: whatever a driver can do, in any state of the device.
//!
//! Most values are nearly right, since plain nonsense is refused at the first check and gets nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use transport_xen::fake::{Addressing, FakeGuest, features, mmio, registers as reg};
use xen::{Ioreq, IoreqKind};

use crate::choices::Choices;
use crate::lab::{DATA, DATA_LEN, Descriptor, HEADERS, Lab, Layout, RINGS, TABLES};
use crate::machine::{BASE, IRQ, Machine};

/// Bytes of rings and tables.
const RINGS_LEN: u64 = 0x2_0000;

/// An address that is often nearly right. Never one of [`crate::lab::BYSTANDER`].
fn address(addressing: Addressing, choices: &mut Choices<'_>) -> u64 {
    match choices.below(10) {
        0 => choices.any() | 1 << 40,
        1 => u64::MAX - choices.below(0x2000),
        2 => choices.below(0x1_0000),
        3 => addressing.of(RINGS + 16 * choices.below(RINGS_LEN / 16)),
        4 => addressing.of(HEADERS + 0x1000 * choices.below(16)),
        _ => addressing.of(DATA + choices.below(DATA_LEN)),
    }
}

fn length(choices: &mut Choices<'_>) -> u32 {
    match choices.below(10) {
        0 => choices.any() as u32,
        1 => 0,
        2 => u32::MAX - choices.below(0x2000) as u32,
        3 => 16,
        4 => 1,
        _ => 512 << choices.below(9),
    }
}

fn descriptor(addressing: Addressing, choices: &mut Choices<'_>) -> Descriptor {
    Descriptor {
        addr: address(addressing, choices),
        len: length(choices),
        flags: choices.pick(&[0, 1, 2, 3, 1, 3, 4, 5, 6, 7, 0xffff]),
        next: choices.pick(&[0, 1, 2, 3, 4, 5, 63, 64, 255, 256, 1023, 1024, 0xffff]),
    }
}

/// Where a descriptor may lie.
fn entry(lab: &Lab<'_>, choices: &mut Choices<'_>) -> u64 {
    let table = choices.pick(&[lab.layout.desc, lab.layout.desc, TABLES]);
    table + 16 * choices.below(16)
}

fn layout(choices: &mut Choices<'_>) -> Layout {
    let mut layout = Layout::of_size(choices.pick(&[1, 2, 4, 16, 64, 256]));
    if choices.once_in(4) {
        layout.used = RINGS + choices.pick(&[0x800, 0x1800, 0x2ff8, 0x3004]);
    }
    if choices.once_in(8) {
        layout.desc = RINGS + 0x3000 - 16 * choices.below(8);
    }
    layout
}

fn bring_up(lab: &mut Lab<'_>, choices: &mut Choices<'_>) {
    let without = choices.pick(&[0, 0, features::INDIRECT, features::EVENT_IDX, 1 << 32]);
    lab.negotiate(without);
    let layout = layout(choices);
    lab.place(layout);
    if choices.once_in(16) {
        let size = choices.pick(&[0, 3, 512, 1024, 2048, 0x1_0000]);
        lab.write(reg::QUEUE_SIZE, size);
    }
    lab.write(reg::QUEUE_READY, 1);
    lab.write(reg::STATUS, 15);
    lab.flush();
}

/// A value for a register that is often nearly right.
fn value(lab: &Lab<'_>, offset: u64, choices: &mut Choices<'_>) -> u32 {
    let addressing = lab.machine.addressing();
    if (reg::QUEUE_DESC_LOW..=reg::QUEUE_DEVICE_HIGH).contains(&offset) {
        let addr = addressing.of(RINGS + 16 * choices.below(0x100));
        return match choices.below(4) {
            // Beyond all of the guest's memory.
            0 => choices.any() as u32 | 0x0800_0000,
            _ if offset & 4 == 0 => addr as u32,
            _ => (addr >> 32) as u32,
        };
    }
    match choices.below(4) {
        0 => choices.any() as u32,
        1 => choices.pick(&[0, 1, 2, 3, 4, 7, 8, 11, 15, 64, 128, 255, 256, u32::MAX]),
        _ => choices.below(16) as u32,
    }
}

fn any_access(lab: &Lab<'_>, choices: &mut Choices<'_>) -> Ioreq {
    let offset = choices.below(0x210);
    let write = (!choices.once_in(3)).then(|| value(lab, offset & !3, choices).into());
    let plain = mmio(
        BASE + offset,
        choices.pick(&[1, 2, 4, 4, 4, 8, 0, 3, 16, u32::MAX]),
        write,
    );
    match choices.below(32) {
        0 => Ioreq {
            count: choices.any() as u32,
            ..plain
        },
        1 => Ioreq {
            data_is_ptr: true,
            ..plain
        },
        2 => Ioreq {
            kind: choices.pick(&[
                IoreqKind::Pio,
                IoreqKind::PciConfig,
                IoreqKind::Invalidate,
                IoreqKind::Other(77),
            ]),
            ..plain
        },
        3 => Ioreq {
            addr: choices.any(),
            ..plain
        },
        _ => plain,
    }
}

/// A request that is right, or has one thing changed.
fn request(lab: &mut Lab<'_>, choices: &mut Choices<'_>) {
    let number = choices.below(16);
    let kind = choices.pick(&[0, 1, 0, 1, 4, 8, 11, 13, 99]);
    let sector = choices.pick(&[0, 8, 64, 0xffff, 0x1_0000, u64::MAX]);
    let data: Vec<_> = (0..choices.below(4))
        .map(|_| {
            let len = 512 << choices.below(8);
            (lab.addr(DATA + 16 * choices.below(0x10_0000)), len)
        })
        .collect();
    let mut buffers = lab.buffers(number, kind, sector, &data);
    let at = choices.below(buffers.len() as u64) as usize;
    match choices.below(12) {
        0 => buffers[at].0 = address(lab.machine.addressing(), choices),
        1 => buffers[at].1 = length(choices),
        2 => buffers[at].2 ^= choices.pick(&[2, 4]),
        3 => drop(buffers.pop()),
        _ => {}
    }
    let head = choices.below(u64::from(lab.layout.size.max(1))) as u16;
    let fits = u32::from(head) + buffers.len() as u32 <= lab.layout.size;
    if choices.once_in(2) || !fits {
        lab.chain(TABLES + 0x100 * number, 0, &buffers);
        let table = Descriptor {
            addr: lab.addr(TABLES + 0x100 * number),
            len: 16 * buffers.len() as u32,
            flags: 4,
            next: 0,
        };
        lab.descriptor(lab.layout.desc + 16 * u64::from(head), table);
    } else {
        lab.chain(lab.layout.desc, head, &buffers);
    }
    lab.offer(head);
    if !choices.once_in(4) {
        lab.kick();
    }
}

fn page(lab: &mut Lab<'_>, choices: &mut Choices<'_>) {
    let at = match choices.below(4) {
        0 => RINGS + 0x1000 * choices.below(0x20),
        1 => HEADERS + 0x1000 * choices.below(16),
        _ => DATA + 0x1000 * choices.below(0x100),
    };
    let deed = choices.pick::<fn(&FakeGuest, u64)>(&[
        FakeGuest::revoke,
        FakeGuest::grant_elsewhere,
        FakeGuest::make_read_only,
        FakeGuest::balloon_out,
        FakeGuest::balloon_in,
        FakeGuest::grant_again,
        FakeGuest::grant_again,
    ]);
    lab.page(deed, at);
}

/// One step: an operation, or a few that belong together.
pub fn step(lab: &mut Lab<'_>, choices: &mut Choices<'_>) {
    let addressing = lab.machine.addressing();
    match choices.below(32) {
        0..=5 => {
            let at = entry(lab, choices);
            lab.descriptor(at, descriptor(addressing, choices));
        }
        6..=10 => request(lab, choices),
        11 => {
            let head = choices.below(260) as u16;
            lab.offer(head);
        }
        12 => {
            let index = choices.pick(&[0, 1, 2, 64, 256, 257, 0x8000, 0xffff]);
            lab.publish(index);
        }
        13..=14 => {
            let queue = choices.pick(&[0, 0, 0, 0, 1, 0xffff, 0x1_0000]);
            lab.write(reg::QUEUE_NOTIFY, queue);
        }
        15..=18 => {
            let offset = 4 * choices.below(0x40);
            let value = value(lab, offset, choices);
            lab.write(offset, value);
        }
        19..=22 => {
            let access = any_access(lab, choices);
            lab.access(access);
        }
        23..=24 => page(lab, choices),
        25 => {
            let kind = choices.below(16) as u32;
            let sector = choices.any();
            lab.header(sector % 16, kind, sector >> 32);
        }
        26 => {
            for _ in 0..choices.below(64) {
                lab.write(reg::QUEUE_NOTIFY, 0);
            }
        }
        27..=28 => {
            lab.flush();
            let seen = lab.guest().interrupts(IRQ);
            let limit = Duration::from_micros(choices.below(200));
            lab.guest().wait_interrupt(IRQ, seen, limit, || false);
        }
        29 => {
            let ack = choices.below(4) as u32;
            lab.write(reg::INTERRUPT_ACK, ack);
            if choices.once_in(4) {
                lab.forget();
            }
        }
        _ => {
            if choices.once_in(2) || lab.status() & 64 != 0 {
                if choices.once_in(4) {
                    lab.guest().restore();
                }
                bring_up(lab, choices);
            } else if choices.once_in(4) {
                lab.write(reg::QUEUE_READY, 0);
            }
        }
    }
}

/// A thread that rewrites rings, descriptors and buffers while they are used.
pub struct Scribbler {
    running: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Scribbler {
    /// Starts it.
    pub fn start(machine: &Machine, seed: u64) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let written = Arc::new(AtomicU64::new(0));
        let (guest, addressing) = (Arc::clone(&machine.guest), machine.addressing());
        let (go_on, count) = (Arc::clone(&running), Arc::clone(&written));
        let work = move || {
            let mut choices = Choices::of_seed(seed);
            while go_on.load(Ordering::Relaxed) {
                for _ in 0..16 {
                    scribble(&guest, addressing, &mut choices);
                }
                count.fetch_add(16, Ordering::Relaxed);
                // Slow enough for requests to get anywhere in between.
                std::thread::sleep(Duration::from_micros(50));
            }
        };
        let thread = std::thread::Builder::new().name("scribbler".into());
        Scribbler {
            running,
            written,
            thread: thread.spawn(work).expect("a thread"),
        }
    }

    /// Ends it; how often it wrote.
    pub fn stop(self) -> u64 {
        self.running.store(false, Ordering::Relaxed);
        self.thread.join().expect("the scribbler panicked");
        self.written.load(Ordering::Relaxed)
    }
}

fn scribble(guest: &FakeGuest, addressing: Addressing, choices: &mut Choices<'_>) {
    match choices.below(6) {
        0 => {
            let at = choices.pick(&[RINGS, TABLES]) + 16 * choices.below(64);
            guest.put(address(addressing, choices), at);
            guest.put(length(choices), at + 8);
        }
        1 => {
            // Length, flags and next of a descriptor; or entries of a ring. Half an address could name a bystander.
            let at = RINGS + 16 * choices.below(RINGS_LEN / 16) + 8 + 2 * choices.below(4);
            guest.put(choices.below(66) as u16, at);
        }
        2 => {
            let index = guest.observe(RINGS + 0x1002);
            guest.publish(index.wrapping_add(choices.below(3) as u16), RINGS + 0x1002);
        }
        3 => guest.put(
            choices.below(16) as u32,
            HEADERS + 0x1000 * choices.below(16),
        ),
        4 => guest.put(choices.any(), DATA + 8 * choices.below(0x2_0000)),
        _ => guest.put(
            choices.below(65) as u16,
            RINGS + 0x1004 + 2 * choices.below(64),
        ),
    }
}
