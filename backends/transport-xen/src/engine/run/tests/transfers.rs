//! Requests of drivers that behave: what arrives, and what it costs.

use std::sync::atomic::Ordering;

use super::*;
use crate::fake::features;
use crate::mmio::registers as reg;

#[test]
fn a_driver_writes_and_reads_back_over_grants_and_over_foreign_memory() {
    for model in [MemoryModel::Grant, MemoryModel::Foreign] {
        for without in [
            0,
            features::INDIRECT,
            features::EVENT_IDX,
            features::INDIRECT | features::EVENT_IDX,
        ] {
            let (machine, image) = Machine::with_disk(model);
            let mut queue = machine.driver(0).bring_up(without, RINGS);
            for (seed, len) in [512, 4096, 16384, 16384 + 512, 65536, 1 << 20]
                .into_iter()
                .enumerate()
            {
                round_trip(&machine, &mut queue, &image, len, seed as u8);
            }
            machine.stop();
        }
    }
}

#[test]
fn a_4_kib_request_costs_two_copies_or_three_with_a_table_and_no_map() {
    for (without, copies) in [(features::INDIRECT, 2), (0, 3)] {
        for (kind, data) in [
            (IN, Buffer::writable(DATA, 4096)),
            (OUT, Buffer::readable(DATA, 4096)),
        ] {
            let (machine, _image) = Machine::with_disk(MemoryModel::Grant);
            let mut queue = machine.driver(0).bring_up(without, RINGS);
            let before = (
                machine.counters(0),
                machine.guest.map_calls.load(Ordering::SeqCst),
            );
            assert_eq!(queue.disk(HEADER, kind, 0, &[data]).0, OK);
            let after = machine.counters(0);
            assert_eq!(after.copies - before.0.copies, copies);
            assert_eq!(machine.guest.copy_calls.load(Ordering::SeqCst), copies);
            assert_eq!((after.maps, after.unmaps), (0, 0));
            assert_eq!(machine.guest.map_calls.load(Ordering::SeqCst), before.1);
            machine.stop();
        }
    }
}

/// Maps what is larger than 16 KiB.
const MAPPING: Tuning = Tuning {
    polling: true,
    copy_limit: 16 << 10,
};

#[test]
fn a_64_kib_request_costs_two_copies_or_three_with_a_table() {
    for (without, copies) in [(features::INDIRECT, 2), (0, 3)] {
        let (machine, _image) = Machine::with_disk(MemoryModel::Grant);
        let mut queue = machine.driver(0).bring_up(without, RINGS);
        let data = Buffer::writable(DATA, 65536);
        assert_eq!(queue.disk(HEADER, IN, 0, &[data]).0, OK);
        let counters = machine.counters(0);
        assert_eq!((counters.copies, counters.maps), (copies, 0));
        machine.stop();
    }
}

#[test]
fn a_request_above_the_copy_limit_costs_one_map_and_one_unmap() {
    for (kind, data) in [
        (IN, Buffer::writable(DATA, 65536)),
        (OUT, Buffer::readable(DATA, 65536)),
    ] {
        let (machine, _image) = Machine::with_tuned_disk(MemoryModel::Grant, MAPPING);
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        let rings = machine.guest.map_calls.load(Ordering::SeqCst);
        assert_eq!(queue.disk(HEADER, kind, 0, &[data]).0, OK);
        let counters = machine.counters(0);
        assert_eq!(
            (counters.maps, counters.unmaps, counters.mapped_pages),
            (1, 1, 16)
        );
        assert_eq!(machine.guest.map_calls.load(Ordering::SeqCst), rings + 1);
        machine.stop();
    }
}

#[test]
fn thirty_two_requests_at_once_cost_few_copies_kicks_and_interrupts() {
    // Asleep until the kick, as the driver is slower here than any real one.
    let tuning = Tuning {
        polling: false,
        ..Tuning::default()
    };
    let (machine, _image) = Machine::with_tuned_disk(MemoryModel::Grant, tuning);
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    // The queue's thread looks once before it sleeps, and would find a part of what follows.
    std::thread::sleep(Duration::from_millis(200));
    for n in 0..32 {
        let data = [Buffer::writable(DATA + n * 4096, 4096)];
        let buffers = queue.disk_buffers(HEADER + n * 64, IN, n * 8, &data);
        queue.add(&buffers);
    }
    queue.kick();
    queue.wait_used(32, &[Buffer::writable(DATA, 4096)]);
    let counters = machine.counters(0);
    assert_eq!(counters.requests, 32);
    assert_eq!(counters.copies, 3);
    assert_eq!(counters.kicks, 1);
    // None if the driver saw the last element before the device asked whether to interrupt.
    assert!(counters.interrupts <= 1);
    machine.stop();
}

#[test]
fn what_is_granted_read_only_can_be_written_to_disk_but_not_read_into() {
    for (len, tuning) in [
        (4096, Tuning::default()),
        (65536, Tuning::default()),
        (65536, MAPPING),
    ] {
        let (machine, _image) = Machine::with_tuned_disk(MemoryModel::Grant, tuning);
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        for page in 0..16 {
            machine.guest.make_read_only(DATA + page * 4096);
        }
        assert_eq!(
            queue.disk(HEADER, OUT, 0, &[Buffer::readable(DATA, len)]).0,
            OK
        );
        assert_eq!(
            queue.disk(HEADER, IN, 0, &[Buffer::writable(DATA, len)]).0,
            IOERR
        );
        machine.stop();
    }
}

#[test]
fn a_kernel_with_large_pages_serves_large_requests_by_copies() {
    let guest = FakeGuest::new();
    guest.use_large_kernel_pages();
    let (vcpus, gate) = Vcpus::new(VCPUS);
    let (block, image) = disk();
    let block: Box<dyn Device> = Box::new(block);
    let devices = vec![Some((block, Record::private()))];
    let model = MemoryModel::Grant;
    let machine = Machine::tuned(guest, vcpus, gate, model, MAPPING, devices);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &image, 1 << 20, 3);
    assert_eq!(machine.counters(0).maps, 0);
    machine.stop();
}

#[test]
fn an_interrupt_is_raised_after_its_status_bit_is_set() {
    let (machine, _image) = Machine::with_disk(MemoryModel::Grant);
    let driver = machine.driver(0);
    // With EVENT_IDX a driver that looks first gets none, rightly.
    let mut queue = driver.bring_up(features::EVENT_IDX, RINGS);
    for _ in 0..20 {
        let before = machine.guest.interrupts(IRQ);
        assert_eq!(
            queue.disk(HEADER, IN, 0, &[Buffer::writable(DATA, 512)]).0,
            OK
        );
        machine
            .guest
            .wait_until("the interrupt", || machine.guest.interrupts(IRQ) > before);
        assert_eq!(driver.take_interrupt(), 1);
        assert_eq!(driver.read(reg::INTERRUPT_STATUS), 0);
    }
    machine.stop();
}

#[test]
fn rings_the_device_only_reads_may_be_granted_read_only() {
    let (machine, image) = Machine::with_disk(MemoryModel::Grant);
    // Descriptors and available ring; the used ring has a page of its own.
    machine.guest.make_read_only(RINGS);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &image, 65536, 6);
    machine.stop();
}
