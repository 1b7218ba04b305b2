//! The thread that receives, watches the time limits, and sends what could not go out at once.
//!
//! It never runs a user's code and never waits for one: a slow reader of watch events slows nobody.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Result};
use crate::session::{Flush, Inbox, Session, Wait};

/// Wakes the driver out of its `poll`.
struct PollWaker(OwnedFd);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Failing means the counter is at its limit: then it rings already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Whatever ends the thread, nobody may go on waiting for it.
struct Funeral(Arc<Session>);

impl Drop for Funeral {
    fn drop(&mut self) {
        self.0.close("the thread that receives has ended");
    }
}

/// Starts the thread. It ends when the session is closed or broken.
pub(super) fn start(session: &Arc<Session>) -> Result<()> {
    let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
        Error::System {
            what: "an eventfd",
            source: error.into(),
        }
    })?;
    let waker = Arc::new(PollWaker(waker));
    session.set_driver(&Waker::from(Arc::clone(&waker)));
    let session = Arc::clone(session);
    thread::Builder::new()
        .name("xenstore".to_owned())
        .spawn(move || {
            let funeral = Funeral(session);
            if let Err(error) = run(&funeral.0, &waker) {
                funeral.0.close(&format!("waiting for it failed: {error}"));
            }
        })
        .map_err(|source| Error::System {
            what: "a thread",
            source,
        })?;
    Ok(())
}

fn run(session: &Arc<Session>, waker: &PollWaker) -> io::Result<()> {
    let mut inbox = Inbox::new();
    while !session.is_broken() {
        let alarm = session.expire(&mut inbox);
        // In every round, and last: an answer may be what the next request had to wait for.
        let full = match session.flush(Wait::Forbidden) {
            Flush::Done => false,
            Flush::Full => true,
            Flush::NeedsThread => {
                flush_elsewhere(session);
                false
            }
        };
        let interest = if full {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut fds = [
            PollFd::from_borrowed_fd(session.transport().as_fd(), interest),
            PollFd::from_borrowed_fd(waker.0.as_fd(), PollFlags::IN),
        ];
        let timeout = alarm.map(|alarm| alarm.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [server, waker_fd] = &fds;
        let (ready, rang) = (server.revents(), !waker_fd.revents().is_empty());

        if rang {
            let mut count = [0; 8];
            let _ = rustix::io::read(&waker.0, &mut count);
        }
        // A socket that hangs up is read to its end first: what the server said last counts.
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match session.readable(&mut inbox) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Sends where the kernel may hold us, so that this thread's duties are not held too.
fn flush_elsewhere(session: &Arc<Session>) {
    let helper = Arc::clone(session);
    let spawned = thread::Builder::new()
        .name("xenstore-watch".to_owned())
        .spawn(move || helper.flush(Wait::Allowed));
    if spawned.is_err() {
        // Better late than never.
        session.flush(Wait::Allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;
    use crate::transport::Transport;
    use crate::wire::{Decoder, Message, MessageType, encode};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn receive(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<Message> {
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|count| count > 0) {
            if let Some(message) = decoder.next(&mut &byte[..]).unwrap() {
                return Some(message);
            }
        }
        None
    }

    #[test]
    fn the_device_gets_the_next_request_only_after_the_answer_to_the_last() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let session = Session::new(Transport::device_for_test(ours.into()));
        start(&session).unwrap();
        let ask = |kind, path| Request::on_path(kind, path).unwrap();
        let minute = Duration::from_secs(60);
        let kinds = [MessageType::READ, MessageType::WATCH, MessageType::RM];
        let pending: Vec<_> = kinds
            .iter()
            .map(|kind| session.submit(ask(*kind, "/a"), minute).unwrap())
            .collect();
        let mut decoder = Decoder::new();
        for kind in kinds {
            theirs.set_read_timeout(Some(minute)).unwrap();
            let request = receive(&mut theirs, &mut decoder).unwrap();
            assert_eq!(request.kind, kind);
            theirs
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            assert_eq!(
                receive(&mut theirs, &mut decoder),
                None,
                "before {kind}'s answer"
            );
            let reply = encode(kind, request.request_id, 0, b"OK\0").unwrap();
            theirs.write_all(&reply).unwrap();
        }
        drop(pending);
        session.close("the test is over");
    }

    /// Answers `READ`s that were sent, each with more than a fair part of what is received at once.
    fn answer(server: &mut UnixStream, count: usize) {
        let mut decoder = Decoder::new();
        let limit = Some(Duration::from_secs(20));
        server.set_read_timeout(limit).unwrap();
        for _ in 0..count {
            let request = receive(server, &mut decoder).unwrap();
            let reply = encode(request.kind, request.request_id, 0, &[b'x'; 4000]).unwrap();
            server.write_all(&reply).unwrap();
        }
    }

    /// The process is stopped, and with it the thread that receives, from before the server answers until `late` after the time limit.
    fn stopped(limit: Duration, late: Duration) {
        const REQUESTS: usize = 20;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let session = Session::new(Transport::from_socket(ours.into()).unwrap());
        let pending: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let request = Request::on_path(MessageType::READ, "/a").unwrap();
                session.submit(request, limit).unwrap()
            })
            .collect();
        answer(&mut theirs, REQUESTS);
        thread::sleep(limit + late);
        start(&session).unwrap();
        for pending in pending {
            let reply = super::super::park::block_on(pending).unwrap();
            assert_eq!(reply.bytes().len(), 4000);
        }
        assert!(!session.is_broken());
        session.close("the test is over");
    }

    #[test]
    fn answers_that_came_while_the_process_was_stopped_count() {
        stopped(Duration::from_millis(100), Duration::from_millis(10));
        stopped(Duration::from_millis(100), Duration::from_secs(2));
    }

    #[test]
    fn after_a_stop_the_device_still_sends_what_had_to_wait() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let session = Session::new(Transport::device_for_test(ours.into()));
        let limit = Duration::from_secs(1);
        let pending: Vec<_> = (0..3)
            .map(|_| {
                let request = Request::on_path(MessageType::READ, "/a").unwrap();
                session.submit(request, limit).unwrap()
            })
            .collect();
        answer(&mut theirs, 1);
        thread::sleep(limit + Duration::from_secs(2));
        start(&session).unwrap();
        answer(&mut theirs, 2);
        for pending in pending {
            super::super::park::block_on(pending).unwrap();
        }
        session.close("the test is over");
    }

    #[test]
    fn a_server_that_sends_events_and_never_an_answer_is_given_up() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let session = Session::new(Transport::from_socket(ours.into()).unwrap());
        start(&session).unwrap();
        let talks = thread::spawn(move || {
            let event = encode(MessageType::WATCH_EVENT, 0, 0, b"/w\0w1\0").unwrap();
            while theirs.write_all(&event).is_ok() {}
        });
        let request = Request::on_path(MessageType::READ, "/a").unwrap();
        let limit = Duration::from_millis(300);
        let pending = session.submit(request, limit).unwrap();
        let error = super::super::park::block_on(pending).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        drop(session);
        talks.join().unwrap();
    }

    #[test]
    fn a_request_the_device_refuses_does_not_hold_up_the_next() {
        // A socket refuses after its own shutdown, with EPIPE, as the device might with EINVAL.
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let session = Session::new(Transport::device_for_test(ours.into()));
        start(&session).unwrap();
        for _ in 0..3 {
            let request = Request::on_path(MessageType::READ, "/a").unwrap();
            let pending = session.submit(request, Duration::from_secs(60)).unwrap();
            let error = super::super::park::block_on(pending).unwrap_err();
            assert_eq!(error.errno_name(), Some("errno 32"));
        }
        assert!(!session.is_broken());
        session.close("the test is over");
        drop(theirs);
    }
}
