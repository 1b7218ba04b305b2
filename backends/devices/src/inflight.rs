//! Which requests of a queue are in flight, written down where it outlives the process.
//!
//! A worker may be killed between any two instructions. Whoever comes after it must redo what was taken from the
//! available ring and not yet published, and nothing else. So each head is noted before its request is looked at, and
//! struck out after it was published; publishing itself is announced first, because the ring's used index (guest
//! memory) and this record cannot change together. Linux driver and record never disagree about a published request:
//! the index that the driver looks at decides.
//!
//! The words are shared memory that nobody else writes while a worker lives. What a successor finds there is taken
//! for no more than a guest's word: a predecessor that had been taken over may have written anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deaths in a row, without a single request published in between, after which the requests in flight are taken for
/// the cause.
const MAX_ATTEMPTS: u64 = 5;

/// Word with the used index and the announcement of what is being published.
const RING: usize = 0;
/// Word with the number of takeovers since a request was last published.
const ATTEMPTS: usize = 1;
/// First of the words with one sequence number per head; 0: not in flight.
const HEADS: usize = 2;

/// Words that outlive the process. Their number never changes.
pub trait SharedWords: Send + Sync {
    /// All of them.
    fn words(&self) -> &[AtomicU64];
}

impl SharedWords for Vec<AtomicU64> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

/// What a queue had in flight.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Requests published so far: the ring's used index.
    pub used: u16,
    /// Heads taken and not published, oldest first.
    pub heads: Vec<u16>,
}

/// The requests found in flight have ended several processes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its requests in flight have ended {0} backend processes in a row; they are not tried again"
)]
pub struct Deadly(u64);

/// One queue's record.
pub struct InFlight {
    memory: Arc<dyn SharedWords>,
    start: usize,
    size: u16,
    sequence: u64,
    used: u16,
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("size", &self.size)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl InFlight {
    /// Words that a queue of `size` entries needs.
    pub fn words_for(size: u16) -> usize {
        HEADS.saturating_add(usize::from(size))
    }

    /// The record of a queue of `size` entries, at `start` in `memory`; `None` if it does not fit there.
    pub fn new(memory: Arc<dyn SharedWords>, start: usize, size: u16) -> Option<Self> {
        let end = start.checked_add(Self::words_for(size))?;
        (end <= memory.words().len()).then_some(InFlight {
            memory,
            start,
            size,
            sequence: 0,
            used: 0,
        })
    }

    /// A record in ordinary memory: it dies with the process, but still tells when a driver names a request twice.
    pub fn private(size: u16) -> Self {
        let words: Vec<AtomicU64> = (0..Self::words_for(size))
            .map(|_| AtomicU64::new(0))
            .collect();
        InFlight {
            memory: Arc::new(words),
            start: 0,
            size,
            sequence: 0,
            used: 0,
        }
    }

    /// A word; `None` only for a head that the queue does not have.
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.memory.words().get(self.start.checked_add(index)?)
    }

    fn head_word(&self, head: u16) -> Option<&AtomicU64> {
        (head < self.size)
            .then(|| self.word(HEADS.saturating_add(usize::from(head))))
            .flatten()
    }

    // A killed process has completed every store before the one it was stopped at, so all that is needed is that the
    // compiler keeps their order: Release does that.
    fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Release);
        }
    }

    fn get(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Nothing in flight, nothing published: the driver has just made the queue.
    pub fn clear(&mut self) {
        self.sequence = 0;
        self.used = 0;
        for index in 0..Self::words_for(self.size) {
            self.set(index, 0);
        }
    }

    /// Notes that a request was taken. False if it is in flight already: the driver broke the protocol.
    #[must_use]
    pub fn take(&mut self, head: u16) -> bool {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        match self.head_word(head) {
            Some(word) if word.load(Ordering::Acquire) == 0 => {
                word.store(self.sequence, Ordering::Release);
                true
            }
            _ => false,
        }
    }

    /// Publishes a request by `put_into_ring`, which must put it into the used ring and advance the ring's index.
    /// When that fails the queue is of no more use.
    pub fn publish<E>(
        &mut self,
        head: u16,
        put_into_ring: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.set(RING, announce(self.used, head));
        put_into_ring()?;
        if let Some(word) = self.head_word(head) {
            word.store(0, Ordering::Release);
        }
        self.used = self.used.wrapping_add(1);
        self.set(RING, u64::from(self.used));
        if self.get(ATTEMPTS) != 0 {
            self.set(ATTEMPTS, 0);
        }
        Ok(())
    }

    /// Takes over from a process that has died. `ring_used` is the ring's used index as the driver sees it.
    ///
    /// # Errors
    /// [`Deadly`] when those requests have ended too many processes.
    pub fn take_over(&mut self, ring_used: u16) -> Result<Unfinished, Deadly> {
        let ring = self.get(RING);
        self.used = ring as u16;
        if let Some(head) = announced(ring) {
            if ring_used == self.used.wrapping_add(1) {
                // The driver can see it: it is done.
                if let Some(word) = self.head_word(head) {
                    word.store(0, Ordering::Release);
                }
                self.used = ring_used;
            }
            self.set(RING, u64::from(self.used));
        }
        let mut heads: Vec<(u64, u16)> = (0..self.size)
            .filter_map(|head| {
                let sequence = self.head_word(head)?.load(Ordering::Acquire);
                (sequence != 0).then_some((sequence, head))
            })
            .collect();
        heads.sort_unstable();
        self.sequence = heads.last().map_or(0, |(sequence, _)| *sequence);
        if heads.is_empty() {
            self.set(ATTEMPTS, 0);
        } else {
            let attempts = self.get(ATTEMPTS).saturating_add(1);
            self.set(ATTEMPTS, attempts);
            if attempts > MAX_ATTEMPTS {
                return Err(Deadly(attempts));
            }
        }
        Ok(Unfinished {
            used: self.used,
            heads: heads.into_iter().map(|(_, head)| head).collect(),
        })
    }
}

/// "`head` is about to become entry `used`."
fn announce(used: u16, head: u16) -> u64 {
    u64::from(used) | u64::from(head) << 16 | 1 << 32
}

fn announced(ring: u64) -> Option<u16> {
    (ring & 1 << 32 != 0).then_some((ring >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a process is killed.
    #[derive(Debug)]
    struct Died;

    fn words(size: u16) -> Arc<Vec<AtomicU64>> {
        Arc::new(
            (0..InFlight::words_for(size))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    fn record(words: &Arc<Vec<AtomicU64>>) -> InFlight {
        let size = u16::try_from(words.len() - HEADS).unwrap();
        InFlight::new(Arc::clone(words) as Arc<dyn SharedWords>, 0, size).unwrap()
    }

    fn unfinished(words: &Arc<Vec<AtomicU64>>, ring_used: u16) -> (u16, Vec<u16>) {
        let Unfinished { used, heads } = record(words).take_over(ring_used).unwrap();
        (used, heads)
    }

    #[test]
    fn what_was_taken_and_not_published_is_redone_in_order() {
        let words = words(8);
        let mut before = record(&words);
        before.clear();
        for head in [5, 2, 7, 0] {
            assert!(before.take(head));
        }
        before.publish(2, || Ok::<_, Died>(())).unwrap();
        assert!(before.take(1));
        drop(before);
        assert_eq!(unfinished(&words, 1), (1, vec![5, 7, 0, 1]));
        // Again, by one more successor: nothing is forgotten, the order stays.
        assert_eq!(unfinished(&words, 1), (1, vec![5, 7, 0, 1]));
    }

    #[test]
    fn death_while_publishing_counts_as_published_exactly_when_the_driver_can_see_it() {
        for (ring_used, expected) in [(0, (0, vec![3, 4])), (1, (1, vec![4]))] {
            let words = words(8);
            let mut before = record(&words);
            assert!(before.take(3) && before.take(4));
            // Killed in the middle of it.
            assert!(before.publish(3, || Err(Died)).is_err());
            assert_eq!(unfinished(&words, ring_used), expected);
            assert_eq!(unfinished(&words, ring_used), expected);
        }
    }

    #[test]
    fn the_indices_wrap() {
        let words = words(4);
        words[RING].store(0xffff, Ordering::Relaxed);
        let mut record = record(&words);
        assert_eq!(record.take_over(0xffff).unwrap().used, 0xffff);
        assert!(record.take(0));
        record.publish(0, || Ok::<_, Died>(())).unwrap();
        assert_eq!(unfinished(&words, 0), (0, vec![]));
        assert!(record.take(1));
        words[RING].store(announce(0xffff, 1), Ordering::Relaxed);
        assert_eq!(unfinished(&words, 0), (0, vec![]));
    }

    #[test]
    fn a_head_in_flight_or_out_of_range_is_not_taken() {
        let mut record = InFlight::private(4);
        assert!(record.take(3));
        assert!(!record.take(3));
        assert!(!record.take(4));
        record.publish(3, || Ok::<_, Died>(())).unwrap();
        assert!(record.take(3));
    }

    #[test]
    fn requests_that_end_every_process_are_given_up_and_one_success_forgives() {
        let words = words(4);
        assert!(record(&words).take(1));
        for _ in 0..MAX_ATTEMPTS {
            assert_eq!(unfinished(&words, 0), (0, vec![1]));
        }
        assert!(record(&words).take_over(0).is_err());

        words[ATTEMPTS].store(0, Ordering::Relaxed);
        let mut record = record(&words);
        for _ in 0..3 {
            record.take_over(0).unwrap();
        }
        assert!(record.take(2));
        record.publish(2, || Ok::<_, Died>(())).unwrap();
        assert_eq!(words[ATTEMPTS].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nonsense_in_the_record_harms_nobody() {
        let words = words(4);
        for word in words.iter() {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        words[ATTEMPTS].store(0, Ordering::Relaxed);
        let mut record = record(&words);
        let found = record.take_over(0).unwrap();
        assert_eq!(found.heads.len(), 4);
        assert!(!record.take(0));
        record.clear();
        assert!(record.take(0));
        assert!(InFlight::new(Arc::new(Vec::<AtomicU64>::new()), usize::MAX, 4).is_none());
    }
}
