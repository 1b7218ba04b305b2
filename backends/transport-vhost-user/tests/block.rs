//! A disk over vhost-user, as a driver and a front end see it.

mod common;

use common::*;
use devices::block::{BlockConfig, QueueCount};
use vhost::VhostBackend;
use vhost::vhost_user::message::VhostUserConfigFlags;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vm_memory::{Bytes, GuestAddress};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const OK: u8 = 0;
const IOERR: u8 = 1;
const WRITEBACK: u32 = 32;

fn config(front: &mut Frontend, offset: u32, len: u32) -> Vec<u8> {
    let asked = vec![0; len as usize];
    let flags = VhostUserConfigFlags::WRITABLE;
    front.get_config(offset, len, flags, &asked).unwrap().1
}

fn started(served: &Served) -> (Guest, Frontend, Ring) {
    let guest = Guest::new("disk");
    let mut front = connect(&served.path, &guest, 1);
    let ring = Ring::new(0);
    start(&mut front, &ring, 0);
    (guest, front, ring)
}

#[test]
fn a_front_end_gets_the_devices_features_queues_and_configuration() {
    let served = Served::disk(BlockConfig {
        queues: QueueCount::new(2).unwrap(),
        ..BlockConfig::default()
    });
    let guest = Guest::new("features");
    let mut front = connect(&served.path, &guest, 2);
    let features = front.get_features().unwrap();
    // Flush, multiqueue; indirect, event index, protocol features, version 1.
    for bit in [9, 12, 28, 29, 30, 32] {
        assert!(features & 1 << bit != 0, "{bit} in {features:#x}");
    }
    assert_eq!(front.get_queue_num().unwrap(), 2);
    // QEMU asks for its own idea of the structure's length, which may be longer.
    let space = config(&mut front, 0, 120);
    assert_eq!(space[..8], 2048_u64.to_le_bytes());
    assert_eq!(space[34..36], 2_u16.to_le_bytes());
}

#[test]
fn what_is_written_reaches_the_image_and_is_read_back() {
    let served = Served::disk(BlockConfig {
        serial: "vhost".into(),
        ..BlockConfig::default()
    });
    let (guest, _front, mut ring) = started(&served);
    for (sector, len) in [(3, 512), (64, 4096), (512, 128 << 10)] {
        let data: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        guest.put(DATA, &data);
        assert_eq!(ring.disk(&guest, OUT, sector, (DATA, len)), (OK, 1));
        let back = DATA + 0x10_0000;
        assert_eq!(ring.disk(&guest, IN, sector, (back, len)), (OK, len + 1));
        assert!(guest.get(back, len as usize) == data);
        let from = sector as usize * 512;
        assert!(served.image()[from..from + len as usize] == data);
    }
    assert_eq!(ring.disk(&guest, FLUSH, 0, (0, 0)), (OK, 1));
    assert_eq!(ring.disk(&guest, GET_ID, 0, (DATA, 20)), (OK, 21));
    assert_eq!(guest.get(DATA, 6), b"vhost\0");
    until("an interrupt", || ring.call.read().is_ok());
}

#[test]
fn a_drivers_choice_of_cache_outlives_a_stop_and_a_reconnection() {
    let served = Served::disk(BlockConfig::default());
    let (_guest, mut front, ring) = started(&served);
    assert_eq!(config(&mut front, WRITEBACK, 1), [1]);
    front
        .set_config(WRITEBACK, VhostUserConfigFlags::WRITABLE, &[0])
        .unwrap();
    assert_eq!(config(&mut front, WRITEBACK, 1), [0]);
    stop(&mut front, &ring);
    assert_eq!(config(&mut front, WRITEBACK, 1), [0]);
    drop(front);
    let (_guest, mut front, _ring) = started(&served);
    assert_eq!(config(&mut front, WRITEBACK, 1), [0]);
}

#[test]
fn bad_data_addresses_fail_their_request_alone() {
    let served = Served::disk(BlockConfig::default());
    let (guest, _front, mut ring) = started(&served);
    for at in [0, RAM + RAM_LEN as u64 - 512, u64::MAX - 4096] {
        for kind in [IN, OUT] {
            assert_eq!(ring.disk(&guest, kind, 0, (at, 1024)).0, IOERR);
        }
    }
    assert_eq!(ring.disk(&guest, IN, 0, (DATA, 512)).0, OK);
}

#[test]
fn malformed_chains_break_their_queue_alone_and_only_until_a_reset() {
    type Spoil = fn(&Guest, &mut Ring);
    let spoilers: [Spoil; 5] = [
        // A loop.
        |guest, ring| {
            ring.descriptor(guest, 0, (DATA, 16, NEXT, 1));
            ring.descriptor(guest, 1, (DATA, 16, NEXT, 0));
            ring.offer(guest, 0);
        },
        // A head that does not exist.
        |guest, ring| ring.offer(guest, SIZE),
        // An indirect table nowhere.
        |guest, ring| {
            ring.descriptor(guest, 0, (0x10, 32, 4, 0));
            ring.offer(guest, 0);
        },
        // No room for a status.
        |guest, ring| {
            ring.descriptor(guest, 0, (DATA, 16, 0, 0));
            ring.offer(guest, 0);
        },
        // A buffer that wraps around.
        |guest, ring| {
            ring.descriptor(guest, 0, (u64::MAX, 16, NEXT, 1));
            ring.descriptor(guest, 1, (DATA, 1, WRITE, 0));
            ring.offer(guest, 0);
        },
    ];
    let served = Served::disk(BlockConfig {
        queues: QueueCount::new(2).unwrap(),
        ..BlockConfig::default()
    });
    let guest = Guest::new("hostile");
    let mut front = connect(&served.path, &guest, 2);
    let (mut bad, mut good) = (Ring::new(0), Ring::new(1));
    start(&mut front, &bad, 0);
    start(&mut front, &good, 0);
    for spoil in spoilers {
        assert_eq!(bad.disk(&guest, IN, 0, (DATA, 512)).0, OK);
        spoil(&guest, &mut bad);
        until("the front end hears of it", || bad.err.read().is_ok());
        assert_eq!(good.disk(&guest, IN, 0, (DATA, 512)).0, OK);
        stop(&mut front, &bad);
        bad.reset(&guest);
        start(&mut front, &bad, 0);
    }
    assert_eq!(bad.disk(&guest, IN, 0, (DATA, 512)).0, OK);
}

#[test]
fn a_ring_that_lies_nowhere_breaks_its_queue_alone() {
    let served = Served::disk(BlockConfig::default());
    let (guest, mut front, mut ring) = started(&served);
    assert_eq!(ring.disk(&guest, IN, 0, (DATA, 512)).0, OK);
    // The memory with the rings is taken away.
    let other = memfd("other", 4096);
    front
        .set_mem_table(&[region(&other, 0x1000, 4096)])
        .unwrap();
    ring.offer(&guest, 0);
    until("the front end hears of it", || ring.err.read().is_ok());
    stop(&mut front, &ring);
    front
        .set_mem_table(&[region(&guest.file, RAM, RAM_LEN)])
        .unwrap();
    ring.reset(&guest);
    start(&mut front, &ring, 0);
    assert_eq!(ring.disk(&guest, IN, 0, (DATA, 512)).0, OK);
}

#[test]
fn memory_comes_and_goes_with_the_front_ends_table() {
    let served = Served::disk(BlockConfig::default());
    let (guest, front, mut ring) = started(&served);
    let at = 0x8000_0000;
    let plugged = memfd("plugged", 1 << 20);
    assert_eq!(ring.disk(&guest, OUT, 0, (at, 512)).0, IOERR);
    let ram = || region(&guest.file, RAM, RAM_LEN);
    front
        .set_mem_table(&[ram(), region(&plugged, at, 1 << 20)])
        .unwrap();
    let offset = vm_memory::FileOffset::new(plugged.try_clone().unwrap(), 0);
    let view: vm_memory::GuestMemoryMmap = vm_memory::GuestMemoryMmap::from_ranges_with_files([(
        GuestAddress(at),
        1 << 20,
        Some(offset),
    )])
    .unwrap();
    view.write_slice(&[0xa5; 512], GuestAddress(at)).unwrap();
    assert_eq!(ring.disk(&guest, OUT, 7, (at, 512)).0, OK);
    assert_eq!(served.image()[7 * 512..8 * 512], [0xa5; 512]);
    drop(view);
    assert!(mapped("memfd:plugged"));
    front.set_mem_table(&[ram()]).unwrap();
    assert!(!mapped("memfd:plugged"));
    assert_eq!(ring.disk(&guest, OUT, 0, (at, 512)).0, IOERR);
    assert_eq!(ring.disk(&guest, IN, 7, (DATA, 512)).0, OK);
}

#[test]
fn a_stopped_queue_goes_on_where_it_was() {
    let served = Served::disk(BlockConfig::default());
    let (guest, mut front, mut ring) = started(&served);
    for round in 1..=4 {
        for _ in 0..20 {
            assert_eq!(ring.disk(&guest, IN, 0, (DATA, 512)).0, OK);
        }
        let base = stop(&mut front, &ring);
        assert_eq!(base, round * 20);
        start(&mut front, &ring, u16::try_from(base).unwrap());
    }
}

/// Whether this process has this memory mapped.
fn mapped(name: &str) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(name)
}
