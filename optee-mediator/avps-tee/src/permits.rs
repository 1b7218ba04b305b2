//! Permits for the secure world: OP-TEE has few threads, and no guest may have them all.
//!
//! Whatever a guest has done there takes a permit: a call, closing a session, a cancellation. Each guest has an account of the time
//! that it spent there, divided by its weight; who has spent least is next. A guest that was away does not save time up: it comes back
//! at the level of those that are there.
//!
//! A guest never gets the last permit for a call. For a cancellation it may, in its place in the order and one at a time: OP-TEE only
//! marks the session and runs no application, and a guest whose one call is to be cancelled has no other permit.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::Attachment;

/// The permits.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An application runs, for as long as it likes.
    Call,
    /// OP-TEE marks a session as cancelled.
    Cancel,
}

/// A guest that has ended, and that still has permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) domid: u16,
    pub(crate) name: String,
    /// Permits that it has.
    pub(crate) calls: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    all: usize,
    /// Somebody has a permit for a cancellation.
    cancelling: bool,
    accounts: HashMap<Attachment, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Weighted nanoseconds.
    spent: u64,
    running: usize,
    /// Calls that wait.
    calls: usize,
    /// Cancellations that wait.
    cancellations: usize,
    /// The guest is attached: its account stays while it does nothing.
    attached: bool,
    /// Who it was, once it has ended.
    ended: Option<(u16, String)>,
}

/// A permit. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    guest: Attachment,
    weight: u32,
    purpose: Purpose,
    since: Instant,
}

impl Permits {
    /// So many at once.
    pub(crate) fn new(all: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: all,
                all,
                cancelling: false,
                accounts: HashMap::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// A guest is attached.
    pub(crate) fn attach(&self, guest: Attachment) {
        self.lock().accounts.entry(guest).or_default().attached = true;
    }

    /// It has ended. Its account is closed once it has no permit and waits for none.
    pub(crate) fn end(&self, guest: Attachment, domid: u16, name: &str) {
        let mut state = self.lock();
        if let Some(account) = state.accounts.get_mut(&guest) {
            account.attached = false;
            account.ended = Some((domid, name.to_owned()));
        }
        state.settle(guest);
    }

    /// Guests that have ended and still have permits.
    pub(crate) fn leaving(&self) -> Vec<Leaving> {
        let state = self.lock();
        let mut ended: Vec<_> = state.accounts.iter().collect();
        ended.sort_by_key(|(guest, _)| **guest);
        let leaving = |account: &Account| {
            let (domid, name) = account.ended.clone()?;
            let calls = account.running;
            Some(Leaving { domid, name, calls })
        };
        ended
            .into_iter()
            .filter_map(|(_, account)| leaving(account))
            .collect()
    }

    /// Waits for a permit. Gives up with what `stop` says, which is asked again after each [`Permits::wake`].
    ///
    /// `stop` is called under the permits' lock: it must not wait, and nobody may call [`Permits`] under a lock that it takes.
    pub(crate) fn wait<T>(
        &self,
        guest: Attachment,
        weight: u32,
        purpose: Purpose,
        stop: impl Fn() -> Option<T>,
    ) -> Result<Permit<'_>, T> {
        let mut state = self.lock();
        state.arrive(guest, purpose);
        loop {
            if let Some(why) = stop() {
                state.withdraw(guest, purpose);
                self.changed.notify_all();
                return Err(why);
            }
            if state.is_next(guest, purpose) {
                break;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.begin(guest, purpose);
        // Another may have a place, too.
        self.changed.notify_all();
        Ok(Permit {
            permits: self,
            guest,
            weight,
            purpose,
            since: Instant::now(),
        })
    }

    /// Lets everybody who waits look whether it still wants to.
    pub(crate) fn wake(&self) {
        // Under the lock: who has just looked waits by then.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Guests that have an account.
    #[cfg(test)]
    pub(crate) fn accounts(&self) -> usize {
        self.lock().accounts.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    fn arrive(&mut self, guest: Attachment, purpose: Purpose) {
        let present = self.accounts.values().filter(|account| account.is_there());
        let least = present.map(|account| account.spent).min().unwrap_or(0);
        let account = self.accounts.entry(guest).or_default();
        if !account.is_there() {
            account.spent = account.spent.max(least);
        }
        let waiting = account.waiting(purpose);
        *waiting = waiting.saturating_add(1);
    }

    fn withdraw(&mut self, guest: Attachment, purpose: Purpose) {
        if let Some(account) = self.accounts.get_mut(&guest) {
            let waiting = account.waiting(purpose);
            *waiting = waiting.saturating_sub(1);
        }
        self.settle(guest);
    }

    fn begin(&mut self, guest: Attachment, purpose: Purpose) {
        self.free = self.free.saturating_sub(1);
        self.cancelling |= purpose == Purpose::Cancel;
        if let Some(account) = self.accounts.get_mut(&guest) {
            let waiting = account.waiting(purpose);
            *waiting = waiting.saturating_sub(1);
            account.running = account.running.saturating_add(1);
        }
    }

    /// Closes the account of a guest that is not attached, once it does not need it.
    fn settle(&mut self, guest: Attachment) {
        let account = self.accounts.get(&guest);
        if account.is_some_and(|account| !account.attached && !account.is_there()) {
            self.accounts.remove(&guest);
        }
    }

    /// Whether a permit is free, and this guest's.
    fn is_next(&self, guest: Attachment, purpose: Purpose) -> bool {
        if self.free == 0 {
            return false;
        }
        let wanting = self
            .accounts
            .iter()
            .filter(|(_, account)| self.may_call(account) || self.may_cancel(account));
        let next = wanting.min_by_key(|(guest, account)| (account.spent, **guest));
        next.is_some_and(|(next, account)| {
            *next == guest
                && match purpose {
                    Purpose::Call => self.may_call(account),
                    Purpose::Cancel => self.may_cancel(account),
                }
        })
    }

    /// With several permits one is always left for the other guests.
    fn may_call(&self, account: &Account) -> bool {
        account.calls > 0 && (self.all < 2 || account.running.saturating_add(1) < self.all)
    }

    fn may_cancel(&self, account: &Account) -> bool {
        account.cancellations > 0 && !self.cancelling
    }
}

impl Account {
    fn is_there(&self) -> bool {
        self.running > 0 || self.calls > 0 || self.cancellations > 0
    }

    fn waiting(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Call => &mut self.calls,
            Purpose::Cancel => &mut self.cancellations,
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.permits.lock();
        state.free = state.free.saturating_add(1);
        state.cancelling &= self.purpose != Purpose::Cancel;
        if let Some(account) = state.accounts.get_mut(&self.guest) {
            account.running = account.running.saturating_sub(1);
            let cost = nanoseconds.checked_div(u64::from(self.weight.max(1)));
            account.spent = account.spent.saturating_add(cost.unwrap_or(nanoseconds));
        }
        state.settle(self.guest);
        drop(state);
        self.permits.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use hostile_calls::Numbers;

    fn guest(number: u64) -> Attachment {
        Attachment(number)
    }

    /// Waits for a permit for a call, whatever happens.
    fn call(permits: &Permits, number: u64) -> Permit<'_> {
        let never = || None::<()>;
        permits
            .wait(guest(number), 1, Purpose::Call, never)
            .unwrap()
    }

    #[test]
    fn of_two_permits_one_guest_gets_one_and_the_other_guest_the_other() {
        let permits = Permits::new(2);
        [1, 2]
            .into_iter()
            .for_each(|number| permits.attach(guest(number)));
        let first = call(&permits, 1);
        let gives_up = permits.wait(guest(1), 1, Purpose::Call, || Some(()));
        assert!(gives_up.is_err());
        assert!(!permits.lock().is_next(guest(1), Purpose::Call));
        let second = call(&permits, 2);
        drop(first);
        let again = call(&permits, 1);
        drop((second, again));
        permits.end(guest(1), 1, "one");
        permits.end(guest(2), 2, "other");
        assert_eq!((permits.accounts(), permits.lock().free), (0, 2));
    }

    #[test]
    fn a_cancellation_may_have_the_last_permit_one_at_a_time() {
        let permits = Permits::new(3);
        let calls = [1, 1].map(|number| call(&permits, number));
        let busy = || Some(());
        assert!(permits.wait(guest(1), 1, Purpose::Call, busy).is_err());
        let cancels = permits.wait(guest(1), 1, Purpose::Cancel, || None::<()>);
        let cancels = cancels.unwrap();
        drop(calls);
        permits.lock().arrive(guest(2), Purpose::Cancel);
        assert!(!permits.lock().is_next(guest(2), Purpose::Cancel));
        drop(cancels);
        assert!(permits.lock().is_next(guest(2), Purpose::Cancel));
    }

    #[test]
    fn the_account_of_a_guest_that_ends_in_a_call_is_seen_until_the_call_ends() {
        let permits = Permits::new(2);
        permits.attach(guest(1));
        let stays = call(&permits, 1);
        permits.end(guest(1), 7, "one");
        let leaving = Leaving {
            domid: 7,
            name: "one".into(),
            calls: 1,
        };
        assert_eq!(permits.leaving(), [leaving]);
        drop(stays);
        assert_eq!((permits.leaving().len(), permits.accounts()), (0, 0));
        // What it still closes afterwards leaves nothing either.
        drop(call(&permits, 1));
        assert_eq!(permits.accounts(), 0);
    }

    #[test]
    fn whoever_is_about_to_wait_is_woken() {
        let (permits, given_up) = (Arc::new(Permits::new(1)), Arc::new(AtomicBool::new(false)));
        let _taken = call(&permits, 2);
        let (looked, looks) = std::sync::mpsc::channel();
        let waits = {
            let (permits, given_up) = (Arc::clone(&permits), Arc::clone(&given_up));
            std::thread::spawn(move || {
                let look = || {
                    let seen = given_up.load(Ordering::SeqCst);
                    looked.send(()).unwrap();
                    // It has looked, and does not wait yet.
                    std::thread::sleep(Duration::from_millis(100));
                    seen.then_some(())
                };
                permits.wait(guest(1), 1, Purpose::Call, look).is_err()
            })
        };
        looks.recv().unwrap();
        given_up.store(true, Ordering::SeqCst);
        permits.wake();
        let until = Instant::now() + Duration::from_secs(10);
        while !waits.is_finished() {
            assert!(Instant::now() < until, "it waits and nobody wakes it");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(waits.join().unwrap());
    }

    #[test]
    fn time_is_shared_by_weight() {
        let permits = Arc::new(Permits::new(1));
        [1, 2]
            .into_iter()
            .for_each(|number| permits.attach(guest(number)));
        let counts = [1_u32, 3].map(|weight| (weight, Arc::new(AtomicUsize::new(0))));
        let until = Instant::now() + Duration::from_millis(600);
        std::thread::scope(|scope| {
            for (number, (weight, count)) in (1..).zip(&counts) {
                // Two of each, so that each guest always wants one.
                for _ in 0..2 {
                    let permits = Arc::clone(&permits);
                    scope.spawn(move || {
                        while Instant::now() < until {
                            let never = || None::<()>;
                            let guest = guest(number);
                            let permit = permits.wait(guest, *weight, Purpose::Call, never);
                            count.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(2));
                            drop(permit);
                        }
                    });
                }
            }
        });
        let [few, many] = counts.map(|(_, count)| count.load(Ordering::Relaxed));
        let ratio = many as f64 / few as f64;
        assert!((2.0..4.5).contains(&ratio), "{many} and {few}");
    }

    #[test]
    fn nobody_waits_for_ever_and_no_guest_has_all_permits_for_calls() {
        const ALL: usize = 3;
        const GUESTS: u64 = 3;
        let permits = Permits::new(ALL);
        (0..GUESTS).for_each(|number| permits.attach(guest(number)));
        let calls = [(); GUESTS as usize].map(|()| AtomicUsize::new(0));
        let cancels = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 * GUESTS {
                let (permits, cancels, number) = (&permits, &cancels, thread % GUESTS);
                let own = &calls[usize::try_from(number).unwrap()];
                scope.spawn(move || {
                    let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15 + thread);
                    for _ in 0..300 {
                        let (purpose, now, most) = match numbers.below(3) {
                            0 => (Purpose::Cancel, cancels, 1),
                            _ => (Purpose::Call, own, ALL - 1),
                        };
                        let gives_up = numbers.below(4) == 0;
                        let stop = || gives_up.then_some(());
                        let Ok(permit) = permits.wait(guest(number), 1, purpose, stop) else {
                            continue;
                        };
                        assert!(now.fetch_add(1, Ordering::SeqCst) < most);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        (0..GUESTS).for_each(|number| permits.end(guest(number), 1, "guest"));
        let state = permits.lock();
        assert_eq!((state.free, state.accounts.len()), (ALL, 0));
    }
}
