//! Made-up memory, and a made-up secure world.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use optee_abi::Uuid;
use tee_device::{Buffer, Client, Direction, Outcome, PARAMETERS, Parameter};
use xen::Pfn;

use crate::Shared;
use crate::audit::Audit;
use crate::pool::Pool;
use crate::rights::Rights;
use crate::slots::Slots;
use crate::world::{GuestMemory, Pages, SecureWorld};

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
    let folder = tempfile::tempdir().unwrap();
    Arc::new(Shared {
        device: "/nowhere".into(),
        // Gone when the tests are.
        journals: folder.keep(),
        turns: 2,
        hold: Duration::from_millis(5),
        polling: true,
        slots: Slots::new(2),
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
        if end.is_none_or(|end| end > self.len()) {
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
    fn len(&self) -> usize {
        self.frames.len() * 4096
    }

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
}

/// The function that fails.
pub(super) const FAILS: u32 = 13;

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
        assert_eq!(client.login, 0);
        work(buffers, parameters);
        let mut next = self.next.lock().unwrap();
        *next += 1;
        self.open.lock().unwrap().insert(*next);
        Ok((done(0), *next))
    }

    fn invoke(
        &self,
        session: u32,
        function: u32,
        _: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<Outcome> {
        assert!(self.open.lock().unwrap().contains(&session));
        work(buffers, parameters);
        Ok(done(if function == FAILS { 0xffff_0000 } else { 0 }))
    }

    fn cancel(&self, _: u32, _: u32) -> tee_device::Result<()> {
        Ok(())
    }

    fn close_session(&self, session: u32) -> tee_device::Result<()> {
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
