//! The block device model: features, configuration space, life cycle.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

use super::config::{BlockConfig, Cache, ConfigSpace, MAX_QUEUES, QUEUE_SIZE, WRITEBACK_OFFSET};
use super::handler::BlockQueue;
use super::image::{Image, ImageError};
use super::request::Disk;
use crate::counters::Counters;
use crate::device::{Device, DeviceError, DeviceType, QueueHandler};

/// What a disk's device model and its queues share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: BlockConfig,
    pub(super) image: Image,
    pub(super) counters: Arc<Counters>,
    /// The cache is in write-back mode as far as the driver's choice goes.
    writeback: AtomicBool,
    /// FLUSH was negotiated.
    flush: AtomicBool,
    /// Syncs that failed so far. The kernel tells of a lost write only once per open file, so whoever relies on a sync
    /// must know that none failed meanwhile, on any queue.
    pub(super) failed_syncs: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: BlockConfig, image: Image) -> Self {
        Shared {
            writeback: AtomicBool::new(config.cache != Cache::Writethrough),
            flush: AtomicBool::new(false),
            failed_syncs: AtomicU64::new(0),
            counters: Arc::default(),
            config,
            image,
        }
    }

    /// Whether a write must be durable before it completes (§5.2.5.2, §5.2.6.2).
    pub(super) fn writes_through(&self) -> bool {
        !(self.flush.load(Ordering::Acquire) && self.writeback.load(Ordering::Acquire))
    }
}

/// A disk.
#[derive(Debug)]
pub struct Block {
    shared: Arc<Shared>,
}

/// In the saved state: the second bit means something.
const SAVED_CACHE: u64 = 1 << 0;
/// In the saved state: the cache is in write-back mode.
const SAVED_WRITEBACK: u64 = 1 << 1;

const fn bit(feature: u32) -> u64 {
    1 << feature
}

impl Block {
    /// A disk of `image`, opened as [`super::open_image`] does.
    pub fn new(config: BlockConfig, image: File) -> Result<Self, ImageError> {
        let image = Image::new(image, &config)?;
        Ok(Block::of(config, image))
    }

    pub(super) fn of(config: BlockConfig, image: Image) -> Self {
        Block {
            shared: Arc::new(Shared::new(config, image)),
        }
    }

    /// Size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.shared.image.sectors()
    }

    /// Whether writes are durable before they complete, as things are negotiated now.
    pub fn writes_through(&self) -> bool {
        self.shared.writes_through()
    }

    fn has_cache(&self) -> bool {
        !self.shared.config.readonly && self.shared.config.cache != Cache::Writethrough
    }
}

impl Device for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::BLOCK
    }

    fn features(&self) -> u64 {
        let mut features =
            bit(VIRTIO_BLK_F_SEG_MAX) | bit(VIRTIO_BLK_F_BLK_SIZE) | bit(VIRTIO_BLK_F_TOPOLOGY);
        if self.shared.config.readonly {
            features |= bit(VIRTIO_BLK_F_RO);
        } else {
            features |= bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);
        }
        if self.has_cache() {
            features |= bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE);
        }
        if self.shared.config.queues.get() > 1 {
            features |= bit(VIRTIO_BLK_F_MQ);
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        const SIZES: [u16; MAX_QUEUES] = [QUEUE_SIZE; MAX_QUEUES];
        SIZES
            .get(..usize::from(self.shared.config.queues.get()))
            .unwrap_or_default()
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let writeback = self.has_cache() && self.shared.writeback.load(Ordering::Acquire);
        ConfigSpace::new(&self.shared.config, self.sectors(), writeback).read(offset, data);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        // Only the one byte, written as one byte (§4.2.2.2: accesses have the field's width).
        if let (WRITEBACK_OFFSET, &[value @ (0 | 1)], true) = (offset, data, self.has_cache()) {
            self.shared.writeback.store(value == 1, Ordering::Release);
        }
    }

    fn activate(&self, features: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError> {
        self.shared
            .flush
            .store(features & bit(VIRTIO_BLK_F_FLUSH) != 0, Ordering::Release);
        let disk = Disk {
            sectors: self.sectors(),
            readonly: self.shared.config.readonly,
            discard: features & bit(VIRTIO_BLK_F_DISCARD) != 0,
            write_zeroes: features & bit(VIRTIO_BLK_F_WRITE_ZEROES) != 0,
        };
        let queue =
            |_| Box::new(BlockQueue::new(Arc::clone(&self.shared), disk)) as Box<dyn QueueHandler>;
        Ok(self.queue_sizes().iter().map(queue).collect())
    }

    fn reset(&self) {
        self.shared.flush.store(false, Ordering::Release);
        self.shared.writeback.store(
            self.shared.config.cache != Cache::Writethrough,
            Ordering::Release,
        );
    }

    fn saved_state(&self) -> u64 {
        if !self.has_cache() {
            return 0;
        }
        match self.shared.writeback.load(Ordering::Acquire) {
            true => SAVED_CACHE | SAVED_WRITEBACK,
            false => SAVED_CACHE,
        }
    }

    fn restore_state(&self, state: u64) {
        if self.has_cache() && state & SAVED_CACHE != 0 {
            self.shared
                .writeback
                .store(state & SAVED_WRITEBACK != 0, Ordering::Release);
        }
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }
}
