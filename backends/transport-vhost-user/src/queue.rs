//! A queue in use: takes chains, has them handled, publishes them, interrupts.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use devices::queue::MAX_BATCH;
use devices::{
    Chain, Completions, Counters, DeviceQueue, PayloadMemory, QueueConfig, QueueError,
    QueueHandler, memory::PlainMemory,
};
use vhost_user_backend::VringT;

use crate::Snapshot;
use crate::door::Door;
use crate::vring::Vring;

/// Largest ring a front end may set up. QEMU's virtio-mmio offers its guests this size whatever the device says.
pub(crate) const RING_SIZE: u16 = 1024;

/// Why a queue cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("{0}")]
    Unanswerable(String),
    #[error("waiting for requests in flight is impossible: {0}")]
    Watch(#[from] std::io::Error),
}

/// A queue that was started and not stopped yet.
pub(crate) struct Running {
    vring: Vring,
    queue: DeviceQueue,
    ring: Arc<Snapshot>,
    memory: PlainMemory<Snapshot>,
    handler: Box<dyn QueueHandler>,
    counters: Arc<Counters>,
    door: Arc<Door>,
    /// What of the handler the door watches: its descriptor's number, and a duplicate of our own, which can be
    /// forgotten also when the handler no longer has it.
    watched: Option<(RawFd, OwnedFd)>,
    batch: Vec<Chain>,
    done: Completions,
    /// Requests taken and not published.
    outstanding: usize,
    /// Most of them: what the device is made for, where the ring is larger.
    limit: usize,
    broken: bool,
}

/// What a queue is started with.
pub(crate) struct Setup {
    pub(crate) vring: Vring,
    /// The device's own size of this queue.
    pub(crate) limit: u16,
    pub(crate) indirect: bool,
    pub(crate) memory: Arc<Snapshot>,
    pub(crate) handler: Box<dyn QueueHandler>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) door: Arc<Door>,
}

impl Running {
    /// Starts a queue as its ring is configured. The handler comes back when that is impossible.
    pub(crate) fn start(setup: Setup) -> Result<Self, (QueueError, Box<dyn QueueHandler>)> {
        use virtio_queue::QueueT;
        // A batch is taken whole, so a device must have room for one to be served from a ring larger than its own.
        let limit = usize::from(setup.limit);
        let max_size = match limit >= MAX_BATCH {
            true => RING_SIZE.max(setup.limit),
            false => setup.limit,
        };
        let started = {
            let state = setup.vring.get_ref();
            let ring = state.get_queue();
            let config = QueueConfig {
                max_size,
                size: ring.size(),
                desc_table: ring.desc_table(),
                avail_ring: ring.avail_ring(),
                used_ring: ring.used_ring(),
                event_idx: ring.event_idx_enabled(),
                indirect: setup.indirect,
            };
            DeviceQueue::at(&config, ring.next_avail(), ring.next_used())
        };
        let queue = match started {
            Ok(queue) => queue,
            Err(error) => return Err((error, setup.handler)),
        };
        Ok(Running {
            vring: setup.vring,
            queue,
            ring: Arc::clone(&setup.memory),
            memory: PlainMemory::new(setup.memory, Arc::clone(&setup.counters)),
            handler: setup.handler,
            counters: setup.counters,
            door: setup.door,
            watched: None,
            batch: Vec::new(),
            done: Completions::new(),
            outstanding: 0,
            limit,
            broken: false,
        })
    }

    /// Answers what has ended and handles everything in the ring, until `wanted` is not 0: somebody else needs this
    /// queue, and the thread is woken again afterwards.
    pub(crate) fn serve(&mut self, enabled: bool, wanted: &AtomicUsize) -> Result<(), Trouble> {
        if self.broken {
            return Ok(());
        }
        let outcome = self.try_serve(enabled, wanted);
        if outcome.is_err() {
            self.give_up();
        }
        outcome
    }

    fn try_serve(&mut self, enabled: bool, wanted: &AtomicUsize) -> Result<(), Trouble> {
        self.handler.reap(&mut self.memory, &mut self.done);
        self.publish()?;
        if enabled {
            self.work(wanted)?;
        }
        self.watch()
    }

    fn work(&mut self, wanted: &AtomicUsize) -> Result<(), Trouble> {
        self.queue.suppress_kicks(&*self.ring)?;
        // Full: what ends next brings the thread back here.
        while self.outstanding == 0 || self.outstanding.saturating_add(MAX_BATCH) <= self.limit {
            let memory: &mut dyn PayloadMemory = &mut self.memory;
            let taken = self.queue.take(&*self.ring, memory, &mut self.batch);
            let idle = self.batch.is_empty();
            self.outstanding = self.outstanding.saturating_add(self.batch.len());
            self.handler.submit(&mut self.batch, memory, &mut self.done);
            self.publish()?;
            taken?;
            if wanted.load(Ordering::SeqCst) != 0 {
                self.door.ring();
                return Ok(());
            }
            if idle && !self.queue.allow_kicks(&*self.ring)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Puts what is done into the used ring, and tells the driver if it wants to know.
    fn publish(&mut self) -> Result<(), Trouble> {
        if !self.done.is_empty() {
            let outstanding = &mut self.outstanding;
            let used = self.done.drain_used();
            let counted = used.inspect(|_| *outstanding = outstanding.saturating_sub(1));
            self.queue.publish(&*self.ring, counted)?;
            if self.queue.wants_interrupt(&*self.ring)? {
                self.counters.interrupts.inc();
                // Fails when the front end has let 2^64 - 2 of them pile up: then it will look anyway.
                let _ = self.vring.signal_used_queue();
            }
        }
        match self.done.take_broken() {
            Some(reason) => Err(Trouble::Unanswerable(reason)),
            None => Ok(()),
        }
    }

    /// Has the door watch the handler's descriptor, which may come and go with its requests.
    fn watch(&mut self) -> Result<(), Trouble> {
        let fd = self.handler.completion_fd();
        let raw = fd.map(|fd| fd.as_raw_fd());
        if raw == self.watched.as_ref().map(|(raw, _)| *raw) {
            return Ok(());
        }
        let own = fd.map(|fd| fd.try_clone_to_owned()).transpose()?;
        self.unwatch();
        if let (Some(raw), Some(own)) = (raw, own) {
            self.door.watch(own.as_fd())?;
            self.watched = Some((raw, own));
        }
        Ok(())
    }

    fn unwatch(&mut self) {
        if let Some((_, own)) = self.watched.take() {
            self.door.forget(own.as_fd());
        }
    }

    /// Serves no more; nothing wakes the thread for it.
    fn give_up(&mut self) {
        self.broken = true;
        self.unwatch();
        self.vring.report_broken();
    }

    /// Waits until nothing is in flight, and publishes it.
    fn drain(&mut self) -> Result<(), Trouble> {
        self.handler.drain(&mut self.memory, &mut self.done);
        self.publish()
    }

    /// Goes on with another memory: no request uses the old one any more, nor does anything here.
    pub(crate) fn replace_memory(&mut self, memory: Arc<Snapshot>) -> Result<(), Trouble> {
        let drained = self.drain();
        self.ring = Arc::clone(&memory);
        self.memory = PlainMemory::new(memory, Arc::clone(&self.counters));
        // The thread may have been waiting for just those requests to end.
        self.door.ring();
        if drained.is_err() && !self.broken {
            self.give_up();
            return drained;
        }
        Ok(())
    }

    /// Ends what is in flight and gives the handler back. The ring says where it was stopped.
    pub(crate) fn stop(mut self) -> Box<dyn QueueHandler> {
        if let Err(trouble) = self.drain() {
            tracing::debug!(%trouble, "requests that ended while their queue was stopped are lost with it");
        }
        self.unwatch();
        self.vring.set_queue_next_avail(self.queue.next_avail());
        self.vring.set_queue_next_used(self.queue.next_used());
        self.handler
    }
}
