//! The virtio-mmio register file, version 2 (virtio 1.3 §4.2.2), one implementation for all devices.
//!
//! A pure state machine: it knows no Xen and starts no thread. Each write gives an [`Effect`] that the engine carries
//! out. Every value comes from a hostile driver: any sequence of accesses of any width at any offset leaves the file in
//! a valid state.

use std::sync::Arc;

use devices::refusal::refused;
use devices::{Device, DeviceType, QueueConfig};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::memory::DeviceMemory;

mod interrupt;
mod queues;
pub mod registers;
mod saved;

pub(crate) use interrupt::Interrupt;
use queues::{Half, Queues};
use registers as reg;
pub(crate) use saved::{MAX_QUEUES, Saved};

/// Bytes of a device's window.
pub const WINDOW_SIZE: u64 = 0x200;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// Not legacy.
const VERSION: u32 = 2;
/// "AVPS": no meaning but to tell whose device it is.
const VENDOR: u32 = 0x5350_5641;

const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;

const fn bit(feature: u32) -> u64 {
    1 << feature
}

/// What a register write asks the engine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more.
    None,
    /// A queue has something new.
    Notify(u16),
    /// DRIVER_OK: start all ready queues.
    Start,
    /// Status 0: stop everything, then call [`Registers::finish_reset`]; answer the write only after that.
    Reset,
    /// QueueReady 0 on a running device: stop that queue; answer the write only after that.
    StopQueue(u16),
    /// The driver broke the protocol in a way that only a reset mends.
    Broken(String),
}

/// A device with what the transport adds to it.
pub(crate) struct Plugged {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) memory: DeviceMemory,
    /// Indirect descriptors are offered.
    pub(crate) indirect: bool,
    pub(crate) interrupt: Arc<Interrupt>,
}

/// The registers of one slot.
pub(crate) struct Registers {
    /// `None`: an empty slot, which shows device type 0.
    plugged: Option<Plugged>,
    status: u8,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    /// The driver accepted features that cannot exist.
    impossible_features: bool,
    queues: Queues,
    /// A reset is under way: accesses change nothing until it is done.
    resetting: bool,
}

impl Registers {
    /// An empty slot.
    pub(crate) fn empty() -> Self {
        Registers {
            plugged: None,
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            impossible_features: false,
            queues: Queues::new(&[]),
            resetting: false,
        }
    }

    /// A slot with a device, as after a reset.
    pub(crate) fn with_device(plugged: Plugged) -> Self {
        let queues = Queues::new(plugged.device.queue_sizes());
        Registers {
            queues,
            plugged: Some(plugged),
            ..Registers::empty()
        }
    }

    /// What a successor of this process must know.
    pub(crate) fn snapshot(&self) -> Saved {
        Saved {
            status: self.status(),
            impossible_features: self.impossible_features,
            device_features_sel: self.device_features_sel,
            driver_features_sel: self.driver_features_sel,
            driver_features: self.driver_features,
            queue_sel: self.queues.selected_raw(),
            device: self
                .plugged
                .as_ref()
                .map_or(0, |plugged| plugged.device.saved_state()),
            queues: self.queues.snapshot(),
        }
    }

    /// Goes on where a predecessor was stopped. What it left is checked as if the driver had just written it; if it
    /// cannot be used, the driver (which may believe that its device runs) is told to reset the device.
    pub(crate) fn restore(&mut self, saved: &Saved) -> Result<(), String> {
        self.status = saved.status & !NEEDS_RESET;
        self.impossible_features = saved.impossible_features;
        self.device_features_sel = saved.device_features_sel;
        self.driver_features_sel = saved.driver_features_sel;
        self.driver_features = saved.driver_features;
        let outcome = self.restore_queues(saved);
        self.queues.select(saved.queue_sel);
        outcome?;
        if let Some(plugged) = &self.plugged {
            plugged.device.restore_state(saved.device);
        }
        let agreed = self.status & FEATURES_OK != 0;
        if agreed && !self.features_acceptable() {
            return Err("the features its driver agreed on are no longer offered".into());
        }
        if self.status & DRIVER_OK != 0 && !agreed {
            return Err("it runs without having agreed on features".into());
        }
        if saved.status & NEEDS_RESET != 0 {
            return Err("it needed a reset before".into());
        }
        Ok(())
    }

    fn restore_queues(&mut self, saved: &Saved) -> Result<(), String> {
        if !self.queues.restore(&saved.queues) {
            return Err("it had another number of queues".into());
        }
        for (index, queue) in (0..).zip(&saved.queues) {
            if queue.ready {
                self.queues.select(index);
                self.check_queue()
                    .map_err(|reason| format!("queue {index} cannot be used: {reason}"))?;
                self.queues.make_ready();
            }
        }
        Ok(())
    }

    /// The device runs as far as its driver knows.
    pub(crate) fn is_running(&self) -> bool {
        self.status() & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    /// The slot's device.
    pub(crate) fn plugged(&self) -> Option<&Plugged> {
        self.plugged.as_ref()
    }

    /// The device status field.
    pub(crate) fn status(&self) -> u8 {
        let needs_reset = self
            .plugged
            .as_ref()
            .is_some_and(|plugged| plugged.interrupt.needs_reset());
        self.status | if needs_reset { NEEDS_RESET } else { 0 }
    }

    /// The features both sides agreed on.
    pub(crate) fn negotiated(&self) -> u64 {
        self.driver_features
    }

    /// The queues the driver made ready, with their numbers.
    pub(crate) fn ready_queues(&self) -> impl Iterator<Item = (u16, QueueConfig)> + '_ {
        let event_idx = self.driver_features & bit(VIRTIO_RING_F_EVENT_IDX) != 0;
        let indirect = self.driver_features & bit(VIRTIO_RING_F_INDIRECT_DESC) != 0;
        self.queues.ready().map(move |(index, config)| {
            (
                index,
                QueueConfig {
                    event_idx,
                    indirect,
                    ..config
                },
            )
        })
    }

    /// Completes a reset that [`Effect::Reset`] asked for. Nothing of the device may run or be mapped by now.
    pub(crate) fn finish_reset(&mut self) {
        if let Some(plugged) = self.plugged.take() {
            plugged.device.reset();
            plugged.interrupt.reset();
            *self = Registers::with_device(plugged);
        }
    }

    /// Completes what [`Effect::StopQueue`] asked for.
    pub(crate) fn finish_stop(&mut self, queue: u16) {
        self.queues.unready(queue);
    }

    /// Features offered to the driver.
    fn offered(&self) -> u64 {
        self.plugged.as_ref().map_or(0, |plugged| {
            plugged.device.features() | self.transport_features()
        })
    }

    /// Features of the transport and the rings; those without which nothing works are [`Registers::mandatory`].
    fn transport_features(&self) -> u64 {
        let indirect = self
            .plugged
            .as_ref()
            .is_some_and(|plugged| plugged.indirect);
        self.mandatory()
            | bit(VIRTIO_RING_F_EVENT_IDX)
            | if indirect {
                bit(VIRTIO_RING_F_INDIRECT_DESC)
            } else {
                0
            }
    }

    fn mandatory(&self) -> u64 {
        let grants = self
            .plugged
            .as_ref()
            .is_some_and(|plugged| plugged.memory.needs_access_platform());
        bit(VIRTIO_F_VERSION_1)
            | if grants {
                bit(VIRTIO_F_ACCESS_PLATFORM)
            } else {
                0
            }
    }

    /// Reads `size` bytes at `offset`. What does not exist reads as zero.
    pub(crate) fn read(&self, offset: u64, size: u32) -> u64 {
        let Some(plugged) = &self.plugged else {
            return u64::from(if size == 4 {
                self.read_empty(offset)
            } else {
                0
            });
        };
        if let Some(config) = offset.checked_sub(reg::CONFIG) {
            return read_config(&*plugged.device, config, size);
        }
        if size != 4 {
            refused("register: a read of a wrong width", ());
            plugged.device.counters().bad_accesses.inc();
            return 0;
        }
        u64::from(match offset {
            reg::MAGIC_VALUE => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => plugged.device.device_type().0,
            reg::VENDOR_ID => VENDOR,
            reg::DEVICE_FEATURES => half(self.offered(), self.device_features_sel),
            reg::QUEUE_SIZE_MAX => self.queues.size_max().into(),
            reg::QUEUE_READY => self.queues.is_ready().into(),
            reg::INTERRUPT_STATUS => plugged.interrupt.status(),
            reg::STATUS => self.status().into(),
            // No shared memory region exists: its length reads as all ones.
            reg::SHM_LEN_LOW | reg::SHM_LEN_HIGH | reg::SHM_BASE_LOW | reg::SHM_BASE_HIGH => {
                u32::MAX
            }
            reg::CONFIG_GENERATION => plugged.device.config_generation(),
            _ => {
                refused("register: a read of nothing", ());
                plugged.device.counters().bad_accesses.inc();
                0
            }
        })
    }

    fn read_empty(&self, offset: u64) -> u32 {
        match offset {
            reg::MAGIC_VALUE => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => DeviceType::NONE.0,
            reg::VENDOR_ID => VENDOR,
            reg::SHM_LEN_LOW | reg::SHM_LEN_HIGH | reg::SHM_BASE_LOW | reg::SHM_BASE_HIGH => {
                u32::MAX
            }
            _ => 0,
        }
    }

    /// Writes `size` bytes at `offset`. What does not exist, or is not permitted now, is ignored.
    pub(crate) fn write(&mut self, offset: u64, size: u32, value: u64) -> Effect {
        let Some(plugged) = &self.plugged else {
            return Effect::None;
        };
        if self.resetting {
            // A second reset waits for the first; anything else has no meaning now.
            return if (offset, size, value as u32) == (reg::STATUS, 4, 0) {
                Effect::Reset
            } else {
                refused("register: a write during a reset", Effect::None)
            };
        }
        if let Some(config) = offset.checked_sub(reg::CONFIG) {
            write_config(&*plugged.device, config, size, value);
            return Effect::None;
        }
        if size != 4 {
            refused("register: a write of a wrong width", ());
            plugged.device.counters().bad_accesses.inc();
            return Effect::None;
        }
        // The upper half of what a 32-bit access carries means nothing.
        let value = value as u32;
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => self.write_driver_features(value),
            reg::QUEUE_SEL => self.queues.select(value),
            reg::QUEUE_NOTIFY => return self.notify(value),
            reg::INTERRUPT_ACK => plugged.interrupt.acknowledge(value),
            reg::STATUS => return self.write_status(value),
            reg::QUEUE_READY => return self.write_queue_ready(value),
            reg::SHM_SEL => {}
            _ => {
                let known = self.write_queue_register(offset, value);
                if let (false, Some(plugged)) = (known, &self.plugged) {
                    refused("register: a write to nothing", ());
                    plugged.device.counters().bad_accesses.inc();
                }
            }
        }
        Effect::None
    }

    /// Queue registers that are fixed once the device runs; false if `offset` is none of them.
    fn write_queue_register(&mut self, offset: u64, value: u32) -> bool {
        let running = self.status & DRIVER_OK != 0;
        let queue = (!running).then_some(&mut self.queues);
        let set = |address: fn(&mut QueueConfig) -> &mut u64, half| match queue {
            Some(queue) => queue.set_address(address, half, value),
            None => refused("register: a queue register of a running device", ()),
        };
        match offset {
            reg::QUEUE_DESC_LOW => set(|queue| &mut queue.desc_table, Half::Low),
            reg::QUEUE_DESC_HIGH => set(|queue| &mut queue.desc_table, Half::High),
            reg::QUEUE_DRIVER_LOW => set(|queue| &mut queue.avail_ring, Half::Low),
            reg::QUEUE_DRIVER_HIGH => set(|queue| &mut queue.avail_ring, Half::High),
            reg::QUEUE_DEVICE_LOW => set(|queue| &mut queue.used_ring, Half::Low),
            reg::QUEUE_DEVICE_HIGH => set(|queue| &mut queue.used_ring, Half::High),
            reg::QUEUE_SIZE => {
                if !running {
                    self.queues.set_size(value);
                }
            }
            _ => return false,
        }
        true
    }

    fn write_driver_features(&mut self, value: u32) {
        if self.status & FEATURES_OK != 0 {
            return refused("register: features after they were agreed on", ());
        }
        let value = u64::from(value);
        self.driver_features = match self.driver_features_sel {
            0 => (self.driver_features & !0xffff_ffff) | value,
            1 => (self.driver_features & 0xffff_ffff) | (value << 32),
            // Bits from 64 on are never offered; a driver that accepts one is refused as with any other.
            _ => {
                self.impossible_features |= value != 0;
                self.driver_features
            }
        };
    }

    fn notify(&self, value: u32) -> Effect {
        match u16::try_from(value) {
            Ok(queue) if self.status & DRIVER_OK != 0 && self.queues.ready_at(queue) => {
                Effect::Notify(queue)
            }
            _ => refused("register: a notification of no running queue", Effect::None),
        }
    }

    fn write_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            self.resetting = true;
            return Effect::Reset;
        }
        // NEEDS_RESET is ours; bits above 7 do not exist; a driver may set bits, not clear them (§2.1.1).
        let mut wanted = (value & 0xff) as u8 & !NEEDS_RESET | self.status;
        let added = wanted & !self.status;
        if added & FEATURES_OK != 0 && !self.features_acceptable() {
            wanted &= !(FEATURES_OK | DRIVER_OK);
        }
        if wanted & DRIVER_OK != 0 && wanted & FEATURES_OK == 0 {
            wanted &= !DRIVER_OK;
            self.status = wanted;
            let reason = "the driver set DRIVER_OK without having agreed on features";
            return refused(
                "register: DRIVER_OK without features",
                Effect::Broken(reason.into()),
            );
        }
        self.status = wanted;
        if added & DRIVER_OK != 0 && wanted & DRIVER_OK != 0 {
            Effect::Start
        } else {
            Effect::None
        }
    }

    /// A subset of what was offered, with what nothing works without (§2.2.2, §6.1, §6.2).
    fn features_acceptable(&self) -> bool {
        let mandatory = self.mandatory();
        if self.impossible_features {
            return refused("register: features beyond bit 63", false);
        }
        if self.driver_features & !self.offered() != 0 {
            return refused("register: features that were not offered", false);
        }
        if self.driver_features & mandatory != mandatory {
            return refused("register: a mandatory feature is missing", false);
        }
        true
    }

    fn write_queue_ready(&mut self, value: u32) -> Effect {
        let Some(index) = self.queues.selected() else {
            return refused("register: QueueReady of no queue", Effect::None);
        };
        let running = self.status & DRIVER_OK != 0;
        match value {
            0 if running && self.queues.is_ready() => Effect::StopQueue(index),
            0 => {
                self.queues.unready(index);
                Effect::None
            }
            1 if running || self.queues.is_ready() => refused(
                "register: QueueReady of a running device or ready queue",
                Effect::None,
            ),
            1 => match self.check_queue() {
                Ok(()) => {
                    self.queues.make_ready();
                    Effect::None
                }
                Err(reason) => Effect::Broken(format!("queue {index} cannot be used: {reason}")),
            },
            _ => refused("register: QueueReady of an unknown value", Effect::None),
        }
    }

    fn check_queue(&self) -> Result<(), String> {
        let Some((config, plugged)) = self.queues.config().zip(self.plugged.as_ref()) else {
            return Err("it does not exist".into());
        };
        queues::check(&config)?;
        for (addr, len) in [
            (config.desc_table, config.desc_table_len()),
            (config.avail_ring, config.avail_ring_len()),
            (config.used_ring, config.used_ring_len()),
        ] {
            plugged
                .memory
                .check_area(addr, len)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// One 32-bit half of a feature word; other halves do not exist.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// Reads the configuration space with any width a load instruction has.
fn read_config(device: &dyn Device, offset: u64, size: u32) -> u64 {
    let mut bytes = [0; 8];
    match bytes.get_mut(..size as usize) {
        Some(data @ ([_] | [_, _] | [_, _, _, _] | [_, _, _, _, _, _, _, _])) => {
            device.read_config(offset, data)
        }
        _ => device.counters().bad_accesses.inc(),
    }
    u64::from_le_bytes(bytes)
}

fn write_config(device: &dyn Device, offset: u64, size: u32, value: u64) {
    let bytes = value.to_le_bytes();
    match bytes.get(..size as usize) {
        Some(data @ ([_] | [_, _] | [_, _, _, _] | [_, _, _, _, _, _, _, _])) => {
            device.write_config(offset, data)
        }
        _ => device.counters().bad_accesses.inc(),
    }
}

#[cfg(test)]
mod tests;
