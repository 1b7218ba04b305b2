//! Slots and devices come, go and start anew.

use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering};

use devices::{Chain, Completions, Counters, DeviceError, DeviceType, PayloadMemory, QueueHandler};

use super::*;
use crate::fake::mmio;
use crate::mmio::registers as reg;

/// A device whose requests take as long as the test wants.
struct Slow {
    counters: Arc<Counters>,
    gate: Arc<Mutex<()>>,
    busy: Arc<AtomicUsize>,
    alive: Arc<()>,
}

struct SlowQueue {
    gate: Arc<Mutex<()>>,
    busy: Arc<AtomicUsize>,
    _alive: Arc<()>,
}

impl Device for Slow {
    fn device_type(&self) -> DeviceType {
        DeviceType(42)
    }
    fn features(&self) -> u64 {
        0
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16, 8]
    }
    fn read_config(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write_config(&self, _: u64, _: &[u8]) {}
    fn activate(&self, _: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError> {
        let queue = || SlowQueue {
            gate: Arc::clone(&self.gate),
            busy: Arc::clone(&self.busy),
            _alive: Arc::clone(&self.alive),
        };
        Ok(vec![Box::new(queue()), Box::new(queue())])
    }
    fn reset(&self) {}
    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

impl QueueHandler for SlowQueue {
    fn submit(
        &mut self,
        batch: &mut Vec<Chain>,
        _: &mut dyn PayloadMemory,
        done: &mut Completions,
    ) {
        for chain in batch.drain(..) {
            self.busy.fetch_add(1, Ordering::SeqCst);
            drop(self.gate.lock().unwrap());
            done.complete(chain, 0);
        }
    }
}

/// The test's end of a [`Slow`] device.
struct Brake {
    gate: Arc<Mutex<()>>,
    busy: Arc<AtomicUsize>,
    alive: Arc<()>,
}

impl Brake {
    /// Sends a request, which the device is busy with as long as the guard lives.
    fn hold(&self, queue: &mut Queue) -> MutexGuard<'_, ()> {
        let held = self.gate.lock().unwrap();
        let before = self.busy.load(Ordering::SeqCst);
        queue.add(&[Buffer::readable(DATA, 512)]);
        queue.kick();
        let guest = Arc::clone(&queue.driver.guest);
        guest.wait_until("the device to be busy", || {
            self.busy.load(Ordering::SeqCst) > before
        });
        held
    }

    /// The device and its queues are gone.
    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.alive) == 1
    }
}

fn slow() -> (Box<dyn Device>, Brake) {
    let brake = Brake {
        gate: Arc::default(),
        busy: Arc::default(),
        alive: Arc::default(),
    };
    let device = Slow {
        counters: Arc::default(),
        gate: Arc::clone(&brake.gate),
        busy: Arc::clone(&brake.busy),
        alive: Arc::clone(&brake.alive),
    };
    (Box::new(device), brake)
}

const A_WHILE: Duration = Duration::from_millis(100);

#[test]
fn an_empty_slot_shows_no_device_until_one_is_attached() {
    let machine = Machine::new(MemoryModel::Grant, vec![None]);
    let driver = machine.driver(0);
    assert_eq!(driver.read(reg::MAGIC_VALUE), 0x7472_6976);
    assert_eq!(driver.read(reg::VERSION), 2);
    assert_eq!(driver.read(reg::DEVICE_ID), 0);
    driver.write(reg::STATUS, 0);
    let (block, image) = disk();
    let attach = |block| {
        machine.handle.attach(
            0,
            Attachment {
                device: Box::new(block),
                memory: MemoryModel::Grant,
                indirect: true,
                record: Record::private(),
            },
        )
    };
    attach(block).unwrap();
    assert_eq!(driver.read(reg::DEVICE_ID), 2);
    assert!(matches!(attach(disk().0), Err(EngineError::Occupied(0))));
    let mut queue = driver.bring_up(0, RINGS);
    round_trip(&machine, &mut queue, &image, 4096, 9);
    machine.stop();
}

#[test]
fn slots_that_overlap_or_do_not_exist_are_refused() {
    let machine = Machine::new(MemoryModel::Grant, vec![None]);
    let add = |devid, base| {
        machine.handle.add_slot(SlotConfig {
            devid,
            base,
            irq: 40,
        })
    };
    assert!(matches!(
        add(0, BASE + 0x1000),
        Err(EngineError::Slot { .. })
    ));
    assert!(matches!(add(1, BASE), Err(EngineError::Slot { .. })));
    assert!(matches!(
        add(1, BASE + 0x100),
        Err(EngineError::Slot { .. })
    ));
    assert!(matches!(
        add(1, u64::MAX - 0x1ff),
        Err(EngineError::Slot { .. })
    ));
    add(1, BASE + 0x200).unwrap();
    assert!(matches!(
        machine.handle.detach(9),
        Err(EngineError::NoSlot(9))
    ));
    machine.stop();
}

#[test]
fn a_reset_unmaps_everything_and_the_driver_can_come_again() {
    for model in [MemoryModel::Grant, MemoryModel::Foreign] {
        let (machine, image) = Machine::with_disk(model);
        let driver = machine.driver(0);
        for round in 0..5 {
            let mut queue = driver.bring_up(0, RINGS + 0x10_0000 * u64::from(round % 2));
            assert_eq!(machine.event(), Event::Reset(0));
            assert_eq!(machine.event(), Event::DriverOk(0));
            round_trip(&machine, &mut queue, &image, 65536, round);
            driver.reset();
            assert_eq!(driver.read(reg::STATUS), 0);
            assert_eq!(driver.read(reg::INTERRUPT_STATUS), 0);
            assert_eq!(driver.read(reg::QUEUE_READY), 0);
            assert!(!machine.guest.is_mapped(queue.desc) || model == MemoryModel::Foreign);
            if model == MemoryModel::Grant {
                assert_eq!(machine.guest.mapped_pages(), 0);
            }
            assert_eq!(machine.event(), Event::Reset(0));
        }
        machine.stop();
    }
}

#[test]
fn a_reset_in_flight_keeps_only_its_own_vcpu_waiting() {
    let (device, brake) = slow();
    let (block, image) = disk();
    let machine = Machine::new(
        MemoryModel::Grant,
        vec![Some(device), Some(Box::new(block))],
    );
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    let held = brake.hold(&mut queue);
    machine
        .vcpus
        .start(0, mmio(driver.base + reg::STATUS, 4, Some(0)));
    assert!(machine.vcpus.waits(0, A_WHILE));
    // Another vCPU, at the same device and at another one, is served.
    assert_eq!(driver.on_vcpu(1).read(reg::DEVICE_ID), 42);
    driver.on_vcpu(1).write(reg::QUEUE_NOTIFY, 0);
    let mut other = machine.driver(1).on_vcpu(1).bring_up(0, RINGS + 0x8_0000);
    round_trip(&machine, &mut other, &image, 65536, 4);
    // A second reset of the same device waits too.
    machine
        .vcpus
        .start(2, mmio(driver.base + reg::STATUS, 4, Some(0)));
    assert!(machine.vcpus.waits(2, A_WHILE));
    assert!(machine.guest.is_mapped(RINGS));
    drop(held);
    machine.vcpus.finish(0);
    assert!(!machine.guest.is_mapped(RINGS));
    machine.vcpus.finish(2);
    assert_eq!(driver.read(reg::STATUS), 0);
    driver.bring_up(0, RINGS);
    machine.stop();
}

#[test]
fn a_thread_that_looks_after_the_vcpus_keeps_none_waiting_while_it_works() {
    let (device, brake) = slow();
    let machine = Machine::new(MemoryModel::Grant, vec![Some(device)]);
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    for _ in 0..50 {
        // Right after the last request the queue's thread is awake.
        let held = brake.hold(&mut queue);
        for vcpu in [1, 2, 1] {
            assert_eq!(driver.on_vcpu(vcpu).read(reg::DEVICE_ID), 42);
        }
        drop(held);
        queue.wait_used(1, &[]);
        // Served by whoever looks, and by the engine's thread once nobody does.
        assert_eq!(driver.on_vcpu(1).read(reg::DEVICE_ID), 42);
    }
    std::thread::sleep(A_WHILE);
    assert_eq!(driver.on_vcpu(2).read(reg::DEVICE_ID), 42);
    machine.stop();
}

#[test]
fn the_last_thread_to_look_after_the_vcpus_leaves_them_to_nobody_who_is_busy() {
    let (device, brake) = slow();
    let (block, image) = disk();
    let machine = Machine::new(
        MemoryModel::Grant,
        vec![Some(device), Some(Box::new(block))],
    );
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    let mut other = machine.driver(1).bring_up(0, RINGS + 0x8_0000);
    for seed in 0..10 {
        // One thread is busy for long while another looks after the vCPUs, and goes to sleep.
        let held = brake.hold(&mut queue);
        round_trip(&machine, &mut other, &image, 4096, seed);
        std::thread::sleep(Duration::from_millis(20));
        for vcpu in [1, 2, 1] {
            assert_eq!(driver.on_vcpu(vcpu).read(reg::DEVICE_ID), 42);
        }
        drop(held);
        queue.wait_used(1, &[]);
    }
    machine.stop();
}

#[test]
fn disabling_a_queue_waits_for_its_requests_and_unmaps_its_rings() {
    let (device, brake) = slow();
    let machine = Machine::new(MemoryModel::Grant, vec![Some(device)]);
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    let held = brake.hold(&mut queue);
    machine
        .vcpus
        .start(0, mmio(driver.base + reg::QUEUE_READY, 4, Some(0)));
    assert!(machine.vcpus.waits(0, A_WHILE));
    drop(held);
    machine.vcpus.finish(0);
    assert_eq!(machine.guest.mapped_pages(), 0);
    assert_eq!(driver.read(reg::QUEUE_READY), 0);
    driver.write(reg::QUEUE_NOTIFY, 0);
    machine.stop();
}

#[test]
fn detaching_a_running_device_drains_it_and_lets_go_of_it() {
    let (device, brake) = slow();
    let machine = Machine::new(MemoryModel::Grant, vec![Some(device)]);
    let driver = machine.driver(0);
    let mut queue = driver.bring_up(0, RINGS);
    assert_eq!(
        (machine.event(), machine.event()),
        (Event::Reset(0), Event::DriverOk(0))
    );
    let held = brake.hold(&mut queue);
    machine.handle.detach(0).unwrap();
    assert!(machine.events.recv_timeout(A_WHILE).is_err());
    drop(held);
    assert_eq!(machine.event(), Event::Detached(0));
    assert_eq!(machine.guest.mapped_pages(), 0);
    assert!(brake.is_alone());
    assert_eq!(driver.read(reg::DEVICE_ID), 0);
    machine.handle.remove_slot(0).unwrap();
    assert_eq!(machine.event(), Event::Detached(0));
    assert_eq!(driver.read(reg::DEVICE_ID), u32::MAX);
    machine.stop();
}

#[test]
fn what_was_left_waiting_by_a_dead_process_is_answered() {
    let guest = FakeGuest::new();
    let (vcpus, gate) = Vcpus::new(VCPUS);
    drop(gate);
    vcpus.start(0, mmio(BASE, 4, None));
    vcpus.start(1, mmio(BASE + reg::VERSION, 4, None));
    vcpus.strand(1);
    let (block, _image) = disk();
    let gate = vcpus.reopen();
    let machine = Machine::start(
        guest,
        vcpus,
        gate,
        MemoryModel::Grant,
        vec![Some(Box::new(block))],
    );
    assert_eq!(machine.vcpus.finish(0), 0x7472_6976);
    assert_eq!(machine.vcpus.finish(1), 2);
    machine.stop();
}

#[test]
fn stopping_drains_what_is_in_flight() {
    let (device, brake) = slow();
    let machine = Machine::new(MemoryModel::Grant, vec![Some(device)]);
    let mut queue = machine.driver(0).bring_up(0, RINGS);
    let held = brake.hold(&mut queue);
    machine.handle.stop();
    std::thread::sleep(A_WHILE);
    assert!(machine.guest.is_mapped(RINGS));
    drop(held);
    queue.wait_used(1, &[]);
    let handle = machine.handle.clone();
    machine.stop();
    assert!(brake.is_alone());
    assert!(matches!(handle.stats(), Err(EngineError::Stopped)));
}
