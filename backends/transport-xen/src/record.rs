//! What a device's next worker must know, in memory that outlives this one.
//!
//! The holder keeps one small file per device (on a tmpfs) and hands it to each worker. It holds the register file as
//! of the last register write, in two copies of which one is current, and for each queue which requests are in flight
//! ([`devices::InFlight`]). A worker can be killed between any two stores: a copy is complete before it becomes the
//! current one. Nothing found here is trusted more than the guest is: the previous worker served a hostile guest.

use std::io;
use std::iter::repeat;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use devices::{InFlight, SharedWords};
use rustix::fs::fstat;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Size of a record's file, in bytes: registers, and 16 queues of 1024 entries with room to spare.
pub const RECORD_BYTES: u64 = 160 << 10;

/// "AVPSREC" and the layout's version. A record of another layout is no record.
const MAGIC: u64 = 0x4156_5053_5245_4302;
/// Word with [`MAGIC`].
const IDENTITY: usize = 0;
/// Word that tells which copy is current: 1 or 2; 0: none yet.
const CURRENT: usize = 1;
/// First word of the first copy.
const COPIES: usize = 8;
/// Words of one copy.
pub(crate) const COPY_WORDS: usize = 120;
/// First word of the queues.
const QUEUES: usize = COPIES + 2 * COPY_WORDS;

/// A file, mapped.
struct Mapping {
    start: *mut AtomicU64,
    words: usize,
}

// SAFETY: the memory is reached through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Record::map` with this length, and nobody borrows from it any more.
        let _ = unsafe { munmap(self.start.cast(), self.words.saturating_mul(8)) };
    }
}

impl SharedWords for Mapping {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: that many words are mapped, page-aligned, for as long as `self` lives; the file has its full size
        // allocated, and whoever could shorten it is either the trusted holder or the worker that would hurt itself.
        unsafe { std::slice::from_raw_parts(self.start, self.words) }
    }
}

/// One device's record.
#[derive(Clone)]
pub struct Record {
    memory: Arc<dyn SharedWords>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("words", &self.memory.words().len())
            .finish()
    }
}

impl Record {
    /// Maps a record's file, which must have [`RECORD_BYTES`] bytes. A new one is all zeros.
    ///
    /// # Errors
    /// The file is too small, or the kernel refuses.
    pub fn map(file: impl AsFd) -> io::Result<Self> {
        let size = fstat(file.as_fd())?.st_size;
        if u64::try_from(size).is_ok_and(|size| size < RECORD_BYTES) {
            return Err(io::Error::other(format!(
                "the record has {size} bytes instead of {RECORD_BYTES}"
            )));
        }
        let len = RECORD_BYTES as usize;
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        Ok(Record {
            memory: Arc::new(Mapping {
                start: start.cast(),
                words: len / 8,
            }),
        })
    }

    /// A record that dies with the process: for devices whose worker cannot be succeeded.
    pub fn private() -> Self {
        let words: Vec<AtomicU64> = (0..RECORD_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        Record {
            memory: Arc::new(words),
        }
    }

    /// The registers' words as they were last saved; `None` in a new record or one of another layout.
    pub(crate) fn saved(&self) -> Option<Vec<u64>> {
        let words = self.memory.words();
        let get = |index: usize| words.get(index).map(|word| word.load(Ordering::Acquire));
        let current = usize::try_from(get(CURRENT)?).ok()?;
        if get(IDENTITY)? != MAGIC || !matches!(current, 1 | 2) {
            return None;
        }
        copy(current).map(get).collect()
    }

    /// Saves the registers' words: all of them or, if this process dies meanwhile, none.
    pub(crate) fn save(&self, values: &[u64]) {
        let words = self.memory.words();
        let set = |index: usize, value: u64| {
            if let Some(word) = words.get(index) {
                // The order of stores is what counts; see `devices::inflight`.
                word.store(value, Ordering::Release);
            }
        };
        let current = words
            .get(CURRENT)
            .map_or(0, |word| word.load(Ordering::Acquire));
        let next = if current == 1 { 2 } else { 1 };
        for (index, value) in copy(next).zip(values.iter().copied().chain(repeat(0))) {
            set(index, value);
        }
        set(CURRENT, next as u64);
        set(IDENTITY, MAGIC);
    }

    /// The record of queue `index`, of a device with queues of these largest sizes; `None` if there is no room.
    pub(crate) fn queue(&self, sizes: &[u16], index: u16, size: u16) -> Option<InFlight> {
        let before = sizes.get(..usize::from(index))?;
        InFlight::new(Arc::clone(&self.memory), end_of(before), size)
    }

    /// Whether the queues of a device fit.
    pub(crate) fn has_room_for(&self, sizes: &[u16]) -> bool {
        end_of(sizes) <= self.memory.words().len()
    }
}

/// The words of copy 1 or 2.
fn copy(number: usize) -> std::ops::Range<usize> {
    let second = COPIES.saturating_add(COPY_WORDS);
    match number {
        1 => COPIES..second,
        _ => second..QUEUES,
    }
}

/// The word behind queues of these largest sizes.
fn end_of(sizes: &[u16]) -> usize {
    sizes.iter().fold(QUEUES, |end, &size| {
        end.saturating_add(InFlight::words_for(size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_found_by_another_mapping_of_the_file() {
        let file = tempfile::tempfile().unwrap();
        assert!(Record::map(&file).is_err());
        file.set_len(RECORD_BYTES).unwrap();
        let record = Record::map(&file).unwrap();
        assert_eq!(record.saved(), None);
        for round in 1..4 {
            record.save(&[round, 7]);
            let found = Record::map(&file).unwrap().saved().unwrap();
            assert_eq!(found[..3], [round, 7, 0]);
        }
    }

    #[test]
    fn a_copy_becomes_current_only_when_it_is_complete() {
        let record = Record::private();
        record.save(&[1; COPY_WORDS]);
        let words = record.memory.words();
        // Died in the middle of writing the other copy.
        for word in &words[COPIES + COPY_WORDS..COPIES + COPY_WORDS + 5] {
            word.store(2, Ordering::Relaxed);
        }
        assert_eq!(record.saved().unwrap(), [1; COPY_WORDS]);
    }

    #[test]
    fn a_record_of_another_layout_is_none() {
        let record = Record::private();
        record.save(&[1]);
        record.memory.words()[IDENTITY].store(MAGIC + 1, Ordering::Relaxed);
        assert_eq!(record.saved(), None);
    }

    #[test]
    fn queues_do_not_overlap_and_do_not_leave_the_record() {
        let record = Record::private();
        let sizes = [1024; 16];
        assert!(record.has_room_for(&sizes));
        let mut queues: Vec<_> = (0..16)
            .map(|index| record.queue(&sizes, index, 1024).unwrap())
            .collect();
        for queue in &mut queues {
            queue.clear();
            assert!((0..1024).all(|head| queue.take(head)));
        }
        assert!(!record.has_room_for(&[32768]));
        assert!(record.queue(&[32768], 0, 32768).is_none());
    }
}
