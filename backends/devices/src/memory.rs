//! What a device needs from guest memory, at the level of requests.
//!
//! Rings are read through vm-memory's `GuestMemory`; payload goes through [`PayloadMemory`], because what is cheap
//! differs: with grants a copy is one hypercall for many pieces and a mapping flushes the backend's whole
//! translation cache on Arm, with a foreign mapping or a shared pool both are free. A device states what it wants
//! for *many chains at once* and the memory model does it in as few operations as it can.
//!
//! A memory model must never trust a segment: addresses and lengths come from the guest (chain validation has only
//! proven that they do not overflow). A bad segment fails the transfer it belongs to and nothing else.

use std::io;
use std::os::fd::BorrowedFd;

use smallvec::SmallVec;
use vm_memory::VolatileSlice;

use crate::chain::Segment;

mod plain;
mod vectored;

pub use plain::PlainMemory;

/// What a mapping is for, seen from the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The backend reads: a grant the guest made read-only suffices.
    Read,
    /// The backend reads and writes.
    Write,
}

/// Why guest memory could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The address is outside of what the memory model can reach.
    #[error(
        "guest address {addr:#x} (length {len}) is not in the memory the guest may share with this device"
    )]
    Address {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The hypervisor refused the page: a wrong or revoked grant, a hole, a page that is ballooned out.
    #[error("guest page at {addr:#x} cannot be reached: {reason}")]
    Refused {
        /// An address in the page.
        addr: u64,
        /// The hypervisor's or kernel's words.
        reason: String,
    },
    /// The segments hold fewer bytes than the transfer needs.
    #[error("the request's buffers hold {have} bytes where {need} are needed")]
    TooShort {
        /// Bytes in the segments.
        have: u64,
        /// Bytes of the transfer.
        need: u64,
    },
    /// More pages than may be mapped for one request.
    #[error("the request spans {pages} pages where at most {limit} can be mapped at once")]
    TooMany {
        /// Pages asked for.
        pages: usize,
        /// Most pages of one mapping.
        limit: usize,
    },
    /// The operating system failed for a reason of its own.
    #[error("guest memory access failed: {0}")]
    Os(#[from] io::Error),
}

/// One copy out of guest memory, part of a batch.
#[derive(Debug)]
pub struct CopyIn<'a> {
    /// Where the bytes are, in order. They may be longer than `buffer`.
    pub segments: &'a [Segment],
    /// Where they go; its length is the transfer's.
    pub buffer: &'a mut [u8],
    /// Filled in by the memory model.
    pub result: Result<(), MemoryError>,
}

impl<'a> CopyIn<'a> {
    /// A transfer not yet made.
    pub fn new(segments: &'a [Segment], buffer: &'a mut [u8]) -> Self {
        CopyIn {
            segments,
            buffer,
            result: Ok(()),
        }
    }
}

/// One copy into guest memory, part of a batch.
#[derive(Debug)]
pub struct CopyOut<'a> {
    /// Where the bytes go, in order. They may be longer than `buffer`.
    pub segments: &'a [Segment],
    /// The bytes; its length is the transfer's.
    pub buffer: &'a [u8],
    /// Filled in by the memory model.
    pub result: Result<(), MemoryError>,
}

impl<'a> CopyOut<'a> {
    /// A transfer not yet made.
    pub fn new(segments: &'a [Segment], buffer: &'a [u8]) -> Self {
        CopyOut {
            segments,
            buffer,
            result: Ok(()),
        }
    }
}

/// Access to one guest's payload for one queue. Each queue has its own, so nothing here is shared or locked for long.
pub trait PayloadMemory: Send {
    /// Makes all copies, each with its own result, in as few operations as possible.
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]);

    /// Makes all copies, each with its own result, in as few operations as possible.
    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]);

    /// Payload up to this many bytes is cheaper copied than mapped. Zero where mapping costs nothing.
    fn copy_limit(&self) -> usize;

    /// True where the kernel may pin a mapping's pages, so that direct I/O on it is possible *and* harmless.
    fn allows_direct_io(&self) -> bool {
        false
    }

    /// Maps the segments, all or none. The mapping must be given back ([`MappedPayload::unmap`]) before the request
    /// is completed: Linux's grant layer disables a device for good when it finds a grant still in use.
    fn map(
        &mut self,
        segments: &[Segment],
        access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError>;
}

/// Slices of a mapping; requests of up to this many segments need no allocation.
pub type Slices<'a> = SmallVec<[VolatileSlice<'a>; 18]>;

/// Guest memory mapped for one request. Dropping it unmaps too, but then errors are lost.
pub trait MappedPayload: Send {
    /// The mapped memory, in the order of the segments. The guest may change it at any time.
    fn slices(&self) -> Slices<'_>;

    /// Gives the memory back. When this returns, no page is mapped by us any more.
    fn unmap(self: Box<Self>) -> Result<(), MemoryError>;
}

impl dyn MappedPayload + '_ {
    /// Reads from `file` at `offset` into the whole mapping (`preadv`, repeated after short reads and signals).
    /// Fails with `UnexpectedEof` where the file ends early.
    pub fn fill_from(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
        vectored::transfer(file, self.slices(), offset, vectored::Direction::FromFile)
    }

    /// Writes the whole mapping to `file` at `offset` (`pwritev`, repeated after short writes and signals).
    pub fn drain_to(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
        vectored::transfer(file, self.slices(), offset, vectored::Direction::ToFile)
    }
}
