//! Image I/O on a few threads, each blocking in ordinary system calls.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::signal::Signal;
use super::{Finished, Job};
use crate::block::device::Shared;

/// Stack of a thread in bytes. Its work is a system call at a time; pages are touched only when used.
const STACK: usize = 128 << 10;

/// Threads that are started when there is work for them, and end with this.
pub(super) struct Threads<T: Send + 'static> {
    common: Arc<Common<T>>,
    running: Vec<JoinHandle<()>>,
    most: usize,
    in_flight: usize,
}

struct Common<T> {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    state: Mutex<State<T>>,
    work: Condvar,
}

struct State<T> {
    jobs: VecDeque<Job<T>>,
    finished: Vec<Finished<T>>,
    /// Threads that wait for a job.
    idle: usize,
    /// The threads are to end when no job is left.
    ending: bool,
}

impl<T> Common<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under this lock can be left half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, finished: Finished<T>) {
        let mut state = self.lock();
        // Who collects takes all, so one signal serves all that ended since.
        let first = state.finished.is_empty();
        state.finished.push(finished);
        drop(state);
        if first {
            self.signal.raise();
        }
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                self.finish(job.perform(&self.shared.image));
                state = self.lock();
            } else if state.ending {
                return;
            } else {
                state.idle = state.idle.saturating_add(1);
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle = state.idle.saturating_sub(1);
            }
        }
    }
}

impl<T: Send + 'static> Threads<T> {
    /// At most `most` threads; none yet.
    pub(super) fn new(shared: Arc<Shared>, signal: Arc<Signal>, most: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            finished: Vec::new(),
            idle: 0,
            ending: false,
        };
        Threads {
            common: Arc::new(Common {
                shared,
                signal,
                state: Mutex::new(state),
                work: Condvar::new(),
            }),
            running: Vec::new(),
            most,
            in_flight: 0,
        }
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.common.signal
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn submit(&mut self, job: Job<T>) {
        self.in_flight = self.in_flight.saturating_add(1);
        let mut state = self.common.lock();
        if state.jobs.len() < state.idle || !self.can_start() {
            state.jobs.push_back(job);
            drop(state);
            self.common.work.notify_one();
            return;
        }
        drop(state);
        let common = Arc::clone(&self.common);
        let started = std::thread::Builder::new()
            .name("block-io".into())
            .stack_size(STACK)
            .spawn(move || common.run());
        match started {
            Ok(thread) => self.running.push(thread),
            Err(error) if self.running.is_empty() => {
                tracing::warn!(%error, "no thread for disk I/O can be started");
                let finished = job.perform(&self.common.shared.image);
                return self.common.finish(finished);
            }
            // Those there are will get to it.
            Err(_) => self.most = self.running.len(),
        }
        self.common.lock().jobs.push_back(job);
        self.common.work.notify_one();
    }

    fn can_start(&self) -> bool {
        self.running.len() < self.most
    }

    pub(super) fn collect(&mut self, finished: &mut Vec<Finished<T>>) {
        let before = finished.len();
        finished.append(&mut self.common.lock().finished);
        let count = finished.len().saturating_sub(before);
        self.in_flight = self.in_flight.saturating_sub(count);
    }
}

impl<T: Send + 'static> Drop for Threads<T> {
    fn drop(&mut self) {
        self.common.lock().ending = true;
        self.common.work.notify_all();
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
    }
}
