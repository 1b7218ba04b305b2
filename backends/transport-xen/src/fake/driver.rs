//! A virtio driver, as Linux's virtio-mmio and virtio-ring are ones.

use std::sync::Arc;

use super::gate::{Vcpus, mmio};
use super::guest::{Addressing, FakeGuest};
use crate::mmio::registers as reg;

/// Feature words the tests use.
pub mod features {
    /// Indirect tables.
    pub const INDIRECT: u64 = 1 << 28;
    /// Event indices.
    pub const EVENT_IDX: u64 = 1 << 29;
}

/// One buffer of a request: where in the guest, how long, whether the device writes.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Byte in the guest.
    pub at: u64,
    /// Bytes.
    pub len: u32,
    /// The device writes.
    pub writable: bool,
}

impl Buffer {
    /// One the device reads.
    pub fn readable(at: u64, len: u32) -> Self {
        Buffer {
            at,
            len,
            writable: false,
        }
    }

    /// One the device writes.
    pub fn writable(at: u64, len: u32) -> Self {
        Buffer {
            at,
            len,
            writable: true,
        }
    }
}

/// Registers of one device, seen from a vCPU.
#[derive(Clone)]
pub struct Driver {
    /// Its guest.
    pub guest: Arc<FakeGuest>,
    /// All vCPUs of it.
    pub vcpus: Vcpus,
    /// The one it runs on.
    pub vcpu: usize,
    /// Where the device's registers are.
    pub base: u64,
    /// How it names memory.
    pub addressing: Addressing,
}

impl Driver {
    /// Reads a register.
    pub fn read(&self, offset: u64) -> u32 {
        self.vcpus
            .access(self.vcpu, mmio(self.base + offset, 4, None)) as u32
    }

    /// Writes a register.
    pub fn write(&self, offset: u64, value: u32) {
        self.vcpus
            .access(self.vcpu, mmio(self.base + offset, 4, Some(value.into())));
    }

    /// The same driver on another vCPU.
    pub fn on_vcpu(&self, vcpu: usize) -> Self {
        Driver {
            vcpu,
            ..self.clone()
        }
    }

    /// The features offered.
    pub fn offered(&self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        let high = u64::from(self.read(reg::DEVICE_FEATURES));
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        high << 32 | u64::from(self.read(reg::DEVICE_FEATURES))
    }

    /// Accepts features; whether the device agrees.
    pub fn accept(&self, features: u64) -> bool {
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (features >> 32) as u32);
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features as u32);
        self.write(reg::STATUS, 1 | 2 | 8);
        self.read(reg::STATUS) & 8 != 0
    }

    /// Resets the device, and waits for that.
    pub fn reset(&self) {
        self.write(reg::STATUS, 0);
    }

    /// Brings the device up with one queue whose rings start at `at` in guest memory.
    pub fn bring_up(&self, without: u64, at: u64) -> Queue {
        self.reset();
        self.write(reg::STATUS, 1);
        self.write(reg::STATUS, 1 | 2);
        let features = self.offered() & !without;
        assert!(self.accept(features));
        let queue = self.set_up_queue(features, at);
        self.write(reg::STATUS, 1 | 2 | 8 | 4);
        // Beyond that, the device may have asked for a reset already.
        assert_eq!(self.read(reg::STATUS) & !64, 15);
        queue
    }

    /// Makes queue 0 ready.
    pub fn set_up_queue(&self, features: u64, at: u64) -> Queue {
        self.write(reg::QUEUE_SEL, 0);
        assert_eq!(self.read(reg::QUEUE_READY), 0);
        let size = self.read(reg::QUEUE_SIZE_MAX).min(64);
        assert_ne!(size, 0);
        let queue = Queue::new(self.clone(), at, size as u16, features);
        self.write(reg::QUEUE_SIZE, size);
        for (low, high, area) in [
            (reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH, queue.desc),
            (reg::QUEUE_DRIVER_LOW, reg::QUEUE_DRIVER_HIGH, queue.avail),
            (reg::QUEUE_DEVICE_LOW, reg::QUEUE_DEVICE_HIGH, queue.used),
        ] {
            let addr = self.addressing.of(area);
            self.write(low, addr as u32);
            self.write(high, (addr >> 32) as u32);
        }
        self.write(reg::QUEUE_READY, 1);
        assert_eq!(self.read(reg::QUEUE_READY), 1);
        queue
    }

    /// Reads and acknowledges the interrupt status.
    pub fn take_interrupt(&self) -> u32 {
        let status = self.read(reg::INTERRUPT_STATUS);
        self.write(reg::INTERRUPT_ACK, status);
        status
    }
}

/// The driver's side of a split virtqueue.
pub struct Queue {
    /// Its driver.
    pub driver: Driver,
    /// Where the descriptor table is.
    pub desc: u64,
    /// Where the available ring is.
    pub avail: u64,
    /// Where the used ring is.
    pub used: u64,
    tables: u64,
    size: u16,
    features: u64,
    next_desc: u16,
    next_avail: u16,
    seen_used: u16,
}

impl Queue {
    fn new(driver: Driver, at: u64, size: u16, features: u64) -> Self {
        // Rings share pages as Linux lets them: the available ring lies right behind the descriptors.
        let avail = at + 16 * u64::from(size);
        let used = at + 0x2000;
        let tables = at + 0x3000;
        driver.guest.write(&vec![0; 0x3000], at);
        Queue {
            driver,
            desc: at,
            avail,
            used,
            tables,
            size,
            features,
            next_desc: 0,
            next_avail: 0,
            seen_used: 0,
        }
    }

    /// A queue of 64 at `at`, left as it is: for drivers that keep no order.
    pub fn adopt(driver: Driver, at: u64) -> Self {
        let guest = Arc::clone(&driver.guest);
        let rings = guest.read(at, 0x3000);
        let mut queue = Queue::new(driver, at, 64, 0);
        guest.write(&rings, at);
        queue.next_avail = guest.observe(queue.avail + 2);
        queue
    }

    /// Whether a feature was agreed on.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Writes a raw descriptor.
    pub fn descriptor(&self, place: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let guest = &self.driver.guest;
        guest.put(addr, place);
        guest.put(len, place + 8);
        guest.put(flags, place + 12);
        guest.put(next, place + 14);
    }

    fn chain(&self, place: u64, first: u16, buffers: &[Buffer]) {
        for (number, buffer) in (0_u16..).zip(buffers) {
            let last = usize::from(number) + 1 == buffers.len();
            let flags = u16::from(!last) | if buffer.writable { 2 } else { 0 };
            let addr = self.driver.addressing.of(buffer.at);
            let index = first + number;
            self.descriptor(
                place + 16 * u64::from(index),
                addr,
                buffer.len,
                flags,
                index + 1,
            );
        }
    }

    /// Makes a request available, by an indirect table if that was negotiated; returns its head.
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let head;
        if self.has(features::INDIRECT) {
            head = self.next_desc % self.size;
            self.next_desc = head + 1;
            let table = self.tables + 0x400 * u64::from(head);
            self.chain(table, 0, buffers);
            let addr = self.driver.addressing.of(table);
            self.descriptor(
                self.desc + 16 * u64::from(head),
                addr,
                16 * buffers.len() as u32,
                4,
                0,
            );
        } else {
            let needed = buffers.len() as u16;
            head = if self.next_desc + needed > self.size {
                0
            } else {
                self.next_desc
            };
            self.next_desc = head + needed;
            self.chain(self.desc, head, buffers);
        }
        self.offer(head);
        head
    }

    /// Puts a head into the available ring.
    pub fn offer(&mut self, head: u16) {
        let guest = &self.driver.guest;
        guest.put(
            head,
            self.avail + 4 + 2 * u64::from(self.next_avail % self.size),
        );
        self.next_avail = self.next_avail.wrapping_add(1);
        guest.publish(self.next_avail, self.avail + 2);
    }

    /// Notifies the device if it wants to be.
    pub fn kick(&self) -> bool {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let guest = &self.driver.guest;
        let wanted = if self.has(features::EVENT_IDX) {
            let event = guest.observe(self.used + 4 + 8 * u64::from(self.size));
            self.next_avail.wrapping_sub(event).wrapping_sub(1) < self.size
        } else {
            guest.observe(self.used) & 1 == 0
        };
        if wanted {
            self.driver.write(reg::QUEUE_NOTIFY, 0);
        }
        wanted
    }

    /// Waits for `count` used elements; gives heads and lengths. `gone` are buffers that must not be mapped any more.
    pub fn wait_used(&mut self, count: u16, gone: &[Buffer]) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for _ in 0..count {
            let guest = Arc::clone(&self.driver.guest);
            let (used, seen) = (self.used, self.seen_used);
            guest.wait_until("a used element", || guest.observe(used + 2) != seen);
            let element = used + 4 + 8 * u64::from(seen % self.size);
            found.push((guest.get(element), guest.get(element + 4)));
            self.seen_used = seen.wrapping_add(1);
            if self.has(features::EVENT_IDX) {
                guest.publish(self.seen_used, self.avail + 4 + 2 * u64::from(self.size));
            }
        }
        if self.driver.addressing == Addressing::Grants {
            for buffer in gone {
                assert!(
                    !self.driver.guest.is_mapped(buffer.at),
                    "a grant is mapped after its request was published"
                );
            }
        }
        found
    }

    /// A disk request whose header and status lie at `at`; gives its status and used length.
    pub fn disk(&mut self, at: u64, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
        let buffers = self.disk_buffers(at, kind, sector, data);
        self.add(&buffers);
        self.kick();
        let used = self.wait_used(1, data);
        (self.driver.guest.get(at + 16), used[0].1)
    }

    /// The buffers of a disk request.
    pub fn disk_buffers(&self, at: u64, kind: u32, sector: u64, data: &[Buffer]) -> Vec<Buffer> {
        let guest = &self.driver.guest;
        guest.put(kind, at);
        guest.put(0_u32, at + 4);
        guest.put(sector, at + 8);
        guest.put(0xff_u8, at + 16);
        let mut buffers = vec![Buffer::readable(at, 16)];
        buffers.extend_from_slice(data);
        buffers.push(Buffer::writable(at + 16, 1));
        buffers
    }
}
