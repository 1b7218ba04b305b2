use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use devices::{Counters, DeviceError, QueueHandler};
use proptest::prelude::*;

use super::*;
use crate::engine::MemoryModel;
use crate::fake::{FakeGuest, FakePlatform};
use crate::memory::ForeignMemory;
use crate::xen_side::Platform;

/// A device that only has registers.
#[derive(Default)]
struct Plain {
    counters: Arc<Counters>,
    config: AtomicU64,
    generation: AtomicU32,
    resets: AtomicU32,
}

const OFFERED: u64 = 0b1011;

impl Device for Plain {
    fn device_type(&self) -> DeviceType {
        DeviceType(7)
    }
    fn features(&self) -> u64 {
        OFFERED
    }
    fn queue_sizes(&self) -> &[u16] {
        &[64, 8]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let bytes = self.config.load(Ordering::SeqCst).to_le_bytes();
        for (place, offset) in data.iter_mut().zip(offset..) {
            *place = usize::try_from(offset)
                .ok()
                .and_then(|offset| bytes.get(offset))
                .copied()
                .unwrap_or(0);
        }
    }
    fn write_config(&self, offset: u64, data: &[u8]) {
        if let (0, Ok(bytes)) = (offset, <[u8; 4]>::try_from(data)) {
            self.config
                .store(u32::from_le_bytes(bytes).into(), Ordering::SeqCst);
        }
    }
    fn config_generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }
    fn activate(&self, _: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError> {
        Ok(Vec::new())
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

const IRQ: u32 = 40;

struct Bench {
    registers: Registers,
    device: Arc<Plain>,
    guest: Arc<FakeGuest>,
}

impl Bench {
    fn new(model: MemoryModel) -> Self {
        let guest = FakeGuest::new();
        let platform: Arc<dyn Platform> = Arc::new(FakePlatform(Arc::clone(&guest)));
        let foreign = Arc::new(ForeignMemory::new(
            platform.foreign(),
            FakeGuest::MEMORY_KIB,
        ));
        let device = Arc::new(Plain::default());
        let counters = Arc::clone(&device.counters);
        let memory = match model {
            MemoryModel::Grant => DeviceMemory::by_grants(&platform, usize::MAX, &counters),
            MemoryModel::Foreign => DeviceMemory::by_foreign_mapping(&foreign, &counters),
        };
        let interrupt = Arc::new(Interrupt::new(platform, IRQ, counters));
        let plugged = Plugged {
            device: Arc::clone(&device) as Arc<dyn Device>,
            memory,
            indirect: true,
            interrupt,
        };
        Bench {
            registers: Registers::with_device(plugged),
            device,
            guest,
        }
    }

    fn grants() -> Self {
        Bench::new(MemoryModel::Grant)
    }

    fn read(&self, offset: u64) -> u32 {
        u32::try_from(self.registers.read(offset, 4)).unwrap()
    }

    fn write(&mut self, offset: u64, value: u32) -> Effect {
        self.registers.write(offset, 4, value.into())
    }

    fn interrupt(&self) -> &Interrupt {
        &self.registers.plugged().unwrap().interrupt
    }

    fn accept(&mut self, features: u64) -> bool {
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features as u32);
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (features >> 32) as u32);
        self.write(reg::STATUS, 1 | 2 | 8);
        self.read(reg::STATUS) == 11
    }

    fn set_address(&mut self, low: u64, addr: u64) {
        self.write(low, addr as u32);
        self.write(low + 4, (addr >> 32) as u32);
    }

    fn queue(&mut self, index: u32, size: u32, addresses: [u64; 3]) -> Effect {
        self.write(reg::QUEUE_SEL, index);
        self.write(reg::QUEUE_SIZE, size);
        self.set_address(reg::QUEUE_DESC_LOW, addresses[0]);
        self.set_address(reg::QUEUE_DRIVER_LOW, addresses[1]);
        self.set_address(reg::QUEUE_DEVICE_LOW, addresses[2]);
        self.write(reg::QUEUE_READY, 1)
    }
}

const MANDATORY: u64 = 0b11 << 32;
const GRANT: u64 = 1 << 63;
const GOOD: [u64; 3] = [GRANT + 0x1000, GRANT + 0x2000, GRANT + 0x3000];

#[test]
fn the_identity_registers_are_those_of_a_modern_device() {
    let bench = Bench::grants();
    assert_eq!(bench.read(reg::MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(
        (bench.read(reg::VERSION), bench.read(reg::DEVICE_ID)),
        (2, 7)
    );
}

#[test]
fn features_are_shown_by_halves_and_no_others_exist() {
    let mut bench = Bench::grants();
    assert_eq!(
        bench.read(reg::DEVICE_FEATURES),
        OFFERED as u32 | 0b11 << 28
    );
    bench.write(reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(bench.read(reg::DEVICE_FEATURES), 0b11);
    for half in [2, 3, 4, u32::MAX] {
        bench.write(reg::DEVICE_FEATURES_SEL, half);
        assert_eq!(bench.read(reg::DEVICE_FEATURES), 0);
    }
}

#[test]
fn access_platform_is_offered_for_grants_only() {
    let mut bench = Bench::new(MemoryModel::Foreign);
    bench.write(reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(bench.read(reg::DEVICE_FEATURES), 0b01);
    assert!(bench.accept(1 << 32));
}

#[test]
fn features_that_were_not_offered_or_lack_a_mandatory_one_are_not_accepted() {
    assert!(Bench::grants().accept(MANDATORY | OFFERED));
    for wrong in [
        0,
        OFFERED,
        1 << 32,
        1 << 33,
        MANDATORY | 0b100,
        MANDATORY | 1 << 34,
        MANDATORY | 1 << 63,
    ] {
        assert!(!Bench::grants().accept(wrong), "{wrong:#x}");
    }
    let mut bench = Bench::grants();
    bench.write(reg::DRIVER_FEATURES_SEL, 2);
    bench.write(reg::DRIVER_FEATURES, 1);
    assert!(!bench.accept(MANDATORY));
}

#[test]
fn features_do_not_change_once_they_are_agreed_on() {
    let mut bench = Bench::grants();
    assert!(bench.accept(MANDATORY | 1));
    bench.write(reg::DRIVER_FEATURES, 0xffff_ffff);
    assert_eq!(bench.registers.negotiated(), MANDATORY | 1);
}

#[test]
fn a_driver_that_skips_feature_negotiation_is_not_started() {
    let mut bench = Bench::grants();
    assert!(matches!(
        bench.write(reg::STATUS, 1 | 2 | 4),
        Effect::Broken(_)
    ));
    assert_eq!(bench.read(reg::STATUS) & 4, 0);
    let mut bench = Bench::grants();
    assert!(matches!(
        bench.write(reg::STATUS, 1 | 2 | 4 | 8),
        Effect::None | Effect::Broken(_)
    ));
    assert_eq!(bench.read(reg::STATUS) & 12, 0);
}

#[test]
fn driver_ok_starts_the_device_once() {
    let mut bench = Bench::grants();
    assert!(bench.accept(MANDATORY));
    assert_eq!(bench.write(reg::STATUS, 15), Effect::Start);
    assert_eq!(bench.write(reg::STATUS, 15), Effect::None);
    assert_eq!(bench.read(reg::STATUS), 15);
}

#[test]
fn status_bits_can_be_set_but_not_cleared_except_by_a_reset() {
    let mut bench = Bench::grants();
    assert!(bench.accept(MANDATORY));
    bench.write(reg::STATUS, 1);
    assert_eq!(bench.read(reg::STATUS), 11);
    bench.write(reg::STATUS, 0x80);
    assert_eq!(bench.read(reg::STATUS), 11 | 0x80);
    // NEEDS_RESET is the device's, and bits beyond the byte do not exist.
    bench.write(reg::STATUS, 0xffff_ff40);
    assert_eq!(bench.read(reg::STATUS), 11 | 0x80);
}

#[test]
fn a_queue_that_does_not_exist_has_size_0_and_cannot_be_touched() {
    let mut bench = Bench::grants();
    for index in [2, 3, 0x1_0000, u32::MAX] {
        bench.write(reg::QUEUE_SEL, index);
        assert_eq!(bench.read(reg::QUEUE_SIZE_MAX), 0);
        assert_eq!(bench.queue(index, 8, GOOD), Effect::None);
        assert_eq!(bench.read(reg::QUEUE_READY), 0);
    }
    bench.write(reg::QUEUE_SEL, 1);
    assert_eq!(bench.read(reg::QUEUE_SIZE_MAX), 8);
    assert_eq!(bench.registers.ready_queues().count(), 0);
}

#[test]
fn a_queue_in_order_becomes_ready_as_configured() {
    let mut bench = Bench::grants();
    bench.accept(MANDATORY | 1 << 28);
    assert_eq!(bench.queue(0, 32, GOOD), Effect::None);
    assert_eq!(bench.read(reg::QUEUE_READY), 1);
    let (index, config) = bench.registers.ready_queues().next().unwrap();
    assert_eq!((index, config.size, config.max_size), (0, 32, 64));
    assert_eq!(
        [config.desc_table, config.avail_ring, config.used_ring],
        GOOD
    );
    assert_eq!((config.indirect, config.event_idx), (true, false));
    // Neither size nor addresses change while it is ready.
    bench.write(reg::QUEUE_SIZE, 8);
    bench.set_address(reg::QUEUE_DESC_LOW, 0);
    assert_eq!(bench.registers.ready_queues().next().unwrap().1, config);
}

#[test]
fn a_size_that_is_none_is_refused() {
    for size in [0, 3, 48, 65, 128, 0x1_0000, 0x1_0040, u32::MAX] {
        let mut bench = Bench::grants();
        assert!(
            matches!(bench.queue(0, size, GOOD), Effect::Broken(_)),
            "{size:#x}"
        );
        assert_eq!(bench.read(reg::QUEUE_READY), 0);
    }
}

#[test]
fn ring_addresses_must_be_aligned_and_such_that_the_memory_model_can_have_them() {
    let last_grant = GRANT + (u64::from(u32::MAX) << 12);
    for (area, wrong) in [
        (0, GRANT + 0x1008),
        (1, GRANT + 0x2001),
        (2, GRANT + 0x3002),
        (0, 0x4000_0000),
        (1, 0x4000_0000),
        (2, 0x4000_0000),
        (0, last_grant + 0xc10),
        (0, u64::MAX - 15),
        (1, u64::MAX - 1),
        (2, u64::MAX - 3),
    ] {
        let mut bench = Bench::grants();
        let mut addresses = GOOD;
        addresses[area] = wrong;
        assert!(
            matches!(bench.queue(0, 64, addresses), Effect::Broken(_)),
            "{wrong:#x}"
        );
    }
    let mut bench = Bench::grants();
    let addresses = [last_grant + 0xc00, GOOD[1], GOOD[2]];
    assert_eq!(bench.queue(0, 64, addresses), Effect::None);
    let mut bench = Bench::new(MemoryModel::Foreign);
    assert!(matches!(bench.queue(0, 64, GOOD), Effect::Broken(_)));
    assert_eq!(
        bench.queue(1, 8, [0x4000_0000, 0x4000_1000, 0x4000_2000]),
        Effect::None
    );
}

#[test]
fn only_a_running_devices_ready_queues_are_notified() {
    let mut bench = Bench::grants();
    bench.accept(MANDATORY);
    bench.queue(0, 64, GOOD);
    assert_eq!(bench.write(reg::QUEUE_NOTIFY, 0), Effect::None);
    bench.write(reg::STATUS, 15);
    assert_eq!(bench.write(reg::QUEUE_NOTIFY, 0), Effect::Notify(0));
    for queue in [1, 2, 0x1_0000, u32::MAX] {
        assert_eq!(bench.write(reg::QUEUE_NOTIFY, queue), Effect::None);
    }
}

#[test]
fn disabling_a_queue_of_a_running_device_asks_for_its_end() {
    let mut bench = Bench::grants();
    bench.accept(MANDATORY);
    bench.queue(0, 64, GOOD);
    bench.write(reg::STATUS, 15);
    assert_eq!(bench.write(reg::QUEUE_READY, 0), Effect::StopQueue(0));
    bench.registers.finish_stop(0);
    assert_eq!(bench.read(reg::QUEUE_READY), 0);
    assert_eq!(bench.write(reg::QUEUE_READY, 1), Effect::None);
    assert_eq!(bench.read(reg::QUEUE_READY), 0);
}

#[test]
fn a_reset_forgets_everything_when_it_is_complete() {
    let mut bench = Bench::grants();
    bench.accept(MANDATORY);
    bench.queue(0, 64, GOOD);
    bench.write(reg::STATUS, 15);
    bench.interrupt().used();
    bench.interrupt().break_device(true);
    assert_eq!(bench.write(reg::STATUS, 0), Effect::Reset);
    // Until then nothing changes, and nothing new begins.
    assert_eq!(bench.write(reg::QUEUE_NOTIFY, 0), Effect::None);
    assert_eq!(bench.write(reg::STATUS, 0), Effect::Reset);
    assert_eq!(bench.write(reg::STATUS, 1), Effect::None);
    assert_eq!(bench.read(reg::STATUS), 15 | 64);
    bench.registers.finish_reset();
    assert_eq!(bench.read(reg::STATUS), 0);
    assert_eq!(bench.read(reg::INTERRUPT_STATUS), 0);
    assert_eq!(bench.registers.ready_queues().count(), 0);
    assert_eq!(bench.registers.negotiated(), 0);
    assert_eq!(bench.device.resets.load(Ordering::SeqCst), 1);
    assert!(bench.accept(MANDATORY));
}

#[test]
fn a_broken_device_says_so_and_interrupts_once() {
    let bench = Bench::grants();
    assert!(bench.interrupt().break_device(true));
    assert!(!bench.interrupt().break_device(true));
    assert_eq!(bench.read(reg::STATUS), 64);
    assert_eq!(bench.read(reg::INTERRUPT_STATUS), 2);
    assert_eq!(bench.guest.interrupts(IRQ), 1);
}

#[test]
fn acknowledging_clears_exactly_the_bits_written() {
    let mut bench = Bench::grants();
    bench.interrupt().used();
    bench.interrupt().break_device(true);
    bench.write(reg::INTERRUPT_ACK, 1);
    assert_eq!(bench.read(reg::INTERRUPT_STATUS), 2);
    bench.write(reg::INTERRUPT_ACK, u32::MAX);
    assert_eq!(bench.read(reg::INTERRUPT_STATUS), 0);
}

#[test]
fn shared_memory_regions_do_not_exist() {
    let mut bench = Bench::grants();
    for region in [0, 1, 255] {
        bench.write(reg::SHM_SEL, region);
        for offset in [
            reg::SHM_LEN_LOW,
            reg::SHM_LEN_HIGH,
            reg::SHM_BASE_LOW,
            reg::SHM_BASE_HIGH,
        ] {
            assert_eq!(bench.read(offset), u32::MAX);
        }
    }
}

#[test]
fn registers_know_one_width_and_the_configuration_space_all() {
    let mut bench = Bench::grants();
    for size in [1, 2, 8] {
        assert_eq!(bench.registers.read(reg::MAGIC_VALUE, size), 0);
        bench.registers.write(reg::STATUS, size, 1);
        assert_eq!(bench.read(reg::STATUS), 0);
    }
    assert_eq!(bench.device.counters.bad_accesses.get(), 6);
    bench
        .device
        .config
        .store(0x8877_6655_4433_2211, Ordering::SeqCst);
    assert_eq!(bench.registers.read(reg::CONFIG, 1), 0x11);
    assert_eq!(bench.registers.read(reg::CONFIG + 1, 2), 0x3322);
    assert_eq!(bench.registers.read(reg::CONFIG, 4), 0x4433_2211);
    assert_eq!(bench.registers.read(reg::CONFIG, 8), 0x8877_6655_4433_2211);
    bench.registers.write(reg::CONFIG, 4, 0xdead_beef);
    assert_eq!(bench.device.config.load(Ordering::SeqCst), 0xdead_beef);
}

#[test]
fn the_configuration_generation_is_the_devices() {
    let bench = Bench::grants();
    bench.device.generation.store(77, Ordering::SeqCst);
    assert_eq!(bench.read(reg::CONFIG_GENERATION), 77);
}

#[test]
fn an_empty_slot_is_a_device_of_type_0_and_takes_nothing() {
    let mut registers = Registers::empty();
    assert_eq!(registers.read(reg::DEVICE_ID, 4), 0);
    assert_eq!(registers.read(reg::MAGIC_VALUE, 4), 0x7472_6976);
    assert_eq!(registers.read(reg::CONFIG, 8), 0);
    for offset in (0..WINDOW_SIZE).step_by(4) {
        assert_eq!(registers.write(offset, 4, 1), Effect::None);
        assert_eq!(registers.write(offset, 4, 0), Effect::None);
    }
    assert_eq!(registers.status(), 0);
}

/// One access: offset, width, what is written.
fn any_access() -> impl Strategy<Value = (u64, u32, Option<u64>)> {
    let offset = prop_oneof![
        (0..64_u64).prop_map(|word| word * 4),
        Just(reg::STATUS),
        Just(reg::QUEUE_READY),
        0..WINDOW_SIZE,
    ];
    let size = prop_oneof![4 => Just(4_u32), 1 => prop_oneof![Just(1), Just(2), Just(8)]];
    let value = prop_oneof![
        Just(0_u64),
        Just(1),
        Just(11),
        Just(15),
        0..256_u64,
        Just(1 << 31),
        any::<u64>(),
    ];
    (offset, size, proptest::option::weighted(0.8, value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No sequence of accesses panics, starts a device without agreed features, or makes a queue ready that the
    /// memory model and virtio-queue would not take.
    #[test]
    fn no_sequence_of_accesses_leads_outside_of_the_specification(
        accesses in proptest::collection::vec(any_access(), 1..400),
        foreign: bool,
    ) {
        let model = if foreign { MemoryModel::Foreign } else { MemoryModel::Grant };
        let mut bench = Bench::new(model);
        for (offset, size, write) in accesses {
            let Some(value) = write else {
                bench.registers.read(offset, size);
                continue;
            };
            match bench.registers.write(offset, size, value) {
                Effect::Start => {
                    prop_assert_eq!(bench.registers.status() & 12, 12);
                    let mandatory = if foreign { 1 << 32 } else { MANDATORY };
                    let negotiated = bench.registers.negotiated();
                    prop_assert_eq!(negotiated & mandatory, mandatory);
                    prop_assert_eq!(negotiated & !(MANDATORY | OFFERED | 0b11 << 28), 0);
                }
                Effect::Notify(queue) => {
                    prop_assert!(bench.registers.ready_queues().any(|(index, _)| index == queue));
                    prop_assert_eq!(bench.registers.status() & 4, 4);
                }
                Effect::StopQueue(queue) => bench.registers.finish_stop(queue),
                Effect::Reset => {
                    bench.registers.finish_reset();
                    prop_assert_eq!(bench.registers.status(), 0);
                }
                Effect::Broken(_) => {
                    bench.interrupt().break_device(false);
                }
                Effect::None => {}
            }
            for (_, config) in bench.registers.ready_queues() {
                prop_assert!(devices::DeviceQueue::new(&config, devices::InFlight::private(config.size)).is_ok());
                let memory = &bench.registers.plugged().unwrap().memory;
                prop_assert!(memory.check_area(config.desc_table, config.desc_table_len()).is_ok());
                prop_assert!(memory.check_area(config.avail_ring, config.avail_ring_len()).is_ok());
                prop_assert!(memory.check_area(config.used_ring, config.used_ring_len()).is_ok());
            }
        }
    }
}
