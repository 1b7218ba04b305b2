//! Private memory for payload that is copied: bounded, aligned for direct I/O.
//!
//! [`Slab`] is for work that ends before the next begins; [`Buffers`] is for work in flight, which owns its memory.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, slice};

/// Alignment of every buffer, in bytes: enough for direct I/O on any Linux block device.
pub const ALIGNMENT: usize = 4096;

/// A fixed piece of private memory, handed out in aligned parts, taken back as a whole.
#[derive(Debug)]
pub struct Slab {
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl Slab {
    /// A slab of `size` bytes (rounded up to [`ALIGNMENT`]). The pages are touched only when used.
    pub fn new(size: usize) -> Self {
        let size = size
            .checked_next_multiple_of(ALIGNMENT)
            .unwrap_or(ALIGNMENT);
        let memory = vec![0; size.saturating_add(ALIGNMENT)];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Slab {
            memory,
            start,
            size,
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What a part of `len` bytes takes of a slab.
    pub fn room(len: usize) -> usize {
        len.checked_next_multiple_of(ALIGNMENT)
            .unwrap_or(usize::MAX)
    }

    /// Starts handing out; everything handed out before is free again.
    pub fn parts(&mut self) -> Parts<'_> {
        let (_, rest) = self
            .memory
            .split_at_mut_checked(self.start)
            .unwrap_or_default();
        let (rest, _) = rest.split_at_mut_checked(self.size).unwrap_or_default();
        Parts { rest }
    }
}

/// What is left of a [`Slab`].
#[derive(Debug)]
pub struct Parts<'a> {
    rest: &'a mut [u8],
}

impl<'a> Parts<'a> {
    /// `len` bytes, aligned to [`ALIGNMENT`]; `None` when the slab has no more room. Their content is left over from
    /// earlier use, so it must be overwritten before any of it reaches a guest.
    pub fn take(&mut self, len: usize) -> Option<&'a mut [u8]> {
        let room = Slab::room(len);
        let rest = std::mem::take(&mut self.rest);
        if room > rest.len() {
            self.rest = rest;
            return None;
        }
        let (part, rest) = rest.split_at_mut_checked(room)?;
        self.rest = rest;
        part.get_mut(..len)
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
}

/// The memory behind [`Buffers`]. One allocation, so that it never grows or fragments however buffers come and go.
#[derive(Debug)]
struct Arena {
    /// Start of the first page.
    base: NonNull<u8>,
    /// Which pages belong to a buffer.
    used: Mutex<Vec<bool>>,
    /// Keeps the allocation; only `base` is used to reach it.
    _memory: Vec<u8>,
}

// SAFETY: the memory is reached only through buffers, each of which has pages of its own.
unsafe impl Send for Arena {}
// SAFETY: as above; what is shared is behind a lock.
unsafe impl Sync for Arena {}

impl Arena {
    fn new(pages: usize) -> Option<Self> {
        let size = pages.checked_mul(ALIGNMENT)?.checked_add(ALIGNMENT)?;
        let mut memory = vec![0; size];
        let skip = memory.as_ptr().align_offset(ALIGNMENT);
        let base = NonNull::new(memory.as_mut_ptr().wrapping_add(skip))?;
        Some(Arena {
            base,
            used: Mutex::new(vec![false; pages]),
            _memory: memory,
        })
    }

    fn used(&self) -> MutexGuard<'_, Vec<bool>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks `used` the first `count` pages in a row that are free. Low ones come first, so that pages never needed
    /// are never touched.
    fn claim(&self, count: usize) -> Option<Range<usize>> {
        let mut used = self.used();
        let mut start = 0_usize;
        for page in 0..used.len() {
            let next = page.checked_add(1)?;
            if *used.get(page)? {
                start = next;
            } else if next.checked_sub(start)? == count {
                used.get_mut(start..next)?.fill(true);
                return Some(start..next);
            }
        }
        None
    }
}

/// Private memory that whoever works with it owns. Aligned to [`ALIGNMENT`]; moving it does not move the bytes.
/// Dropping it gives it back.
#[derive(Debug)]
pub struct Buffer {
    arena: Arc<Arena>,
    pages: Range<usize>,
}

impl Buffer {
    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.pages.len().saturating_mul(ALIGNMENT)
    }

    fn start(&self) -> *mut u8 {
        let offset = self.pages.start.saturating_mul(ALIGNMENT);
        self.arena.base.as_ptr().wrapping_add(offset)
    }

    /// The first `len` bytes. Their content is left over from earlier use.
    ///
    /// # Errors
    /// `InvalidInput` if there are fewer.
    pub fn first(&self, len: usize) -> io::Result<&[u8]> {
        // SAFETY: the pages lie in the arena, which lives as long as `self`, and are initialised. They belong to this
        // buffer alone, so `self`'s borrow is theirs.
        let bytes = unsafe { slice::from_raw_parts(self.start(), self.size()) };
        let bytes = bytes.get(..len);
        bytes.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// As [`Buffer::first`], to be written.
    ///
    /// # Errors
    /// `InvalidInput` if there are fewer.
    pub fn first_mut(&mut self, len: usize) -> io::Result<&mut [u8]> {
        // SAFETY: as above.
        let bytes = unsafe { slice::from_raw_parts_mut(self.start(), self.size()) };
        let bytes = bytes.get_mut(..len);
        bytes.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(used) = self.arena.used().get_mut(self.pages.clone()) {
            used.fill(false);
        }
    }
}

/// A bounded supply of [`Buffer`]s. Memory is allocated at the first and its pages are touched when first needed.
#[derive(Debug)]
pub struct Buffers {
    pages: usize,
    arena: Option<Arc<Arena>>,
}

impl Buffers {
    /// A supply of at most `budget` bytes (whole pages count).
    pub fn new(budget: usize) -> Self {
        Buffers {
            pages: budget.checked_div(ALIGNMENT).unwrap_or_default(),
            arena: None,
        }
    }

    /// A buffer of at least `len` bytes; `None` when too much is handed out, or `len` is above the budget.
    pub fn take(&mut self, len: usize) -> Option<Buffer> {
        if self.arena.is_none() {
            self.arena = Arena::new(self.pages).map(Arc::new);
        }
        let arena = self.arena.as_ref()?;
        let pages = arena.claim(len.div_ceil(ALIGNMENT).max(1))?;
        Some(Buffer {
            arena: Arc::clone(arena),
            pages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_bounded_and_apart() {
        let mut buffers = Buffers::new(4 * ALIGNMENT + 100);
        let mut all: Vec<_> = (0..4).map(|_| buffers.take(1).unwrap()).collect();
        for (buffer, fill) in all.iter_mut().zip(1..) {
            assert_eq!(buffer.first(1).unwrap().as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(buffer.size(), ALIGNMENT);
            assert!(buffer.first(ALIGNMENT + 1).is_err());
            buffer.first_mut(ALIGNMENT).unwrap().fill(fill);
        }
        for (buffer, fill) in all.iter().zip(1..) {
            assert_eq!(buffer.first(ALIGNMENT).unwrap(), [fill; ALIGNMENT]);
        }
        assert!(buffers.take(1).is_none());
        // Pages that are free, but not in a row.
        all.remove(1);
        all.remove(2);
        assert!(buffers.take(ALIGNMENT + 1).is_none());
        all.clear();
        let large = buffers.take(2 * ALIGNMENT + 1).unwrap();
        assert_eq!(large.size(), 3 * ALIGNMENT);
        // A buffer may outlive its supply.
        drop(buffers);
        assert_eq!(large.first(ALIGNMENT).unwrap(), [1; ALIGNMENT]);
        for nothing in [0, 1, ALIGNMENT - 1] {
            assert!(Buffers::new(nothing).take(1).is_none());
        }
        assert!(Buffers::new(ALIGNMENT).take(usize::MAX).is_none());
    }

    #[test]
    fn parts_are_aligned_and_bounded() {
        let mut slab = Slab::new(3 * ALIGNMENT);
        let mut parts = slab.parts();
        let a = parts.take(1).unwrap();
        let b = parts.take(ALIGNMENT + 1).unwrap();
        assert_eq!(a.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!(b.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!((a.len(), b.len()), (1, ALIGNMENT + 1));
        assert!(parts.take(1).is_none());
        assert!(parts.take(usize::MAX).is_none());
        assert_eq!(slab.parts().left(), 3 * ALIGNMENT);
    }
}
