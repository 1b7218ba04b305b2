//! Runs a [`Link`] on a terminal: one thread, a reading end and a writing end.

use super::{Link, Role};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes a writer may be ahead of the other end.
const AHEAD: usize = 64 * 1024;
/// An opener that hears nothing for so long gives the other end up.
const SILENCE: Duration = Duration::from_secs(60);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    wake: OwnedFd,
}

struct State {
    link: Link,
    arrived: Vec<u8>,
    ended: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // The counter cannot overflow in practice, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn end(&self, reason: &str) {
        self.lock().ended.get_or_insert_with(|| reason.to_owned());
        self.changed.notify_all();
        self.wake();
    }
}

/// The reading end; it ends when the other side is gone or calls again.
pub struct LinkReader(End);

/// The writing end.
pub struct LinkWriter(End);

struct End {
    shared: Arc<Shared>,
    call: u32,
}

impl Drop for End {
    fn drop(&mut self) {
        // A listener's link outlives its calls.
        if self.call == 0 {
            self.shared.end("closed");
        }
    }
}

/// Calls the other side on a terminal. Console text that is no packet goes to `text`.
/// Dropping either end closes the link.
///
/// # Errors
/// The terminal cannot be set up, or no thread can be started.
pub fn open(
    terminal: File,
    session: u32,
    text: impl FnMut(&[u8]) + Send + 'static,
) -> io::Result<(LinkReader, LinkWriter)> {
    let shared = start(terminal, Role::Opener { session }, text)?;
    Ok((
        LinkReader(End {
            shared: Arc::clone(&shared),
            call: 0,
        }),
        LinkWriter(End { shared, call: 0 }),
    ))
}

/// Waits for calls on a terminal.
pub struct Listener {
    shared: Arc<Shared>,
    answered: u32,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// The terminal cannot be set up, or no thread can be started.
    pub fn new(terminal: File) -> io::Result<Self> {
        Ok(Self {
            shared: start(terminal, Role::Listener, |_| ())?,
            answered: 0,
        })
    }

    /// Waits for the next call; the ends of the call before are then over.
    ///
    /// # Errors
    /// The terminal failed.
    pub fn accept(&mut self) -> io::Result<(LinkReader, LinkWriter)> {
        let mut state = self.shared.lock();
        while state.link.restarts() == self.answered {
            if let Some(reason) = &state.ended {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone()));
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.answered = state.link.restarts();
        let end = || End {
            shared: Arc::clone(&self.shared),
            call: self.answered,
        };
        Ok((LinkReader(end()), LinkWriter(end())))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.end("closed");
    }
}

fn start(
    terminal: File,
    role: Role,
    mut text: impl FnMut(&[u8]) + Send + 'static,
) -> io::Result<Arc<Shared>> {
    make_raw(&terminal)?;
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            link: Link::new(role),
            arrived: Vec::new(),
            ended: None,
        }),
        changed: Condvar::new(),
        wake,
    });
    let runner = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("link".into())
        .spawn(move || {
            let ended = run(&runner, &terminal, role, &mut text);
            runner.end(
                &ended
                    .err()
                    .map_or_else(|| "closed".to_owned(), |e| e.to_string()),
            );
        })?;
    Ok(shared)
}

fn make_raw(terminal: &File) -> io::Result<()> {
    let mut modes = rustix::termios::tcgetattr(terminal)?;
    modes.make_raw();
    rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, &modes)?;
    let flags = rustix::fs::fcntl_getfl(terminal)?;
    rustix::fs::fcntl_setfl(terminal, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(())
}

fn run(
    shared: &Shared,
    terminal: &File,
    role: Role,
    text: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let now = Instant::now();
        let timeout = {
            let mut state = shared.lock();
            if state.ended.is_some() {
                return Ok(());
            }
            if matches!(role, Role::Opener { .. }) && state.link.stalled(now) > SILENCE {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the guest's agent no longer answers",
                ));
            }
            if pending.is_empty() {
                pending = state.link.output(now).into_bytes();
            }
            state
                .link
                .deadline()
                .map(|at| at.saturating_duration_since(now))
        };
        let mut interest = PollFlags::IN;
        if !pending.is_empty() {
            interest |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::new(terminal, interest),
            PollFd::new(&shared.wake, PollFlags::IN),
        ];
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let events = fds[0].revents();
        if fds[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&shared.wake, &mut [0_u8; 8]);
        }
        if events.contains(PollFlags::OUT) && !pending.is_empty() {
            match (&*terminal).write(&pending) {
                Ok(written) => drop(pending.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match (&*terminal).read(&mut buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the console was closed",
                    ));
                }
                Ok(count) => arrived(shared, buffer.get(..count).unwrap_or_default(), text),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn arrived(shared: &Shared, bytes: &[u8], text: &mut dyn FnMut(&[u8])) {
    let plain = {
        let mut state = shared.lock();
        let calls = state.link.restarts();
        state.link.input(bytes, Instant::now());
        if state.link.restarts() != calls {
            state.arrived.clear();
        }
        let data = state.link.take();
        state.arrived.extend_from_slice(&data);
        state.link.take_text()
    };
    shared.changed.notify_all();
    if !plain.is_empty() {
        text(&plain);
    }
}

impl LinkReader {
    /// Waits until both ends have met.
    ///
    /// # Errors
    /// `TimedOut`, or the link ended.
    pub fn wait_established(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        let mut state = self.0.shared.lock();
        loop {
            if let Some(reason) = &state.ended {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone()));
            }
            if state.link.established() {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            state = self
                .0
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Read for LinkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.shared.lock();
        loop {
            if state.link.restarts() != self.0.call {
                return Ok(0);
            }
            if !state.arrived.is_empty() {
                let count = state.arrived.len().min(buffer.len());
                buffer[..count].copy_from_slice(&state.arrived[..count]);
                state.arrived.drain(..count);
                return Ok(count);
            }
            if state.ended.is_some() {
                return Ok(0);
            }
            state = self
                .0
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Write for LinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.shared.lock();
        loop {
            if let Some(reason) = &state.ended {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone()));
            }
            if state.link.restarts() != self.0.call {
                return Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "the other side called again",
                ));
            }
            if state.link.unsent() < AHEAD {
                state.link.send(bytes);
                drop(state);
                self.0.shared.wake();
                return Ok(bytes.len());
            }
            state = self
                .0
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
