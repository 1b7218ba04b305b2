//! Speaks to guests' agents over their consoles, for the host.
//!
//! The console is found where xenconsoled put it: XenStore `/local/domain/<domid>/console/tty`.

use super::{Outbox, Outcome, locked};
use crate::frame::{Frame, Kind};
use crate::link::{self, LinkReader, LinkWriter};
use crate::message::Reply;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::process::Command;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Frames that may wait for one guest.
const MAX_WAITING: usize = 256;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Relays {
    out: Outbox,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: u16,
    open: HashMap<u16, Open>,
}

struct Open {
    domid: u32,
    sender: SyncSender<Frame>,
}

impl Relays {
    pub(super) fn new(out: Outbox) -> Self {
        Self {
            out,
            state: Arc::default(),
        }
    }

    pub(super) fn attach(&self, domid: u32, timeout_ms: u64) -> Outcome {
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        // Two readers of one console would each get half.
        locked(&self.state)
            .open
            .retain(|_, open| open.domid != domid);
        let tty = loop {
            match console(domid)? {
                Some(tty) => break tty,
                None if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
                None => {
                    return Err(format!(
                        "domain {domid} has no console after {timeout_ms} ms"
                    ));
                }
            }
        };
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&tty)
            .map_err(|e| format!("cannot open {tty}, the console of domain {domid}: {e}"))?;
        let (reader, writer) = link::open(terminal, session(), |_| ())
            .map_err(|e| format!("cannot use {tty}: {e}"))?;
        reader
            .wait_established(until.saturating_duration_since(Instant::now()))
            .map_err(|e| {
                if e.kind() == io::ErrorKind::TimedOut {
                    format!(
                        "no agent answers on the console of domain {domid} after {timeout_ms} ms"
                    )
                } else {
                    format!("the console of domain {domid} was lost: {e}")
                }
            })?;
        self.start(domid, reader, writer).map_err(|e| e.to_string())
    }

    fn start(
        &self,
        domid: u32,
        mut reader: LinkReader,
        mut writer: LinkWriter,
    ) -> io::Result<Reply> {
        let (sender, waiting) = sync_channel::<Frame>(MAX_WAITING);
        let channel = {
            let mut state = locked(&self.state);
            state.last = state.last.checked_add(1).unwrap_or(1);
            let channel = state.last;
            state.open.insert(channel, Open { domid, sender });
            channel
        };
        std::thread::Builder::new()
            .name(format!("to-{domid}"))
            .spawn(move || {
                while let Ok(frame) = waiting.recv() {
                    if frame.write(&mut writer).is_err() {
                        break;
                    }
                }
            })?;
        let (out, state) = (self.out.clone(), Arc::clone(&self.state));
        std::thread::Builder::new()
            .name(format!("from-{domid}"))
            .spawn(move || {
                while let Ok(Some(mut frame)) = Frame::read(&mut reader) {
                    frame.channel = channel;
                    if out.send(&frame).is_err() {
                        break;
                    }
                }
                locked(&state).open.remove(&channel);
                // A host that is gone needs not be told.
                let _ = out.send(&Frame::new(channel, Kind::Lost, 0, Vec::new()));
            })?;
        Ok(Reply::Attached { channel })
    }

    pub(super) fn forward(&self, mut frame: Frame) -> io::Result<()> {
        let channel = frame.channel;
        frame.channel = 0;
        let taken = match locked(&self.state).open.get(&channel) {
            Some(open) => open
                .sender
                .try_send(frame)
                .map_err(|e| matches!(e, TrySendError::Full(_))),
            None => Err(false),
        };
        if taken.is_err() {
            locked(&self.state).open.remove(&channel);
            return self
                .out
                .send(&Frame::new(channel, Kind::Lost, 0, Vec::new()));
        }
        Ok(())
    }

    pub(super) fn detach(&self, channel: u16) -> Outcome {
        match locked(&self.state).open.remove(&channel) {
            Some(_) => Ok(Reply::Done { bytes: 0 }),
            None => Err(format!("channel {channel} is not open")),
        }
    }

    pub(super) fn close_all(&self) {
        locked(&self.state).open.clear();
    }
}

fn console(domid: u32) -> Result<Option<String>, String> {
    let key = format!("/local/domain/{domid}/console/tty");
    let output = Command::new("xenstore-read")
        .arg(&key)
        .output()
        .map_err(|e| format!("xenstore-read: {e}"))?;
    let tty = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status.success() && !tty.is_empty()).then_some(tty))
}

/// Different for each attachment.
fn session() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, d, ..] = RandomState::new()
        .hash_one(std::process::id())
        .to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
