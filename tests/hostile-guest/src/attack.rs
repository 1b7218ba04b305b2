//! What the driver does: everything wrong, and in the end everything right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::pages::{Pages, page};
use crate::random::Random;
use crate::registers::{Registers, WINDOW, at};
use crate::rings::{Descriptor, Rings, SIZE, chain, flag};

const IN: u32 = 0;
const OUT: u32 = 1;
/// Longest wait for a request that behaves.
const PATIENCE: Duration = Duration::from_secs(30);

/// The driver.
pub(crate) struct Driver<'a> {
    registers: &'a mut dyn Registers,
    pages: &'a mut dyn Pages,
    random: Random,
    rings: Rings,
    counts: BTreeMap<&'static str, u64>,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        registers: &'a mut dyn Registers,
        pages: &'a mut dyn Pages,
        seed: u64,
    ) -> Self {
        Driver {
            registers,
            pages,
            random: Random::new(seed),
            rings: Rings::default(),
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn operations(&self) -> u64 {
        let kinds = ["accesses", "descriptors", "rings", "payload", "pages"];
        let counts = kinds.iter().filter_map(|kind| self.counts.get(kind));
        counts.sum()
    }

    /// What was done, by kind.
    pub(crate) fn figures(&self, served: u64) -> BTreeMap<&'static str, u64> {
        let mut figures = self.counts.clone();
        figures.insert("operations", self.operations());
        figures.insert("served", served);
        figures
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.count("accesses");
        self.registers.read(offset, 4) as u32
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.count("accesses");
        self.registers.write(offset, 4, value.into());
    }

    fn descriptor(&mut self, number: usize, entry: usize, descriptor: Descriptor) {
        self.count("descriptors");
        self.pages
            .write(number, 16 * (entry % 256), &descriptor.bytes());
    }

    /// It is a virtio disk.
    pub(crate) fn identify(&mut self) -> Result<(), String> {
        let seen = [at::MAGIC, at::VERSION, at::DEVICE_ID].map(|offset| self.read(offset));
        if seen == [0x7472_6976, 2, 2] {
            Ok(())
        } else {
            Err(format!("no virtio disk is there, but {seen:x?}"))
        }
    }

    /// Resets the device.
    pub(crate) fn reset(&mut self) {
        self.write(at::STATUS, 0);
    }

    /// As a driver that behaves does it; true when the device runs.
    fn bring_up(&mut self, without: u64) -> bool {
        for status in [0, 1, 3] {
            self.write(at::STATUS, status);
        }
        for half in [0, 1] {
            self.write(at::DEVICE_FEATURES_SEL, half);
            let offered = self.read(at::DEVICE_FEATURES);
            self.write(at::DRIVER_FEATURES_SEL, half);
            // Interrupts by flags, not by indices: nobody listens to them here.
            let without = (without | 1 << 29) >> (32 * half);
            self.write(at::DRIVER_FEATURES, offered & !(without as u32));
        }
        self.write(at::STATUS, 11);
        self.rings.clear(self.pages);
        self.write(at::QUEUE_SEL, 0);
        self.write(at::QUEUE_SIZE, SIZE.into());
        for (register, number) in [
            (at::QUEUE_DESC, page::DESC),
            (at::QUEUE_DRIVER, page::AVAIL),
            (at::QUEUE_DEVICE, page::USED),
        ] {
            let addr = self.pages.addr(number);
            self.write(register, addr as u32);
            self.write(register + 4, (addr >> 32) as u32);
        }
        self.write(at::QUEUE_READY, 1);
        self.write(at::STATUS, 15);
        self.read(at::STATUS) == 15
    }

    /// The buffers of a request whose header and status are in header page `number`.
    fn request(
        &mut self,
        number: usize,
        kind: u32,
        sector: u64,
        data: &[usize],
    ) -> Vec<(u64, u32, u16)> {
        self.count("payload");
        let number = page::HEADERS.start + number % page::HEADERS.len();
        let mut header = [0; 17];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        header[16] = 0xee;
        self.pages.write(number, 0, &header);
        let at = self.pages.addr(number);
        let direction = if kind == OUT { 0 } else { flag::WRITE };
        let mut buffers = vec![(at, 16, 0)];
        buffers.extend(
            data.iter()
                .map(|&data| (self.pages.addr(data), 4096, direction)),
        );
        buffers.push((at + 16, 1, flag::WRITE));
        buffers
    }

    /// Does at least `operations` operations.
    pub(crate) fn attack(&mut self, operations: u64) {
        let end = self.operations().saturating_add(operations);
        while self.operations() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..=4 => {
                let (number, entry) = (
                    self.random.pick(&[page::DESC, page::DESC, page::TABLES]),
                    self.random.below(16) as usize,
                );
                let descriptor = self.any_descriptor();
                self.descriptor(number, entry, descriptor);
            }
            5..=9 => self.nearly_right(),
            10 => {
                let head = self.random.below(260) as u16;
                self.offer(head);
            }
            11 => {
                let index = self.random.pick(&[0, 1, 63, 64, 65, 0x8000, 0xffff]);
                self.count("rings");
                self.rings.publish(self.pages, index);
            }
            12..=13 => self.any_access(),
            14 => {
                let offset = 4 * self.random.below(0x40);
                let value = self.any_value(offset);
                self.write(offset, value);
            }
            15 => {
                let queue = self.random.pick(&[0, 0, 0, 1, 0xffff, 0x1_0000]);
                for _ in 0..self.random.below(16) {
                    self.write(at::QUEUE_NOTIFY, queue);
                }
            }
            16 => {
                let number = self.random.below(page::REVOKED.start as u64) as usize;
                self.count("pages");
                self.pages.renew(number);
            }
            17 => {
                let bytes = self.random.any().to_le_bytes();
                let number = self.random.below(8) as usize;
                let offset = 8 * self.random.below(512) as usize;
                self.count("payload");
                self.pages.write(number, offset, &bytes);
            }
            18 => {
                let bits = self.random.below(4) as u32;
                self.write(at::INTERRUPT_ACK, bits);
            }
            19 => {
                if self.random.once_in(4) {
                    self.write(at::QUEUE_READY, 0);
                }
            }
            _ => {
                if self.random.once_in(6) || self.needs_reset() {
                    let without = self.random.pick(&[0, 0, 1 << 28, 1 << 32, 1 << 33]);
                    self.bring_up(without);
                }
            }
        }
    }

    fn needs_reset(&mut self) -> bool {
        let needed = self.read(at::STATUS) & 64 != 0;
        if needed {
            self.count("resets_needed");
        }
        needed
    }

    fn offer(&mut self, head: u16) {
        self.count("rings");
        self.rings.offer(self.pages, head);
    }

    fn any_address(&mut self) -> u64 {
        let number = self.random.below(page::COUNT as u64) as usize;
        let good = self.pages.addr(number);
        match self.random.below(8) {
            0 => self.random.any(),
            1 => u64::MAX - self.random.below(0x2000),
            2 => good & !(1 << 63),
            3 => good + (1 << 44),
            _ => good + self.random.below(4096),
        }
    }

    fn any_descriptor(&mut self) -> Descriptor {
        Descriptor {
            addr: self.any_address(),
            len: match self.random.below(8) {
                0 => self.random.any() as u32,
                1 => 0,
                2 => u32::MAX,
                3 => 16,
                _ => 512 << self.random.below(4),
            },
            flags: self.random.pick(&[0, 1, 2, 3, 1, 3, 4, 5, 6, 7, 0xffff]),
            next: self.random.pick(&[0, 1, 2, 3, 4, 63, 64, 255, 0xffff]),
        }
    }

    /// A request that is right, or has one thing changed.
    fn nearly_right(&mut self) {
        let number = self.random.below(4) as usize;
        let kind = self.random.pick(&[IN, OUT, IN, OUT, 4, 8, 11, 13, 99]);
        let sector = self.random.pick(&[0, 8, 64, 1 << 20, u64::MAX]);
        let data: Vec<usize> = (0..self.random.below(8))
            .map(|_| {
                page::DATA.start
                    + self.random.below((page::COUNT - page::DATA.start) as u64) as usize
            })
            .collect();
        let mut buffers = self.request(number, kind, sector, &data);
        let at = self.random.below(buffers.len() as u64) as usize;
        match self.random.below(10) {
            0 => buffers[at].0 = self.any_address(),
            1 => buffers[at].1 = self.any_descriptor().len,
            2 => buffers[at].2 ^= self.random.pick(&[flag::WRITE, flag::INDIRECT]),
            3 => drop(buffers.pop()),
            _ => {}
        }
        let head = self.random.below(u64::from(SIZE) - 10) as u16;
        if self.random.once_in(2) {
            for (entry, descriptor) in chain(0, &buffers).into_iter().enumerate() {
                self.descriptor(page::TABLES, 16 * number + entry, descriptor);
            }
            let table = Descriptor {
                addr: self.pages.addr(page::TABLES) + 256 * number as u64,
                len: 16 * buffers.len() as u32,
                flags: flag::INDIRECT,
                next: 0,
            };
            self.descriptor(page::DESC, head.into(), table);
        } else {
            for (entry, descriptor) in chain(head, &buffers).into_iter().enumerate() {
                self.descriptor(page::DESC, usize::from(head) + entry, descriptor);
            }
        }
        self.offer(head);
        if !self.random.once_in(4) {
            self.write(at::QUEUE_NOTIFY, 0);
        }
    }

    fn any_value(&mut self, offset: u64) -> u32 {
        if (at::QUEUE_DESC..at::QUEUE_DEVICE + 8).contains(&offset) && !self.random.once_in(4) {
            let addr = self.pages.addr(self.random.below(8) as usize);
            return if offset & 4 == 0 {
                addr as u32
            } else {
                (addr >> 32) as u32
            };
        }
        match self.random.below(4) {
            0 => self.random.any() as u32,
            1 => self.random.pick(&[0, 3, 64, 128, 255, 256, 257, u32::MAX]),
            _ => self.random.below(16) as u32,
        }
    }

    /// Any offset and width that this processor lets through: device memory wants aligned accesses.
    fn any_access(&mut self) {
        let width = self.random.pick(&[1, 2, 4, 8]);
        let offset = self.random.below(WINDOW / u64::from(width)) * u64::from(width);
        self.count("accesses");
        if self.random.once_in(2) {
            self.registers.read(offset, width);
        } else {
            let value = self.any_value(offset).into();
            self.registers.write(offset, width, value);
        }
    }

    /// A driver that behaves is served: what it writes it reads again. Gives the number of requests.
    pub(crate) fn prove(&mut self) -> Result<u64, String> {
        // Whatever was given away is granted again.
        for number in 0..page::READ_ONLY.start {
            self.pages.renew(number);
        }
        if !self.bring_up(0) {
            return Err("after a reset the device does not come up".into());
        }
        let mut served = 0;
        for round in 0..16_u64 {
            let (from, to) = (page::DATA.start, page::DATA.start + 1);
            let bytes: Vec<u8> = (0..4096).map(|n| (n ^ (round * 37)) as u8).collect();
            self.pages.write(from, 0, &bytes);
            self.serve(OUT, 8 * round, from)?;
            self.serve(IN, 8 * round, to)?;
            let mut read = vec![0; 4096];
            self.pages.read(to, 0, &mut read);
            if read != bytes {
                return Err(format!(
                    "request {round}: something else was read than was written"
                ));
            }
            served += 2;
        }
        Ok(served)
    }

    fn serve(&mut self, kind: u32, sector: u64, data: usize) -> Result<(), String> {
        let buffers = self.request(0, kind, sector, &[data]);
        for (entry, descriptor) in chain(0, &buffers).into_iter().enumerate() {
            self.descriptor(page::DESC, entry, descriptor);
        }
        self.offer(0);
        self.write(at::QUEUE_NOTIFY, 0);
        let until = Instant::now() + PATIENCE;
        while !self.rings.take_used(self.pages) {
            if Instant::now() > until {
                let status = self.read(at::STATUS);
                return Err(format!(
                    "a proper request was not answered; status {status:#x}"
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut status = [0];
        self.pages.read(page::HEADERS.start, 16, &mut status);
        match status {
            [0] => Ok(()),
            [status] => Err(format!("a proper request ended with status {status}")),
        }
    }
}

#[cfg(test)]
mod tests;
