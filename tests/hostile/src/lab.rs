//! A driver's hands: registers, rings and pages of one [`Machine`], every touch of them counted as an operation.

use std::time::Duration;

use transport_xen::fake::{Addressing, FakeGuest, mmio, registers as reg};
use vm_memory::ByteValued;
use xen::{Ioreq, IoreqKind};

use crate::counts::Counts;
use crate::machine::{BASE, IRQ, Machine, VCPUS};

/// Pages that no descriptor ever names; their contents never change.
pub const BYSTANDER: std::ops::Range<u64> = 0..0x1_0000;
/// Where rings and indirect tables lie.
pub const RINGS: u64 = 0x1_0000;
/// Where indirect tables lie.
pub const TABLES: u64 = 0x2_0000;
/// Where headers and statuses lie, a page each.
pub const HEADERS: u64 = 0x10_0000;
/// Where data lie.
pub const DATA: u64 = 0x20_0000;
/// Bytes of data.
pub const DATA_LEN: u64 = 0x1c0_0000;

/// Longest wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of descriptors.
pub mod flag {
    /// Another descriptor follows.
    pub const NEXT: u16 = 1;
    /// The device writes.
    pub const WRITE: u16 = 2;
    /// The descriptor names a table.
    pub const INDIRECT: u16 = 4;
}

/// A descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// See [`flag`].
    pub flags: u16,
    /// The next one.
    pub next: u16,
}

/// Where a queue's areas are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Descriptors.
    pub size: u32,
    /// Descriptor table.
    pub desc: u64,
    /// Available ring.
    pub avail: u64,
    /// Used ring.
    pub used: u64,
}

impl Layout {
    /// Each area in a page of its own.
    pub fn of_size(size: u32) -> Self {
        Layout {
            size,
            desc: RINGS,
            avail: RINGS + 0x1000,
            used: RINGS + 0x2000,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the used ring, with this status.
    Status(u8),
    /// The device needs a reset.
    NeedsReset,
    /// Neither came in time.
    Nothing,
}

/// The driver.
pub struct Lab<'m> {
    /// What it attacks.
    pub machine: &'m Machine,
    /// What it did.
    pub counts: Counts,
    /// Its queue.
    pub layout: Layout,
    pending: Vec<Ioreq>,
    /// An access was not answered: everything ends.
    pub stuck: bool,
    avail: u16,
    used: u16,
}

impl<'m> Lab<'m> {
    /// A driver of `machine`.
    pub fn new(machine: &'m Machine) -> Self {
        Lab {
            machine,
            counts: Counts::default(),
            layout: Layout::of_size(64),
            pending: Vec::with_capacity(VCPUS),
            stuck: false,
            avail: 0,
            used: 0,
        }
    }

    /// The guest.
    pub fn guest(&self) -> &'m FakeGuest {
        &self.machine.guest
    }

    /// The device's address of the guest's byte `at`.
    pub fn addr(&self, at: u64) -> u64 {
        self.machine.addressing().of(at)
    }

    /// Whether grants are in use.
    pub fn has_grants(&self) -> bool {
        self.machine.addressing() == Addressing::Grants
    }

    /// Makes an access together with others, soon.
    pub fn access(&mut self, request: Ioreq) {
        self.pending.push(request);
        if self.pending.len() == VCPUS {
            self.flush();
        }
    }

    /// Makes all accesses that are waiting; gives their answers.
    pub fn flush(&mut self) -> Vec<u64> {
        if self.pending.is_empty() || self.stuck {
            self.pending.clear();
            return Vec::new();
        }
        self.counts.accesses += self.pending.len() as u64;
        self.machine.vcpus.start_all(&self.pending);
        let answers = self.machine.vcpus.finish_all(self.pending.len(), PATIENCE);
        self.pending.clear();
        self.stuck = answers.is_none();
        answers.unwrap_or_default()
    }

    /// An access and its answer.
    pub fn ask(&mut self, request: Ioreq) -> u64 {
        self.flush();
        self.pending.push(request);
        self.flush().pop().unwrap_or(u64::MAX)
    }

    /// Writes a register, soon.
    pub fn write(&mut self, offset: u64, value: u32) {
        self.access(mmio(BASE + offset, 4, Some(value.into())));
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u64) -> u32 {
        self.ask(mmio(BASE + offset, 4, None)) as u32
    }

    /// The status register.
    pub fn status(&mut self) -> u32 {
        self.read(reg::STATUS)
    }

    /// Writes to memory; `count` is of the kind it is.
    pub fn put<T: ByteValued>(&mut self, value: T, at: u64) {
        self.guest().put(value, at);
        self.counts.payload += 1;
    }

    /// Writes a descriptor.
    pub fn descriptor(&mut self, at: u64, descriptor: Descriptor) {
        let Descriptor {
            addr,
            len,
            flags,
            next,
        } = descriptor;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.guest().write(&bytes, at);
        self.counts.descriptors += 1;
    }

    /// Does something to a page.
    pub fn page(&mut self, deed: fn(&FakeGuest, u64), at: u64) {
        deed(self.guest(), at);
        self.counts.pages += 1;
    }

    /// Waits until the engine serves: accesses that come while it starts may be taken in any order.
    pub fn settle_in(&mut self) {
        for _ in 0..2 {
            self.status();
        }
    }

    /// What Xen asks for when the guest's memory map has changed: to forget mappings.
    pub fn forget(&mut self) {
        self.ask(Ioreq {
            kind: IoreqKind::Invalidate,
            ..mmio(u64::MAX, 4, Some(u64::MAX))
        });
    }

    /// Resets, waits for that, and says that there is a driver.
    pub fn restart(&mut self) {
        self.write(reg::STATUS, 0);
        // What comes during a reset has no meaning.
        self.flush();
        for status in [1, 3] {
            self.write(reg::STATUS, status);
        }
    }

    /// Resets, and accepts all features but `without`; true if the device agreed.
    pub fn negotiate(&mut self, without: u64) -> bool {
        self.restart();
        let features = self.offered() & !without;
        self.accept(features)
    }

    /// The features offered.
    pub fn offered(&mut self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        let high = u64::from(self.read(reg::DEVICE_FEATURES));
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        high << 32 | u64::from(self.read(reg::DEVICE_FEATURES))
    }

    /// Accepts features; true if the device agreed.
    pub fn accept(&mut self, features: u64) -> bool {
        for half in [0, 1] {
            self.write(reg::DRIVER_FEATURES_SEL, half);
            self.write(reg::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.write(reg::STATUS, 11);
        self.status() & 8 != 0
    }

    /// Writes all registers of queue 0 and clears its rings; does not make it ready.
    pub fn place(&mut self, layout: Layout) {
        self.layout = layout;
        (self.avail, self.used) = (0, 0);
        for (at, len) in [
            (layout.desc, 0x1000),
            (layout.avail, 6 + 2 * 256),
            (layout.used, 6 + 8 * 256),
        ] {
            self.guest().write(&vec![0; len], at);
        }
        self.write(reg::QUEUE_SEL, 0);
        self.write(reg::QUEUE_SIZE, layout.size);
        self.address(reg::QUEUE_DESC_LOW, self.addr(layout.desc));
        self.address(reg::QUEUE_DRIVER_LOW, self.addr(layout.avail));
        self.address(reg::QUEUE_DEVICE_LOW, self.addr(layout.used));
    }

    /// Writes both halves of an address.
    pub fn address(&mut self, low: u64, addr: u64) {
        self.write(low, addr as u32);
        self.write(low + 4, (addr >> 32) as u32);
    }

    /// Brings the device up as a driver that behaves does. Without [`Layout`] trouble it runs afterwards.
    pub fn bring_up(&mut self, without: u64, layout: Layout) -> Result<(), String> {
        if !self.negotiate(without) {
            return Err("the device refused its own features".into());
        }
        self.place(layout);
        self.write(reg::QUEUE_READY, 1);
        self.write(reg::STATUS, 15);
        match self.status() {
            15 => Ok(()),
            status => Err(format!("status {status:#x} after a proper start")),
        }
    }

    /// Puts a head into the available ring.
    pub fn offer(&mut self, head: u16) {
        let entry = u64::from(self.avail) % u64::from(self.layout.size.max(1));
        self.guest().put(head, self.layout.avail + 4 + 2 * entry);
        self.avail = self.avail.wrapping_add(1);
        self.publish(self.avail);
    }

    /// Sets the available ring's index.
    pub fn publish(&mut self, index: u16) {
        self.avail = index;
        self.guest().publish(index, self.layout.avail + 2);
        // Interrupt for the next used element, if event indices are in use.
        let event = self.layout.avail + 4 + 2 * u64::from(self.layout.size);
        if event + 2 <= RINGS + 0x1_0000 {
            self.guest().publish(self.used, event);
        }
        self.counts.rings += 2;
    }

    /// A request's header; its status byte is set to nonsense.
    pub fn header(&mut self, number: u64, kind: u32, sector: u64) -> u64 {
        let at = HEADERS + 0x1000 * number;
        self.put(kind, at);
        self.put(sector, at + 8);
        self.put(0xee_u8, at + 16);
        at
    }

    /// Writes a chain of descriptors into table `at` from entry `first` on, each linked to the next.
    pub fn chain(&mut self, at: u64, first: u16, buffers: &[(u64, u32, u16)]) {
        for (number, &(addr, len, flags)) in buffers.iter().enumerate() {
            let index = first + number as u16;
            let more = if number + 1 < buffers.len() {
                flag::NEXT
            } else {
                0
            };
            let descriptor = Descriptor {
                addr,
                len,
                flags: flags | more,
                next: index + 1,
            };
            self.descriptor(at + 16 * u64::from(index), descriptor);
        }
    }

    /// The buffers of a disk request whose data are `data`.
    pub fn buffers(
        &mut self,
        number: u64,
        kind: u32,
        sector: u64,
        data: &[(u64, u32)],
    ) -> Vec<(u64, u32, u16)> {
        let header = self.header(number, kind, sector);
        let direction = if kind == crate::trials::IN || kind == crate::trials::GET_ID {
            flag::WRITE
        } else {
            0
        };
        let mut buffers = vec![(self.addr(header), 16, 0)];
        buffers.extend(data.iter().map(|&(addr, len)| (addr, len, direction)));
        buffers.push((self.addr(header) + 16, 1, flag::WRITE));
        buffers
    }

    /// Offers the chain that starts at descriptor 0, notifies, and waits for its end.
    pub fn submit(&mut self) -> Verdict {
        self.offer(0);
        self.kick();
        self.verdict(0)
    }

    /// Notifies queue 0, now.
    pub fn kick(&mut self) {
        self.write(reg::QUEUE_NOTIFY, 0);
        self.flush();
    }

    /// How the next request ends; its header is number `number`.
    pub fn verdict(&mut self, number: u64) -> Verdict {
        let guest = self.guest();
        let (used, seen) = (self.layout.used + 2, self.used);
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let interrupts = guest.interrupts(IRQ);
            if guest.observe(used) != seen {
                self.used = seen.wrapping_add(1);
                return Verdict::Status(guest.get(HEADERS + 0x1000 * number + 16));
            }
            if self.status() & 64 != 0 {
                return Verdict::NeedsReset;
            }
            if self.stuck || std::time::Instant::now() > deadline {
                return Verdict::Nothing;
            }
            let limit = Duration::from_millis(200);
            guest.wait_interrupt(IRQ, interrupts, limit, || guest.observe(used) != seen);
        }
    }

    /// Length in the used element that was found last.
    pub fn used_len(&self) -> u32 {
        let entry = u64::from(self.used.wrapping_sub(1)) % u64::from(self.layout.size);
        self.guest().get(self.layout.used + 8 + 8 * entry)
    }

    /// A disk request from descriptor 0 on, and how it ends.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32)]) -> Verdict {
        let buffers = self.buffers(0, kind, sector, data);
        self.chain(self.layout.desc, 0, &buffers);
        self.submit()
    }
}
