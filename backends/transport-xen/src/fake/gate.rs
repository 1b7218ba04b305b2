//! vCPUs that wait at a gate.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use xen::{Ioreq, IoreqKind};

use crate::engine::wake::Wake;
use crate::xen_side::Gate;

/// A vCPU's slot of the ioreq page.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Free,
    Ready(Ioreq),
    InProcess(Ioreq),
    Answered(u64),
}

struct Shared {
    slots: Mutex<Vec<Slot>>,
    answered: Condvar,
    arrived: Wake,
    events: Mutex<Events>,
}

/// As an event channel: after an event no other comes until it is unmasked.
#[derive(Default)]
struct Events {
    masked: bool,
    pending: bool,
}

impl Shared {
    fn send_event(&self) {
        let mut events = self.events.lock().unwrap();
        match events.masked {
            true => events.pending = true,
            false => self.arrived.signal(),
        }
    }
}

/// The guest's side.
#[derive(Clone)]
pub struct Vcpus(Arc<Shared>);

/// The backend's side.
pub struct FakeGate(Arc<Shared>);

/// A register access.
pub fn mmio(addr: u64, size: u32, write: Option<u64>) -> Ioreq {
    Ioreq {
        addr,
        data: write.unwrap_or(0),
        count: 1,
        size,
        kind: IoreqKind::Mmio,
        write: write.is_some(),
        data_is_ptr: false,
    }
}

impl Vcpus {
    /// A guest's vCPUs and the gate they come to.
    pub fn new(vcpus: usize) -> (Self, FakeGate) {
        let shared = Arc::new(Shared {
            slots: Mutex::new(vec![Slot::Free; vcpus]),
            answered: Condvar::new(),
            arrived: Wake::new().unwrap(),
            events: Mutex::default(),
        });
        (Vcpus(Arc::clone(&shared)), FakeGate(shared))
    }

    /// Another gate of the same vCPUs: a restarted backend's.
    pub fn reopen(&self) -> FakeGate {
        // Its predecessor may have died with events masked.
        let mut events = self.0.events.lock().unwrap();
        *events = Events::default();
        self.0.arrived.signal();
        FakeGate(Arc::clone(&self.0))
    }

    /// Starts an access and does not wait.
    pub fn start(&self, vcpu: usize, request: Ioreq) {
        let slot = &mut self.0.slots.lock().unwrap()[vcpu];
        assert!(matches!(slot, Slot::Free), "vCPU {vcpu} is waiting");
        *slot = Slot::Ready(request);
        self.0.send_event();
    }

    /// Starts accesses of vCPUs 0, 1, … at once, so that the backend finds all of them together.
    pub fn start_all(&self, requests: &[Ioreq]) {
        let mut slots = self.0.slots.lock().unwrap();
        for (vcpu, (slot, &request)) in slots.iter_mut().zip(requests).enumerate() {
            assert!(matches!(slot, Slot::Free), "vCPU {vcpu} is waiting");
            *slot = Slot::Ready(request);
        }
        drop(slots);
        self.0.send_event();
    }

    /// The answers to accesses of vCPUs 0, 1, …; `None` when one is not answered in `limit`.
    pub fn finish_all(&self, count: usize, limit: Duration) -> Option<Vec<u64>> {
        let deadline = Instant::now() + limit;
        let mut answers = Vec::with_capacity(count);
        for vcpu in 0..count {
            answers.push(self.wait(vcpu, deadline.saturating_duration_since(Instant::now()))?);
            self.0.slots.lock().unwrap()[vcpu] = Slot::Free;
        }
        Some(answers)
    }

    /// Marks a started access as taken by a backend that died then.
    pub fn strand(&self, vcpu: usize) {
        let slot = &mut self.0.slots.lock().unwrap()[vcpu];
        let Slot::Ready(request) = *slot else {
            panic!("vCPU {vcpu} has asked nothing")
        };
        *slot = Slot::InProcess(request);
    }

    /// Whether an access is still unanswered after `time`.
    pub fn waits(&self, vcpu: usize, time: Duration) -> bool {
        self.wait(vcpu, time).is_none()
    }

    /// The answer to a started access.
    pub fn finish(&self, vcpu: usize) -> u64 {
        let answer = self
            .wait(vcpu, Duration::from_secs(10))
            .expect("an access was never answered");
        self.0.slots.lock().unwrap()[vcpu] = Slot::Free;
        answer
    }

    /// Makes an access.
    pub fn access(&self, vcpu: usize, request: Ioreq) -> u64 {
        self.start(vcpu, request);
        self.finish(vcpu)
    }

    fn wait(&self, vcpu: usize, time: Duration) -> Option<u64> {
        let deadline = Instant::now() + time;
        let mut slots = self.0.slots.lock().unwrap();
        loop {
            if let Slot::Answered(data) = slots[vcpu] {
                return Some(data);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            slots = self.0.answered.wait_timeout(slots, left).unwrap().0;
        }
    }
}

impl Gate for FakeGate {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.arrived.as_fd()
    }

    fn vcpus(&self) -> u32 {
        self.0.slots.lock().unwrap().len() as u32
    }

    fn arrivals(&mut self, vcpus: &mut Vec<u32>) -> xen::Result<()> {
        self.0.events.lock().unwrap().masked = true;
        self.0.arrived.take();
        // Only who waits now: who comes during the sweep signals again, so accesses are served in their order.
        self.waiting(vcpus);
        Ok(())
    }

    fn waiting(&self, vcpus: &mut Vec<u32>) {
        let slots = self.0.slots.lock().unwrap();
        let waits = slots.iter().map(|slot| matches!(slot, Slot::Ready(_)));
        vcpus.extend(
            (0..)
                .zip(waits)
                .filter_map(|(vcpu, waits)| waits.then_some(vcpu)),
        );
    }

    fn unmask(&mut self) -> xen::Result<()> {
        let mut events = self.0.events.lock().unwrap();
        events.masked = false;
        if std::mem::take(&mut events.pending) {
            self.0.arrived.signal();
        }
        Ok(())
    }

    fn stranded(&self, vcpu: u32) -> Option<Ioreq> {
        match self.0.slots.lock().unwrap()[vcpu as usize] {
            Slot::InProcess(request) => Some(request),
            _ => None,
        }
    }

    fn take(&self, vcpu: u32) -> Option<Ioreq> {
        let slot = &mut self.0.slots.lock().unwrap()[vcpu as usize];
        let Slot::Ready(request) = *slot else {
            return None;
        };
        *slot = Slot::InProcess(request);
        Some(request)
    }

    fn answer(&self, vcpu: u32, data: u64) -> xen::Result<()> {
        let slot = &mut self.0.slots.lock().unwrap()[vcpu as usize];
        assert!(
            matches!(slot, Slot::InProcess(_)),
            "vCPU {vcpu} was answered twice"
        );
        *slot = Slot::Answered(data);
        self.0.answered.notify_all();
        Ok(())
    }

    fn nudge(&self, _vcpu: u32) -> xen::Result<()> {
        self.0.answered.notify_all();
        Ok(())
    }
}
