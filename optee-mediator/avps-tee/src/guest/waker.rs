//! What wakes the threads of a guest: each event wakes one, and the end wakes all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::lock;

/// The ring's event channel was notified.
const CHANNEL: u64 = 1;

/// One thread for each edge.
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ET);

/// What one guest's threads wait for.
#[derive(Debug)]
pub(super) struct Waker {
    epoll: OwnedFd,
    another: OwnedFd,
    timer: OwnedFd,
    end: OwnedFd,
    /// When the timer goes off, or went off.
    armed: Mutex<Option<Instant>>,
    /// The channel wakes nobody: a thread looks at the ring itself.
    deaf: Mutex<bool>,
}

impl Waker {
    /// For a guest whose ring is announced here.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(channel: BorrowedFd<'_>) -> io::Result<Self> {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let timer = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let this = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            another: event()?,
            timer: timerfd_create(TimerfdClockId::Monotonic, timer)?,
            end: event()?,
            armed: Mutex::default(),
            deaf: Mutex::default(),
        };
        let add = |fd, data, flags| epoll::add(&this.epoll, fd, EventData::new_u64(data), flags);
        add(channel, CHANNEL, ONCE)?;
        add(this.another.as_fd(), 0, ONCE)?;
        add(this.timer.as_fd(), 0, ONCE)?;
        // All threads, one after the other: it stays.
        add(this.end.as_fd(), 0, EventFlags::IN)?;
        Ok(this)
    }

    /// Waits for something; true if the channel was notified.
    pub(super) fn wait(&self) -> bool {
        let mut events = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }];
        match epoll::wait(&self.epoll, &mut events, None) {
            Ok(0) => false,
            Ok(_) => events.iter().any(|event| event.data.u64() == CHANNEL),
            // A signal.
            Err(_) => false,
        }
    }

    /// The channel wakes nobody until [`Waker::hear`]; false if that is so already.
    pub(super) fn deafen(&self, channel: BorrowedFd<'_>) -> io::Result<bool> {
        let mut deaf = lock(&self.deaf);
        if *deaf {
            return Ok(false);
        }
        self.change(channel, EventFlags::empty())?;
        *deaf = true;
        Ok(true)
    }

    /// The channel wakes threads again, once `ready` is done: it makes the channel raise the next event.
    pub(super) fn hear(
        &self,
        channel: BorrowedFd<'_>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut deaf = lock(&self.deaf);
        if !*deaf {
            return Ok(());
        }
        let ready = ready();
        // An event that has come meanwhile wakes a thread at once.
        self.change(channel, ONCE)?;
        *deaf = false;
        ready
    }

    fn change(&self, channel: BorrowedFd<'_>, flags: EventFlags) -> io::Result<()> {
        epoll::modify(&self.epoll, channel, EventData::new_u64(CHANNEL), flags)?;
        Ok(())
    }

    /// Wakes a thread: there is more to do than one can.
    pub(super) fn another(&self) {
        notify(&self.another);
    }

    /// Wakes all threads, now and for ever.
    pub(super) fn end(&self) {
        notify(&self.end);
    }

    /// Wakes a thread at this time, or before it.
    pub(super) fn at(&self, at: Instant) -> io::Result<()> {
        let now = Instant::now();
        let mut armed = lock(&self.armed);
        if armed.is_some_and(|armed| armed > now && armed <= at) {
            return Ok(());
        }
        // Of no length, it would not be set at all.
        let left = at.saturating_duration_since(now).as_nanos().max(1);
        const SECOND: u128 = 1_000_000_000;
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: i64::try_from(left / SECOND).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % SECOND).unwrap_or(0),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        *armed = Some(at);
        Ok(())
    }
}

/// It was notified before if it is full.
fn notify(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn waker() -> (OwnedFd, Waker) {
        let channel = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let waker = Waker::new(channel.as_fd()).unwrap();
        (channel, waker)
    }

    /// Threads that wait, and count how often each kind woke them.
    fn waiting(waker: &Arc<Waker>) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let counts = [Arc::default(), Arc::default()];
        for _ in 0..4 {
            let (waker, [notified, others]) = (Arc::clone(waker), counts.clone());
            std::thread::spawn(move || {
                for _ in 0..100 {
                    let count: &AtomicUsize = if waker.wait() { &notified } else { &others };
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
        let [notified, others] = counts;
        (notified, others)
    }

    fn settle() {
        std::thread::sleep(Duration::from_millis(150));
    }

    #[test]
    fn each_event_wakes_one_thread_and_the_end_wakes_all() {
        let (channel, waker) = waker();
        let waker = Arc::new(waker);
        let (notified, others) = waiting(&waker);
        for count in 1..=3 {
            notify(&channel);
            settle();
            assert_eq!(notified.load(Ordering::SeqCst), count);
        }
        waker.another();
        settle();
        assert_eq!(others.load(Ordering::SeqCst), 1);
        waker.end();
        settle();
        // They come again and again, for this test's threads do not end.
        let all = notified.load(Ordering::SeqCst) + others.load(Ordering::SeqCst);
        assert_eq!(all, 400);
    }

    #[test]
    fn a_deaf_waker_wakes_nobody_and_then_tells_of_what_it_missed() {
        let (channel, waker) = waker();
        let waker = Arc::new(waker);
        let (notified, _) = waiting(&waker);
        assert!(waker.deafen(channel.as_fd()).unwrap());
        assert!(!waker.deafen(channel.as_fd()).unwrap());
        notify(&channel);
        settle();
        assert_eq!(notified.load(Ordering::SeqCst), 0);
        waker.hear(channel.as_fd(), || Ok(())).unwrap();
        settle();
        assert_eq!(notified.load(Ordering::SeqCst), 1);
        let unexpected = || panic!("it hears already");
        waker.hear(channel.as_fd(), unexpected).unwrap();
        notify(&channel);
        settle();
        assert_eq!(notified.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_earliest_time_counts() {
        let (_channel, waker) = waker();
        let began = Instant::now();
        waker.at(began + Duration::from_millis(60)).unwrap();
        waker.at(began + Duration::from_secs(60)).unwrap();
        assert!(!waker.wait());
        assert!(began.elapsed() >= Duration::from_millis(60));
        // A time that has passed is no time to wait until.
        waker.at(began).unwrap();
        assert!(!waker.wait());
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
