//! A worker dies, another one takes over: the driver sees a delay and nothing else.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devices::{Chain, Completions, Counters, DeviceError, DeviceType, PayloadMemory, QueueHandler};

use super::*;
use crate::fake::{features, mmio};
use crate::mmio::registers as reg;

/// A disk whose process can be killed: from then on, nothing it has taken is ever answered.
struct Mortal {
    disk: Block,
    fate: Fate,
}

/// Whether a worker is dead, and what was lost with it.
#[derive(Clone, Default)]
struct Fate {
    dead: Arc<AtomicBool>,
    /// Requests that it took and that nobody answers.
    lost: Arc<AtomicUsize>,
}

struct MortalQueue {
    queue: Box<dyn QueueHandler>,
    fate: Fate,
}

impl Device for Mortal {
    fn device_type(&self) -> DeviceType {
        self.disk.device_type()
    }
    fn features(&self) -> u64 {
        self.disk.features()
    }
    fn queue_sizes(&self) -> &[u16] {
        self.disk.queue_sizes()
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.disk.read_config(offset, data);
    }
    fn write_config(&self, offset: u64, data: &[u8]) {
        self.disk.write_config(offset, data);
    }
    fn activate(&self, features: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError> {
        let queues = self.disk.activate(features)?;
        Ok(queues
            .into_iter()
            .map(|queue| -> Box<dyn QueueHandler> {
                Box::new(MortalQueue {
                    queue,
                    fate: self.fate.clone(),
                })
            })
            .collect())
    }
    fn reset(&self) {
        self.disk.reset();
    }
    fn saved_state(&self) -> u64 {
        self.disk.saved_state()
    }
    fn restore_state(&self, state: u64) {
        self.disk.restore_state(state);
    }
    fn counters(&self) -> &Arc<Counters> {
        self.disk.counters()
    }
}

impl QueueHandler for MortalQueue {
    fn submit(
        &mut self,
        batch: &mut Vec<Chain>,
        memory: &mut dyn PayloadMemory,
        done: &mut Completions,
    ) {
        if self.fate.dead.load(Ordering::SeqCst) {
            self.fate.lost.fetch_add(batch.len(), Ordering::SeqCst);
            batch.clear();
        } else {
            self.queue.submit(batch, memory, done);
        }
    }
    fn completion_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.completion_fd()
    }
    fn reap(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        self.queue.reap(memory, done);
    }
    fn drain(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        self.queue.drain(memory, done);
    }
}

/// A guest with one disk that outlives its workers.
struct Survivor {
    guest: Arc<FakeGuest>,
    vcpus: Vcpus,
    image: File,
    record: Record,
    model: MemoryModel,
    fate: Fate,
}

impl Survivor {
    fn new(model: MemoryModel) -> Self {
        let (vcpus, _gate) = Vcpus::new(VCPUS);
        let image = tempfile::tempfile().unwrap();
        image.set_len(8 << 20).unwrap();
        Survivor {
            guest: FakeGuest::new(),
            vcpus,
            image,
            record: Record::private(),
            model,
            fate: Fate::default(),
        }
    }

    /// A new worker.
    fn worker(&mut self) -> Machine {
        self.start(false)
    }

    /// A new worker that dies of the first request it takes.
    fn short_lived_worker(&mut self) -> Machine {
        self.start(true)
    }

    fn start(&mut self, dead: bool) -> Machine {
        self.fate = Fate::default();
        self.fate.dead.store(dead, Ordering::SeqCst);
        let image = self.image.try_clone().unwrap();
        let device = Mortal {
            disk: Block::new(BlockConfig::default(), image).unwrap(),
            fate: self.fate.clone(),
        };
        Machine::succeed(
            Arc::clone(&self.guest),
            self.vcpus.clone(),
            self.vcpus.reopen(),
            self.model,
            vec![Some((Box::new(device), self.record.clone()))],
        )
    }

    /// A new worker that took a request of a new driver and then died.
    fn worker_with_a_request_it_will_not_answer(&mut self) -> Machine {
        let machine = self.worker();
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        self.kill();
        let data = [Buffer::readable(DATA, 512)];
        let buffers = queue.disk_buffers(HEADER, OUT, 0, &data);
        queue.add(&buffers);
        queue.kick();
        self.loses(1);
        machine
    }

    /// From here on the worker does nothing the guest could see.
    fn kill(&self) {
        self.fate.dead.store(true, Ordering::SeqCst);
    }

    /// Waits until the dead worker has taken so many requests, and takes no more of them.
    fn loses(&self, count: usize) {
        let lost = || self.fate.lost.load(Ordering::SeqCst);
        self.guest
            .wait_until("requests that are taken", || lost() >= count);
        assert_eq!(lost(), count);
    }
}

#[test]
fn a_running_device_goes_on_with_the_next_worker() {
    for model in [MemoryModel::Grant, MemoryModel::Foreign] {
        let mut survivor = Survivor::new(model);
        let machine = survivor.worker();
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        for seed in 0..5 {
            round_trip(&machine, &mut queue, &survivor.image, 4096, seed);
        }
        machine.stop();
        for seed in 5..20 {
            let machine = survivor.worker();
            assert_eq!(machine.event(), Event::DriverOk(0));
            assert_eq!(machine.driver(0).read(reg::STATUS), 15);
            round_trip(&machine, &mut queue, &survivor.image, 65536, seed);
            machine.stop();
        }
    }
}

#[test]
fn requests_in_flight_are_done_by_the_next_worker_and_answered_once() {
    for without in [0, features::INDIRECT | features::EVENT_IDX] {
        let mut survivor = Survivor::new(MemoryModel::Grant);
        let machine = survivor.worker();
        let mut queue = machine.driver(0).bring_up(without, RINGS);
        round_trip(&machine, &mut queue, &survivor.image, 4096, 1);
        survivor.kill();
        let bytes = pattern(4096 * 3, 77);
        machine.guest.write(&bytes, DATA);
        let mut heads = Vec::new();
        for number in 0..3 {
            let header = HEADER + 0x1000 * number;
            let data = [Buffer::readable(DATA + 4096 * number, 4096)];
            let buffers = queue.disk_buffers(header, OUT, 8 * number, &data);
            heads.push(u32::from(queue.add(&buffers)));
        }
        queue.kick();
        // Taken, then the worker is gone; another one takes them again, and is killed as well.
        survivor.loses(3);
        machine.stop();
        for _ in 0..2 {
            let machine = survivor.short_lived_worker();
            survivor.loses(3);
            machine.stop();
        }
        let interrupts = survivor.guest.interrupts(IRQ);
        let machine = survivor.worker();
        let used = queue.wait_used(3, &[]);
        let found: Vec<u32> = used.iter().map(|(head, _)| *head).collect();
        assert_eq!(found, heads);
        for number in 0..3 {
            let header = HEADER + 0x1000 * number;
            assert_eq!(machine.guest.get::<u8>(header + 16), OK);
        }
        let mut on_disk = vec![0; bytes.len()];
        survivor.image.read_exact_at(&mut on_disk, 0).unwrap();
        assert!(on_disk == bytes);
        survivor.guest.wait_until("an interrupt", || {
            survivor.guest.interrupts(IRQ) > interrupts
        });
        round_trip(&machine, &mut queue, &survivor.image, 4096, 2);
        machine.stop();
    }
}

#[test]
fn an_acknowledgement_done_twice_loses_no_interrupt() {
    let mut survivor = Survivor::new(MemoryModel::Grant);
    let machine = survivor.worker();
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &survivor.image, 512, 3);
    machine.stop();
    survivor
        .vcpus
        .start(0, mmio(BASE + reg::INTERRUPT_ACK, 4, Some(3)));
    survivor.vcpus.strand(0);
    let before = survivor.guest.interrupts(IRQ);
    let machine = survivor.worker();
    machine.vcpus.finish(0);
    survivor
        .guest
        .wait_until("an interrupt", || survivor.guest.interrupts(IRQ) > before);
    assert_eq!(machine.driver(0).read(reg::INTERRUPT_STATUS) & 1, 1);
    machine.stop();
}

#[test]
fn a_driver_half_way_through_its_set_up_does_not_notice() {
    let mut survivor = Survivor::new(MemoryModel::Grant);
    let mut machine = survivor.worker();
    let mut next = |machine: Machine| {
        machine.stop();
        survivor.worker()
    };
    machine.driver(0).reset();
    machine.driver(0).write(reg::STATUS, 1 | 2);
    let offered = machine.driver(0).offered();
    machine = next(machine);
    assert!(machine.driver(0).accept(offered));
    machine = next(machine);
    let _ = machine.driver(0).set_up_queue(offered, RINGS);
    machine = next(machine);
    assert_eq!(machine.driver(0).read(reg::QUEUE_READY), 1);
    machine.driver(0).write(reg::STATUS, 15);
    let mut queue = Queue::adopt(machine.driver(0), RINGS);
    machine = next(machine);
    let data = [Buffer::writable(DATA, 512)];
    let buffers = queue.disk_buffers(HEADER, IN, 0, &data);
    queue.add(&buffers);
    machine.driver(0).write(reg::QUEUE_NOTIFY, 0);
    queue.wait_used(1, &[]);
    machine.stop();
}

#[test]
fn after_a_reset_nothing_of_the_earlier_run_is_redone() {
    let mut survivor = Survivor::new(MemoryModel::Grant);
    let machine = survivor.worker_with_a_request_it_will_not_answer();
    machine.driver(0).reset();
    machine.stop();
    let machine = survivor.worker();
    assert_eq!(machine.driver(0).read(reg::STATUS), 0);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    assert_eq!(machine.guest.observe(queue.used + 2), 0);
    round_trip(&machine, &mut queue, &survivor.image, 4096, 4);
    machine.stop();
}

#[test]
fn a_record_that_makes_no_sense_costs_a_reset_and_no_more() {
    let mut survivor = Survivor::new(MemoryModel::Grant);
    for garbage in [u64::MAX, 0x0001_000f, 0x1_0000 | 15, 0x47] {
        survivor.record = Record::private();
        survivor.record.save(&[garbage; 120]);
        let machine = survivor.worker();
        let mut queue = machine.driver(0).bring_up(0, RINGS);
        round_trip(&machine, &mut queue, &survivor.image, 4096, 5);
        machine.stop();
    }
}

#[test]
fn requests_that_end_every_worker_are_given_up() {
    let mut survivor = Survivor::new(MemoryModel::Grant);
    let machine = survivor.worker_with_a_request_it_will_not_answer();
    machine.stop();
    let deaths = (0..20)
        .position(|_| {
            let machine = survivor.short_lived_worker();
            let broken = machine.driver(0).read(reg::STATUS) & 64 != 0;
            machine.stop();
            broken
        })
        .expect("the device never asked for a reset");
    assert!(deaths > 2, "given up after {deaths} deaths");
    let machine = survivor.worker();
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &survivor.image, 4096, 6);
    machine.stop();
}
