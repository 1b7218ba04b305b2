//! A queue's thread: takes chains, has them handled, publishes them, interrupts.
//!
//! It alone blocks on I/O. It ends when told to, after draining what is in flight; all guest memory it mapped is
//! unmapped before it says so, however it ends.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::{Chain, Completions, DeviceQueue, PayloadMemory, QueueError, QueueHandler};

use super::DevId;
use super::front::Front;
use super::gather::Gather;
use super::lookout::{Attentive, Lookout};
use super::orders::{Order, OrderSender};
use super::spin::Spin;
use super::wake::{Wake, wait};
use crate::memory::RingMemory;
use crate::mmio::Interrupt;

/// A running queue, from outside.
pub(super) struct QueueThread {
    kick: Arc<Wake>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What a queue's thread works with.
pub(super) struct QueueSetup {
    pub(super) devid: DevId,
    pub(super) index: u16,
    pub(super) queue: DeviceQueue,
    pub(super) ring: RingMemory,
    pub(super) memory: Box<dyn PayloadMemory>,
    pub(super) handler: Box<dyn QueueHandler>,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) orders: OrderSender,
    pub(super) front: Arc<Front>,
}

/// Bytes after which the driver is told without waiting for more: what that costs is little to what moving them did.
const MUCH: u64 = 512 << 10;
/// Moving more bytes than this may take a while, with the looks that are taken meanwhile.
const BRIEF: u64 = 2 << 20;
/// Looks at the ring between two looks at the clock and after the vCPUs.
const LOOKS: u32 = 16;

/// Why a queue cannot go on.
enum Trouble {
    Queue(QueueError),
    /// A request could not be answered.
    Unanswerable(String),
}

impl From<QueueError> for Trouble {
    fn from(error: QueueError) -> Self {
        Trouble::Queue(error)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Queue(error) => error.fmt(f),
            Trouble::Unanswerable(reason) => reason.fmt(f),
        }
    }
}

fn waiting_failed(error: std::io::Error) -> Trouble {
    Trouble::Unanswerable(format!("waiting for requests failed: {error}"))
}

impl QueueThread {
    /// Starts the thread. It looks at the queue at once: the driver may have filled it before DRIVER_OK.
    pub(super) fn start(setup: QueueSetup) -> std::io::Result<Self> {
        let kick = Arc::new(Wake::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            batch: Vec::new(),
            done: Completions::new(),
            served: 0,
            since: Instant::now(),
            moved: 0,
            gather: Gather::new(Instant::now()),
            spin: Spin::default(),
            kick: Arc::clone(&kick),
            stop: Arc::clone(&stop),
            setup,
        };
        let name = format!("dev{}-q{}", worker.setup.devid, worker.setup.index);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run())?;
        Ok(QueueThread { kick, stop, thread })
    }

    /// There is something new in the queue.
    pub(super) fn kick(&self) {
        self.kick.signal();
    }

    /// Asks the thread to end; [`Order::QueueEnded`] follows.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.kick.signal();
    }

    /// Waits for a thread that said it has ended; false if it panicked.
    pub(super) fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// Says that the thread has ended, also when it panics.
struct Farewell {
    devid: DevId,
    index: u16,
    orders: OrderSender,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::QueueEnded(self.devid, self.index));
    }
}

struct Worker {
    setup: QueueSetup,
    batch: Vec<Chain>,
    done: Completions,
    /// Requests taken that the driver was not told of yet.
    served: u16,
    /// When the first of them was taken.
    since: Instant,
    /// Their bytes.
    moved: u64,
    gather: Gather,
    spin: Spin,
    kick: Arc<Wake>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        let QueueSetup {
            devid,
            index,
            ref orders,
            ..
        } = self.setup;
        // Declared first, so dropped last.
        let farewell = Farewell {
            devid,
            index,
            orders: orders.clone(),
        };
        // Left before the farewell, upon which the engine waits for this thread's end.
        let mut lookout = Lookout::new(&self.setup.front);
        let served = self.serve(&mut lookout);
        drop(lookout);
        if let Err(trouble) = served {
            let tell = Order::QueueBroken(devid, format!("queue {index}: {trouble}"));
            // The engine is gone only if everything ends anyway.
            let _ = farewell.orders.send(tell);
            self.wait_for_stop();
        }
        self.finish();
        drop(farewell);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn wait_for_stop(&self) {
        while !self.stopping() {
            if wait(self.kick.as_fd(), None, None).is_err() {
                return;
            }
            self.kick.take();
        }
    }

    /// Serves until told to stop or until the driver breaks the protocol.
    fn serve(&mut self, lookout: &mut Lookout) -> Result<(), Trouble> {
        while !self.stopping() {
            self.work(lookout)?;
            if self.stopping() {
                break;
            }
            lookout.leave();
            let (kicked, completed) =
                wait(self.kick.as_fd(), self.setup.handler.completion_fd(), None)
                    .map_err(waiting_failed)?;
            if kicked {
                self.kick.take();
            }
            if completed {
                self.reap()?;
            }
        }
        Ok(())
    }

    /// Handles everything in the ring, and what comes while this thread is awake.
    fn work(&mut self, lookout: &mut Lookout) -> Result<(), Trouble> {
        self.setup.queue.suppress_kicks(&self.setup.ring)?;
        let mut awake = Instant::now();
        loop {
            let count = self.take(lookout)?;
            if self.stopping() {
                return self.publish();
            }
            if self.setup.handler.is_waiting() || !lookout.enter() {
                self.publish()?;
                if self.gather_asleep(lookout)? || count > 0 {
                    continue;
                }
            } else if count > 0 {
                if self.gather.suffices(self.served, self.since.elapsed()) {
                    self.gather.sufficed(self.served);
                    self.publish()?;
                } else if self.moved >= MUCH {
                    self.publish()?;
                }
                lookout.look();
                continue;
            } else {
                if self.gather_awake(lookout)? {
                    continue;
                }
                self.publish()?;
                self.spin.worked(awake.elapsed());
                let limit = self.spin.limit();
                if limit > Duration::ZERO {
                    let found = self.look(lookout, limit)?;
                    self.spin.looked(found);
                    if found {
                        awake = Instant::now();
                        continue;
                    }
                }
            }
            if !self.setup.queue.allow_kicks(&self.setup.ring)? {
                return Ok(());
            }
            self.setup.queue.suppress_kicks(&self.setup.ring)?;
        }
    }

    /// Takes what is in the ring, a batch at most, and has it handled; tells how many.
    fn take(&mut self, lookout: &mut Lookout) -> Result<u16, Trouble> {
        let QueueSetup {
            queue,
            ring,
            memory,
            handler,
            ..
        } = &mut self.setup;
        let begin = Instant::now();
        let taken = queue.take(ring, &mut **memory, &mut self.batch);
        // At most MAX_BATCH.
        let count = u16::try_from(self.batch.len()).unwrap_or(u16::MAX);
        let bytes = self
            .batch
            .iter()
            .fold(0, |sum: u64, chain| sum.saturating_add(chain.bytes()));
        if count > 0 && (bytes > BRIEF || handler.may_wait(&self.batch)) {
            lookout.absent();
        }
        let mut attentive = Attentive {
            memory: &mut **memory,
            lookout,
        };
        handler.submit(&mut self.batch, &mut attentive, &mut self.done);
        lookout.back();
        if self.served == 0 {
            self.since = begin;
        }
        self.gather.served(count, begin.elapsed());
        self.served = self.served.saturating_add(count);
        self.moved = self.moved.saturating_add(bytes);
        if let Err(error) = taken {
            // What came before it is answered still.
            self.publish()?;
            return Err(error.into());
        }
        if count == 0 && self.served == 0 {
            self.gather.taken(0, Instant::now());
        }
        Ok(count)
    }

    /// Waits, asleep, until many requests are there, where that pays; false if it does not.
    fn gather_asleep(&mut self, lookout: &mut Lookout) -> Result<bool, Trouble> {
        let QueueSetup {
            queue,
            ring,
            handler,
            ..
        } = &mut self.setup;
        let Some((count, limit)) = self.gather.plan(queue.waiting(ring)?) else {
            return Ok(false);
        };
        if !queue.allow_kick_after(ring, count)? {
            return Ok(false);
        }
        lookout.leave();
        let (kicked, completed) = wait(self.kick.as_fd(), handler.completion_fd(), Some(limit))
            .map_err(waiting_failed)?;
        if kicked {
            self.kick.take();
        }
        if !completed {
            self.gather.waited(queue.waiting(ring)?);
        }
        queue.suppress_kicks(ring)?;
        if completed {
            self.reap()?;
        }
        Ok(true)
    }

    /// Waits, awake, for one more request to be answered together with those that are served already, where that
    /// pays; false if none came.
    fn gather_awake(&mut self, lookout: &Lookout) -> Result<bool, Trouble> {
        let pause = self.gather.pause(self.served, self.since.elapsed());
        let Some(limit) = pause.filter(|_| self.served > 0) else {
            return Ok(false);
        };
        let found = self.look(lookout, limit)?;
        self.gather.paused(found, self.served);
        Ok(found)
    }

    /// Looks for a request, awake, and after the vCPUs meanwhile; false if none came in time.
    fn look(&self, lookout: &Lookout, limit: Duration) -> Result<bool, Trouble> {
        let QueueSetup { queue, ring, .. } = &self.setup;
        let begin = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if queue.waiting(ring)? > 0 {
                    return Ok(true);
                }
                std::hint::spin_loop();
            }
            if self.stopping() || begin.elapsed() >= limit {
                return Ok(false);
            }
            lookout.look();
        }
    }

    /// Collects what has completed in the background, and tells the driver.
    fn reap(&mut self) -> Result<(), Trouble> {
        let QueueSetup {
            handler, memory, ..
        } = &mut self.setup;
        handler.reap(&mut **memory, &mut self.done);
        self.publish()
    }

    /// Puts what is done into the used ring, and tells the driver if it wants to know.
    fn publish(&mut self) -> Result<(), Trouble> {
        let QueueSetup {
            queue,
            ring,
            interrupt,
            ..
        } = &mut self.setup;
        if self.served > 0 {
            self.gather.taken(self.served.into(), Instant::now());
            self.served = 0;
            self.moved = 0;
        }
        if !self.done.is_empty() {
            queue.publish(ring, self.done.drain_used())?;
            if queue.wants_interrupt(ring)? {
                interrupt.used();
            }
        }
        match self.done.take_broken() {
            Some(reason) => Err(Trouble::Unanswerable(reason)),
            None => Ok(()),
        }
    }

    /// Drains what is in flight and gives all guest memory back.
    fn finish(mut self) {
        let QueueSetup {
            handler, memory, ..
        } = &mut self.setup;
        handler.drain(&mut **memory, &mut self.done);
        if let Err(trouble) = self.publish() {
            tracing::debug!(%trouble, "requests that ended while their queue was stopped are lost with it");
        }
        let QueueSetup {
            ring,
            memory,
            handler,
            devid,
            index,
            ..
        } = self.setup;
        drop(handler);
        drop(memory);
        if let Err(error) = ring.unmap() {
            tracing::error!(devid, index, %error, "a queue's rings could not be unmapped");
        }
    }
}
