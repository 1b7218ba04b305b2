//! The host's side: requests to dom0's agent and, through it, to guests' agents.
//!
//! [`Client`] owns the stream and sorts frames by exchange; [`Remote`] is one agent to talk to.

mod proxy;
mod remote;

pub use proxy::proxy;
pub use remote::{Command, Follower, Output, Remote};

use crate::frame::{Frame, Kind};
use crate::message::{Hello, Reply, Request};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a request was not answered as wished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream to dom0 ended, or the guest went away.
    #[error("{who} can no longer be reached: {why}")]
    Lost {
        /// dom0, or the guest.
        who: String,
        /// What ended it.
        why: String,
    },
    /// No answer in time.
    #[error("{who} did not answer within {after:?} to: {what}")]
    Timeout {
        /// dom0, or the guest.
        who: String,
        /// The request.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The agent could not do it.
    #[error("{who} could not: {reason}")]
    Refused {
        /// dom0, or the guest.
        who: String,
        /// The agent's own sentence.
        reason: String,
    },
    /// A program ended otherwise than with code 0.
    #[error("in {who}, `{program}` {exit}{output}")]
    Program {
        /// dom0, or the guest.
        who: String,
        /// Program and arguments.
        program: String,
        /// How it ended.
        exit: crate::message::Exit,
        /// The end of what it wrote.
        output: String,
    },
    /// The agent said something that does not belong here.
    #[error("{who} answered {what}, which is no answer to the request")]
    Protocol {
        /// dom0, or the guest.
        who: String,
        /// What came.
        what: String,
    },
    /// A local file could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What this module returns.
pub type Result<T> = std::result::Result<T, Error>;

/// How long more is awaited of an answer of which a part has come.
const PROGRESS: Duration = Duration::from_secs(10);

/// One stream to dom0's agent.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    writer: Mutex<Box<dyn Write + Send>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    last_id: u32,
    exchanges: HashMap<(u16, u32), Sender<Frame>>,
    hello: Option<Hello>,
    hellos: u32,
    watchers: Vec<Sender<Frame>>,
    lost: HashMap<u16, String>,
}

impl Client {
    /// Begins to listen on the stream.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        let client = Self(Arc::new(Inner {
            writer: Mutex::new(Box::new(writer)),
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let listener = client.clone();
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || listener.listen(reader))?;
        Ok(client)
    }

    fn listen(&self, mut reader: impl Read) {
        let why = loop {
            match Frame::read(&mut reader) {
                Ok(Some(frame)) => self.arrived(frame),
                Ok(None) => break "the stream ended".to_owned(),
                Err(e) => break e.to_string(),
            }
        };
        let mut state = self.lock();
        state.lost.insert(0, why);
        state.exchanges.clear();
        drop(state);
        self.0.changed.notify_all();
    }

    fn arrived(&self, frame: Frame) {
        let mut state = self.lock();
        match frame.kind {
            Kind::Hello if frame.channel == 0 => {
                // A second one means that the agent died and was started again: nothing before is answered.
                state.hellos += 1;
                if state.hellos > 1 {
                    state.exchanges.clear();
                }
                state.hello = serde_json::from_slice(&frame.payload).ok();
            }
            Kind::Lost => {
                state
                    .lost
                    .insert(frame.channel, "its console was closed".to_owned());
                state
                    .exchanges
                    .retain(|(channel, _), _| *channel != frame.channel);
                state
                    .watchers
                    .retain(|watcher| watcher.send(frame.clone()).is_ok());
            }
            Kind::Output | Kind::ErrorOutput => {
                if let Some(exchange) = state.exchanges.get(&(frame.channel, frame.id)) {
                    // Nobody waits for it any more: the reply removes it.
                    let _ = exchange.send(frame);
                }
            }
            Kind::Reply => {
                if let Some(exchange) = state.exchanges.remove(&(frame.channel, frame.id)) {
                    let _ = exchange.send(frame);
                }
            }
            Kind::Hello | Kind::Request | Kind::Input | Kind::InputEnd | Kind::Cancel => {}
        }
        drop(state);
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until dom0's agent serves.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Lost`].
    pub fn wait_hello(&self, time: Duration) -> Result<Hello> {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            if let Some(hello) = &state.hello {
                return Ok(hello.clone());
            }
            if let Some(why) = state.lost.get(&0) {
                return Err(Error::Lost {
                    who: "dom0".into(),
                    why: why.clone(),
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout {
                    who: "dom0".into(),
                    what: "its agent's start".into(),
                    after: time,
                });
            }
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// dom0's agent.
    #[must_use]
    pub fn dom0(&self) -> Remote {
        Remote::new(self.clone(), 0, "dom0")
    }

    /// The agent behind a channel that was attached before.
    #[must_use]
    pub fn channel(&self, channel: u16, name: &str) -> Remote {
        Remote::new(self.clone(), channel, name)
    }

    fn send(&self, who: &str, frame: &Frame) -> Result<()> {
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write(&mut *writer).map_err(|e| Error::Lost {
            who: who.into(),
            why: e.to_string(),
        })
    }

    fn open(&self, who: &str, channel_number: u16, payload: Vec<u8>) -> Result<Exchange> {
        let (sender, frames) = channel();
        let id = {
            let mut state = self.lock();
            for number in [0, channel_number] {
                if let Some(why) = state.lost.get(&number) {
                    return Err(Error::Lost {
                        who: who.into(),
                        why: why.clone(),
                    });
                }
            }
            state.last_id = state.last_id.checked_add(1).unwrap_or(1);
            let id = state.last_id;
            state.exchanges.insert((channel_number, id), sender);
            id
        };
        let exchange = Exchange {
            client: self.clone(),
            who: who.into(),
            channel: channel_number,
            id,
            frames,
            over: false,
        };
        exchange.send(Kind::Request, payload)?;
        Ok(exchange)
    }

    fn forget_loss(&self, channel: u16) {
        self.lock().lost.remove(&channel);
    }

    fn watch_losses(&self) -> Receiver<Frame> {
        let (sender, receiver) = channel();
        self.lock().watchers.push(sender);
        receiver
    }
}

/// One request under way; dropped before its reply, it is cancelled.
struct Exchange {
    client: Client,
    who: String,
    channel: u16,
    id: u32,
    frames: Receiver<Frame>,
    over: bool,
}

impl Exchange {
    fn send(&self, kind: Kind, payload: impl Into<Vec<u8>>) -> Result<()> {
        self.client
            .send(&self.who, &Frame::new(self.channel, kind, self.id, payload))
    }

    /// The next output or reply frame; `None` when the time is over.
    fn next(&mut self, until: Option<Instant>) -> Result<Option<Frame>> {
        let frame = match until {
            None => self.frames.recv().map_err(|_| self.lost())?,
            Some(until) => match self
                .frames
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
            },
        };
        self.over |= frame.kind == Kind::Reply;
        Ok(Some(frame))
    }

    fn lost(&self) -> Error {
        let state = self.client.lock();
        let why = state
            .lost
            .get(&self.channel)
            .or_else(|| state.lost.get(&0))
            .cloned();
        Error::Lost {
            who: self.who.clone(),
            why: why.unwrap_or_else(|| "its agent was started again".into()),
        }
    }

    /// Waits for the reply; output goes to `sink`.
    fn finish(
        &mut self,
        what: &Request,
        time: Duration,
        mut sink: impl FnMut(Kind, Vec<u8>) -> Result<()>,
    ) -> Result<Reply> {
        let mut until = Instant::now() + time;
        loop {
            let Some(frame) = self.next(Some(until))? else {
                return Err(Error::Timeout {
                    who: self.who.clone(),
                    what: format!("{what:?}"),
                    after: time,
                });
            };
            if frame.kind != Kind::Reply {
                sink(frame.kind, frame.payload)?;
                // It is on its way, and its end is, too.
                until = until.max(Instant::now() + PROGRESS);
                continue;
            }
            return match serde_json::from_slice(&frame.payload) {
                Ok(Reply::Failed { reason }) => Err(Error::Refused {
                    who: self.who.clone(),
                    reason,
                }),
                Ok(reply) => Ok(reply),
                Err(e) => Err(Error::Protocol {
                    who: self.who.clone(),
                    what: e.to_string(),
                }),
            };
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.client
                .lock()
                .exchanges
                .remove(&(self.channel, self.id));
            // Whoever is gone needs no cancel.
            let _ = self.send(Kind::Cancel, Vec::new());
        }
    }
}
