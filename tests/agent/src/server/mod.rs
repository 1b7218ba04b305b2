//! The agent's serving side: takes requests from a stream and answers them, many at a time.
//!
//! It must never block the stream on one request: everything that waits does so in a thread of its own.

mod exec;
mod files;
mod logs;
mod processes;
mod relay;

use crate::frame::{Frame, Kind};
use crate::message::{Hello, Reply, Request};
use processes::Processes;
use relay::Relays;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of input that may wait for one request.
const MAX_WAITING_INPUT: usize = 32 * 1024 * 1024;

/// Serves one stream until it ends. What its requests started is then killed, spawned programs are not.
///
/// # Errors
/// The stream failed or carried something that is no frame.
pub fn serve(
    mut reader: impl Read,
    writer: impl Write + Send + 'static,
    hello: Hello,
) -> io::Result<()> {
    let out = Outbox {
        writer: Arc::new(Mutex::new(Box::new(writer))),
    };
    let server = Arc::new(Server {
        processes: Processes::default(),
        relays: Relays::new(out.clone()),
        exchanges: Mutex::default(),
        hello,
        out,
    });
    server.out.json(0, Kind::Hello, 0, &server.hello)?;
    let ended = loop {
        match Frame::read(&mut reader) {
            Ok(Some(frame)) => server.frame(frame)?,
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    for exchange in locked(&server.exchanges).values() {
        exchange.cancel.set();
    }
    server.relays.close_all();
    ended
}

/// Bytes sent in answer to one request, or the sentence why not.
type Outcome = Result<Reply, String>;

struct Server {
    out: Outbox,
    exchanges: Mutex<HashMap<u32, Exchange>>,
    processes: Processes,
    relays: Relays,
    hello: Hello,
}

struct Exchange {
    input: Option<Sender<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    cancel: Arc<Cancel>,
}

impl Server {
    fn frame(self: &Arc<Self>, frame: Frame) -> io::Result<()> {
        if frame.channel != 0 {
            return self.relays.forward(frame);
        }
        match frame.kind {
            Kind::Request => return self.request(frame),
            Kind::Input => {
                let mut exchanges = locked(&self.exchanges);
                if let Some(exchange) = exchanges.get_mut(&frame.id)
                    && let Some(input) = &exchange.input
                {
                    let waiting = exchange
                        .waiting
                        .fetch_add(frame.payload.len(), Ordering::Relaxed);
                    if waiting > MAX_WAITING_INPUT {
                        exchange.cancel.set();
                        exchange.input = None;
                    } else if input.send(frame.payload).is_err() {
                        exchange.input = None;
                    }
                }
            }
            Kind::InputEnd => {
                if let Some(exchange) = locked(&self.exchanges).get_mut(&frame.id) {
                    exchange.input = None;
                }
            }
            Kind::Cancel => {
                if let Some(exchange) = locked(&self.exchanges).get(&frame.id) {
                    exchange.cancel.set();
                }
            }
            Kind::Hello | Kind::Output | Kind::ErrorOutput | Kind::Reply | Kind::Lost => {}
        }
        Ok(())
    }

    fn request(self: &Arc<Self>, frame: Frame) -> io::Result<()> {
        let id = frame.id;
        let request: Request = match serde_json::from_slice(&frame.payload) {
            Ok(request) => request,
            Err(e) => {
                return self
                    .out
                    .reply(id, Err(format!("the request is not understood: {e}")));
            }
        };
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let cancel = Arc::new(Cancel::new()?);
        let exchange = Exchange {
            input: Some(sender),
            waiting: Arc::clone(&waiting),
            cancel: Arc::clone(&cancel),
        };
        locked(&self.exchanges).insert(id, exchange);
        let work = Work {
            id,
            out: self.out.clone(),
            input: Input { receiver, waiting },
            cancel,
        };
        let server = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("request".into())
            .spawn(move || {
                let outcome = server.answer(request, work);
                locked(&server.exchanges).remove(&id);
                // A stream that is gone is noticed by its reader.
                let _ = server.out.reply(id, outcome);
            });
        match started {
            Ok(_) => Ok(()),
            Err(e) => self
                .out
                .reply(id, Err(format!("no thread for the request: {e}"))),
        }
    }

    fn answer(&self, request: Request, work: Work) -> Outcome {
        match request {
            Request::Ping => Ok(Reply::Done { bytes: 0 }),
            Request::Hello => Ok(Reply::Hello(self.hello.clone())),
            Request::Exec {
                program,
                timeout_ms,
                max_output,
            } => exec::run(&program, timeout_ms, max_output, work),
            Request::Spawn { program, log } => self.processes.spawn(&program, &log),
            Request::Wait { pid, timeout_ms } => self.processes.wait(pid, timeout_ms, &work.cancel),
            Request::Kill { pid, signal, only } => self.processes.kill(pid, signal, only),
            Request::Put { path, mode } => files::put(&path, mode, work),
            Request::Get { path } => files::get(&path, &work),
            Request::Follow { dir } => logs::follow(&dir, &work),
            Request::Attach { domid, timeout_ms } => self.relays.attach(domid, timeout_ms),
            Request::Detach { channel } => self.relays.detach(channel),
            Request::Poweroff => end(rustix::system::RebootCommand::PowerOff),
            Request::Reboot => end(rustix::system::RebootCommand::Restart),
        }
    }
}

fn end(command: rustix::system::RebootCommand) -> Outcome {
    rustix::fs::sync();
    rustix::system::reboot(command).map_err(|e| format!("the kernel refused: {e}"))?;
    Ok(Reply::Done { bytes: 0 })
}

/// What a request has to work with.
struct Work {
    id: u32,
    out: Outbox,
    input: Input,
    cancel: Arc<Cancel>,
}

struct Input {
    receiver: Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl Input {
    fn next(&self) -> Option<Vec<u8>> {
        let bytes = self.receiver.recv().ok()?;
        self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some(bytes)
    }
}

/// A flag that can be polled for.
struct Cancel {
    set: AtomicBool,
    event: OwnedFd,
}

impl Cancel {
    fn new() -> io::Result<Self> {
        Ok(Self {
            set: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    fn set(&self) {
        self.set.store(true, Ordering::Relaxed);
        // The counter cannot overflow by what this does.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }
}

/// The way back to the host.
#[derive(Clone)]
struct Outbox {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Outbox {
    fn send(&self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut *locked(&self.writer))
    }

    fn json(
        &self,
        channel: u16,
        kind: Kind,
        id: u32,
        value: &impl serde::Serialize,
    ) -> io::Result<()> {
        self.send(&Frame::new(channel, kind, id, serde_json::to_vec(value)?))
    }

    fn reply(&self, id: u32, outcome: Outcome) -> io::Result<()> {
        let reply = outcome.unwrap_or_else(|reason| Reply::Failed { reason });
        self.json(0, Kind::Reply, id, &reply)
    }
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
