//! A device as one front end sees it: features, configuration, and its queues' lives.
//!
//! Locks are taken in this order: a queue's slot, then the ring's own or [`Life`].

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use devices::{Device, QueueHandler};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::epoll::EventSet;

use crate::door::Door;
use crate::queue::{RING_SIZE, Running, Setup, Trouble};
use crate::vring::Vring;
use crate::{Memory, Snapshot};

const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// What any device offers over this transport.
const OWN_FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | INDIRECT
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
/// Least time between two complaints that a guest can cause.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// One queue's place.
struct Slot {
    running: Mutex<Option<Running>>,
    /// How many others than the queue's thread wait for the lock.
    wanted: AtomicUsize,
    door: Arc<Door>,
}

impl Slot {
    /// The lock, for another thread than the queue's own, which may have no reason of its own to let it go.
    fn seize(&self) -> MutexGuard<'_, Option<Running>> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let guard = lock(&self.running);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        guard
    }
}

/// From the first queue's start to the last one's stop.
#[derive(Default)]
struct Life {
    /// Handlers of the queues that do not run; empty while the device is at rest.
    handlers: Vec<Option<Box<dyn QueueHandler>>>,
    running: usize,
    complained: Option<Instant>,
}

/// A device, for the time of one connection.
pub(crate) struct Backend {
    device: Arc<dyn Device>,
    features: AtomicU64,
    memory: Mutex<Option<Arc<Snapshot>>>,
    slots: Vec<Slot>,
    life: Mutex<Life>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has ended its queue; the others' state is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    pub(crate) fn new(device: Arc<dyn Device>) -> io::Result<Self> {
        let slot = |_| {
            Ok(Slot {
                running: Mutex::new(None),
                wanted: AtomicUsize::new(0),
                door: Arc::new(Door::new()?),
            })
        };
        let slots = device
            .queue_sizes()
            .iter()
            .map(slot)
            .collect::<io::Result<_>>()?;
        Ok(Backend {
            device,
            features: AtomicU64::new(0),
            memory: Mutex::new(None),
            slots,
            life: Mutex::default(),
        })
    }

    /// The queues' doors, in order.
    pub(crate) fn doors(&self) -> impl Iterator<Item = &Door> {
        self.slots.iter().map(|slot| &*slot.door)
    }

    /// The number under which a thread's door is registered: the first that `vhost-user-backend` leaves free.
    pub(crate) fn door_event(&self) -> u64 {
        (self.slots.len() as u64).saturating_add(1)
    }

    /// Stops what a front end left running.
    pub(crate) fn finish(&self) {
        for index in 0..self.slots.len() {
            self.stop(index);
        }
        *lock(&self.memory) = None;
    }

    /// Whatever woke the thread, it looks at everything: a look costs little.
    fn serve(&self, index: usize, vring: &Vring) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let mut running = lock(&slot.running);
        // Looked at under the lock: whoever stops a queue first marks its ring as not ready, then takes the lock.
        let (ready, enabled) = {
            let state = vring.get_ref();
            (state.get_queue().ready(), state.is_enabled())
        };
        if running.is_none() && ready && enabled {
            *running = self.start(index, slot, vring);
        }
        if let Some(queue) = &mut *running
            && let Err(trouble) = queue.serve(ready && enabled, &slot.wanted)
        {
            self.complain(index, &trouble);
        }
    }

    fn start(&self, index: usize, slot: &Slot, vring: &Vring) -> Option<Running> {
        let memory = lock(&self.memory).clone()?;
        let features = self.features.load(Ordering::SeqCst);
        let handler = self.handler(index, features)?;
        let started = Running::start(Setup {
            vring: vring.clone(),
            limit: *self.device.queue_sizes().get(index)?,
            indirect: features & INDIRECT != 0,
            memory,
            handler,
            counters: Arc::clone(self.device.counters()),
            door: Arc::clone(&slot.door),
        });
        match started {
            Ok(running) => Some(running),
            Err((error, handler)) => {
                self.complain(index, &error.into());
                vring.report_broken();
                self.give_back(index, handler);
                None
            }
        }
    }

    /// A queue's handler; the device is brought to work for the first.
    fn handler(&self, index: usize, features: u64) -> Option<Box<dyn QueueHandler>> {
        let mut life = lock(&self.life);
        if life.handlers.is_empty() {
            match self.device.activate(features) {
                Ok(handlers) => life.handlers = handlers.into_iter().map(Some).collect(),
                Err(error) => {
                    tracing::error!(%error, "the driver's requests stay unanswered");
                    return None;
                }
            }
        }
        let handler = life.handlers.get_mut(index)?.take()?;
        life.running = life.running.saturating_add(1);
        Some(handler)
    }

    /// Takes a queue's handler back; the device rests after the last.
    fn give_back(&self, index: usize, handler: Box<dyn QueueHandler>) {
        let mut life = lock(&self.life);
        if let Some(place) = life.handlers.get_mut(index) {
            *place = Some(handler);
        }
        life.running = life.running.saturating_sub(1);
        if life.running == 0 {
            life.handlers.clear();
            // A stop is not always the driver's reset: a paused or reconnected machine does not write its
            // configuration again, and must not find a cache where it had switched it off.
            let state = self.device.saved_state();
            self.device.reset();
            self.device.restore_state(state);
        }
    }

    fn stop(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let mut running = slot.seize();
        if let Some(running) = running.take() {
            let handler = running.stop();
            self.give_back(index, handler);
        }
    }

    fn complain(&self, queue: usize, trouble: &Trouble) {
        let mut life = lock(&self.life);
        let now = Instant::now();
        let quiet = life
            .complained
            .is_some_and(|last| now.duration_since(last) < COMPLAINT_PAUSE);
        if quiet {
            tracing::debug!(queue, %trouble, "a queue is broken");
        } else {
            life.complained = Some(now);
            tracing::warn!(queue, %trouble, "a queue is broken until the driver resets the device");
        }
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.slots.len()
    }

    fn max_queue_size(&self) -> usize {
        let sizes = self.device.queue_sizes().iter().copied();
        sizes.max().unwrap_or(0).max(RING_SIZE).into()
    }

    fn features(&self) -> u64 {
        self.device.features() | OWN_FEATURES
    }

    fn acked_features(&self, features: u64) {
        self.features.store(features, Ordering::SeqCst);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The rings have been told.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // A message holds no more than 4 KiB.
        let mut data = vec![0; size.min(4096) as usize];
        self.device.read_config(offset.into(), &mut data);
        data
    }

    fn set_config(&self, offset: u32, data: &[u8]) -> io::Result<()> {
        self.device.write_config(offset.into(), data);
        Ok(())
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        let snapshot = memory.memory().into_inner();
        *lock(&self.memory) = Some(Arc::clone(&snapshot));
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(running) = &mut *slot.seize()
                && let Err(trouble) = running.replace_memory(Arc::clone(&snapshot))
            {
                self.complain(index, &trouble);
            }
        }
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        // A thread each. No device has more queues than bits.
        let bit = |index| 1_u64.checked_shl(index);
        (0..).take(self.slots.len()).map_while(bit).collect()
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        self.stop(index as usize);
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _set: EventSet,
        vrings: &[Vring],
        thread: usize,
    ) -> io::Result<()> {
        let (Some(slot), [vring]) = (self.slots.get(thread), vrings) else {
            return Ok(());
        };
        if u64::from(event) != self.door_event() {
            self.device.counters().kicks.inc();
        } else if !slot.door.answer() {
            // The one way to end this thread: `vhost-user-backend` never closes the descriptor of an exit event, so
            // each connection would leave one behind.
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.serve(thread, vring);
        Ok(())
    }
}
