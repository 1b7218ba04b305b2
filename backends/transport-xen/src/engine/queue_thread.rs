//! A queue's thread: takes chains, has them handled, publishes them, interrupts.
//!
//! It alone blocks on I/O. It ends when told to, after draining what is in flight; all guest memory it mapped is
//! unmapped before it says so, however it ends.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use devices::{Chain, Completions, DeviceQueue, PayloadMemory, QueueError, QueueHandler};

use super::DevId;
use super::gather::Gather;
use super::orders::{Order, OrderSender};
use super::wake::{Wake, wait, wait_for};
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
}

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
            gather: Gather::new(Instant::now()),
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
    gather: Gather,
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
        if let Err(trouble) = self.serve() {
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
            if wait(self.kick.as_fd(), None).is_err() {
                return;
            }
            self.kick.take();
        }
    }

    /// Serves until told to stop or until the driver breaks the protocol.
    fn serve(&mut self) -> Result<(), Trouble> {
        while !self.stopping() {
            self.work()?;
            if self.stopping() {
                break;
            }
            let (kicked, completed) = wait(self.kick.as_fd(), self.setup.handler.completion_fd())
                .map_err(waiting_failed)?;
            if kicked {
                self.kick.take();
            }
            if completed {
                let QueueSetup {
                    handler, memory, ..
                } = &mut self.setup;
                handler.reap(&mut **memory, &mut self.done);
                self.publish()?;
            }
        }
        Ok(())
    }

    /// Handles everything in the ring.
    fn work(&mut self) -> Result<(), Trouble> {
        self.setup.queue.suppress_kicks(&self.setup.ring)?;
        loop {
            let QueueSetup {
                queue,
                ring,
                memory,
                handler,
                ..
            } = &mut self.setup;
            let taken = queue.take(ring, &mut **memory, &mut self.batch);
            let count = self.batch.len();
            self.gather.taken(count, Instant::now());
            handler.submit(&mut self.batch, &mut **memory, &mut self.done);
            self.publish()?;
            taken?;
            if self.stopping() {
                return Ok(());
            }
            if !self.await_more()?
                && count == 0
                && !self.setup.queue.allow_kicks(&self.setup.ring)?
            {
                return Ok(());
            }
        }
    }

    /// Waits for more requests where that pays; false if it does not.
    fn await_more(&mut self) -> Result<bool, Trouble> {
        let QueueSetup {
            queue,
            ring,
            memory,
            handler,
            ..
        } = &mut self.setup;
        let Some((count, limit)) = self.gather.plan(queue.waiting(ring)?) else {
            return Ok(false);
        };
        if !queue.allow_kick_after(ring, count)? {
            return Ok(false);
        }
        let (kicked, completed) = wait_for(self.kick.as_fd(), handler.completion_fd(), Some(limit))
            .map_err(waiting_failed)?;
        if kicked {
            self.kick.take();
        }
        if !completed {
            self.gather.waited(queue.waiting(ring)?);
        }
        queue.suppress_kicks(ring)?;
        if completed {
            handler.reap(&mut **memory, &mut self.done);
            self.publish()?;
        }
        Ok(true)
    }

    /// Puts what is done into the used ring, and tells the driver if it wants to know.
    fn publish(&mut self) -> Result<(), Trouble> {
        let QueueSetup {
            queue,
            ring,
            interrupt,
            ..
        } = &mut self.setup;
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
