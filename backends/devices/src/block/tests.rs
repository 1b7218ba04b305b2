use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::config::SECTOR;
use super::{Block, BlockConfig, BlockSize, Cache};
use crate::device::{Completions, Device};

mod bench;
mod compare;
mod configuration;
mod confined;
mod engines;
mod images;

use bench::*;

#[test]
fn what_is_written_reaches_the_image_and_is_read_back() {
    on_every_engine(|| {
        for copy_limit in [0, 16 << 10] {
            for len in [512_u32, 4096, 16 << 10, 20 << 10, 64 << 10, 1 << 20] {
                let mut bench = Bench::new();
                bench.memory.copy_limit = copy_limit;
                let written = bench.fill(DATA, len as usize, 0x5a);
                // Cut at odd places: framing means nothing.
                let cut = [(DATA, 300), (DATA + 300, len - 300)];
                assert_eq!(bench.one(OUT, 9, &cut, &[]), OK);
                assert_eq!(bench.on_disk(9, len as usize), written);
                let back = DATA + 0x20_0000;
                bench.add(IN, 9, &[], &[(back, 100), (back + 100, len - 100)]);
                let (status, used) = bench.run();
                assert_eq!((status[0], used[0].written), (OK, len + 1));
                assert_eq!(bench.bytes(back, len as usize), written);
            }
        }
    });
}

#[test]
fn a_header_and_a_status_may_share_descriptors_with_the_data() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        let written = bench.fill(DATA + 16, 1024, 0x11);
        bench.guest.write_obj(OUT, GuestAddress(DATA)).unwrap();
        bench
            .guest
            .write_obj(0_u32, GuestAddress(DATA + 4))
            .unwrap();
        bench
            .guest
            .write_obj(2_u64, GuestAddress(DATA + 8))
            .unwrap();
        bench.add_chain(&[(DATA, 7, 0), (DATA + 7, 1024 + 9, 0), (STATUSES, 1, 2)]);
        assert_eq!(bench.run().0, [OK]);
        assert_eq!(bench.on_disk(2, 1024), written);
        bench.guest.write_obj(IN, GuestAddress(DATA)).unwrap();
        bench.add_chain(&[(DATA, 16, 0), (DATA + 0x1000, 1025, 2)]);
        bench.run();
        assert_eq!(bench.bytes(DATA + 0x1000, 1024), written);
        assert_eq!(bench.bytes(DATA + 0x1400, 1), [OK]);
    });
}

#[test]
fn small_requests_cost_two_copies_and_large_ones_one_map() {
    let mut bench = Bench::new();
    let counters = Arc::clone(bench.block.counters());
    bench.one(IN, 0, &[], &[(DATA, 4096)]);
    assert_eq!((counters.copies.get(), counters.maps.get()), (2, 0));
    bench.one(OUT, 0, &[(DATA, 4096)], &[]);
    assert_eq!((counters.copies.get(), counters.maps.get()), (4, 0));
    bench.one(IN, 0, &[], &[(DATA, 64 << 10)]);
    assert_eq!((counters.copies.get(), counters.maps.get()), (6, 1));
}

#[test]
fn a_batch_of_small_requests_costs_two_copies_in_all() {
    let mut bench = Bench::new();
    let counters = Arc::clone(bench.block.counters());
    for n in 0..32 {
        let data = [(DATA + n * 4096, 4096)];
        if n % 2 == 0 {
            bench.add(IN, n * 8, &[], &data)
        } else {
            bench.add(OUT, n * 8, &data, &[])
        }
    }
    let (statuses, _) = bench.run();
    assert_eq!(statuses, [OK; 32]);
    assert_eq!(
        (
            counters.copies.get(),
            counters.maps.get(),
            counters.requests.get()
        ),
        (2, 0, 32)
    );
}

#[test]
fn more_than_private_memory_holds_is_handled_in_rounds() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        for n in 0..80 {
            bench.fill(DATA + n * 16384, 16384, n as u8);
            bench.add(OUT, n * 32, &[(DATA + n * 16384, 16384)], &[]);
        }
        let (statuses, _) = bench.run();
        assert_eq!(statuses, [OK; 80]);
        for n in 0..80 {
            assert_eq!(
                bench.on_disk(n * 32, 16384),
                bench.bytes(DATA + n * 16384, 16384)
            );
        }
    });
}

#[test]
fn a_page_out_of_reach_fails_its_own_request_only() {
    on_every_engine(|| {
        for len in [4096_u32, 64 << 10] {
            let mut bench = Bench::new();
            bench.fill(DATA, 1 << 20, 0x33);
            bench.memory.gone = Some(DATA + 0x20_0000..DATA + 0x20_0001);
            bench.add(OUT, 0, &[(DATA, len)], &[]);
            bench.add(OUT, 256, &[(DATA + 0x20_0000, len)], &[]);
            bench.add(IN, 512, &[], &[(DATA + 0x20_0000, len)]);
            bench.add(IN, 0, &[], &[(DATA + 0x30_0000, len)]);
            let (statuses, used) = bench.run();
            assert_eq!(statuses, [OK, IOERR, IOERR, OK]);
            assert_eq!(used[2].written, 1);
            assert_eq!(bench.on_disk(256, len as usize), vec![0; len as usize]);
            assert_eq!(bench.block.counters().errors.get(), 2);
        }
    });
}

#[test]
fn a_header_out_of_reach_fails_its_request() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        bench.memory.gone = Some(HEADERS..HEADERS + 16);
        bench.add(IN, 0, &[], &[(DATA, 512)]);
        bench.add(IN, 0, &[], &[(DATA, 512)]);
        assert_eq!(bench.run().0, [IOERR, OK]);
    });
}

#[test]
fn a_status_out_of_reach_asks_for_a_reset() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        bench.memory.gone = Some(STATUSES..STATUSES + 1);
        bench.add(IN, 0, &[], &[(DATA, 512)]);
        let mut done = Completions::new();
        bench
            .queue
            .submit(&mut bench.requests, &mut bench.memory, &mut done);
        bench.queue.drain(&mut bench.memory, &mut done);
        assert!(done.take_broken().is_some());
        assert!(done.is_empty());
    });
}

#[test]
fn a_request_without_room_for_a_status_asks_for_a_reset() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        bench.add_chain(&[(HEADERS, 16, 0)]);
        let mut done = Completions::new();
        bench
            .queue
            .submit(&mut bench.requests, &mut bench.memory, &mut done);
        assert!(done.take_broken().is_some());
    });
}

#[test]
fn a_request_without_a_whole_header_fails() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        for readable in [0_u32, 1, 15] {
            let mut buffers = vec![(HEADERS, readable, 0), (STATUSES, 1, 2)];
            buffers.retain(|&(_, len, _)| len > 0);
            bench
                .guest
                .write_obj(0xff_u8, GuestAddress(STATUSES))
                .unwrap();
            bench.add_chain(&buffers);
            assert_eq!(bench.run().0, [IOERR]);
        }
    });
}

#[test]
fn a_request_beyond_the_end_fails_and_touches_nothing() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        let end = (8 << 20) / SECTOR;
        assert_eq!(bench.one(OUT, end - 1, &[(DATA, 1024)], &[]), IOERR);
        assert_eq!(bench.one(OUT, end, &[(DATA, 512)], &[]), IOERR);
        assert_eq!(bench.one(OUT, u64::MAX, &[(DATA, 512)], &[]), IOERR);
        assert_eq!(bench.one(IN, end - 1, &[], &[(DATA, 1024)]), IOERR);
        assert_eq!(bench.image.metadata().unwrap().len(), 8 << 20);
        assert_eq!(bench.one(IN, end - 1, &[], &[(DATA, 512)]), OK);
    });
}

#[test]
fn an_image_truncated_under_us_gives_errors_not_zeros() {
    on_every_engine(|| {
        for len in [4096_u32, 64 << 10] {
            let mut bench = Bench::new();
            bench.image.set_len(2048).unwrap();
            assert_eq!(bench.one(IN, 0, &[], &[(DATA, len)]), IOERR);
            assert_eq!(bench.one(IN, 0, &[], &[(DATA, 2048)]), OK);
            assert_eq!(bench.block.counters().image_errors.get(), 1);
        }
    });
}

#[test]
fn the_serial_number_is_told_and_cut_to_the_buffer() {
    on_every_engine(|| {
        let config = BlockConfig {
            serial: "avps-0123456789-tail-cut".into(),
            ..BlockConfig::default()
        };
        for copy_limit in [0, 16 << 10] {
            let mut bench = Bench::with(config.clone(), 1 << 20, |all| all);
            bench.memory.copy_limit = copy_limit;
            assert_eq!(bench.one(GET_ID, 0, &[], &[(DATA, 20)]), OK);
            assert_eq!(bench.bytes(DATA, 21), b"avps-0123456789-tail\0");
            assert_eq!(bench.one(GET_ID, 0, &[], &[(DATA + 100, 4)]), OK);
            assert_eq!(bench.bytes(DATA + 100, 5), b"avps\0");
            assert_eq!(bench.one(GET_ID, 0, &[], &[]), OK);
        }
    });
}

#[test]
fn an_unknown_request_is_unsupported() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        assert_eq!(bench.one(77, 0, &[], &[(DATA, 512)]), UNSUPP);
        assert_eq!(bench.block.counters().errors.get(), 1);
    });
}

fn range(sector: u64, count: u32, flags: u32) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..8].copy_from_slice(&sector.to_le_bytes());
    raw[8..12].copy_from_slice(&count.to_le_bytes());
    raw[12..].copy_from_slice(&flags.to_le_bytes());
    raw
}

#[test]
fn zeroed_and_discarded_ranges_read_as_zeros() {
    on_every_engine(|| {
        for copy_limit in [0, 16 << 10] {
            for (kind, flags) in [(WRITE_ZEROES, 0), (WRITE_ZEROES, 1), (DISCARD, 0)] {
                let mut bench = Bench::new();
                bench.memory.copy_limit = copy_limit;
                let written = bench.fill(DATA, 64 << 10, 0x77);
                assert_eq!(bench.one(OUT, 0, &[(DATA, 64 << 10)], &[]), OK);
                let ranges = [range(8, 16, flags), range(64, 8, flags)].concat();
                bench
                    .guest
                    .write_slice(&ranges, GuestAddress(DATA + 0x10_0000))
                    .unwrap();
                assert_eq!(bench.one(kind, 0, &[(DATA + 0x10_0000, 32)], &[]), OK);
                let mut expected = written;
                expected[8 * 512..24 * 512].fill(0);
                expected[64 * 512..72 * 512].fill(0);
                assert_eq!(bench.on_disk(0, 64 << 10), expected);
                assert_eq!(bench.image.metadata().unwrap().len(), 8 << 20);
            }
        }
    });
}

#[test]
fn ranges_beyond_the_end_fail_and_none_of_the_request_is_done() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        let written = bench.fill(DATA, 4096, 0x13);
        bench.one(OUT, 0, &[(DATA, 4096)], &[]);
        let ranges = [range(0, 8, 0), range((8 << 20) / SECTOR, 1, 0)].concat();
        bench
            .guest
            .write_slice(&ranges, GuestAddress(DATA + 0x1_0000))
            .unwrap();
        assert_eq!(
            bench.one(WRITE_ZEROES, 0, &[(DATA + 0x1_0000, 32)], &[]),
            IOERR
        );
        assert_eq!(
            bench.one(WRITE_ZEROES, 0, &[(DATA + 0x1_0000, 31)], &[]),
            IOERR
        );
        assert_eq!(bench.one(WRITE_ZEROES, 0, &[(DATA, 16 * 17)], &[]), IOERR);
        assert_eq!(bench.on_disk(0, 4096), written);
    });
}

#[test]
fn a_read_only_disk_says_so_and_cannot_be_changed() {
    on_every_engine(|| {
        let config = BlockConfig {
            readonly: true,
            ..BlockConfig::default()
        };
        let mut bench = Bench::with(config, 1 << 20, |all| all | 1 << 9 | 1 << 13 | 1 << 14);
        assert_eq!(bench.block.features() & (1 << 5), 1 << 5);
        assert_eq!(bench.block.features() & (1 << 9 | 1 << 13 | 1 << 14), 0);
        bench.fill(DATA, 512, 1);
        assert_eq!(bench.one(OUT, 0, &[(DATA, 512)], &[]), IOERR);
        bench
            .guest
            .write_slice(&range(0, 1, 0), GuestAddress(DATA))
            .unwrap();
        assert_eq!(bench.one(WRITE_ZEROES, 0, &[(DATA, 16)], &[]), IOERR);
        assert_eq!(bench.one(DISCARD, 0, &[(DATA, 16)], &[]), IOERR);
        assert_eq!(bench.on_disk(0, 512), [0; 512]);
    });
}

#[test]
fn a_flush_is_answered_and_counted() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        assert_eq!(bench.one(FLUSH, 0, &[], &[]), OK);
        assert_eq!(bench.block.counters().flushes.get(), 1);
    });
}

#[test]
fn direct_io_never_maps_guest_memory() {
    on_every_engine(|| {
        // The mode alone decides; the file need not be open for direct I/O, which not every file system knows.
        let config = BlockConfig {
            cache: Cache::Direct,
            block_size: BlockSize::B4096,
            ..BlockConfig::default()
        };
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        let block = Block::new(Bench::configured(config), file).unwrap();
        let mut bench = Bench::new();
        bench.queue = block.activate(block.features()).unwrap().remove(0);
        let written = bench.fill(DATA, 1 << 20, 0x2c);
        assert_eq!(bench.one(OUT, 8, &[(DATA, 1 << 20)], &[]), OK);
        assert_eq!(bench.one(IN, 8, &[], &[(DATA + 0x20_0000, 1 << 20)]), OK);
        assert_eq!(bench.bytes(DATA + 0x20_0000, 1 << 20), written);
        assert_eq!(bench.memory.counters.maps.get(), 0);
    });
}

#[test]
fn what_cannot_be_mapped_at_once_goes_in_pieces() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        bench.memory.map_limit = 0;
        let len = 600 << 10;
        let written = bench.fill(DATA, len, 0x2c);
        assert_eq!(bench.one(OUT, 8, &[(DATA, len as u32)], &[]), OK);
        assert_eq!(bench.on_disk(8, len), written);
        assert_eq!(bench.one(IN, 8, &[], &[(DATA + 0x20_0000, len as u32)]), OK);
        assert_eq!(bench.bytes(DATA + 0x20_0000, len), written);
    });
}
