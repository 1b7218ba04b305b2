//! Memory that is shared with the secure world, for the guests' parameters.
//!
//! What dom0 may share is little (Xen's mediator: 16 buffers of at most 129 pages), so guests' registrations are not mirrored
//! there: a fixed number of buffers is leased, each for the time that a call holds its permit (`permits`). A call gets all that it needs or
//! none, and may have as many as there are for each permit: so no guest can find too few because of others. Buffers belong to a
//! guest's context of the TEE; one that lies idle is given up when a call needs another.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tee_device::Buffer;

use crate::Attachment;
use crate::world::SecureWorld;

/// Bytes of a small buffer: enough for most calls.
const SMALL: usize = 64 * 1024;
/// Bytes of a large buffer: what Xen's mediator takes in one piece (xen/arch/arm/tee/optee.c, `MAX_SHM_BUFFER_PG`), so that there is
/// room for a little more than 512 KiB.
pub(crate) const LARGE: usize = 129 * 4096;

/// The buffers of all guests.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Buffers that were [`State::leaving`] have left.
    changed: Condvar,
    threads: usize,
    /// Buffers that a call may have.
    share: usize,
}

#[derive(Debug)]
struct State {
    /// How many more there may be.
    left: usize,
    /// How many there may be once they have been given back to the secure world, which is being done.
    leaving: usize,
    /// Of each guest that is attached. What another one's calls still had is given back.
    idle: HashMap<Attachment, Vec<Buffer>>,
}

/// Buffers for the time of a call.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    guest: Attachment,
    buffers: Vec<Buffer>,
}

/// There are no buffers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBuffer {
    /// Larger than can be.
    #[error("a parameter of {0} bytes, more than {LARGE}")]
    TooLarge(usize),
    /// More than a call may have.
    #[error(
        "a call whose parameters need {wanted} buffers, more than {share}: raise --buffers to {enough}"
    )]
    TooMany {
        /// So many are needed.
        wanted: usize,
        /// So many may be had.
        share: usize,
        /// So many in all would do.
        enough: usize,
    },
    /// All are leased.
    #[error("all buffers are in use")]
    Exhausted,
    /// The secure world takes no more.
    #[error(transparent)]
    Refused(#[from] tee_device::Error),
}

impl Pool {
    /// At most so many buffers, for calls that have one of so many threads.
    pub(crate) fn new(buffers: usize, threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                left: buffers,
                leaving: 0,
                idle: HashMap::new(),
            }),
            changed: Condvar::new(),
            threads,
            share: buffers.checked_div(threads).unwrap_or(buffers),
        }
    }

    /// Leases a buffer of at least so many bytes for each of `sizes`, in their order. Who has a permit does not find too few.
    ///
    /// # Errors
    /// [`NoBuffer`]; nothing is leased then.
    pub(crate) fn lease(
        &self,
        guest: Attachment,
        tee: &dyn SecureWorld,
        sizes: &[usize],
    ) -> Result<Lease<'_>, NoBuffer> {
        let mut lease = Lease {
            pool: self,
            guest,
            buffers: Vec::new(),
        };
        let wanted = sizes.len();
        if wanted == 0 {
            return Ok(lease);
        }
        if let Some(size) = sizes.iter().find(|size| **size > LARGE) {
            return Err(NoBuffer::TooLarge(*size));
        }
        if wanted > self.share {
            return Err(NoBuffer::TooMany {
                wanted,
                share: self.share,
                enough: wanted.saturating_mul(self.threads),
            });
        }
        let mut state = self.lock();
        while state.there() < wanted {
            if state.leaving == 0 {
                return Err(NoBuffer::Exhausted);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let (mut found, given_up) = state.take(guest, sizes);
        // Not under the lock: both go to the secure world.
        drop(state);
        drop(given_up);
        let mut places = found.iter_mut().zip(sizes);
        let made = places.try_for_each(|(buffer, size)| {
            if buffer.is_none() {
                *buffer = Some(tee.buffer(if *size > SMALL { LARGE } else { SMALL })?);
            }
            Ok(())
        });
        lease.buffers.extend(found.into_iter().flatten());
        if made.is_err() {
            let not_made = wanted.saturating_sub(lease.buffers.len());
            let mut state = self.lock();
            state.left = state.left.saturating_add(not_made);
        }
        made.map(|()| lease)
    }

    /// A guest is attached: it keeps buffers from one call to the next.
    pub(crate) fn attach(&self, guest: Attachment) {
        self.lock().idle.entry(guest).or_default();
    }

    /// It has ended: gives its idle buffers back to the secure world, which may take time.
    pub(crate) fn end(&self, guest: Attachment) {
        let mut state = self.lock();
        let idle = state.idle.remove(&guest).unwrap_or_default();
        self.give_back(state, idle);
    }

    /// Gives buffers back to the secure world; there may be so many more then.
    fn give_back(&self, mut state: MutexGuard<'_, State>, buffers: Vec<Buffer>) {
        let count = buffers.len();
        state.leaving = state.leaving.saturating_add(count);
        drop(state);
        drop(buffers);
        let mut state = self.lock();
        state.leaving = state.leaving.saturating_sub(count);
        state.left = state.left.saturating_add(count);
        drop(state);
        self.changed.notify_all();
    }

    /// Buffers that no call has.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.lock().idle.values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    /// How many can be had.
    fn there(&self) -> usize {
        let idle = self.idle.values().map(Vec::len);
        idle.fold(self.left, usize::saturating_add)
    }

    /// Takes places for all of `sizes`, of which there are enough: the guest's idle buffers that fit, and none where one is to be
    /// made, once those that are given up for it are gone.
    fn take(&mut self, guest: Attachment, sizes: &[usize]) -> (Vec<Option<Buffer>>, Vec<Buffer>) {
        let mut found: Vec<Option<Buffer>> = sizes.iter().map(|_| None).collect();
        let mut none = Vec::new();
        let own = self.idle.get_mut(&guest).unwrap_or(&mut none);
        let mut places: Vec<_> = found.iter_mut().zip(sizes).collect();
        // A small one must not have what only a large one needs.
        places.sort_by_key(|(_, size)| Reverse(**size));
        for (place, size) in places {
            let idle = own.iter().enumerate();
            let fitting = idle.filter(|(_, buffer)| buffer.len() >= *size);
            let least = fitting.min_by_key(|(_, buffer)| buffer.len());
            *place = least
                .map(|(index, _)| index)
                .map(|index| own.swap_remove(index));
        }
        let missing = found.iter().filter(|place| place.is_none()).count();
        let new = missing.min(self.left);
        self.left = self.left.saturating_sub(new);
        let given_up = (new..missing).filter_map(|_| self.give_up(guest)).collect();
        (found, given_up)
    }

    /// Gives up an idle buffer: one of the guest's own, which are too small for it, or else of whoever has most.
    fn give_up(&mut self, guest: Attachment) -> Option<Buffer> {
        let own = self.idle.get_mut(&guest).and_then(Vec::pop);
        own.or_else(|| {
            let most = self.idle.values_mut().max_by_key(|idle| idle.len());
            most.and_then(Vec::pop)
        })
    }
}

impl Lease<'_> {
    /// The buffers.
    pub(crate) fn buffers(&mut self) -> &mut [Buffer] {
        &mut self.buffers
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let buffers = std::mem::take(&mut self.buffers);
        if buffers.is_empty() {
            return;
        }
        let mut state = self.pool.lock();
        match state.idle.get_mut(&self.guest) {
            Some(idle) => idle.extend(buffers),
            // Its guest has ended: a buffer would keep the context of the secure world open, and all sessions in it.
            None => self.pool.give_back(state, buffers),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hostile_calls::Numbers;
    use tee_device::{Outcome, PARAMETERS, Parameter};

    use crate::world::Client;

    use super::*;

    /// Only buffers: those that were made, until it makes no more.
    #[derive(Debug)]
    struct World {
        made: AtomicUsize,
        most: AtomicUsize,
    }

    impl World {
        fn new() -> Self {
            Self {
                made: AtomicUsize::new(0),
                most: AtomicUsize::new(usize::MAX),
            }
        }

        fn made(&self) -> usize {
            self.made.load(Ordering::SeqCst)
        }
    }

    impl SecureWorld for World {
        fn open_session(
            &self,
            _: [u8; 16],
            _: Client,
            _: u32,
            _: &mut [Buffer],
            _: &mut [Parameter; PARAMETERS],
        ) -> tee_device::Result<(Outcome, u32)> {
            unreachable!("nobody calls")
        }

        fn invoke(
            &self,
            _: u32,
            _: u32,
            _: u32,
            _: &mut [Buffer],
            _: &mut [Parameter; PARAMETERS],
        ) -> tee_device::Result<Outcome> {
            unreachable!("nobody calls")
        }

        fn cancel(&self, _: u32, _: u32) -> tee_device::Result<()> {
            unreachable!("nobody calls")
        }

        fn close_session(&self, _: u32) -> tee_device::Result<()> {
            unreachable!("nobody calls")
        }

        fn buffer(&self, size: usize) -> tee_device::Result<Buffer> {
            if self.made() == self.most.load(Ordering::SeqCst) {
                return Err(tee_device::Error::Device {
                    what: "share more",
                    source: std::io::ErrorKind::OutOfMemory.into(),
                });
            }
            self.made.fetch_add(1, Ordering::SeqCst);
            Buffer::unshared(size)
        }
    }

    const ONE: Attachment = Attachment(1);
    const OTHER: Attachment = Attachment(2);

    /// So many buffers for calls with so many permits, and two guests.
    fn of_two(buffers: usize, threads: usize) -> Pool {
        let pool = Pool::new(buffers, threads);
        [ONE, OTHER]
            .into_iter()
            .for_each(|guest| pool.attach(guest));
        pool
    }

    fn idle(pool: &Pool, guest: Attachment) -> usize {
        pool.lock().idle.get(&guest).map_or(0, Vec::len)
    }

    fn lengths(lease: &mut Lease<'_>) -> Vec<usize> {
        lease.buffers().iter().map(Buffer::len).collect()
    }

    #[test]
    fn buffers_come_in_the_order_of_their_sizes_and_again_for_the_next_call() {
        let (pool, world) = (of_two(4, 1), World::new());
        let sizes = [SMALL + 1, 0, LARGE, SMALL];
        for _ in 0..3 {
            let mut lease = pool.lease(ONE, &world, &sizes).unwrap();
            assert_eq!(lengths(&mut lease), [LARGE, SMALL, LARGE, SMALL]);
        }
        // A large one does for a small one, too, where there is no other.
        let mut lease = pool.lease(ONE, &world, &[1; 4]).unwrap();
        let mut lengths = lengths(&mut lease);
        lengths.sort_unstable();
        assert_eq!(lengths, [SMALL, SMALL, LARGE, LARGE]);
        assert_eq!(world.made(), 4);
    }

    #[test]
    fn a_call_gets_all_its_buffers_or_none() {
        let (pool, world) = (of_two(4, 1), World::new());
        world.most.store(2, Ordering::SeqCst);
        let refused = pool.lease(ONE, &world, &[LARGE; 4]).unwrap_err();
        assert!(matches!(refused, NoBuffer::Refused(_)), "{refused}");
        assert_eq!((idle(&pool, ONE), pool.lock().left), (2, 2));
        // What was made is there for the next one.
        world.most.store(usize::MAX, Ordering::SeqCst);
        let lease = pool.lease(ONE, &world, &[LARGE; 3]).unwrap();
        assert_eq!(world.made(), 3);
        // Without a permit.
        let refused = pool.lease(OTHER, &world, &[1; 2]).unwrap_err();
        assert!(matches!(refused, NoBuffer::Exhausted), "{refused}");
        let mut last = pool.lease(OTHER, &world, &[1]).unwrap();
        assert_eq!(lengths(&mut last), [SMALL]);
        drop((lease, last));
        let refused = pool.lease(ONE, &world, &[1, LARGE + 1]).unwrap_err();
        assert!(matches!(refused, NoBuffer::TooLarge(_)), "{refused}");
        assert_eq!((pool.lock().there(), world.made()), (4, 4));
    }

    #[test]
    fn a_call_may_have_its_share_and_is_told_how_it_could_have_more() {
        let (pool, world) = (of_two(7, 2), World::new());
        assert!(pool.lease(ONE, &world, &[LARGE; 3]).is_ok());
        let refused = pool.lease(ONE, &world, &[1; 4]).unwrap_err();
        assert!(refused.to_string().contains("--buffers to 8"), "{refused}");
        assert!(of_two(8, 2).lease(ONE, &world, &[LARGE; 4]).is_ok());
        assert!(of_two(2, 2).lease(ONE, &world, &[LARGE]).is_ok());
    }

    #[test]
    fn small_idle_buffers_do_not_keep_a_guest_from_large_ones() {
        let (pool, world) = (of_two(6, 1), World::new());
        drop(pool.lease(OTHER, &world, &[LARGE; 2]).unwrap());
        drop(pool.lease(ONE, &world, &[1; 4]).unwrap());
        let mut lease = pool.lease(ONE, &world, &[LARGE; 4]).unwrap();
        assert_eq!(lengths(&mut lease), [LARGE; 4]);
        // They were its own: those of others stay.
        assert_eq!((idle(&pool, ONE), idle(&pool, OTHER)), (0, 2));
        assert_eq!((pool.lock().left, world.made()), (0, 10));
    }

    #[test]
    fn what_others_do_not_use_is_given_up_where_a_guest_has_nothing_idle() {
        let (pool, world) = (of_two(4, 2), World::new());
        let of_one = [(); 2].map(|()| pool.lease(ONE, &world, &[LARGE; 2]).unwrap());
        drop(of_one);
        let mut lease = pool.lease(OTHER, &world, &[LARGE, 1]).unwrap();
        assert_eq!(lengths(&mut lease), [LARGE, SMALL]);
        assert_eq!((idle(&pool, ONE), pool.lock().left), (2, 0));
    }

    #[test]
    fn buffers_of_a_guest_that_is_gone_are_given_back() {
        let (pool, world) = (of_two(4, 1), World::new());
        let lease = pool.lease(ONE, &world, &[1; 2]).unwrap();
        drop(pool.lease(ONE, &world, &[LARGE]).unwrap());
        pool.end(ONE);
        assert_eq!(pool.lock().left, 2);
        drop(lease);
        let state = pool.lock();
        assert_eq!((state.left, state.idle.len()), (4, 1));
    }

    #[test]
    fn a_call_that_was_still_under_way_keeps_no_buffer_for_a_guest_that_is_gone() {
        let (pool, world) = (of_two(4, 1), World::new());
        pool.end(ONE);
        drop(pool.lease(ONE, &world, &[1; 2]).unwrap());
        assert_eq!((idle(&pool, ONE), pool.lock().left), (0, 4));
    }

    #[test]
    fn nobody_finds_too_few_with_every_permit_at_its_share_and_guests_that_end() {
        const THREADS: u64 = 3;
        const SHARE: usize = 3;
        /// Calls with each permit.
        const CALLS: usize = 2_000;
        let limit = SHARE * 3 + 1;
        let (pool, world) = (of_two(limit, 3), World::new());
        let lent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (pool, world, lent) = (&pool, &world, &lent);
                scope.spawn(move || {
                    let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15 + thread);
                    for _ in 0..CALLS {
                        let guest = Attachment(numbers.below(4));
                        let sizes = [(); SHARE].map(|()| match numbers.below(2) {
                            0 => 1,
                            _ => LARGE,
                        });
                        let mut lease = pool.lease(guest, world, &sizes).unwrap();
                        for (buffer, size) in lease.buffers().iter().zip(sizes) {
                            assert!(buffer.len() >= size);
                        }
                        lent.fetch_add(SHARE, Ordering::SeqCst);
                        let state = pool.lock();
                        let all = state.there() + state.leaving + lent.load(Ordering::SeqCst);
                        assert!(all <= limit, "{all}");
                        drop(state);
                        lent.fetch_sub(SHARE, Ordering::SeqCst);
                        drop(lease);
                        if numbers.below(3) == 0 {
                            let guest = Attachment(numbers.below(4));
                            pool.end(guest);
                            pool.attach(guest);
                        }
                    }
                });
            }
        });
        let state = pool.lock();
        assert_eq!((state.there(), state.leaving), (limit, 0));
    }
}
