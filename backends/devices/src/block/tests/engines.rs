//! What every engine keeps, whatever order I/O ends in and however it fails.

use std::fs::{File, OpenOptions};
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;

use super::bench::*;
use crate::block::config::QUEUE_SIZE;
use crate::block::{BlockConfig, Cache, IoEngine, QueueCount};
use crate::device::{Completions, Device};

const LARGE: u32 = 64 << 10;

fn device(path: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn what_ends_first_is_answered_first() {
    with_engine(IoEngine::Threads, || {
        let mut bench = Bench::new();
        let (gate, keeper) = Gate::new();
        bench.memory.gates.push_back(gate);
        let written = bench.fill(DATA, LARGE as usize, 0x21);
        bench.add(OUT, 0, &[(DATA, LARGE)], &[]);
        bench.add(IN, 4096, &[], &[(DATA + 0x20_0000, 4096)]);
        let mut used = Vec::new();
        bench.submit(&mut used);
        while used.is_empty() {
            bench.wait();
            bench.reap(&mut used);
        }
        assert_eq!((used.len(), used[0].written), (1, 4097));
        assert_eq!(bench.bytes(STATUSES, 2), [0xff, OK]);
        assert_eq!(bench.memory.mapped.load(Ordering::SeqCst), 1);
        keeper.open();
        while used.len() < 2 {
            bench.wait();
            bench.reap(&mut used);
        }
        assert_eq!(bench.bytes(STATUSES, 2), [OK, OK]);
        assert_eq!(bench.memory.mapped.load(Ordering::SeqCst), 0);
        assert_eq!(bench.on_disk(0, LARGE as usize), written);
    });
}

#[test]
fn draining_ends_every_request_and_gives_all_memory_back() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        for n in 0..20 {
            let data = DATA + n * 0x1_0000;
            bench.fill(data, LARGE as usize, n as u8);
            bench.add(OUT, n * 128, &[(data, LARGE)], &[]);
            bench.add(OUT, 4096 + n * 8, &[(data, 4096)], &[]);
            bench.add(FLUSH, 0, &[], &[]);
        }
        let mut done = Completions::new();
        bench
            .queue
            .submit(&mut bench.requests, &mut bench.memory, &mut done);
        bench.queue.drain(&mut bench.memory, &mut done);
        assert_eq!(done.drain_used().count(), 60);
        assert_eq!(bench.bytes(STATUSES, 60), [OK; 60]);
        assert_eq!(bench.memory.mapped.load(Ordering::SeqCst), 0);
        for n in 0..20 {
            let data = bench.bytes(DATA + n * 0x1_0000, LARGE as usize);
            assert_eq!(bench.on_disk(n * 128, LARGE as usize), data);
        }
    });
}

#[test]
fn draining_waits_for_a_request_that_takes_long() {
    with_engine(IoEngine::Threads, || {
        let mut bench = Bench::new();
        let (gate, keeper) = Gate::new();
        bench.memory.gates.push_back(gate);
        bench.add(OUT, 0, &[(DATA, LARGE)], &[]);
        let mut used = Vec::new();
        bench.submit(&mut used);
        assert!(used.is_empty());
        let opener = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(keeper);
        });
        let mut done = Completions::new();
        bench.queue.drain(&mut bench.memory, &mut done);
        assert_eq!(done.drain_used().count(), 1);
        opener.join().unwrap();
    });
}

#[test]
fn a_handler_dropped_with_requests_in_flight_leaves_nothing_running() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        for n in 0..32 {
            bench.add(OUT, n * 128, &[(DATA + n * 0x1_0000, LARGE)], &[]);
        }
        let mut done = Completions::new();
        bench
            .queue
            .submit(&mut bench.requests, &mut bench.memory, &mut done);
        bench.queue = Bench::new().queue;
        // Unmapping what was dropped is the mapping's own duty; here it only matters that dropping ends.
    });
}

#[test]
fn with_little_private_memory_requests_wait_and_all_are_done() {
    on_every_engine(|| {
        for cache in [Cache::Writeback, Cache::Direct] {
            let config = BlockConfig {
                queues: QueueCount::new(16).unwrap(),
                cache,
                ..BlockConfig::default()
            };
            let mut bench = Bench::with(config, 8 << 20, |all| all);
            for n in 0..30 {
                bench.fill(DATA + n * 0x2_0000, 0x2_0000, n as u8);
                bench.add(OUT, n * 256, &[(DATA + n * 0x2_0000, 0x2_0000)], &[]);
                bench.add(OUT, 8192 + n * 32, &[(DATA + n * 0x2_0000, 16384)], &[]);
            }
            assert_eq!(bench.run().0, [OK; 60]);
            for n in 0..30 {
                let data = bench.bytes(DATA + n * 0x2_0000, 0x2_0000);
                assert_eq!(bench.on_disk(n * 256, 0x2_0000), data);
                assert_eq!(bench.on_disk(8192 + n * 32, 16384), data[..16384]);
            }
            let back = DATA + 0x80_0000;
            bench.add(IN, 0, &[], &[(back, 0x2_0000)]);
            bench.add(IN, 256, &[], &[(back + 0x2_0000, 0x2_0000)]);
            assert_eq!(bench.run().0, [OK; 2]);
            assert_eq!(bench.bytes(back, 0x4_0000), bench.bytes(DATA, 0x4_0000));
        }
    });
}

#[test]
fn a_huge_request_is_not_mapped_and_done_in_pieces() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        let len = (2 << 20) + 4096;
        let written = bench.fill(DATA, len, 0x3d);
        assert_eq!(bench.one(OUT, 8, &[(DATA, len as u32)], &[]), OK);
        assert_eq!(bench.on_disk(8, len), written);
        let back = DATA + 0x40_0000;
        assert_eq!(bench.one(IN, 8, &[], &[(back, len as u32)]), OK);
        assert_eq!(bench.bytes(back, len), written);
        assert_eq!(bench.block.counters().maps.get(), 0);
    });
}

#[test]
fn more_requests_than_the_queue_holds_ask_for_a_reset() {
    on_every_engine(|| {
        let mut bench = Bench::new();
        for _ in 0..=QUEUE_SIZE {
            bench.add_chain(&[(HEADERS, 16, 0), (STATUSES, 1, 2)]);
        }
        let mut done = Completions::new();
        bench
            .queue
            .submit(&mut bench.requests, &mut bench.memory, &mut done);
        bench.queue.drain(&mut bench.memory, &mut done);
        assert!(done.take_broken().is_some());
        assert_eq!(done.drain_used().count(), usize::from(QUEUE_SIZE));
    });
}

#[test]
fn requests_that_end_together_are_answered_by_one_copy() {
    with_engine(IoEngine::Threads, || {
        // So many queues that each has one thread, which does things in order.
        let config = BlockConfig {
            queues: QueueCount::new(16).unwrap(),
            ..BlockConfig::default()
        };
        let mut bench = Bench::with(config, 8 << 20, |all| all);
        let (first, keeper) = Gate::new();
        let (last, last_keeper) = Gate::new();
        bench.memory.gates.extend([first, last]);
        bench.add(OUT, 8192, &[(DATA + 0x20_0000, LARGE)], &[]);
        for n in 0..12 {
            bench.add(IN, n * 8, &[], &[(DATA + n * 4096, 4096)]);
        }
        bench.add(OUT, 8192, &[(DATA + 0x20_0000, LARGE)], &[]);
        let mut used = Vec::new();
        bench.submit(&mut used);
        assert_eq!(used, []);
        keeper.open();
        last_keeper.wait_for_arrival();
        bench.reap(&mut used);
        assert_eq!(used.len(), 13);
        assert_eq!(bench.block.counters().copies.get(), 2);
        last_keeper.open();
        while used.len() < 14 {
            bench.wait();
            bench.reap(&mut used);
        }
    });
}

#[test]
fn a_full_disk_fails_writes_and_serves_on() {
    on_every_engine(|| {
        for len in [4096, LARGE] {
            let mut bench = Bench::on_file(BlockConfig::default(), device("/dev/full"));
            bench.add(OUT, 0, &[(DATA, len)], &[]);
            bench.add(IN, 0, &[], &[(DATA + 0x20_0000, len)]);
            bench.add(OUT, 64, &[(DATA, len)], &[]);
            assert_eq!(bench.run().0, [IOERR, OK, IOERR]);
            assert_eq!(bench.block.counters().image_errors.get(), 2);
        }
    });
}

#[test]
fn an_unreadable_medium_fails_reads_and_serves_on() {
    on_every_engine(|| {
        for len in [4096, LARGE] {
            // Nothing is mapped at the bottom of our address space: EIO.
            let mut bench = Bench::on_file(
                BlockConfig {
                    readonly: true,
                    ..BlockConfig::default()
                },
                File::open("/proc/self/mem").unwrap(),
            );
            bench.add(IN, 0, &[], &[(DATA, len)]);
            bench.add(GET_ID, 0, &[], &[(DATA, 20)]);
            let (statuses, used) = bench.run();
            assert_eq!(statuses, [IOERR, OK]);
            assert_eq!(used[0].written, 1);
        }
    });
}

#[test]
fn a_write_that_cannot_be_made_durable_fails_where_it_must_be() {
    on_every_engine(|| {
        // Writing to it works, syncing does not.
        let zero = || device("/dev/zero");
        let through = BlockConfig {
            cache: Cache::Writethrough,
            ..BlockConfig::default()
        };
        let mut bench = Bench::on_file(through, zero());
        bench.add(OUT, 0, &[(DATA, 4096)], &[]);
        bench.add(OUT, 8, &[(DATA, LARGE)], &[]);
        bench.add(IN, 0, &[], &[(DATA, 4096)]);
        assert_eq!(bench.run().0, [IOERR, IOERR, OK]);
        let mut bench = Bench::on_file(BlockConfig::default(), zero());
        bench.add(OUT, 0, &[(DATA, 4096)], &[]);
        bench.add(FLUSH, 0, &[], &[]);
        bench.add(FLUSH, 0, &[], &[]);
        assert_eq!(bench.run().0, [OK, IOERR, IOERR]);
    });
}

#[test]
fn each_queue_has_a_handler_of_its_own() {
    on_every_engine(|| {
        let config = BlockConfig {
            queues: QueueCount::new(3).unwrap(),
            ..BlockConfig::default()
        };
        let mut bench = Bench::with(config, 8 << 20, |all| all);
        assert_eq!(bench.block.queue_sizes(), [QUEUE_SIZE; 3]);
        assert_eq!(bench.block.features() & (1 << 12), 1 << 12);
        let mut count = [0; 2];
        bench.block.read_config(34, &mut count);
        assert_eq!(count, [3, 0]);
        let queues = bench.block.activate(bench.block.features()).unwrap();
        assert_eq!(queues.len(), 3);
        for (n, queue) in (1..).zip(queues) {
            bench.queue = queue;
            let written = bench.fill(DATA, 4096, n);
            assert_eq!(bench.one(OUT, 8 * u64::from(n), &[(DATA, 4096)], &[]), OK);
            assert_eq!(bench.on_disk(8 * u64::from(n), 4096), written);
        }
    });
    assert_eq!(Bench::new().block.features() & (1 << 12), 0);
    for bad in [0, 17, u16::MAX] {
        assert_eq!(QueueCount::new(bad), None);
    }
}

#[test]
fn written_in_a_batch_costs_two_copies_also_with_an_engine() {
    with_engine(IoEngine::Auto, || {
        let mut bench = Bench::new();
        for n in 0..32 {
            bench.add(OUT, n * 8, &[(DATA + n * 4096, 4096)], &[]);
        }
        assert_eq!(bench.run().0, [OK; 32]);
        assert_eq!((bench.block.counters().copies.get(), bench.calls), (2, 1));
    });
}

/// One step of [`whatever_the_load_the_disk_holds_what_was_written`]: kind, block, blocks, seed.
type Step = (u8, u64, u32, u8);

const BLOCK: u64 = 4096;
/// Requests of one step are all in blocks of their own.
const SPAN: u64 = 64;

fn play(steps: &[Vec<Step>], copy_limit: usize, map_limit: usize) {
    let mut bench = Bench::with(BlockConfig::default(), 8 << 20, |all| all);
    bench.memory.copy_limit = copy_limit;
    bench.memory.map_limit = map_limit;
    let mut model = vec![0; 8 << 20];
    for step in steps {
        let mut reads = Vec::new();
        for (lane, &(kind, block, blocks, seed)) in (0_u64..).zip(step) {
            let block = lane * SPAN + block;
            let (len, at) = (blocks * 4096, (block * BLOCK) as usize);
            let data = DATA + lane * SPAN * 2 * BLOCK;
            let range = at..at + len as usize;
            match kind {
                0 => {
                    bench.add(IN, block * 8, &[], &[(data, len)]);
                    reads.push((data, model[range].to_vec()));
                }
                1 => bench.add(FLUSH, 0, &[], &[]),
                _ => {
                    let written = bench.fill(data, len as usize, seed);
                    model[range].copy_from_slice(&written);
                    bench.add(OUT, block * 8, &[(data, len)], &[]);
                }
            }
        }
        let (statuses, _) = bench.run();
        assert!(statuses.iter().all(|&status| status == OK));
        for (data, expected) in reads {
            assert_eq!(bench.bytes(data, expected.len()), expected);
        }
    }
    assert_eq!(bench.on_disk(0, model.len()), model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_the_load_the_disk_holds_what_was_written(
        steps in collection::vec(
            collection::vec((0..4_u8, 0..32_u64, 1..32_u32, any::<u8>()), 1..30),
            1..6,
        ),
        copy_limit in select(vec![0, 16_usize << 10]),
        map_limit in select(vec![0, usize::MAX]),
    ) {
        on_every_engine(|| play(&steps, copy_limit, map_limit));
    }
}
