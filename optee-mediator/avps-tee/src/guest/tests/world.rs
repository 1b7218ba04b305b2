//! Made-up memory, and a made-up secure world.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use optee_abi::Uuid;
use tee_device::{Buffer, Direction, Outcome, PARAMETERS, Parameter};
use xen::Pfn;

use crate::Shared;
use crate::audit::Audit;
use crate::identities::Identities;
use crate::permits::Permits;
use crate::pool::Pool;
use crate::rights::Rights;
use crate::world::{Client, GuestMemory, Pages, SecureWorld};

pub(super) const APPLICATION: Uuid = Uuid([7; 16]);
pub(super) const OTHER: Uuid = Uuid([8; 16]);
/// Pages of a guest, from address 0 on.
pub(super) const PAGES: usize = 320;

pub(super) fn rights() -> Rights {
    Rights {
        applications: vec![APPLICATION],
        stand_ins: Vec::new(),
        sessions: 3,
        shared_memory_bytes: 8 * 4096,
        rate: None,
        concurrency: 2,
        timeout_ms: None,
        weight: 1,
        interrupt: None,
    }
}

pub(super) fn shared() -> Arc<Shared> {
    // Gone when the tests are.
    let folder = tempfile::tempdir().unwrap().keep();
    Arc::new(Shared {
        device: "/nowhere".into(),
        journals: folder.join("journals"),
        identities: Identities::new(&folder.join("identities")),
        threads: 2,
        hold: Duration::from_millis(5),
        polling: true,
        permits: Permits::new(2),
        pool: Pool::new(8, 2),
        audit: Audit::default(),
    })
}

/// A guest's memory, which anybody may change at any moment.
#[derive(Clone, Debug)]
pub(super) struct Ram {
    pub(super) bytes: Arc<Mutex<Vec<u8>>>,
    pub(super) mapped: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Mapped {
    ram: Ram,
    frames: Vec<usize>,
}

impl Ram {
    pub(super) fn new() -> Self {
        Self {
            bytes: Arc::new(Mutex::new(vec![0; PAGES * 4096])),
            mapped: Arc::default(),
        }
    }
}

impl GuestMemory for Ram {
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn Pages>> {
        let there = |frame: &Pfn| usize::try_from(frame.0).ok().filter(|frame| *frame < PAGES);
        let frames: Option<Vec<usize>> = frames.iter().map(there).collect();
        let frames = frames.ok_or(xen::Error::Argument("no such frame"))?;
        self.mapped.fetch_add(frames.len(), Ordering::SeqCst);
        Ok(Box::new(Mapped {
            ram: self.clone(),
            frames,
        }))
    }
}

impl Mapped {
    /// Piece by piece: where it is in what is copied, and its bytes.
    fn each(&self, offset: usize, length: usize, mut with: impl FnMut(usize, &mut [u8])) -> bool {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.frames.len() * 4096) {
            return false;
        }
        let mut bytes = self.ram.bytes.lock().unwrap();
        let mut done = 0;
        while done < length {
            let at = offset + done;
            let piece = (4096 - at % 4096).min(length - done);
            let begin = self.frames[at / 4096] * 4096 + at % 4096;
            with(done, &mut bytes[begin..begin + piece]);
            done += piece;
        }
        true
    }
}

impl Pages for Mapped {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        self.each(offset, bytes.len(), |done, piece| {
            bytes[done..done + piece.len()].copy_from_slice(piece);
        })
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        self.each(offset, bytes.len(), |done, piece| {
            piece.copy_from_slice(&bytes[done..done + piece.len()]);
        })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.ram
            .mapped
            .fetch_sub(self.frames.len(), Ordering::SeqCst);
    }
}

/// An application that turns bytes around, swaps numbers, and fails for a function that it does not like.
#[derive(Debug, Default)]
pub(super) struct Applications {
    pub(super) open: Mutex<BTreeSet<u32>>,
    next: Mutex<u32>,
    /// Who opened sessions, as this was told.
    pub(super) clients: Mutex<Vec<Client>>,
    pub(super) gate: Gate,
    /// Closing a session lasts until the gate opens.
    pub(super) slow_close: AtomicBool,
    /// And opening one.
    pub(super) slow_open: AtomicBool,
}

/// The function that fails.
pub(super) const FAILS: u32 = 13;
/// The function that lasts until the gate opens, or until it is cancelled.
pub(super) const WAITS: u32 = 0x7761_6974;
/// The function that lasts until the gate opens, cancelled or not.
pub(super) const STAYS: u32 = 0x7374_6179;

const CANCELLED: u32 = 0xffff_0002;

/// Where calls stay that last.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    open: bool,
    /// Sessions of calls that are in the secure world, one for each.
    sessions: Vec<u32>,
    cancelled: BTreeSet<u32>,
}

/// Opens the gate at its end, so that a test that fails ends, too.
pub(super) struct Opens<'a>(pub(super) &'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Gate {
    pub(super) fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    /// Calls that are in the secure world.
    pub(super) fn inside(&self) -> usize {
        self.state.lock().unwrap().sessions.len()
    }

    /// Calls that were cancelled.
    pub(super) fn cancelled(&self) -> usize {
        self.state.lock().unwrap().cancelled.len()
    }

    fn cancel(&self, id: u32) {
        self.state.lock().unwrap().cancelled.insert(id);
        self.changed.notify_all();
    }

    /// Stays until the gate opens; false if the call of this number was cancelled before.
    pub(super) fn stay(&self, session: u32, id: Option<u32>) -> bool {
        let mut state = self.state.lock().unwrap();
        state.sessions.push(session);
        let cancelled = |state: &Inside| id.is_some_and(|id| state.cancelled.contains(&id));
        while !state.open && !cancelled(&state) {
            state = self.changed.wait(state).unwrap();
        }
        let place = state.sessions.iter().position(|inside| *inside == session);
        state.sessions.swap_remove(place.unwrap());
        state.open
    }
}

/// Waits until something is so, for as long as a slow machine may need.
pub(super) fn eventually(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Looks for long enough to see that something is not done.
pub(super) fn meanwhile() {
    std::thread::sleep(Duration::from_millis(150));
}

impl SecureWorld for Applications {
    fn open_session(
        &self,
        application: [u8; 16],
        client: Client,
        _: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<(Outcome, u32)> {
        assert_eq!(application, APPLICATION.0, "not among its rights");
        self.clients.lock().unwrap().push(client);
        work(buffers, parameters);
        if self.slow_open.load(Ordering::SeqCst) {
            self.gate.stay(u32::MAX, None);
        }
        let mut next = self.next.lock().unwrap();
        *next += 1;
        self.open.lock().unwrap().insert(*next);
        Ok((done(0), *next))
    }

    fn invoke(
        &self,
        session: u32,
        function: u32,
        id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<Outcome> {
        assert!(self.open.lock().unwrap().contains(&session));
        work(buffers, parameters);
        let stays = match function {
            WAITS => self.gate.stay(session, Some(id)),
            STAYS => self.gate.stay(session, None),
            _ => true,
        };
        if !stays {
            return Ok(done(CANCELLED));
        }
        Ok(done(if function == FAILS { 0xffff_0000 } else { 0 }))
    }

    fn cancel(&self, _: u32, id: u32) -> tee_device::Result<()> {
        self.gate.cancel(id);
        Ok(())
    }

    fn close_session(&self, session: u32) -> tee_device::Result<()> {
        // OP-TEE would wait in there for the call that has the session.
        let busy = self.gate.state.lock().unwrap().sessions.contains(&session);
        assert!(!busy, "a session is closed while a call has it");
        if self.slow_close.load(Ordering::SeqCst) {
            self.gate.stay(session, None);
        }
        assert!(self.open.lock().unwrap().remove(&session));
        Ok(())
    }

    fn buffer(&self, size: usize) -> tee_device::Result<Buffer> {
        Buffer::unshared(size)
    }
}

fn done(result: u32) -> Outcome {
    Outcome { result, origin: 4 }
}

fn work(buffers: &mut [Buffer], parameters: &mut [Parameter; PARAMETERS]) {
    for parameter in parameters {
        match parameter {
            Parameter::Value(_, values) => values.swap(0, 1),
            Parameter::Memory {
                direction,
                buffer,
                offset,
                size,
            } => {
                // The kernel refuses what is beyond the buffer.
                let begin = usize::try_from(*offset).unwrap();
                let bytes = buffers[*buffer].bytes_mut();
                let piece = &mut bytes[begin..begin + usize::try_from(*size).unwrap()];
                if *direction == Direction::Output {
                    assert!(piece.iter().all(|byte| *byte == 0), "of somebody else");
                }
                piece.reverse();
            }
            Parameter::Null(_, size) => *size = 100,
            Parameter::None => {}
        }
    }
}
