//! Payload in ordinary mapped memory: vhost-user's shared memory, a pool agreed before boot, and tests.

use std::sync::Arc;

use smallvec::SmallVec;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};

use super::{Access, CopyIn, CopyOut, MappedPayload, MemoryError, PayloadMemory, Slices};
use crate::chain::{Segment, slice_segments, total_len};
use crate::counters::Counters;

/// [`PayloadMemory`] over memory that is mapped all the time, so mapping costs nothing.
#[derive(Debug)]
pub struct PlainMemory<M> {
    memory: Arc<M>,
    counters: Arc<Counters>,
}

impl<M> PlainMemory<M> {
    /// Payload access to `memory`.
    pub fn new(memory: Arc<M>, counters: Arc<Counters>) -> Self {
        PlainMemory { memory, counters }
    }
}

fn refused(addr: u64, error: &impl ToString) -> MemoryError {
    MemoryError::Refused {
        addr,
        reason: error.to_string(),
    }
}

impl<M> PayloadMemory for PlainMemory<M>
where
    M: GuestMemory<Bitmap = ()> + Send + Sync + 'static,
{
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]) {
        self.counters.copies.inc();
        for job in batch {
            job.result = (|| {
                let need = job.buffer.len() as u64;
                let mut rest = &mut *job.buffer;
                for segment in slice_segments(job.segments, 0, need) {
                    let (now, later) = rest
                        .split_at_mut_checked(segment.len as usize)
                        .ok_or(MemoryError::TooShort { have: 0, need })?;
                    self.memory
                        .read_slice(now, GuestAddress(segment.addr))
                        .map_err(|error| refused(segment.addr, &error))?;
                    rest = later;
                }
                match rest.is_empty() {
                    true => Ok(()),
                    false => Err(MemoryError::TooShort {
                        have: total_len(job.segments),
                        need,
                    }),
                }
            })();
        }
    }

    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]) {
        self.counters.copies.inc();
        for job in batch {
            job.result = (|| {
                let need = job.buffer.len() as u64;
                let mut rest = job.buffer;
                for segment in slice_segments(job.segments, 0, need) {
                    let (now, later) = rest
                        .split_at_checked(segment.len as usize)
                        .ok_or(MemoryError::TooShort { have: 0, need })?;
                    self.memory
                        .write_slice(now, GuestAddress(segment.addr))
                        .map_err(|error| refused(segment.addr, &error))?;
                    rest = later;
                }
                match rest.is_empty() {
                    true => Ok(()),
                    false => Err(MemoryError::TooShort {
                        have: total_len(job.segments),
                        need,
                    }),
                }
            })();
        }
    }

    fn copy_limit(&self) -> usize {
        0
    }

    fn allows_direct_io(&self) -> bool {
        true
    }

    fn map(
        &mut self,
        segments: &[Segment],
        access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError> {
        let permissions = permissions(access);
        for segment in segments {
            if !self.memory.check_range(
                GuestAddress(segment.addr),
                segment.len as usize,
                permissions,
            ) {
                return Err(MemoryError::Address {
                    addr: segment.addr,
                    len: u64::from(segment.len),
                });
            }
        }
        Ok(Box::new(Mapped {
            memory: Arc::clone(&self.memory),
            segments: segments.into(),
            permissions,
        }))
    }
}

fn permissions(access: Access) -> Permissions {
    match access {
        Access::Read => Permissions::Read,
        Access::Write => Permissions::ReadWrite,
    }
}

struct Mapped<M> {
    memory: Arc<M>,
    segments: SmallVec<[Segment; 18]>,
    permissions: Permissions,
}

impl<M> MappedPayload for Mapped<M>
where
    M: GuestMemory<Bitmap = ()> + Send + Sync,
{
    fn slices(&self) -> Slices<'_> {
        let mut slices = Slices::new();
        for segment in &self.segments {
            // The range was checked when the mapping was made, and this memory does not change.
            if let Ok(found) = self.memory.get_slices(
                GuestAddress(segment.addr),
                segment.len as usize,
                self.permissions,
            ) {
                slices.extend(
                    found
                        .filter_map(Result::ok)
                        .map(|slice: VolatileSlice<'_, ()>| slice),
                );
            }
        }
        slices
    }

    fn unmap(self: Box<Self>) -> Result<(), MemoryError> {
        Ok(())
    }
}
