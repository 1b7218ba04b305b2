//! Descriptor chains, read once.
//!
//! A hostile driver can rewrite descriptors while they are read, so nothing here is read twice: [`walk`] fetches each
//! 16-byte descriptor with one access, checks it, and keeps a private copy. An indirect table is fetched whole by the
//! caller ([`TablePending`]), which lets it fetch the tables of many chains in one operation. What comes out, a
//! [`Chain`], holds only lengths and addresses that cannot overflow, readable segments before writable ones, and is
//! bounded in number and bytes. Whether an address can be reached is the memory model's matter.
//!
//! virtio-queue's own chain iterator is not used: it ends silently on errors and reads descriptors again for each view.
//! Rules: virtio 1.3 §2.7.5 (descriptor table), §2.7.5.3 (indirect descriptors).

use smallvec::SmallVec;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use crate::refusal::refused;

/// Size of a descriptor in bytes (`struct virtq_desc`).
pub const DESCRIPTOR_SIZE: usize = 16;

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// A piece of guest memory. Not empty; its end does not overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
}

/// Segments of one transfer; requests of up to 18 need no allocation.
pub type Segments = SmallVec<[Segment; 18]>;

/// What a chain may be at most.
#[derive(Clone, Copy, Debug)]
pub struct ChainLimits {
    /// Size of the queue: bounds the descriptors in the ring's own table.
    pub queue_size: u16,
    /// Bounds the entries of an indirect table, and the segments in all.
    pub max_segments: u16,
    /// Bounds the bytes of all segments.
    pub max_bytes: u32,
    /// VIRTIO_F_INDIRECT_DESC was negotiated.
    pub indirect: bool,
}

/// Why a chain is no chain. The request cannot be answered then: nobody knows where its status would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A head or `next` beyond the table.
    #[error("descriptor {index} is beyond the table of {size}")]
    Index {
        /// The index.
        index: u16,
        /// Entries of the table.
        size: u16,
    },
    /// More descriptors than the table has (a loop), or more than allowed.
    #[error("more than {0} descriptors in a chain")]
    TooLong(u16),
    /// A buffer of no bytes.
    #[error("a descriptor has length 0")]
    Empty,
    /// Address plus length overflow.
    #[error("a buffer at {addr:#x} of {len} bytes wraps around")]
    Wraps {
        /// Address.
        addr: u64,
        /// Length.
        len: u32,
    },
    /// More bytes than allowed.
    #[error("a chain of more than {0} bytes")]
    TooBig(u32),
    /// A device-readable buffer after a device-writable one.
    #[error("a readable buffer after a writable one")]
    Order,
    /// Indirect without having negotiated it.
    #[error("an indirect descriptor although the feature was not negotiated")]
    NotNegotiated,
    /// An indirect descriptor that continues.
    #[error("an indirect descriptor with a next one")]
    IndirectNext,
    /// An indirect descriptor within an indirect table.
    #[error("an indirect descriptor in an indirect table")]
    Nested,
    /// The table's length is 0 or no multiple of 16, or it has too many entries.
    #[error("an indirect table of {0} bytes")]
    TableLength(u32),
    /// The ring itself could not be read.
    #[error("the descriptor table cannot be read")]
    Unreadable,
}

/// A request's buffers: private, validated, final.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    head: u16,
    segments: Segments,
    /// Index of the first writable segment.
    split: usize,
    readable_len: u32,
    writable_len: u32,
}

impl Chain {
    /// Index of the chain's first descriptor: its name in the used ring.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the device may read.
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.split).unwrap_or_default()
    }

    /// What the device may write.
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.split..).unwrap_or_default()
    }

    /// Bytes of [`Chain::readable`].
    pub fn readable_len(&self) -> u32 {
        self.readable_len
    }

    /// Bytes of [`Chain::writable`].
    pub fn writable_len(&self) -> u32 {
        self.writable_len
    }

    /// Bytes of both.
    pub fn bytes(&self) -> u64 {
        u64::from(self.readable_len).saturating_add(self.writable_len.into())
    }
}

/// Bytes in `segments`.
pub fn total_len(segments: &[Segment]) -> u64 {
    segments
        .iter()
        .fold(0, |sum, segment| sum.saturating_add(u64::from(segment.len)))
}

/// The part of `segments` that starts `skip` bytes in and is `take` bytes long, or what there is of it.
pub fn slice_segments(segments: &[Segment], skip: u64, take: u64) -> Segments {
    let mut part = Segments::new();
    let (mut skip, mut take) = (skip, take);
    for segment in segments {
        if take == 0 {
            break;
        }
        let len = u64::from(segment.len);
        if skip >= len {
            skip = skip.saturating_sub(len);
            continue;
        }
        let now = len.saturating_sub(skip).min(take);
        // `now` is at most a segment's length, and `skip` lies within the segment, whose end does not overflow.
        if let (Ok(now_len), Some(addr)) = (u32::try_from(now), segment.addr.checked_add(skip)) {
            part.push(Segment { addr, len: now_len });
        }
        skip = 0;
        take = take.saturating_sub(now);
    }
    part
}

/// A descriptor's private copy.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn parse(bytes: &[u8; DESCRIPTOR_SIZE]) -> Self {
        let [
            a0,
            a1,
            a2,
            a3,
            a4,
            a5,
            a6,
            a7,
            l0,
            l1,
            l2,
            l3,
            f0,
            f1,
            n0,
            n1,
        ] = *bytes;
        Descriptor {
            addr: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }
}

/// A chain under construction.
#[derive(Debug)]
struct Builder {
    chain: Chain,
    limits: ChainLimits,
}

impl Builder {
    fn new(head: u16, limits: &ChainLimits) -> Self {
        let chain = Chain {
            head,
            segments: Segments::new(),
            split: 0,
            readable_len: 0,
            writable_len: 0,
        };
        Builder {
            chain,
            limits: *limits,
        }
    }

    fn push(&mut self, descriptor: &Descriptor) -> Result<(), ChainError> {
        let Descriptor {
            addr, len, flags, ..
        } = *descriptor;
        let chain = &mut self.chain;
        if chain.segments.len() >= usize::from(self.limits.max_segments) {
            let error = ChainError::TooLong(self.limits.max_segments);
            return Err(refused("chain: more segments than allowed", error));
        }
        if len == 0 {
            return Err(refused("chain: a buffer of no bytes", ChainError::Empty));
        }
        if addr.checked_add(u64::from(len)).is_none() {
            return Err(refused(
                "chain: a buffer wraps around",
                ChainError::Wraps { addr, len },
            ));
        }
        let too_big = ChainError::TooBig(self.limits.max_bytes);
        let total = u64::from(chain.readable_len)
            .saturating_add(u64::from(chain.writable_len))
            .saturating_add(u64::from(len));
        if total > u64::from(self.limits.max_bytes) {
            return Err(refused("chain: more bytes than allowed", too_big));
        }
        if flags & WRITE != 0 {
            chain.writable_len = chain.writable_len.checked_add(len).ok_or(too_big)?;
        } else if chain.split < chain.segments.len() {
            return Err(refused("chain: readable after writable", ChainError::Order));
        } else {
            chain.readable_len = chain.readable_len.checked_add(len).ok_or(too_big)?;
            chain.split = chain.split.saturating_add(1);
        }
        chain.segments.push(Segment { addr, len });
        Ok(())
    }
}

/// What a walk through the ring's own table gives.
#[derive(Debug)]
pub enum Walk {
    /// The whole chain.
    Whole(Chain),
    /// The chain goes on in an indirect table, which is to be fetched.
    Table(TablePending),
}

/// A chain whose indirect table has not been read yet.
#[derive(Debug)]
pub struct TablePending {
    builder: Builder,
    table: Segment,
    entries: u16,
}

impl TablePending {
    /// Where the table is; at most `max_segments` × 16 bytes.
    pub fn table(&self) -> Segment {
        self.table
    }

    /// Completes the chain with a private copy of the table.
    pub fn finish(self, table: &[u8]) -> Result<Chain, ChainError> {
        let mut builder = self.builder;
        let wrong = ChainError::TableLength(self.table.len);
        let (descriptors, rest) = table.as_chunks::<DESCRIPTOR_SIZE>();
        if !rest.is_empty() || descriptors.len() != usize::from(self.entries) {
            return Err(refused("chain: an indirect table cut short", wrong));
        }
        let mut index = 0;
        for _ in 0..self.entries {
            let bytes = descriptors
                .get(usize::from(index))
                .ok_or(ChainError::Index {
                    index,
                    size: self.entries,
                })
                .map_err(|error| refused("chain: next beyond an indirect table", error))?;
            let descriptor = Descriptor::parse(bytes);
            if descriptor.flags & INDIRECT != 0 {
                return Err(refused("chain: nested indirect table", ChainError::Nested));
            }
            builder.push(&descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(builder.chain);
            }
            index = descriptor.next;
        }
        let error = ChainError::TooLong(self.entries);
        Err(refused("chain: a loop in an indirect table", error))
    }
}

/// Reads the chain that starts at `head` from the descriptor table at `table` in `ring`.
pub fn walk<M: GuestMemory>(
    ring: &M,
    table: GuestAddress,
    head: u16,
    limits: &ChainLimits,
) -> Result<Walk, ChainError> {
    let mut builder = Builder::new(head, limits);
    let mut index = head;
    for _ in 0..limits.queue_size {
        if index >= limits.queue_size {
            let error = ChainError::Index {
                index,
                size: limits.queue_size,
            };
            return Err(refused("chain: index beyond the ring's table", error));
        }
        let offset = u64::from(index).saturating_mul(DESCRIPTOR_SIZE as u64);
        let addr = table.0.checked_add(offset).ok_or(ChainError::Unreadable)?;
        let mut bytes = [0; DESCRIPTOR_SIZE];
        ring.read_slice(&mut bytes, GuestAddress(addr))
            .map_err(|_| refused("chain: a ring's table unreadable", ChainError::Unreadable))?;
        let descriptor = Descriptor::parse(&bytes);
        if descriptor.flags & INDIRECT != 0 {
            return indirect(builder, &descriptor).map(Walk::Table);
        }
        builder.push(&descriptor)?;
        if descriptor.flags & NEXT == 0 {
            return Ok(Walk::Whole(builder.chain));
        }
        index = descriptor.next;
    }
    let error = ChainError::TooLong(limits.queue_size);
    Err(refused("chain: a loop in the ring's table", error))
}

/// Checks a descriptor that refers to a table. Its WRITE flag means nothing (§2.7.5.3.2).
fn indirect(builder: Builder, descriptor: &Descriptor) -> Result<TablePending, ChainError> {
    let Descriptor {
        addr, len, flags, ..
    } = *descriptor;
    if !builder.limits.indirect {
        let error = ChainError::NotNegotiated;
        return Err(refused("chain: indirect without negotiation", error));
    }
    if flags & NEXT != 0 {
        let error = ChainError::IndirectNext;
        return Err(refused("chain: indirect with a next", error));
    }
    let size = DESCRIPTOR_SIZE as u32;
    let entries = len.checked_div(size).unwrap_or_default();
    let entries = u16::try_from(entries)
        .ok()
        .filter(|&entries| {
            entries > 0 && entries <= builder.limits.max_segments && len.is_multiple_of(size)
        })
        .ok_or(ChainError::TableLength(len))
        .map_err(|error| refused("chain: an indirect table's length", error))?;
    if addr.checked_add(u64::from(len)).is_none() {
        let error = ChainError::Wraps { addr, len };
        return Err(refused("chain: an indirect table wraps around", error));
    }
    Ok(TablePending {
        builder,
        table: Segment { addr, len },
        entries,
    })
}

#[cfg(test)]
mod tests;
