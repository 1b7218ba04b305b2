//! Connects a guest's console with our standard input and output.
//!
//! On a terminal, keys go to the guest as they are pressed (raw mode), Ctrl-C too; Ctrl-] leaves.
//! The terminal gets its former settings back however this ends: guest gone, signal, error.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// Ctrl-].
const ESCAPE: u8 = 0x1d;
/// Bytes moved at once in either direction.
const CHUNK: usize = 4096;

/// Why the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Ctrl-] was pressed.
    Escape,
    /// The console is gone: the domain ended or was removed.
    ConsoleClosed,
    /// Input that is no terminal ended, and the guest had nothing more to say.
    InputEnded,
    /// The process was asked to end.
    Signal,
}

/// A terminal in raw mode; dropping it restores the former settings.
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    former: Termios,
}

impl<'a> RawMode<'a> {
    /// Switches a terminal to raw mode; `None` when it is no terminal.
    ///
    /// # Errors
    /// The system's.
    pub fn enter(terminal: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        if !isatty(terminal) {
            return Ok(None);
        }
        let former = tcgetattr(terminal)?;
        let mut raw = former.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Some(RawMode { terminal, former }))
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // Nothing can be done when the terminal itself is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.former);
    }
}

/// Signals that end the connection, readable as a file.
pub struct Signals {
    readable: UnixStream,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    /// Catches SIGINT, SIGTERM, SIGHUP and SIGQUIT until dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> io::Result<Self> {
        let (readable, writable) = UnixStream::pair()?;
        let mut ids = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            ids.push(signal_hook::low_level::pipe::register(
                signal,
                writable.try_clone()?,
            )?);
        }
        Ok(Signals { readable, ids })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Bytes read and not yet written; never more than [`CHUNK`].
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.written >= self.bytes.len()
    }

    fn set(&mut self, bytes: &[u8]) {
        self.bytes = bytes.to_vec();
        self.written = 0;
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

/// Copies in both directions until one of the ends. `linger` is how long the guest may be silent
/// after the end of input that is no terminal.
///
/// # Errors
/// The system's, when our own input or output fails.
pub fn connect(
    console: &OwnedFd,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    signals: &Signals,
    linger: Duration,
) -> io::Result<End> {
    let flags = fcntl_getfl(console)?;
    fcntl_setfl(console, flags | OFlags::NONBLOCK)?;
    let escape_works = isatty(input);
    let mut to_guest = Pending::default();
    let mut input_open = true;
    let mut silent_since = Instant::now();
    let mut buffer = [0_u8; CHUNK];
    loop {
        let mut console_wants = PollFlags::IN;
        if !to_guest.is_empty() {
            console_wants |= PollFlags::OUT;
        }
        // Input waits while the guest does not take what it was given.
        let listen = input_open && to_guest.is_empty();
        let input_wants = if listen {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let timeout = if input_open || !to_guest.is_empty() {
            None
        } else {
            match linger.checked_sub(silent_since.elapsed()) {
                Some(left) => Timespec::try_from(left).ok(),
                None => return Ok(End::InputEnded),
            }
        };
        let (on_console, on_input, on_signal) = {
            let mut files = [
                PollFd::new(console, console_wants),
                PollFd::from_borrowed_fd(signals.readable.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(input, input_wants),
            ];
            // A file that is not asked for anything still reports its end: leave it out.
            let count = if listen { 3 } else { 2 };
            match poll(&mut files[..count], timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let input_events = if listen {
                files[2].revents()
            } else {
                PollFlags::empty()
            };
            (files[0].revents(), input_events, files[1].revents())
        };
        if !on_signal.is_empty() {
            return Ok(End::Signal);
        }
        if on_console.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match rustix::io::read(console, &mut buffer) {
                Ok(0) | Err(Errno::IO) => return Ok(End::ConsoleClosed),
                Ok(count) => {
                    silent_since = Instant::now();
                    write_all(output, &buffer[..count])?;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if on_console.contains(PollFlags::OUT) && !to_guest.is_empty() {
            match rustix::io::write(console, to_guest.rest()) {
                Ok(count) => {
                    to_guest.written += count;
                    silent_since = Instant::now();
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::IO) => return Ok(End::ConsoleClosed),
                Err(error) => return Err(error.into()),
            }
        }
        if on_input.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let count = match rustix::io::read(input, &mut buffer) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let bytes = &buffer[..count];
            match bytes.iter().position(|byte| *byte == ESCAPE) {
                Some(_) if escape_works => return Ok(End::Escape),
                _ => to_guest.set(bytes),
            }
            if count == 0 {
                input_open = false;
                silent_since = Instant::now();
            }
        }
    }
}

fn write_all(output: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut file = [PollFd::from_borrowed_fd(output, PollFlags::OUT)];
                poll(&mut file, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::thread;

    /// A pseudo-terminal: our side, and the one a program sees.
    fn terminal() -> (File, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("named");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty());
        (File::from(master), slave.expect("opened"))
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe().expect("a pipe")
    }

    #[test]
    fn raw_mode_is_left_however_the_connection_ends() {
        let (_master, slave) = terminal();
        let cooked = |fd: &OwnedFd| tcgetattr(fd).expect("a terminal").local_modes;
        let before = cooked(&slave);
        assert!(before.contains(LocalModes::ECHO));
        let raw = RawMode::enter(slave.as_fd())
            .expect("works")
            .expect("is a terminal");
        assert!(!cooked(&slave).contains(LocalModes::ECHO));
        drop(raw);
        assert_eq!(cooked(&slave), before);
        let (read, _write) = pipe();
        assert!(RawMode::enter(read.as_fd()).expect("works").is_none());
    }

    #[test]
    fn input_that_is_no_terminal_is_copied_to_the_guest_and_its_answer_back() {
        let (console, mut guest) = UnixStream::pair().expect("a pair");
        let (input, input_end) = pipe();
        let (output_end, output) = pipe();
        File::from(input_end)
            .write_all(b"uname\x1d\n")
            .expect("written");
        let guest = thread::spawn(move || {
            let mut seen = [0; 7];
            guest.read_exact(&mut seen).expect("read");
            guest.write_all(b"Linux\n").expect("written");
            thread::sleep(Duration::from_millis(50));
            guest.write_all(b"more\n").expect("written");
            thread::sleep(Duration::from_millis(600));
            seen
        });
        let signals = Signals::catch().expect("caught");
        let linger = Duration::from_millis(300);
        let end = connect(
            &console.into(),
            input.as_fd(),
            output.as_fd(),
            &signals,
            linger,
        );
        assert_eq!(end.expect("works"), End::InputEnded);
        drop(output);
        let mut shown = String::new();
        File::from(output_end)
            .read_to_string(&mut shown)
            .expect("read");
        assert_eq!(shown, "Linux\nmore\n");
        assert_eq!(&guest.join().expect("joined"), b"uname\x1d\n");
    }

    #[test]
    fn the_escape_key_leaves_a_terminal() {
        let (console, _guest) = UnixStream::pair().expect("a pair");
        let (mut keyboard, terminal) = terminal();
        let _raw = RawMode::enter(terminal.as_fd()).expect("works");
        keyboard.write_all(&[b'x', ESCAPE]).expect("written");
        let signals = Signals::catch().expect("caught");
        let (_out, output) = pipe();
        let end = connect(
            &console.into(),
            terminal.as_fd(),
            output.as_fd(),
            &signals,
            Duration::ZERO,
        );
        assert_eq!(end.expect("works"), End::Escape);
    }

    #[test]
    fn a_console_that_goes_away_ends_the_connection() {
        let (console, guest) = UnixStream::pair().expect("a pair");
        let (input, _input_end) = pipe();
        let (_out, output) = pipe();
        drop(guest);
        let signals = Signals::catch().expect("caught");
        let end = connect(
            &console.into(),
            input.as_fd(),
            output.as_fd(),
            &signals,
            Duration::ZERO,
        );
        assert_eq!(end.expect("works"), End::ConsoleClosed);
    }

    #[test]
    fn a_guest_that_does_not_read_blocks_nobody_and_costs_no_memory() {
        let (console, guest) = UnixStream::pair().expect("a pair");
        let (input, input_end) = pipe();
        let (_out, output) = pipe();
        // More than any socket buffer takes; the writer stops when everybody is full.
        let writer = thread::spawn(move || {
            let _ = File::from(input_end).write_all(&vec![b'x'; 4 << 20]);
        });
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(guest);
        });
        let signals = Signals::catch().expect("caught");
        let end = connect(
            &console.into(),
            input.as_fd(),
            output.as_fd(),
            &signals,
            Duration::ZERO,
        );
        // A socket reports the loss by another errno than a terminal does.
        assert!(!matches!(end, Ok(End::InputEnded | End::Escape)), "{end:?}");
        drop(input);
        writer.join().expect("joined");
    }
}
