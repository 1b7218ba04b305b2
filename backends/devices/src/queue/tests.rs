use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use vm_memory::GuestMemoryMmap;

use super::*;
use crate::chain::Segment;
use crate::counters::Counters;
use crate::inflight::SharedWords;
use crate::memory::PlainMemory;

const CONFIG: QueueConfig = QueueConfig {
    max_size: 64,
    size: 64,
    desc_table: 0x1000,
    avail_ring: 0x2000,
    used_ring: 0x3000,
    event_idx: false,
    indirect: true,
};

struct Driver {
    memory: Arc<GuestMemoryMmap<()>>,
    counters: Arc<Counters>,
    avail: u16,
}

impl Driver {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        Driver {
            memory: Arc::new(memory),
            counters: Arc::default(),
            avail: 0,
        }
    }

    fn payload(&self) -> PlainMemory<GuestMemoryMmap<()>> {
        PlainMemory::new(Arc::clone(&self.memory), Arc::clone(&self.counters))
    }

    fn put<T: vm_memory::ByteValued>(&self, value: T, addr: u64) {
        self.memory.write_obj(value, GuestAddress(addr)).unwrap();
    }

    fn get<T: vm_memory::ByteValued>(&self, addr: u64) -> T {
        self.memory.read_obj(GuestAddress(addr)).unwrap()
    }

    fn descriptor(&self, place: u64, addr: u64, len: u32, flags: u16) {
        self.put(addr, place);
        self.put(len, place + 8);
        self.put(flags, place + 12);
        self.put(0_u16, place + 14);
    }

    fn offer(&mut self, head: u16) {
        self.put(
            head,
            CONFIG.avail_ring + 4 + 2 * u64::from(self.avail % CONFIG.size),
        );
        self.avail = self.avail.wrapping_add(1);
        self.put(self.avail, CONFIG.avail_ring + 2);
    }
}

fn fresh(config: &QueueConfig) -> DeviceQueue {
    DeviceQueue::new(config, InFlight::private(config.size)).unwrap()
}

#[test]
fn a_successor_redoes_what_was_in_flight_and_takes_the_rest_once() {
    let mut driver = Driver::new();
    let words: Vec<AtomicU64> = (0..InFlight::words_for(CONFIG.size))
        .map(|_| AtomicU64::new(0))
        .collect();
    let words: Arc<dyn SharedWords> = Arc::new(words);
    let record = || InFlight::new(Arc::clone(&words), 0, CONFIG.size).unwrap();
    for head in 0..6 {
        driver.descriptor(CONFIG.desc_table + 16 * u64::from(head), 0x9000, 1, 2);
        driver.offer(head);
    }
    let mut before = DeviceQueue::new(&CONFIG, record()).unwrap();
    let mut batch = Vec::new();
    before
        .take(&*driver.memory, &mut driver.payload(), &mut batch)
        .unwrap();
    let done = [1, 4].map(|head| Used { head, written: 1 });
    before.publish(&*driver.memory, done.into_iter()).unwrap();
    drop(before);

    driver.offer(4);
    let mut after = DeviceQueue::resume(&CONFIG, record(), &*driver.memory).unwrap();
    let mut batch = Vec::new();
    after
        .take(&*driver.memory, &mut driver.payload(), &mut batch)
        .unwrap();
    let heads: Vec<_> = batch.iter().map(Chain::head).collect();
    assert_eq!(heads, [0, 2, 3, 5, 4]);
    let done = heads.into_iter().map(|head| Used { head, written: 1 });
    after.publish(&*driver.memory, done).unwrap();
    assert_eq!(driver.get::<u16>(CONFIG.used_ring + 2), 7);
    assert_eq!((after.next_avail(), after.next_used()), (7, 7));
}

#[test]
fn a_request_offered_twice_before_it_was_answered_ends_the_queue() {
    let mut driver = Driver::new();
    driver.descriptor(CONFIG.desc_table + 16, 0x9000, 1, 2);
    driver.offer(1);
    driver.offer(1);
    let mut queue = fresh(&CONFIG);
    let mut batch = Vec::new();
    let outcome = queue.take(&*driver.memory, &mut driver.payload(), &mut batch);
    assert!(
        matches!(outcome, Err(QueueError::InFlight(1))),
        "{outcome:?}"
    );
    assert_eq!(batch.len(), 1);
}

#[test]
fn the_tables_of_a_batch_are_fetched_by_one_copy() {
    let mut driver = Driver::new();
    for head in 0..8_u16 {
        let table = 0x8000 + 32 * u64::from(head);
        driver.descriptor(CONFIG.desc_table + 16 * u64::from(head), table, 16, 4);
        driver.descriptor(table, 0x9000 + u64::from(head), 1, 2);
        driver.offer(head);
    }
    let mut queue = fresh(&CONFIG);
    let mut batch = Vec::new();
    queue
        .take(&*driver.memory, &mut driver.payload(), &mut batch)
        .unwrap();
    let heads: Vec<_> = batch.iter().map(Chain::head).collect();
    assert_eq!(heads, (0..8).collect::<Vec<_>>());
    for (head, chain) in (0..).zip(&batch) {
        assert_eq!(
            chain.writable(),
            [Segment {
                addr: 0x9000 + head,
                len: 1
            }]
        );
    }
    assert_eq!(driver.counters.copies.get(), 1);
}

#[test]
fn a_batch_is_bounded_whatever_the_ring_holds() {
    let mut driver = Driver::new();
    for head in 0..CONFIG.size {
        driver.descriptor(CONFIG.desc_table + 16 * u64::from(head), 0x9000, 1, 0);
        driver.offer(head);
    }
    let mut queue = fresh(&CONFIG);
    let mut batch = Vec::new();
    queue
        .take(&*driver.memory, &mut driver.payload(), &mut batch)
        .unwrap();
    assert_eq!(batch.len(), MAX_BATCH);
    queue
        .take(&*driver.memory, &mut driver.payload(), &mut batch)
        .unwrap();
    assert_eq!(batch.len(), usize::from(CONFIG.size));
}

#[test]
fn chains_before_a_malformed_one_are_delivered() {
    let mut driver = Driver::new();
    driver.descriptor(CONFIG.desc_table, 0x9000, 1, 0);
    driver.descriptor(CONFIG.desc_table + 16, 0x9000, 0, 0);
    driver.offer(0);
    driver.offer(1);
    driver.offer(0);
    let mut queue = fresh(&CONFIG);
    let mut batch = Vec::new();
    let outcome = queue.take(&*driver.memory, &mut driver.payload(), &mut batch);
    assert!(matches!(outcome, Err(QueueError::Chain(ChainError::Empty))));
    assert_eq!(batch.len(), 1);
}

#[test]
fn a_table_out_of_reach_ends_the_queue_but_not_the_chains_before_it() {
    let mut driver = Driver::new();
    driver.descriptor(CONFIG.desc_table, 0x9000, 1, 0);
    driver.descriptor(CONFIG.desc_table + 16, 1 << 40, 16, 4);
    driver.offer(0);
    driver.offer(1);
    let mut queue = fresh(&CONFIG);
    let mut batch = Vec::new();
    let outcome = queue.take(&*driver.memory, &mut driver.payload(), &mut batch);
    assert!(matches!(outcome, Err(QueueError::Table(_))));
    assert_eq!(batch.len(), 1);
}

#[test]
fn an_available_index_that_runs_ahead_is_refused() {
    let driver = Driver::new();
    driver.put(CONFIG.size + 1, CONFIG.avail_ring + 2);
    let mut queue = fresh(&CONFIG);
    let outcome = queue.take(&*driver.memory, &mut driver.payload(), &mut Vec::new());
    assert!(matches!(outcome, Err(QueueError::Ring(_))));
}

#[test]
fn sizes_and_addresses_the_specification_forbids_are_refused() {
    for bad in [
        QueueConfig { size: 0, ..CONFIG },
        QueueConfig { size: 48, ..CONFIG },
        QueueConfig {
            size: 128,
            ..CONFIG
        },
        QueueConfig {
            max_size: 0,
            ..CONFIG
        },
        QueueConfig {
            desc_table: 0x1008,
            ..CONFIG
        },
        QueueConfig {
            avail_ring: 0x2001,
            ..CONFIG
        },
        QueueConfig {
            used_ring: 0x3002,
            ..CONFIG
        },
    ] {
        assert!(
            matches!(
                DeviceQueue::new(&bad, InFlight::private(bad.size)),
                Err(QueueError::Config)
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn a_driver_without_event_idx_can_switch_interrupts_off() {
    let driver = Driver::new();
    let mut queue = fresh(&CONFIG);
    queue
        .publish(
            &*driver.memory,
            [Used {
                head: 3,
                written: 7,
            }]
            .into_iter(),
        )
        .unwrap();
    assert_eq!(driver.get::<u16>(CONFIG.used_ring + 2), 1);
    assert_eq!(driver.get::<u32>(CONFIG.used_ring + 4), 3);
    assert_eq!(driver.get::<u32>(CONFIG.used_ring + 8), 7);
    assert!(queue.wants_interrupt(&*driver.memory).unwrap());
    driver.put(1_u16, CONFIG.avail_ring);
    assert!(!queue.wants_interrupt(&*driver.memory).unwrap());
}

#[test]
fn with_event_idx_a_batch_gives_one_interrupt_and_only_past_the_asked_index() {
    let driver = Driver::new();
    let config = QueueConfig {
        event_idx: true,
        ..CONFIG
    };
    let mut queue = fresh(&config);
    let used_event = CONFIG.avail_ring + 4 + 2 * u64::from(CONFIG.size);
    let used = |n| (0..n).map(|head| Used { head, written: 1 });
    driver.put(3_u16, used_event);
    queue.publish(&*driver.memory, used(3)).unwrap();
    assert!(!queue.wants_interrupt(&*driver.memory).unwrap());
    queue.publish(&*driver.memory, used(5)).unwrap();
    assert!(queue.wants_interrupt(&*driver.memory).unwrap());
    assert!(!queue.wants_interrupt(&*driver.memory).unwrap());
}

#[test]
fn what_comes_while_kicks_are_suppressed_is_seen_before_sleeping() {
    let mut driver = Driver::new();
    let mut queue = fresh(&CONFIG);
    queue.suppress_kicks(&*driver.memory).unwrap();
    assert_eq!(driver.get::<u16>(CONFIG.used_ring), 1);
    driver.descriptor(CONFIG.desc_table, 0x9000, 1, 0);
    driver.offer(0);
    assert!(queue.allow_kicks(&*driver.memory).unwrap());
    assert_eq!(driver.get::<u16>(CONFIG.used_ring), 0);
    queue
        .take(&*driver.memory, &mut driver.payload(), &mut Vec::new())
        .unwrap();
    assert!(!queue.allow_kicks(&*driver.memory).unwrap());
}
