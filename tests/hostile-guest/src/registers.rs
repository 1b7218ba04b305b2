//! The device's registers, through /dev/mem.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Bytes of a register window.
pub(crate) const WINDOW: u64 = 0x200;
const PAGE: u64 = 4096;

/// Offsets (virtio 1.3 §4.2.2).
pub(crate) mod at {
    pub(crate) const MAGIC: u64 = 0x00;
    pub(crate) const VERSION: u64 = 0x04;
    pub(crate) const DEVICE_ID: u64 = 0x08;
    pub(crate) const DEVICE_FEATURES: u64 = 0x10;
    pub(crate) const DEVICE_FEATURES_SEL: u64 = 0x14;
    pub(crate) const DRIVER_FEATURES: u64 = 0x20;
    pub(crate) const DRIVER_FEATURES_SEL: u64 = 0x24;
    pub(crate) const QUEUE_SEL: u64 = 0x30;
    pub(crate) const QUEUE_SIZE: u64 = 0x38;
    pub(crate) const QUEUE_READY: u64 = 0x44;
    pub(crate) const QUEUE_NOTIFY: u64 = 0x50;
    pub(crate) const INTERRUPT_ACK: u64 = 0x64;
    pub(crate) const STATUS: u64 = 0x70;
    pub(crate) const QUEUE_DESC: u64 = 0x80;
    pub(crate) const QUEUE_DRIVER: u64 = 0x90;
    pub(crate) const QUEUE_DEVICE: u64 = 0xa0;
}

/// Registers of some width. `offset` is a multiple of `width`, and below [`WINDOW`].
pub(crate) trait Registers {
    fn read(&mut self, offset: u64, width: u32) -> u64;
    fn write(&mut self, offset: u64, width: u32, value: u64);
}

/// The real ones. Mapped for as long as the program runs.
pub(crate) struct Window {
    start: *mut u8,
}

impl Window {
    pub(crate) fn map(address: u64) -> Result<Self, String> {
        let cannot = |what: &str, error| format!("cannot {what} /dev/mem: {error}");
        // With O_SYNC the kernel maps it as device memory.
        let flags = OFlags::RDWR | OFlags::SYNC | OFlags::CLOEXEC;
        let memory: OwnedFd =
            open("/dev/mem", flags, Mode::empty()).map_err(|error| cannot("open", error))?;
        let base = address & !(PAGE - 1);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe {
            mmap(
                std::ptr::null_mut(),
                PAGE as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &memory,
                base,
            )
        };
        let mapped = mapped.map_err(|error| cannot("map", error))?;
        Ok(Window {
            start: mapped.cast::<u8>().wrapping_add((address - base) as usize),
        })
    }

    fn place(&self, offset: u64, width: u32) -> *mut u8 {
        assert!(offset.is_multiple_of(width.into()) && offset + u64::from(width) <= WINDOW);
        self.start.wrapping_add(offset as usize)
    }
}

impl Registers for Window {
    fn read(&mut self, offset: u64, width: u32) -> u64 {
        let place = self.place(offset, width);
        // SAFETY: `place` lies in the mapped window and is aligned to the width, as just asserted; reads of a device's
        // registers change nothing of this program.
        unsafe {
            match width {
                1 => place.read_volatile().into(),
                2 => place.cast::<u16>().read_volatile().into(),
                4 => place.cast::<u32>().read_volatile().into(),
                _ => place.cast::<u64>().read_volatile(),
            }
        }
    }

    fn write(&mut self, offset: u64, width: u32, value: u64) {
        let place = self.place(offset, width);
        // SAFETY: as above; the device reaches only pages that were granted to it.
        unsafe {
            match width {
                1 => place.write_volatile(value as u8),
                2 => place.cast::<u16>().write_volatile(value as u16),
                4 => place.cast::<u32>().write_volatile(value as u32),
                _ => place.cast::<u64>().write_volatile(value),
            }
        }
    }
}
