//! What a block device is configured with, and its configuration space (virtio 1.3 §5.2.4).

use std::str::FromStr;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout};

/// Bytes of a sector, the unit of every address in virtio-blk.
pub const SECTOR: u64 = 512;

/// Size of each queue, in descriptors. A driver without indirect descriptors has them all in the ring: this is room for
/// 32 requests of 64 KiB in scattered pages and more.
pub const QUEUE_SIZE: u16 = 1024;
/// Most queues of a disk.
pub const MAX_QUEUES: usize = 16;
/// Most data segments of a request: 1 MiB in scattered pages, all but.
pub const SEG_MAX: u32 = 254;
const _: () = assert!(
    SEG_MAX + 2 <= QUEUE_SIZE as u32,
    "header and status need a descriptor each"
);
/// Most sectors of one discard range (1 GiB).
pub const MAX_DISCARD_SECTORS: u32 = 1 << 21;
/// Most sectors of one write-zeroes range (16 MiB): an image that cannot zero ranges gets them written.
pub const MAX_WRITE_ZEROES_SECTORS: u32 = 1 << 15;
/// Most ranges of one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 16;
/// Bytes of the identification string.
pub const SERIAL_LEN: usize = 20;

/// Logical block size the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl BlockSize {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        match self {
            BlockSize::B512 => 512,
            BlockSize::B4096 => 4096,
        }
    }

    /// From bytes; other sizes give `None`.
    pub fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(BlockSize::B512),
            4096 => Some(BlockSize::B4096),
            _ => None,
        }
    }
}

/// How writes reach the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Through the page cache; durable at the guest's flush. The guest may switch to write-through.
    #[default]
    Writeback,
    /// Through the page cache; each write is durable before it completes.
    Writethrough,
    /// Past the page cache (`O_DIRECT`, always by way of private buffers); durable at the guest's flush.
    Direct,
}

/// Number of a disk's queues, 1 to [`MAX_QUEUES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCount(u16);

impl QueueCount {
    /// `None` where a disk cannot have so many.
    pub fn new(count: u16) -> Option<Self> {
        (1..=MAX_QUEUES)
            .contains(&usize::from(count))
            .then_some(QueueCount(count))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for QueueCount {
    fn default() -> Self {
        QueueCount(1)
    }
}

/// Where image I/O runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// What suits the image: past the page cache threads; else io_uring (threads where there is none), but writes on
    /// the queue's own thread.
    #[default]
    Auto,
    /// io_uring for everything but direct I/O; threads where there is none.
    IoUring,
    /// A few threads.
    Threads,
    /// The queue's own thread, one request after the other.
    Inline,
}

impl FromStr for IoEngine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text {
            "auto" => Ok(IoEngine::Auto),
            "io_uring" => Ok(IoEngine::IoUring),
            "threads" => Ok(IoEngine::Threads),
            "inline" => Ok(IoEngine::Inline),
            _ => Err(UnknownEngine(text.into())),
        }
    }
}

/// Not the name of an [`IoEngine`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an I/O engine; use \"auto\", \"io_uring\", \"threads\" or \"inline\"")]
pub struct UnknownEngine(pub String);

/// A block device's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockConfig {
    /// The guest may not write.
    pub readonly: bool,
    /// Logical block size.
    pub block_size: BlockSize,
    /// Cache mode.
    pub cache: Cache,
    /// What the guest reads as the disk's serial number; at most 20 bytes are used.
    pub serial: String,
    /// Number of queues.
    pub queues: QueueCount,
    /// Where image I/O runs.
    pub engine: IoEngine,
}

impl BlockConfig {
    /// The serial number in the form of a GET_ID answer.
    pub(super) fn serial_bytes(&self) -> [u8; SERIAL_LEN] {
        let mut bytes = [0; SERIAL_LEN];
        for (to, from) in bytes.iter_mut().zip(self.serial.bytes()) {
            *to = from;
        }
        bytes
    }
}

/// Offset of [`ConfigSpace::writeback`], the only byte a driver may write.
pub(super) const WRITEBACK_OFFSET: u64 = 32;

/// `struct virtio_blk_config` up to the write-zeroes limits.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ConfigSpace {
    capacity: U64,
    size_max: U32,
    seg_max: U32,
    cylinders: U16,
    heads: u8,
    sectors: u8,
    blk_size: U32,
    physical_block_exp: u8,
    alignment_offset: u8,
    min_io_size: U16,
    opt_io_size: U32,
    writeback: u8,
    unused0: u8,
    num_queues: U16,
    max_discard_sectors: U32,
    max_discard_seg: U32,
    discard_sector_alignment: U32,
    max_write_zeroes_sectors: U32,
    max_write_zeroes_seg: U32,
    write_zeroes_may_unmap: u8,
    unused1: [u8; 3],
}

impl ConfigSpace {
    /// The space of a disk of `sectors` sectors.
    pub(super) fn new(config: &BlockConfig, sectors: u64, writeback: bool) -> Self {
        let block = config.block_size.bytes();
        let sectors_per_block = match config.block_size {
            BlockSize::B512 => 1,
            BlockSize::B4096 => 8,
        };
        ConfigSpace {
            capacity: sectors.into(),
            size_max: 0.into(),
            seg_max: SEG_MAX.into(),
            cylinders: 0.into(),
            heads: 0,
            sectors: 0,
            blk_size: block.into(),
            // An image lies in 4096-byte blocks, whatever the guest is shown.
            physical_block_exp: match config.block_size {
                BlockSize::B512 => 3,
                BlockSize::B4096 => 0,
            },
            alignment_offset: 0,
            min_io_size: match config.block_size {
                BlockSize::B512 => 8.into(),
                BlockSize::B4096 => 1.into(),
            },
            opt_io_size: 0.into(),
            writeback: writeback.into(),
            unused0: 0,
            num_queues: config.queues.get().into(),
            max_discard_sectors: MAX_DISCARD_SECTORS.into(),
            max_discard_seg: MAX_RANGES.into(),
            discard_sector_alignment: sectors_per_block.into(),
            max_write_zeroes_sectors: MAX_WRITE_ZEROES_SECTORS.into(),
            max_write_zeroes_seg: MAX_RANGES.into(),
            write_zeroes_may_unmap: 1,
            unused1: [0; 3],
        }
    }

    /// Reads `data.len()` bytes at `offset`; what lies beyond the space is zero.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let space = self.as_bytes();
        let from = usize::try_from(offset)
            .ok()
            .and_then(|offset| space.get(offset..))
            .unwrap_or_default();
        data.fill(0);
        for (to, from) in data.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_lies_as_the_specification_says() {
        assert_eq!(std::mem::offset_of!(ConfigSpace, seg_max), 12);
        assert_eq!(std::mem::offset_of!(ConfigSpace, blk_size), 20);
        assert_eq!(
            std::mem::offset_of!(ConfigSpace, writeback) as u64,
            WRITEBACK_OFFSET
        );
        assert_eq!(std::mem::offset_of!(ConfigSpace, num_queues), 34);
        assert_eq!(std::mem::offset_of!(ConfigSpace, max_discard_sectors), 36);
        assert_eq!(
            std::mem::offset_of!(ConfigSpace, write_zeroes_may_unmap),
            56
        );
        assert_eq!(size_of::<ConfigSpace>(), 60);
    }

    #[test]
    fn reads_past_the_space_give_zeros() {
        let space = ConfigSpace::new(&BlockConfig::default(), 0x1122_3344, true);
        let mut data = [0xff; 8];
        space.read(0, &mut data);
        assert_eq!(u64::from_le_bytes(data), 0x1122_3344);
        space.read(56, &mut data);
        assert_eq!(data, [1, 0, 0, 0, 0, 0, 0, 0]);
        for offset in [60, 61, u64::from(u32::MAX), u64::MAX] {
            data = [0xff; 8];
            space.read(offset, &mut data);
            assert_eq!(data, [0; 8]);
        }
    }
}
