//! What a worker has to tell the holder, kept in order and bounded.
//!
//! A guest can move its device's status as often as it likes, from a vCPU that waits for us: telling must
//! not wait for the holder, and must not pile up. So the newest word on a device replaces an older one
//! that was not yet sent; everything else answers one order of the holder's and is bounded by those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ipc::{Channel, FrameError, Notice};

/// Notices that may wait. The holder asks far less at a time; beyond it, it does not listen any more.
const MAX_WAITING: usize = 1024;
/// Pause after a notice that a guest can cause at will.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause when the holder's socket is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Notice>,
    driver_ok: BTreeMap<u32, bool>,
    sending: bool,
    closed: bool,
}

/// Shared by all threads of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that could panic runs under the lock.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a notice in line.
    pub(super) fn tell(&self, notice: Notice) {
        let mut state = self.state();
        match &notice {
            Notice::Driver { slot, ok } => {
                state.driver_ok.insert(*slot, *ok);
                let slot = *slot;
                state.waiting.retain(
                    |waiting| !matches!(waiting, Notice::Driver { slot: other, .. } if *other == slot),
                );
            }
            Notice::NeedsReset { slot, .. } => {
                let slot = *slot;
                state.waiting.retain(
                    |waiting| !matches!(waiting, Notice::NeedsReset { slot: other, .. } if *other == slot),
                );
            }
            Notice::Removed { slot } => {
                state.driver_ok.remove(slot);
            }
            _ => {}
        }
        if state.waiting.len() < MAX_WAITING {
            state.waiting.push_back(notice);
            self.shared.1.notify_all();
        }
    }

    /// Tells that a device is in its slot. What its driver did in the meantime is part of the notice.
    pub(super) fn tell_attached(&self, slot: u32) {
        let driver_ok = self.state().driver_ok.get(&slot).copied().unwrap_or(false);
        self.tell(Notice::Attached { slot, driver_ok });
    }

    /// Sends until the holder is gone.
    pub(super) fn send_all(&self, channel: &Channel) {
        loop {
            let notice = {
                let mut state = self.state();
                state.sending = false;
                self.shared.1.notify_all();
                loop {
                    match state.waiting.pop_front() {
                        Some(notice) => {
                            state.sending = true;
                            break notice;
                        }
                        None => {
                            state = self
                                .shared
                                .1
                                .wait(state)
                                .unwrap_or_else(PoisonError::into_inner);
                        }
                    }
                }
            };
            if !send(channel, &notice) {
                let mut state = self.state();
                state.closed = true;
                state.waiting.clear();
                self.shared.1.notify_all();
                return;
            }
        }
    }

    /// Waits until all is sent, or the holder is gone, or `patience` is over.
    pub(super) fn flush(&self, patience: Duration) {
        let state = self.state();
        let _ = self
            .shared
            .1
            .wait_timeout_while(state, patience, |state| {
                !state.closed && (state.sending || !state.waiting.is_empty())
            })
            .map(|_| ());
    }
}

fn send(channel: &Channel, notice: &Notice) -> bool {
    loop {
        match channel.send(notice, &[]) {
            Ok(()) => {
                if matches!(notice, Notice::Driver { .. } | Notice::NeedsReset { .. }) {
                    thread::sleep(PAUSE);
                }
                return true;
            }
            Err(FrameError::Full) => thread::sleep(FULL_PAUSE),
            Err(FrameError::Closed) => return false,
            Err(error) => {
                tracing::error!("a notice could not be sent: {error}");
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(outbox: &Outbox) -> Vec<Notice> {
        outbox.state().waiting.iter().cloned().collect()
    }

    #[test]
    fn a_guest_that_resets_its_device_for_ever_fills_nothing() {
        let outbox = Outbox::default();
        for round in 0..100_000_u32 {
            outbox.tell(Notice::Driver {
                slot: round % 3,
                ok: round % 2 == 0,
            });
            outbox.tell(Notice::NeedsReset {
                slot: 1,
                reason: "r".into(),
            });
        }
        assert_eq!(waiting(&outbox).len(), 4);
    }

    #[test]
    fn the_newest_word_on_a_device_is_the_one_that_is_sent() {
        let outbox = Outbox::default();
        outbox.tell(Notice::Driver { slot: 1, ok: true });
        outbox.tell(Notice::Ready);
        outbox.tell(Notice::Driver { slot: 1, ok: false });
        assert_eq!(
            waiting(&outbox),
            [Notice::Ready, Notice::Driver { slot: 1, ok: false }]
        );
    }

    #[test]
    fn a_driver_that_was_faster_than_the_answer_is_not_forgotten() {
        let outbox = Outbox::default();
        outbox.tell(Notice::Driver { slot: 2, ok: true });
        outbox.tell_attached(2);
        outbox.tell_attached(3);
        assert_eq!(
            waiting(&outbox)[1..],
            [
                Notice::Attached {
                    slot: 2,
                    driver_ok: true
                },
                Notice::Attached {
                    slot: 3,
                    driver_ok: false
                }
            ]
        );
    }

    #[test]
    fn everything_is_sent_before_a_worker_ends() {
        let (holder, theirs) = Channel::pair().unwrap();
        let worker = Channel::from_fd(theirs);
        let outbox = Outbox::default();
        let sender = outbox.clone();
        let thread = thread::spawn(move || sender.send_all(&worker));
        for slot in 0..10 {
            outbox.tell(Notice::Removed { slot });
        }
        outbox.flush(Duration::from_secs(10));
        for expected in 0..10 {
            let (notice, _) = holder.receive::<Notice>().unwrap().unwrap();
            assert_eq!(notice, Notice::Removed { slot: expected });
        }
        drop(holder);
        outbox.tell(Notice::Ready);
        thread.join().unwrap();
        outbox.flush(Duration::from_secs(10));
    }
}
