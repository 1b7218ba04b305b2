//! Drivers that do not behave: whatever they do is their own problem.

use std::sync::atomic::{AtomicBool, Ordering};

use xen::{Ioreq, IoreqKind};

use super::*;
use crate::engine::PANICKED;
use crate::fake::{features, mmio};
use crate::mmio::registers as reg;

fn round_trip_elsewhere(machine: &Machine, queue: &mut Queue, image: &File) {
    let bytes = pattern(4096, 0x55);
    machine.guest.write(&bytes, BACK);
    assert_eq!(
        queue
            .disk(HEADER, OUT, 64, &[Buffer::readable(BACK, 4096)])
            .0,
        OK
    );
    let mut on_disk = vec![0; 4096];
    image.read_exact_at(&mut on_disk, 64 * 512).unwrap();
    assert_eq!(on_disk, bytes);
}

#[test]
fn a_bad_grant_fails_its_own_request_and_leaves_the_device_working() {
    for len in [4096, 65536] {
        let (machine, image) = Machine::with_disk(MemoryModel::Grant);
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        machine.guest.revoke(DATA);
        for (n, (kind, at, expected)) in [
            (OUT, BACK, OK),
            (OUT, DATA, IOERR),
            (IN, DATA, IOERR),
            (IN, BACK, OK),
        ]
        .into_iter()
        .enumerate()
        {
            let data = Buffer {
                at,
                len,
                writable: kind == IN,
            };
            assert_eq!(
                queue.disk(HEADER, kind, 0, &[data]).0,
                expected,
                "request {n} of {len} bytes"
            );
        }
        round_trip_elsewhere(&machine, &mut queue, &image);
        machine.stop();
    }
}

#[test]
fn an_address_that_is_no_grant_fails_its_own_request() {
    let (machine, image) = Machine::with_disk(MemoryModel::Grant);
    let mut queue = machine.driver(0).bring_up(features::INDIRECT, RINGS);
    for addr in [
        0x4000_0000,
        u64::MAX - 0x2_0000,
        (1 << 63) + (u64::from(u32::MAX) << 12),
        (1 << 63) - 4096,
    ] {
        for len in [4096_u32, 65536] {
            let buffers = queue.disk_buffers(HEADER, IN, 0, &[Buffer::writable(DATA, len)]);
            let head = queue.add(&buffers);
            // The data's descriptor, the second of the chain.
            queue.descriptor(
                queue.desc + 16 * u64::from(head + 1),
                addr,
                len,
                1 | 2,
                head + 2,
            );
            queue.kick();
            queue.wait_used(1, &[]);
            assert_eq!(machine.guest.get::<u8>(HEADER + 16), IOERR, "{addr:#x}");
        }
    }
    round_trip_elsewhere(&machine, &mut queue, &image);
    machine.stop();
}

#[test]
fn a_ballooned_page_fails_its_own_request_until_it_is_back() {
    let (machine, image) = Machine::with_disk(MemoryModel::Foreign);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    machine.guest.balloon_out(DATA);
    assert_eq!(
        queue
            .disk(HEADER, OUT, 0, &[Buffer::readable(DATA, 4096)])
            .0,
        IOERR
    );
    assert_eq!(
        queue
            .disk(HEADER, OUT, 0, &[Buffer::readable(DATA + 4096, 4096)])
            .0,
        OK
    );
    machine.guest.balloon_in(DATA);
    assert_eq!(
        queue
            .disk(HEADER, OUT, 0, &[Buffer::readable(DATA, 4096)])
            .0,
        OK
    );
    round_trip(&machine, &mut queue, &image, 65536, 1);
    machine.stop();
}

#[test]
fn memory_outside_of_the_guests_banks_fails_its_own_request() {
    let (machine, image) = Machine::with_disk(MemoryModel::Foreign);
    let mut queue = machine.driver(0).bring_up(features::INDIRECT, RINGS);
    for addr in [
        0,
        0x3fff_f000,
        0x4000_0000 + FakeGuest::MEMORY_KIB * 1024 - 2048,
        0x2_0000_0000,
        u64::MAX - 65536,
    ] {
        let buffers = queue.disk_buffers(HEADER, IN, 0, &[Buffer::writable(DATA, 4096)]);
        let head = queue.add(&buffers);
        queue.descriptor(
            queue.desc + 16 * u64::from(head + 1),
            addr,
            4096,
            1 | 2,
            head + 2,
        );
        queue.kick();
        queue.wait_used(1, &[]);
        assert_eq!(machine.guest.get::<u8>(HEADER + 16), IOERR, "{addr:#x}");
    }
    round_trip(&machine, &mut queue, &image, 4096, 1);
    machine.stop();
}

#[test]
fn an_invalidate_request_is_answered_and_drops_cached_windows() {
    let (machine, _image) = Machine::with_disk(MemoryModel::Foreign);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    assert_eq!(
        queue
            .disk(HEADER, OUT, 0, &[Buffer::readable(DATA, 4096)])
            .0,
        OK
    );
    assert!(machine.guest.is_mapped(DATA));
    let invalidate = Ioreq {
        kind: IoreqKind::Invalidate,
        size: 4,
        ..mmio(u64::MAX, 4, Some(u64::MAX))
    };
    machine.vcpus.access(1, invalidate);
    assert!(!machine.guest.is_mapped(DATA));
    assert!(machine.guest.is_mapped(RINGS));
    assert_eq!(
        queue
            .disk(HEADER, OUT, 0, &[Buffer::readable(DATA, 4096)])
            .0,
        OK
    );
    machine.stop();
}

#[test]
fn requests_without_sense_are_answered_with_all_ones() {
    let (machine, _image) = Machine::with_disk(MemoryModel::Grant);
    let fine = mmio(BASE + reg::MAGIC_VALUE, 4, None);
    assert_eq!(machine.vcpus.access(0, fine), 0x7472_6976);
    for nonsense in [
        Ioreq { count: 0, ..fine },
        Ioreq { count: 2, ..fine },
        Ioreq {
            data_is_ptr: true,
            ..fine
        },
        Ioreq { size: 0, ..fine },
        Ioreq { size: 3, ..fine },
        Ioreq {
            size: u32::MAX,
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
            kind: IoreqKind::Other(200),
            ..fine
        },
        Ioreq {
            addr: BASE - 4,
            ..fine
        },
        Ioreq {
            addr: BASE + 0x1fe,
            ..fine
        },
        Ioreq {
            addr: BASE + 0x200,
            ..fine
        },
        Ioreq {
            addr: u64::MAX - 1,
            ..fine
        },
    ] {
        assert_eq!(machine.vcpus.access(0, nonsense), u64::MAX, "{nonsense:?}");
        machine.vcpus.access(
            0,
            Ioreq {
                write: true,
                ..nonsense
            },
        );
    }
    machine.stop();
}

#[test]
fn a_malformed_chain_asks_for_a_reset_which_mends_the_device() {
    let (first, image) = disk();
    let (second, other_image) = disk();
    let devices: Vec<Option<Box<dyn Device>>> = vec![Some(Box::new(first)), Some(Box::new(second))];
    let machine = Machine::new(MemoryModel::Grant, devices);
    let (driver, other) = (machine.driver(0), machine.driver(1));
    let mut other_queue = other.bring_up(0, RINGS + 0x8_0000);
    assert_eq!(
        (machine.event(), machine.event()),
        (Event::Reset(1), Event::DriverOk(1))
    );
    for malformed in 0..4 {
        let mut queue = driver.bring_up(0, RINGS);
        assert_eq!(
            (machine.event(), machine.event()),
            (Event::Reset(0), Event::DriverOk(0))
        );
        let desc = queue.desc;
        let grant = driver.addressing.of(DATA);
        match malformed {
            0 => queue.descriptor(desc, grant, 16, 1, 0),
            1 => queue.descriptor(desc, grant, 0, 2, 0),
            2 => queue.descriptor(desc, 0x1234, 16, 4, 0),
            _ => queue.descriptor(desc, grant, 16, 0, 0),
        }
        queue.offer(0);
        queue.kick();
        let event = machine.event();
        assert!(matches!(event, Event::NeedsReset(0, _)), "{event:?}");
        assert_eq!(driver.read(reg::STATUS), 15 | 64);
        assert_eq!(driver.take_interrupt() & 2, 2);
        round_trip(&machine, &mut other_queue, &other_image, 4096, malformed);
        driver.reset();
        assert_eq!(machine.event(), Event::Reset(0));
    }
    let mut queue = driver.bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &image, 65536, 1);
    machine.stop();
}

#[test]
fn rings_that_are_not_granted_ask_for_a_reset() {
    let (machine, _image) = Machine::with_disk(MemoryModel::Grant);
    let driver = machine.driver(0);
    machine.guest.revoke(RINGS + 0x2000);
    driver.reset();
    driver.write(reg::STATUS, 3);
    let features = driver.offered();
    assert!(driver.accept(features));
    driver.set_up_queue(features, RINGS);
    driver.write(reg::STATUS, 15);
    assert_eq!(driver.read(reg::STATUS), 15 | 64);
    assert_eq!(machine.event(), Event::Reset(0));
    assert!(matches!(machine.event(), Event::NeedsReset(0, _)));
    assert_eq!(machine.guest.mapped_pages(), 0);
    driver.reset();
    machine.stop();
}

/// Numbers without pattern (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A value that is often nearly right.
    fn value(&mut self, addressing: Addressing) -> u64 {
        let page = self.below(64) * 4096 + DATA;
        match self.below(8) {
            0 => self.next(),
            1 => self.below(4),
            2 => self.below(300),
            3 => 4096 * self.below(20),
            4 => u64::MAX - self.below(20),
            5 => addressing.of(RINGS + 16 * self.below(1024)),
            _ => addressing.of(page + self.below(4096)),
        }
    }
}

/// Writes well-formed and nearly well-formed descriptors, indices and headers all over rings and requests.
fn scribble(guest: &FakeGuest, addressing: Addressing, random: &mut Random) {
    let value = random.value(addressing);
    match random.below(6) {
        0 => {
            let place = RINGS + 16 * random.below(64);
            guest.put(value, place);
            guest.put(random.value(addressing) as u32 & 0x3_ffff, place + 8);
            guest.put(random.below(8) as u16, place + 12);
            guest.put(random.below(66) as u16, place + 14);
        }
        1 => guest.publish(
            (random.below(3) as u16).wrapping_add(guest.observe(RINGS + 1024 + 2)),
            RINGS + 1024 + 2,
        ),
        2 => guest.put(
            random.below(65) as u16,
            RINGS + 1024 + 4 + 2 * random.below(64),
        ),
        3 => guest.put(random.below(15) as u32, HEADER + 64 * random.below(16)),
        4 => guest.put(value, RINGS + 0x3000 + 8 * random.below(2048)),
        _ => guest.put(value as u16, RINGS + 2 * random.below(0x2000)),
    }
}

#[test]
fn a_driver_that_rewrites_everything_while_it_is_used_harms_only_itself() {
    for model in [MemoryModel::Grant, MemoryModel::Foreign] {
        let (victim, victim_image) = disk();
        let (neighbour, neighbour_image) = disk();
        let devices: Vec<Option<Box<dyn Device>>> =
            vec![Some(Box::new(victim)), Some(Box::new(neighbour))];
        let machine = Machine::new(model, devices);
        let other = machine.driver(1).on_vcpu(1);
        let mut other_queue = other.bring_up(0, RINGS + 0x8_0000);
        let driver = machine.driver(0);
        let running = Arc::new(AtomicBool::new(true));
        let scribbler = {
            let (guest, running) = (Arc::clone(&machine.guest), Arc::clone(&running));
            let addressing = driver.addressing;
            std::thread::spawn(move || {
                let mut random = Random(0x1234_5678_9abc_def1);
                let mut operations = 0_u64;
                while running.load(Ordering::SeqCst) {
                    scribble(&guest, addressing, &mut random);
                    operations += 1;
                    // Slow enough for requests to get anywhere in between.
                    if operations.is_multiple_of(4) {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
                operations
            })
        };
        let mut random = Random(0xfeed_face_cafe_beef);
        let started = std::time::Instant::now();
        // Until it has got somewhere: requests were done, others failed, protocol errors were found.
        let far = |counters: &devices::CountersSnapshot| {
            counters.requests > 200 && counters.errors > 10 && counters.needs_resets > 10
        };
        for round in 0..u32::MAX {
            if round % 16 == 0
                && (far(&machine.counters(0)) || started.elapsed() > Duration::from_secs(60))
            {
                break;
            }
            driver.bring_up(
                if round % 2 == 0 {
                    features::INDIRECT
                } else {
                    0
                },
                RINGS,
            );
            for n in 0..16_u64 {
                let mut queue = Queue::adopt(driver.clone(), RINGS);
                let data = [Buffer {
                    at: DATA + 4096 * n,
                    len: 4096 << random.below(6),
                    writable: n % 2 == 0,
                }];
                let buffers = queue.disk_buffers(HEADER + 64 * n, (n % 2) as u32, n * 8, &data);
                queue.add(&buffers);
                driver.write(reg::QUEUE_NOTIFY, 0);
                driver.write(4 * random.below(0x40), random.below(16) as u32);
            }
            if round % 10 == 0 {
                machine.guest.write(&[round as u8; 4096], BACK);
                let data = [Buffer::readable(BACK, 4096)];
                assert_eq!(other_queue.disk(0x60_0000, OUT, 0, &data).0, OK);
            }
        }
        running.store(false, Ordering::SeqCst);
        assert!(scribbler.join().unwrap() > 100);
        driver.reset();
        let panics = machine.events.try_iter().filter(
            |event| matches!(event, Event::NeedsReset(_, reason) if reason.contains(PANICKED)),
        );
        assert_eq!(panics.count(), 0);
        let counters = machine.counters(0);
        assert!(far(&counters), "{counters:?}");
        let mut queue = driver.bring_up(0, RINGS);
        round_trip(&machine, &mut queue, &victim_image, 65536, 1);
        round_trip(&machine, &mut other_queue, &neighbour_image, 65536, 2);
        machine.stop();
    }
}
