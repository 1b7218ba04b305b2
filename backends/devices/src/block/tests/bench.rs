//! A disk with a driver's end: requests as chains in guest memory, batches run by hand.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::block::config::SECTOR;
use crate::block::{Block, BlockConfig, Image, IoEngine};
use crate::chain::{Chain, ChainLimits, Segment, Walk, slice_segments, walk};
use crate::counters::Counters;
use crate::device::{Completions, Device, QueueHandler, Used};
use crate::memory::{
    Access, CopyIn, CopyOut, MappedPayload, MemoryError, PayloadMemory, PlainMemory, Slices,
};

pub(super) const IN: u32 = 0;
pub(super) const OUT: u32 = 1;
pub(super) const FLUSH: u32 = 4;
pub(super) const GET_ID: u32 = 8;
pub(super) const DISCARD: u32 = 11;
pub(super) const WRITE_ZEROES: u32 = 13;

pub(super) const OK: u8 = 0;
pub(super) const IOERR: u8 = 1;
pub(super) const UNSUPP: u8 = 2;

/// Where test requests lie in guest memory.
pub(super) const TABLE: u64 = 0x8000;
pub(super) const HEADERS: u64 = 0x3000;
pub(super) const STATUSES: u64 = 0x4000;
pub(super) const DATA: u64 = 0x10_0000;
pub(super) const MEMORY_SIZE: usize = 16 << 20;

/// Guest memory that counts, that copies up to a limit, and whose pages can be taken away.
pub(super) struct TestMemory {
    pub(super) plain: PlainMemory<GuestMemoryMmap<()>>,
    pub(super) copy_limit: usize,
    pub(super) direct_io: bool,
    pub(super) map_limit: usize,
    pub(super) gone: Option<std::ops::Range<u64>>,
    pub(super) mapped: Arc<AtomicUsize>,
    pub(super) counters: Arc<Counters>,
    /// Where the next mappings, one each, hold up whoever uses them.
    pub(super) gates: VecDeque<Gate>,
}

/// Shut until its other end opens it.
pub(super) struct Gate(Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

/// The other end of a gate; dropping it opens the gate.
pub(super) struct GateKeeper {
    arrived: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

impl GateKeeper {
    pub(super) fn wait_for_arrival(&self) {
        self.arrived.recv().unwrap();
    }

    pub(super) fn open(&self) {
        self.open.send(()).unwrap();
    }
}

impl Gate {
    /// A shut gate, and what opens it.
    pub(super) fn new() -> (Self, GateKeeper) {
        let (open, opened) = mpsc::channel();
        let (arrive, arrived) = mpsc::channel();
        let keeper = GateKeeper { arrived, open };
        (Gate(Mutex::new((arrive, opened))), keeper)
    }

    fn pass(&self) {
        let gate = self.0.lock().unwrap();
        let _ = gate.0.send(());
        let _ = gate.1.recv();
    }
}

impl TestMemory {
    fn gone(&self, segments: &[Segment]) -> Result<(), MemoryError> {
        let gone = segments.iter().find(|segment| {
            let end = segment.addr + u64::from(segment.len);
            self.gone
                .as_ref()
                .is_some_and(|gone| segment.addr < gone.end && gone.start < end)
        });
        match gone {
            Some(segment) => Err(MemoryError::Refused {
                addr: segment.addr,
                reason: "gone".into(),
            }),
            None => Ok(()),
        }
    }
}

impl PayloadMemory for TestMemory {
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]) {
        self.plain.copy_in(batch);
        for job in batch {
            if let Err(error) = self.gone(&slice_segments(job.segments, 0, job.buffer.len() as u64))
            {
                job.buffer.fill(0xee);
                job.result = Err(error);
            }
        }
    }

    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]) {
        self.plain.copy_out(batch);
        for job in batch {
            if let Err(error) = self.gone(&slice_segments(job.segments, 0, job.buffer.len() as u64))
            {
                job.result = Err(error);
            }
        }
    }

    fn copy_limit(&self) -> usize {
        self.copy_limit
    }

    fn allows_direct_io(&self) -> bool {
        self.direct_io
    }

    fn map(
        &mut self,
        segments: &[Segment],
        access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError> {
        self.gone(segments)?;
        if segments.len() > self.map_limit {
            return Err(MemoryError::TooMany {
                pages: segments.len(),
                limit: self.map_limit,
            });
        }
        self.counters.maps.inc();
        self.mapped.fetch_add(1, Ordering::SeqCst);
        let map = self.plain.map(segments, access)?;
        Ok(Box::new(TestMap {
            map,
            mapped: Arc::clone(&self.mapped),
            gate: self.gates.pop_front(),
        }))
    }
}

pub(super) struct TestMap {
    map: Box<dyn MappedPayload>,
    pub(super) mapped: Arc<AtomicUsize>,
    gate: Option<Gate>,
}

impl MappedPayload for TestMap {
    fn slices(&self) -> Slices<'_> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.map.slices()
    }

    fn unmap(self: Box<Self>) -> Result<(), MemoryError> {
        self.mapped.fetch_sub(1, Ordering::SeqCst);
        self.map.unmap()
    }
}

/// A disk with the driver at its other end.
pub(super) struct Bench {
    pub(super) block: Block,
    pub(super) queue: Box<dyn QueueHandler>,
    pub(super) guest: Arc<GuestMemoryMmap<()>>,
    pub(super) memory: TestMemory,
    pub(super) image: File,
    pub(super) requests: Vec<Chain>,
    /// Descriptors used by the requests not run yet.
    descriptors: u16,
    /// Calls of the handler in the last run.
    pub(super) calls: u64,
}

thread_local! {
    static ENGINE: Cell<IoEngine> = const { Cell::new(IoEngine::Inline) };
}

/// Runs a test with each engine in turn; benches made meanwhile use it.
pub(super) fn on_every_engine(test: impl Fn()) {
    for engine in [
        IoEngine::Inline,
        IoEngine::Threads,
        IoEngine::IoUring,
        IoEngine::Auto,
    ] {
        eprintln!("with {engine:?}:");
        with_engine(engine, &test);
    }
}

/// Runs a test with an engine.
pub(super) fn with_engine(engine: IoEngine, test: impl Fn()) {
    ENGINE.set(engine);
    test();
    ENGINE.set(IoEngine::Inline);
}

/// Data of a request: `addr` and `len` of each buffer.
pub(super) type Buffers<'a> = &'a [(u64, u32)];

impl Bench {
    pub(super) fn with(config: BlockConfig, size: u64, features: impl Fn(u64) -> u64) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        let config = Bench::configured(config);
        let image = Image::new(file.try_clone().unwrap(), &config).unwrap();
        Bench::of(Block::of(config, image), file, features)
    }

    /// The configuration with the engine that is being tested.
    pub(super) fn configured(config: BlockConfig) -> BlockConfig {
        BlockConfig {
            engine: ENGINE.get(),
            ..config
        }
    }

    /// A disk of any file, whatever it answers.
    pub(super) fn on_file(config: BlockConfig, file: File) -> Self {
        let image = Image::unexamined(file.try_clone().unwrap(), 1 << 14);
        Bench::of(Block::of(Bench::configured(config), image), file, |all| all)
    }

    pub(super) fn of(block: Block, image: File, features: impl Fn(u64) -> u64) -> Self {
        let queue = block
            .activate(features(block.features()))
            .unwrap()
            .remove(0);
        let guest = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
        let guest = Arc::new(guest);
        let counters = Arc::clone(block.counters());
        let memory = TestMemory {
            plain: PlainMemory::new(Arc::clone(&guest), Arc::clone(&counters)),
            copy_limit: 16 << 10,
            direct_io: false,
            map_limit: usize::MAX,
            gone: None,
            mapped: Arc::default(),
            counters,
            gates: VecDeque::new(),
        };
        Bench {
            block,
            queue,
            guest,
            memory,
            image,
            requests: Vec::new(),
            descriptors: 0,
            calls: 0,
        }
    }

    pub(super) fn new() -> Self {
        Bench::with(BlockConfig::default(), 8 << 20, |all| all)
    }

    /// Adds a request to the batch; its number is its place in it.
    pub(super) fn add(&mut self, kind: u32, sector: u64, out: Buffers<'_>, input: Buffers<'_>) {
        let number = self.requests.len() as u64;
        let header = HEADERS + 16 * number;
        self.guest.write_obj(kind, GuestAddress(header)).unwrap();
        self.guest
            .write_obj(0_u32, GuestAddress(header + 4))
            .unwrap();
        self.guest
            .write_obj(sector, GuestAddress(header + 8))
            .unwrap();
        self.guest
            .write_obj(0xff_u8, GuestAddress(STATUSES + number))
            .unwrap();
        let mut buffers = vec![(header, 16, 0)];
        buffers.extend(out.iter().map(|&(addr, len)| (addr, len, 0)));
        buffers.extend(input.iter().map(|&(addr, len)| (addr, len, 2)));
        buffers.push((STATUSES + number, 1, 2));
        self.add_chain(&buffers);
    }

    pub(super) fn add_chain(&mut self, buffers: &[(u64, u32, u16)]) {
        let head = self.descriptors;
        self.descriptors += buffers.len() as u16;
        for (index, &(addr, len, flags)) in (head..).zip(buffers) {
            let place = TABLE + 16 * u64::from(index);
            let next = u16::from(index + 1 < self.descriptors);
            self.guest.write_obj(addr, GuestAddress(place)).unwrap();
            self.guest.write_obj(len, GuestAddress(place + 8)).unwrap();
            self.guest
                .write_obj(flags | next, GuestAddress(place + 12))
                .unwrap();
            self.guest
                .write_obj(index + 1, GuestAddress(place + 14))
                .unwrap();
        }
        let limits = ChainLimits {
            queue_size: 4096,
            max_segments: 256,
            max_bytes: u32::MAX,
            indirect: false,
        };
        match walk(&*self.guest, GuestAddress(TABLE), head, &limits) {
            Ok(Walk::Whole(chain)) => self.requests.push(chain),
            other => panic!("{other:?}"),
        }
    }

    /// Runs the batch; gives statuses and used elements.
    pub(super) fn run(&mut self) -> (Vec<u8>, Vec<Used>) {
        let number = self.requests.len();
        let mut used = Vec::new();
        self.submit(&mut used);
        self.calls = 1;
        while used.len() < number {
            self.wait();
            self.reap(&mut used);
            self.calls += 1;
        }
        assert_eq!(used.len(), number);
        // As the requests were added.
        used.sort_by_key(|used| used.head);
        assert_eq!(self.memory.mapped.load(Ordering::SeqCst), 0);
        (self.bytes(STATUSES, number), used)
    }

    /// Submits the batch, and adds what ends at once.
    pub(super) fn submit(&mut self, used: &mut Vec<Used>) {
        let mut done = Completions::new();
        self.queue
            .submit(&mut self.requests, &mut self.memory, &mut done);
        assert_eq!(done.take_broken(), None);
        used.extend(done.drain_used());
        self.descriptors = 0;
    }

    /// Waits until something may have ended.
    pub(super) fn wait(&self) {
        let fd = self.queue.completion_fd().unwrap();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "a request never ends");
    }

    /// Adds what has ended.
    pub(super) fn reap(&mut self, used: &mut Vec<Used>) {
        let mut done = Completions::new();
        self.queue.reap(&mut self.memory, &mut done);
        assert_eq!(done.take_broken(), None);
        used.extend(done.drain_used());
    }

    pub(super) fn one(
        &mut self,
        kind: u32,
        sector: u64,
        out: Buffers<'_>,
        input: Buffers<'_>,
    ) -> u8 {
        self.add(kind, sector, out, input);
        self.run().0[0]
    }

    pub(super) fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.guest
            .read_slice(&mut bytes, GuestAddress(addr))
            .unwrap();
        bytes
    }

    pub(super) fn fill(&self, addr: u64, len: usize, seed: u8) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|i| (i / 512 * 7 + i) as u8 ^ seed).collect();
        self.guest.write_slice(&bytes, GuestAddress(addr)).unwrap();
        bytes
    }

    pub(super) fn on_disk(&self, sector: u64, len: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; len];
        self.image
            .read_exact_at(&mut bytes, sector * SECTOR)
            .unwrap();
        bytes
    }
}
