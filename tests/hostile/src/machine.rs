//! A guest with a real block device behind the real engine, on a played Xen.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;

use devices::block::{Block, BlockConfig};
use transport_xen::fake::{Addressing, Driver, FakeGuest, Vcpus, engine, tells_of_a_panic};
use transport_xen::{
    Attachment, EngineError, EngineHandle, Event, EventSink, MemoryModel, Record, SlotConfig,
    Tuning,
};

/// Where the device's registers are.
pub const BASE: u64 = 0x200_0000;
/// The device's interrupt.
pub const IRQ: u32 = 33;
/// vCPUs of the guest, and so accesses that wait together.
pub const VCPUS: usize = 16;
/// Bytes of the disk. Its file is sparse.
pub const DISK: u64 = 32 << 20;

/// What the engine told.
#[derive(Debug, Default)]
pub struct Log {
    /// The driver broke the protocol.
    pub needs_resets: u64,
    /// The driver reset the device.
    pub resets: u64,
    /// Words of what must never happen.
    pub defects: Vec<String>,
}

/// A running guest.
pub struct Machine {
    /// Its memory.
    pub guest: Arc<FakeGuest>,
    /// Its vCPUs.
    pub vcpus: Vcpus,
    /// How its device reaches memory.
    pub model: MemoryModel,
    /// The disk's file.
    pub image: File,
    log: Arc<Mutex<Log>>,
    handle: EngineHandle,
    thread: JoinHandle<Result<(), EngineError>>,
}

impl Machine {
    /// Starts one, with a disk at the first place and an empty slot behind it.
    pub fn start(model: MemoryModel) -> Self {
        let guest = FakeGuest::new();
        let (vcpus, gate) = Vcpus::new(VCPUS);
        let image = memory_file("disk", DISK);
        let disk = Block::new(
            BlockConfig::default(),
            image.try_clone().expect("a descriptor"),
        )
        .expect("a fit image");
        let log = Arc::new(Mutex::new(Log::default()));
        let sink: EventSink = {
            let log = Arc::clone(&log);
            Arc::new(move |event| lock(&log).take(event))
        };
        let slot = |devid: u32| SlotConfig {
            devid,
            base: BASE + 0x200 * u64::from(devid),
            irq: IRQ + devid,
        };
        let tuning = Tuning {
            polling: true,
            // So that requests of a size that is quick to make are mapped too.
            copy_limit: 16 << 10,
        };
        let attachment = Attachment {
            device: Box::new(disk),
            memory: model,
            indirect: true,
            record: Record::private(),
        };
        let slots = vec![(slot(0), Some(attachment)), (slot(1), None)];
        let (engine, handle) = engine(gate, &guest, tuning, slots, sink).expect("an engine");
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || engine.run())
            .expect("a thread");
        Machine {
            guest,
            vcpus,
            model,
            image,
            log,
            handle,
            thread,
        }
    }

    /// What the engine told so far.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// How a driver names its memory.
    pub fn addressing(&self) -> Addressing {
        match self.model {
            MemoryModel::Grant => Addressing::Grants,
            MemoryModel::Foreign => Addressing::Physical,
        }
    }

    /// A driver that behaves.
    pub fn driver(&self) -> Driver {
        Driver {
            guest: Arc::clone(&self.guest),
            vcpus: self.vcpus.clone(),
            vcpu: 0,
            base: BASE,
            addressing: self.addressing(),
        }
    }

    /// Ends the engine; what is wrong then, in words.
    pub fn stop(self) -> Vec<String> {
        self.handle.stop();
        let mut wrong = match self.thread.join() {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => vec![format!("the engine failed: {error}")],
            Err(_) => vec!["the engine's thread panicked".into()],
        };
        let left = self.guest.mapped_pages();
        if left > 0 {
            wrong.push(format!("{left} pages are mapped after the engine's end"));
        }
        wrong.append(&mut lock(&self.log).defects);
        wrong
    }
}

impl Log {
    fn take(&mut self, event: Event) {
        match event {
            Event::NeedsReset(_, reason) => {
                self.needs_resets += 1;
                if tells_of_a_panic(&reason) {
                    self.defects.push(reason);
                }
            }
            Event::Reset(_) => self.resets += 1,
            Event::Fatal(reason) => self
                .defects
                .push(format!("the engine cannot go on: {reason}")),
            Event::DriverOk(_) | Event::Detached(_) => {}
        }
    }
}

/// A file in memory.
pub fn memory_file(name: &str, size: u64) -> File {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC);
    let file: File = file.expect("a file in memory").into();
    file.set_len(size).expect("a file in memory");
    file
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics of the engine's threads are collected instead of printed.
pub fn collect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if name == "engine" || name.starts_with("dev") {
                lock(&PANICS).push(format!("{name}: {panic}"));
            } else {
                before(panic);
            }
        }));
    });
}

/// The panics collected so far.
pub fn panics() -> Vec<String> {
    lock(&PANICS).clone()
}
