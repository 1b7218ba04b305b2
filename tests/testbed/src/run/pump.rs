//! Between a terminal and a console's socket, both ways, until Ctrl-] or the socket's end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Why the pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Ctrl-] was typed, or standard input ended.
    Left,
    /// The machine closed its console.
    Closed,
}

/// The terminal's modes, restored at the end.
struct Raw(Option<Termios>);

impl Raw {
    fn set() -> Self {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut modes = before.clone();
        modes.make_raw();
        Self(
            tcsetattr(&stdin, OptionalActions::Now, &modes)
                .is_ok()
                .then_some(before),
        )
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            // Nothing more can be done about a terminal that went away.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

/// Pumps until one side ends or `stop` says so.
pub(super) fn run(mut console: UnixStream, stop: impl Fn() -> bool) -> io::Result<End> {
    let _raw = Raw::set();
    let stdin = io::stdin();
    let mut buffer = [0; 4096];
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    loop {
        if stop() {
            return Ok(End::Closed);
        }
        let (typed, said) = {
            let mut fds = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&console, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
        };
        if said {
            let count = console.read(&mut buffer)?;
            if count == 0 {
                return Ok(End::Closed);
            }
            io::stdout().write_all(&buffer[..count])?;
            io::stdout().flush()?;
        }
        if typed {
            let count = rustix::io::read(&stdin, &mut buffer)?;
            let typed = &buffer[..count];
            if typed.is_empty() || typed.contains(&LEAVE) {
                return Ok(End::Left);
            }
            console.write_all(typed)?;
        }
    }
}
