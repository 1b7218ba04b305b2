//! The whole path on a played Xen: a driver at registers and rings, the engine, a disk in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::Device;
use devices::block::{Block, BlockConfig};

use super::*;
use crate::engine::{DevId, EngineHandle, MemoryModel};
use crate::fake::{Addressing, Buffer, Driver, FakeGate, FakeGuest, Queue, Vcpus};
use crate::record::Record;

mod hostile;
mod life;
mod restart;
mod transfers;

const BASE: u64 = 0x200_0000;
const IRQ: u32 = 33;
const VCPUS: usize = 3;

/// Where rings and requests lie in guest memory.
const RINGS: u64 = 0x1000;
const HEADER: u64 = 0x10_0000;
const DATA: u64 = 0x20_0000;
const BACK: u64 = 0x40_0000;

const IN: u32 = 0;
const OUT: u32 = 1;
const OK: u8 = 0;
const IOERR: u8 = 1;

struct Machine {
    guest: Arc<FakeGuest>,
    vcpus: Vcpus,
    handle: EngineHandle,
    thread: Option<JoinHandle<Result<(), EngineError>>>,
    events: Receiver<Event>,
    model: MemoryModel,
}

fn config(devid: DevId) -> SlotConfig {
    SlotConfig {
        devid,
        base: BASE + 0x200 * u64::from(devid),
        irq: IRQ + devid,
    }
}

/// A disk of 8 MiB and its image.
fn disk() -> (Block, File) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 << 20).unwrap();
    let image = file.try_clone().unwrap();
    (Block::new(BlockConfig::default(), file).unwrap(), image)
}

impl Machine {
    fn new(model: MemoryModel, devices: Vec<Option<Box<dyn Device>>>) -> Self {
        let guest = FakeGuest::new();
        let (vcpus, gate) = Vcpus::new(VCPUS);
        Self::start(guest, vcpus, gate, model, devices)
    }

    fn start(
        guest: Arc<FakeGuest>,
        vcpus: Vcpus,
        gate: FakeGate,
        model: MemoryModel,
        devices: Vec<Option<Box<dyn Device>>>,
    ) -> Self {
        let devices = devices
            .into_iter()
            .map(|device| device.map(|device| (device, Record::private())))
            .collect();
        Self::succeed(guest, vcpus, gate, model, devices)
    }

    /// As a process that has predecessors.
    fn succeed(
        guest: Arc<FakeGuest>,
        vcpus: Vcpus,
        gate: FakeGate,
        model: MemoryModel,
        devices: Vec<Option<(Box<dyn Device>, Record)>>,
    ) -> Self {
        Self::tuned(guest, vcpus, gate, model, Tuning::default(), devices)
    }

    fn tuned(
        guest: Arc<FakeGuest>,
        vcpus: Vcpus,
        gate: FakeGate,
        model: MemoryModel,
        tuning: Tuning,
        devices: Vec<Option<(Box<dyn Device>, Record)>>,
    ) -> Self {
        let (sender, events) = channel();
        let sender = Mutex::new(sender);
        let sink: EventSink = Arc::new(move |event| {
            let _ = sender.lock().unwrap().send(event);
        });
        let slots = (0..)
            .zip(devices)
            .map(|(devid, device)| {
                (
                    config(devid),
                    device.map(|(device, record)| Attachment {
                        device,
                        memory: model,
                        indirect: true,
                        record,
                    }),
                )
            })
            .collect();
        let (engine, handle) = crate::fake::engine(gate, &guest, tuning, slots, sink).unwrap();
        let thread = Some(std::thread::spawn(move || engine.run()));
        Machine {
            guest,
            vcpus,
            handle,
            thread,
            events,
            model,
        }
    }

    fn with_disk(model: MemoryModel) -> (Self, File) {
        Self::with_tuned_disk(model, Tuning::default())
    }

    fn with_tuned_disk(model: MemoryModel, tuning: Tuning) -> (Self, File) {
        let (block, image) = disk();
        let guest = FakeGuest::new();
        let (vcpus, gate) = Vcpus::new(VCPUS);
        let block: Box<dyn Device> = Box::new(block);
        let devices = vec![Some((block, Record::private()))];
        let machine = Self::tuned(guest, vcpus, gate, model, tuning, devices);
        (machine, image)
    }

    fn driver(&self, devid: DevId) -> Driver {
        Driver {
            guest: Arc::clone(&self.guest),
            vcpus: self.vcpus.clone(),
            vcpu: 0,
            base: config(devid).base,
            addressing: match self.model {
                MemoryModel::Grant => Addressing::Grants,
                MemoryModel::Foreign => Addressing::Physical,
            },
        }
    }

    /// The next event.
    fn event(&self) -> Event {
        self.events
            .recv_timeout(Duration::from_secs(10))
            .expect("an event was expected")
    }

    fn counters(&self, devid: DevId) -> devices::CountersSnapshot {
        let stats = self.handle.stats().unwrap();
        stats
            .into_iter()
            .find(|stats| stats.devid == devid)
            .unwrap()
            .counters
    }

    fn stop(mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert_eq!(
            self.guest.mapped_pages(),
            0,
            "pages are mapped after the end"
        );
        assert_eq!(self.guest.escapes(), (0, Vec::new()));
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 512 * 7 + i) as u8 ^ seed).collect()
}

fn round_trip(machine: &Machine, queue: &mut Queue, image: &File, len: u32, seed: u8) {
    let bytes = pattern(len as usize, seed);
    machine.guest.write(&bytes, DATA + 512);
    let written = queue.disk(HEADER, OUT, 16, &[Buffer::readable(DATA + 512, len)]);
    assert_eq!(written, (OK, 1));
    let mut on_disk = vec![0; len as usize];
    image.read_exact_at(&mut on_disk, 16 * 512).unwrap();
    assert!(on_disk == bytes, "the image holds something else");
    let read = queue.disk(HEADER, IN, 16, &[Buffer::writable(BACK + 1024, len)]);
    assert_eq!(read, (OK, len + 1));
    assert!(
        machine.guest.read(BACK + 1024, len as usize) == bytes,
        "something else was read back"
    );
}
