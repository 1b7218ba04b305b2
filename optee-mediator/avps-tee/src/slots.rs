//! Turns in the secure world: OP-TEE has few threads, and no guest may have them all to itself.
//!
//! Each guest has an account of the time it spent there, divided by its weight. Who has spent least is next. A guest that was away
//! does not save time up: it comes back at the level of those that are there.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::Attachment;

/// The turns.
#[derive(Debug)]
pub(crate) struct Slots {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    all: usize,
    accounts: HashMap<Attachment, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Weighted nanoseconds.
    spent: u64,
    running: usize,
    waiting: usize,
}

/// A turn. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    slots: &'a Slots,
    guest: Attachment,
    weight: u32,
    since: Instant,
}

impl Slots {
    /// So many at once.
    pub(crate) fn new(all: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: all,
                all,
                accounts: HashMap::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a turn; none once `given_up` says so, which is asked again after each [`Slots::wake`].
    pub(crate) fn wait(
        &self,
        guest: Attachment,
        weight: u32,
        given_up: impl Fn() -> bool,
    ) -> Option<Turn<'_>> {
        let mut state = self.lock();
        state.arrive(guest);
        loop {
            if given_up() {
                state.leave(guest);
                self.changed.notify_all();
                return None;
            }
            if state.is_next(guest) {
                break;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.free = state.free.saturating_sub(1);
        if let Some(account) = state.accounts.get_mut(&guest) {
            account.waiting = account.waiting.saturating_sub(1);
            account.running = account.running.saturating_add(1);
        }
        // Another may have a place, too.
        self.changed.notify_all();
        Some(Turn {
            slots: self,
            guest,
            weight,
            since: Instant::now(),
        })
    }

    /// Lets everybody who waits look whether it still wants to.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    fn arrive(&mut self, guest: Attachment) {
        let present = self.accounts.values().filter(|account| account.is_there());
        let least = present.map(|account| account.spent).min().unwrap_or(0);
        let account = self.accounts.entry(guest).or_default();
        if !account.is_there() {
            account.spent = account.spent.max(least);
        }
        account.waiting = account.waiting.saturating_add(1);
    }

    fn leave(&mut self, guest: Attachment) {
        if let Some(account) = self.accounts.get_mut(&guest) {
            account.waiting = account.waiting.saturating_sub(1);
            if !account.is_there() {
                self.accounts.remove(&guest);
            }
        }
    }

    /// Whether a turn is free, and this guest's. With several turns one is always left for the other guests.
    fn is_next(&self, guest: Attachment) -> bool {
        if self.free == 0 {
            return false;
        }
        let may = |account: &Account| self.all < 2 || account.running.saturating_add(1) < self.all;
        let wanting = self
            .accounts
            .iter()
            .filter(|(_, account)| account.waiting > 0 && may(account));
        let next = wanting.min_by_key(|(guest, account)| (account.spent, **guest));
        next.is_some_and(|(next, _)| *next == guest)
    }
}

impl Account {
    fn is_there(&self) -> bool {
        self.running > 0 || self.waiting > 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.slots.lock();
        state.free = state.free.saturating_add(1);
        if let Some(account) = state.accounts.get_mut(&self.guest) {
            account.running = account.running.saturating_sub(1);
            let cost = nanoseconds.checked_div(u64::from(self.weight.max(1)));
            account.spent = account.spent.saturating_add(cost.unwrap_or(nanoseconds));
        }
        drop(state);
        self.slots.changed.notify_all();
    }
}

impl Slots {
    /// A guest is gone; its account with it, once none of its turns is left.
    pub(crate) fn forget(&self, guest: Attachment) {
        let mut state = self.lock();
        if state
            .accounts
            .get(&guest)
            .is_some_and(|account| !account.is_there())
        {
            state.accounts.remove(&guest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn guest(number: u64) -> Attachment {
        Attachment(number)
    }

    #[test]
    fn of_two_turns_one_guest_gets_one_and_the_other_guest_the_other() {
        let slots = Slots::new(2);
        let first = slots.wait(guest(1), 1, || false).unwrap();
        assert!(slots.wait(guest(1), 1, || true).is_none());
        assert!(!slots.lock().is_next(guest(1)));
        let second = slots.wait(guest(2), 1, || false).unwrap();
        drop(first);
        let again = slots.wait(guest(1), 1, || false).unwrap();
        drop((second, again));
        slots.forget(guest(1));
        slots.forget(guest(2));
        assert!(slots.lock().accounts.is_empty());
        assert_eq!(slots.lock().free, 2);
    }

    #[test]
    fn time_is_shared_by_weight() {
        let slots = Arc::new(Slots::new(1));
        let counts = [1_u32, 3].map(|weight| (weight, Arc::new(AtomicUsize::new(0))));
        let until = Instant::now() + Duration::from_millis(600);
        std::thread::scope(|scope| {
            for (number, (weight, count)) in (1..).zip(&counts) {
                // Two of each, so that each guest always wants one.
                for _ in 0..2 {
                    let slots = Arc::clone(&slots);
                    scope.spawn(move || {
                        while Instant::now() < until {
                            let turn = slots.wait(guest(number), *weight, || false).unwrap();
                            count.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(2));
                            drop(turn);
                        }
                    });
                }
            }
        });
        let [few, many] = counts.map(|(_, count)| count.load(Ordering::Relaxed));
        let ratio = many as f64 / few as f64;
        assert!((2.0..4.5).contains(&ratio), "{many} and {few}");
    }
}
