//! Who answers the guest's register accesses.
//!
//! The engine's thread does, woken by an event for each. But a vCPU that was put to sleep and woken again costs far more
//! than what a queue's request takes, so a queue's thread that is awake anyway looks at the vCPUs' slots too, and
//! answers at once what it finds there. While such a *lookout* is kept, events stay masked after the first:
//! Xen sends no more of them, and the engine's thread sleeps on.
//!
//! What must hold: whoever keeps a lookout looks again soon, or leaves first, as before it sleeps. The last one that
//! looks unmasks when it leaves; events that came meanwhile are delivered then. Before it does anything that may wait for
//! I/O it says that it is absent, which costs less than to leave: if it is not back after [`ABSENCE`], the engine's thread
//! looks after the gate. So no vCPU waits longer than that for I/O that is not its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::EngineError;
use super::core::Core;

/// How long a lookout may be absent before the engine's thread takes over.
const ABSENCE: Duration = Duration::from_millis(2);

/// The guest's devices and the gate their vCPUs come to, shared by the engine's thread and the queues'.
pub(super) struct Front {
    state: Mutex<State>,
    /// Lookouts are allowed.
    polling: bool,
    /// Readable when a lookout has been absent for too long.
    absence: OwnedFd,
}

struct State {
    core: Core,
    /// Queues' threads that look at the gate.
    lookouts: usize,
    /// Those among them that do not at the moment.
    absent: usize,
    /// Why the gate failed, until the engine's thread hears of it.
    failed: Option<EngineError>,
}

impl Front {
    pub(super) fn new(core: Core, polling: bool, absence: OwnedFd) -> Self {
        let state = State {
            core,
            lookouts: 0,
            absent: 0,
            failed: None,
        };
        Front {
            state: Mutex::new(state),
            polling,
            absence,
        }
    }

    /// A timer for [`Front::new`].
    pub(super) fn timer() -> std::io::Result<OwnedFd> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(timerfd_create(TimerfdClockId::Monotonic, flags)?)
    }

    /// Readable when it is time for [`Front::take_over`].
    pub(super) fn absence(&self) -> BorrowedFd<'_> {
        self.absence.as_fd()
    }

    /// Looks after the gate on the engine's thread, because a lookout has been absent for too long.
    pub(super) fn take_over(&self) -> Result<(), EngineError> {
        let _ = rustix::io::read(&self.absence, &mut [0; 8]);
        let state = &mut *self.state();
        match state.is_looked_after() {
            true => Ok(()),
            false => state.core.unmask().and_then(|()| state.core.serve_all()),
        }
    }

    /// Sets the timer, or stops it.
    fn set_timer(&self, time: Duration) -> std::io::Result<()> {
        let timer = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).map_err(std::io::Error::other)?,
        };
        timerfd_settime(&self.absence, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock is reported by its thread; what it left is valid, as after any other request.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the devices, on the engine's thread.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut self.state().core)
    }

    /// Serves the vCPUs whose events have come, on the engine's thread.
    pub(super) fn serve_events(&self) -> Result<(), EngineError> {
        let state = &mut *self.state();
        let looked_after = state.is_looked_after();
        match state.failed.take() {
            Some(error) => Err(error),
            None => state.core.serve_events(looked_after),
        }
    }

    /// Begins to keep a lookout, unless that is not wanted; what was said about [`Front::leave`] holds from now on.
    pub(super) fn enter(&self) -> bool {
        if self.polling {
            let lookouts = &mut self.state().lookouts;
            *lookouts = lookouts.saturating_add(1);
        }
        self.polling
    }

    /// Answers whoever waits. Somebody else may be at it: then there is nothing to do.
    pub(super) fn look(&self) {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Err(error) = state.core.serve_all() {
            state.fail(error);
        }
    }

    /// The caller's lookout is absent, until it is [`Front::back`].
    pub(super) fn absent(&self) {
        let mut state = self.state();
        state.absent = state.absent.saturating_add(1);
        if !state.is_looked_after()
            && self.set_timer(ABSENCE).is_err()
            && let Err(error) = state.core.unmask()
        {
            state.fail(error);
        }
    }

    /// The caller has just looked, and is absent still.
    pub(super) fn still_absent(&self) {
        // Where it cannot be set again it wakes the engine's thread early.
        let _ = self.set_timer(ABSENCE);
    }

    /// The caller's lookout is kept again.
    pub(super) fn back(&self) {
        let mut state = self.state();
        state.absent = state.absent.saturating_sub(1);
        // Where it cannot be stopped it wakes the engine's thread in vain.
        let _ = self.set_timer(Duration::ZERO);
    }

    /// Ends a lookout.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.lookouts = state.lookouts.saturating_sub(1);
        if !state.is_looked_after()
            && let Err(error) = state.core.unmask()
        {
            state.fail(error);
        }
    }
}

impl State {
    fn is_looked_after(&self) -> bool {
        self.lookouts > self.absent
    }

    /// The gate has failed: the engine's thread is to end.
    fn fail(&mut self, error: EngineError) {
        if self.failed.is_none() {
            self.failed = Some(error);
        }
        self.core.wake_engine();
    }
}
