//! A device whose requests stay in flight until the test lets them end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use devices::{
    Chain, Completions, Counters, Device, DeviceError, DeviceType, PayloadMemory, QueueHandler,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// The device, with one queue.
pub(crate) struct Gate {
    open: Arc<OwnedFd>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) resets: AtomicUsize,
    sizes: [u16; 1],
    counters: Arc<Counters>,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_size(64)
    }

    /// With a queue of this size.
    pub(crate) fn with_size(size: u16) -> Arc<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Arc::new(Gate {
            open: Arc::new(eventfd(0, flags).unwrap()),
            in_flight: Arc::default(),
            resets: AtomicUsize::new(0),
            sizes: [size],
            counters: Arc::default(),
        })
    }

    /// Lets everything in flight end.
    pub(crate) fn open(&self) {
        rustix::io::write(&*self.open, &1_u64.to_ne_bytes()).unwrap();
    }
}

impl Device for Gate {
    fn device_type(&self) -> DeviceType {
        DeviceType(0xff)
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn write_config(&self, _offset: u64, _data: &[u8]) {}

    fn activate(&self, _features: u64) -> Result<Vec<Box<dyn QueueHandler>>, DeviceError> {
        Ok(vec![Box::new(Waiting {
            open: Arc::clone(&self.open),
            in_flight: Arc::clone(&self.in_flight),
            chains: Vec::new(),
        })])
    }

    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

struct Waiting {
    open: Arc<OwnedFd>,
    in_flight: Arc<AtomicUsize>,
    chains: Vec<Chain>,
}

impl Waiting {
    fn end(&mut self, done: &mut Completions) {
        if rustix::io::read(&*self.open, &mut [0; 8]).is_ok() {
            for chain in self.chains.drain(..) {
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
                done.complete(chain, 0);
            }
        }
    }
}

impl QueueHandler for Waiting {
    fn submit(
        &mut self,
        batch: &mut Vec<Chain>,
        _memory: &mut dyn PayloadMemory,
        _done: &mut Completions,
    ) {
        self.in_flight.fetch_add(batch.len(), Ordering::SeqCst);
        self.chains.append(batch);
    }

    /// As with real devices, there is none before the first request.
    fn completion_fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.chains.is_empty()).then(|| self.open.as_fd())
    }

    fn reap(&mut self, _memory: &mut dyn PayloadMemory, done: &mut Completions) {
        if !self.chains.is_empty() {
            self.end(done);
        }
    }

    fn drain(&mut self, _memory: &mut dyn PayloadMemory, done: &mut Completions) {
        while !self.chains.is_empty() {
            let mut fds = [PollFd::new(&*self.open, PollFlags::IN)];
            poll(&mut fds, None).unwrap();
            self.end(done);
        }
    }
}
