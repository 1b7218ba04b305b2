//! A worker: serves one guest, with what the holder hands it and nothing else.
//!
//! It opens nothing by name and knows no XenStore; its only ways out are the descriptors it was given. The kernel holds
//! it to that ([`confine`]).
//! It serves a hostile guest and is expected to be lost some day: nothing outside of it may depend on
//! its goodwill. When the holder's socket ends, so does the worker, at once: a successor must not find the
//! guest's rings, event channels and images in use.

mod confine;
mod outbox;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use devices::block::Block;
use thiserror::Error;
use transport_xen::{
    Attachment, Engine, EngineError, EngineHandle, EngineSetup, Event, EventSink, MemoryModel,
    Record, SlotConfig, Tuning, VcpuPorts,
};
use xen::{DomId, EventChannels, EventPort, GrantDevice, IoservId, PrivCmd};

use self::outbox::Outbox;
use crate::cli::SandboxMode;
use crate::image;
use crate::ipc::message::{self, MAX_VCPUS};
use crate::ipc::{Channel, FrameError, Notice, Order};
use crate::parameters::Memory;
use backend_stats::Counters;

/// How long the last notices may take to be sent.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Why a worker cannot serve.
#[derive(Debug, Error)]
pub(crate) enum WorkerError {
    /// Standard input is not the holder's socket.
    #[error(
        "a worker is started by `avps-backend serve`, which talks to it through its standard input: {0}"
    )]
    NoHolder(FrameError),
    /// The holder ended before it said anything.
    #[error("the holder ended before it handed anything over")]
    Abandoned,
    /// The first order was not `Start`, or its descriptors were not there.
    #[error("the holder's first order was not understood: {0}")]
    Start(&'static str),
    /// The sandbox is not whole, and has to be.
    #[error(
        "the sandbox lacks: {0}; allow it in the kernel, or start the daemon with --sandbox best-effort"
    )]
    Sandbox(String),
    /// Standard input or a thread could not be had.
    #[error("the system refused what a worker needs: {0}")]
    Os(#[from] io::Error),
    /// A handle is not what it should be.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The engine could not start, or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What was handed over for devices.
#[derive(Clone, Debug, Default)]
struct Hands {
    /// Grant devices by slot: one arrives with each device and leaves with it.
    grants: Arc<Mutex<GrantPool>>,
    /// What all handles of this guest ask of the kernel.
    calls: Arc<xen::Counters>,
}

#[derive(Debug, Default)]
struct GrantPool {
    devices: Vec<(u32, GrantDevice)>,
    next: usize,
}

impl Hands {
    fn pool(&self) -> MutexGuard<'_, GrantPool> {
        // No code that could panic runs under the lock.
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A grant device for a queue: those that are there, in turn.
    fn grant_device(&self) -> xen::Result<GrantDevice> {
        let mut pool = self.pool();
        pool.next = pool.next.wrapping_add(1);
        pool.next
            .checked_rem(pool.devices.len())
            .and_then(|index| pool.devices.get(index))
            .map(|(_, device)| device.clone())
            .ok_or(xen::Error::Argument(
                "no grant device was handed over for this guest",
            ))
    }

    fn forget(&self, slot: u32) {
        self.pool().devices.retain(|(owner, _)| *owner != slot);
    }

    /// Makes a device of what the holder sent.
    fn attachment(
        &self,
        slot: u32,
        block: &message::Block,
        fds: Vec<OwnedFd>,
    ) -> Result<Attachment, String> {
        let mut fds = fds.into_iter();
        let (Some(image), Some(grants), record, None) =
            (fds.next(), fds.next(), fds.next(), fds.next())
        else {
            return Err("image and grant device did not come with the order".to_owned());
        };
        let record = match record {
            Some(file) => Record::map(file)
                .map_err(|error| format!("the device's record cannot be used: {error}"))?,
            None => Record::private(),
        };
        let config = image::config(block)?;
        let device = Block::new(config, File::from(image)).map_err(|error| error.to_string())?;
        let grants = GrantDevice::from_fd_counted(grants, self.calls.clone())
            .map_err(|error| error.to_string())?;
        self.pool().devices.push((slot, grants));
        let memory = match block.memory {
            Memory::Grant => MemoryModel::Grant,
            Memory::Foreign => MemoryModel::Foreign,
        };
        Ok(Attachment {
            device: Box::new(device),
            memory,
            indirect: memory.reads_tables_free(),
            record,
        })
    }
}

/// Serves until told to stop.
///
/// # Errors
/// What keeps the worker from serving; the holder was told, where it can be.
pub(crate) fn run(sandbox: SandboxMode) -> Result<(), WorkerError> {
    let channel = Channel::from_fd(io::stdin().as_fd().try_clone_to_owned()?);
    let sending = channel.try_clone().map_err(WorkerError::NoHolder)?;
    let (guest, slots, tuning, fds) = match channel.receive().map_err(WorkerError::NoHolder)? {
        Some((
            Order::Start {
                guest,
                slots,
                tuning,
            },
            fds,
        )) => (guest, slots, tuning, fds),
        Some(_) => return Err(WorkerError::Start("another order came first")),
        None => return Err(WorkerError::Abandoned),
    };

    // Before there is a second thread, and before anything the guest wrote is looked at.
    let confined = confine::confine(sandbox, guest.domid);

    let outbox = Outbox::default();
    let sender = outbox.clone();
    start_thread("notices", move || sender.send_all(&sending))?;
    outbox.tell(Notice::Confined {
        missing: confined.missing,
    });
    let result = match confined.refusal {
        Some(refusal) => Err(refusal),
        None => serve(channel, &guest, &slots, tuning, fds, &outbox),
    };
    if let Err(error) = &result {
        outbox.tell(Notice::Fatal {
            reason: error.to_string(),
        });
    }
    outbox.flush(FLUSH_PATIENCE);
    result
}

fn serve(
    channel: Channel,
    guest: &message::Guest,
    slots: &[message::Slot],
    tuning: message::Tuning,
    fds: Vec<OwnedFd>,
    outbox: &Outbox,
) -> Result<(), WorkerError> {
    let hands = Hands::default();
    let setup = setup(guest, tuning, fds, &hands)?;
    let mut places: Vec<(SlotConfig, Option<Attachment>)> =
        slots.iter().map(|slot| (place(slot), None)).collect();
    let mut attached = Vec::new();
    loop {
        match channel.receive().map_err(WorkerError::NoHolder)? {
            Some((Order::Serve, _)) => break,
            Some((Order::Stop, _)) => return Ok(()),
            Some((Order::Attach { slot, block }, fds)) => {
                let wanted = places.iter_mut().find(|(place, _)| place.devid == slot);
                match (wanted, hands.attachment(slot, &block, fds)) {
                    (Some((_, empty)), Ok(attachment)) => {
                        *empty = Some(attachment);
                        attached.push(slot);
                    }
                    (None, _) => return Err(WorkerError::Start("a device came without its slot")),
                    (_, Err(reason)) => outbox.tell(Notice::Refused { slot, reason }),
                }
            }
            #[cfg(feature = "probe")]
            Some((Order::Attack(attempt), fds)) => {
                let refused = attempt.run(&setup, fds).err();
                outbox.tell(Notice::Attacked { refused });
                return Ok(());
            }
            Some(_) => return Err(WorkerError::Start("an order came too early")),
            None => return Err(WorkerError::Abandoned),
        }
    }
    let (engine, handle) = Engine::new(setup, places, sink(outbox.clone(), hands.clone()))?;
    outbox.tell(Notice::Ready);
    for slot in attached {
        outbox.tell_attached(slot);
    }

    let orders = Orders {
        channel,
        handle,
        hands,
        outbox: outbox.clone(),
    };
    start_thread("orders", move || orders.follow())?;
    engine.run()?;
    Ok(())
}

fn setup(
    guest: &message::Guest,
    tuning: message::Tuning,
    fds: Vec<OwnedFd>,
    hands: &Hands,
) -> Result<EngineSetup, WorkerError> {
    let [privcmd, event_channels] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|_| WorkerError::Start("privcmd and evtchn did not come with it"))?;
    let domid = DomId::new(guest.domid).ok_or(WorkerError::Start("no such domain number"))?;
    let ports: Option<Vec<EventPort>> = guest
        .ports
        .iter()
        .map(|port| EventPort::new(*port))
        .collect();
    let ports = ports.ok_or(WorkerError::Start("an event channel port is 0"))?;
    if ports.is_empty() || ports.len() > MAX_VCPUS {
        return Err(WorkerError::Start("no guest has this many vCPUs"));
    }
    let vcpus = u32::try_from(ports.len())
        .map_err(|_| WorkerError::Start("no guest has this many vCPUs"))?;
    let event_channels = EventChannels::from_fd_counted(event_channels, hands.calls.clone())?;
    // A predecessor may have died between taking an event and unmasking its port.
    event_channels.unmask(&ports)?;
    let grants = hands.clone();
    Ok(EngineSetup {
        domid,
        privcmd: PrivCmd::from_fd_counted(privcmd, hands.calls.clone())?,
        event_channels,
        ports: VcpuPorts::Bound(ports),
        ioserv: IoservId(guest.ioserv),
        vcpus,
        grants: Arc::new(move || grants.grant_device()),
        memory_kib: guest.memory_kib,
        tuning: Tuning {
            polling: tuning.polling,
            copy_limit: tuning.copy_limit.map_or(usize::MAX, |limit| limit as usize),
        },
    })
}

fn place(slot: &message::Slot) -> SlotConfig {
    SlotConfig {
        devid: slot.slot,
        base: slot.base,
        irq: slot.irq,
    }
}

/// Translates what the engine tells into notices.
fn sink(outbox: Outbox, hands: Hands) -> EventSink {
    Arc::new(move |event| match event {
        Event::DriverOk(slot) => outbox.tell(Notice::Driver { slot, ok: true }),
        Event::Reset(slot) => outbox.tell(Notice::Driver { slot, ok: false }),
        Event::NeedsReset(slot, reason) => outbox.tell(Notice::NeedsReset { slot, reason }),
        Event::Detached(slot) => {
            hands.forget(slot);
            outbox.tell(Notice::Removed { slot });
        }
        Event::Fatal(reason) => outbox.tell(Notice::Fatal { reason }),
    })
}

/// The thread that does what the holder says.
struct Orders {
    channel: Channel,
    handle: EngineHandle,
    hands: Hands,
    outbox: Outbox,
}

impl Orders {
    fn follow(self) {
        loop {
            match self.channel.receive::<Order>() {
                Ok(Some((Order::Stop, _))) => {
                    self.handle.stop();
                    return;
                }
                Ok(Some((order, fds))) => self.obey(order, fds),
                Ok(None) => {
                    tracing::warn!("the holder is gone; this worker ends");
                    std::process::exit(0);
                }
                Err(error) => {
                    tracing::error!("the holder cannot be understood, this worker ends: {error}");
                    std::process::exit(1);
                }
            }
        }
    }

    fn obey(&self, order: Order, fds: Vec<OwnedFd>) {
        match order {
            Order::AddSlot(slot) => {
                if let Err(error) = self.handle.add_slot(place(&slot)) {
                    tracing::error!("a device slot cannot be shown: {error}");
                }
            }
            Order::Attach { slot, block } => {
                let outcome = self
                    .hands
                    .attachment(slot, &block, fds)
                    .and_then(|attachment| {
                        self.handle
                            .attach(slot, attachment)
                            .map_err(|error| error.to_string())
                    });
                match outcome {
                    Ok(()) => self.outbox.tell_attached(slot),
                    Err(reason) => {
                        self.hands.forget(slot);
                        self.outbox.tell(Notice::Refused { slot, reason });
                    }
                }
            }
            Order::RemoveSlot { slot } => {
                // What is not there is removed: the holder must not wait for it.
                if let Err(error) = self.handle.remove_slot(slot) {
                    tracing::debug!("slot {slot} cannot be removed: {error}");
                    self.outbox.tell(Notice::Removed { slot });
                }
            }
            Order::Count { question } => self.outbox.tell(Notice::Counters {
                question,
                guest: named(self.hands.calls.snapshot().iter()),
                devices: self.count(),
            }),
            Order::Start { .. } | Order::Serve | Order::Stop => {
                tracing::warn!("an order came that has no place here");
            }
            #[cfg(feature = "probe")]
            Order::Attack(_) => tracing::warn!("an attack has no place here"),
        }
    }

    fn count(&self) -> Vec<(u32, Counters)> {
        self.handle
            .stats()
            .unwrap_or_default()
            .into_iter()
            .map(|device| (device.devid, named(device.counters.fields())))
            .collect()
    }
}

fn named(counters: impl Iterator<Item = (&'static str, u64)>) -> Counters {
    counters
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn start_thread(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), WorkerError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(|_| ())
        .map_err(WorkerError::Os)
}

/// The process's end: a worker that failed says so by its exit code too.
pub(crate) fn exit_code(result: Result<(), WorkerError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::from(crate::cli::EXIT_OK),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(crate::cli::EXIT_FAILED)
        }
    }
}
