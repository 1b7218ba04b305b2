//! The task that receives, watches the time limits, and sends what could not go out at once.
//!
//! It hands events over without ever waiting for room: a client that reads the store between two
//! events must not be able to stop its own answers.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use ::tokio::time::{Sleep, sleep_until};

use crate::error::{Error, Result};
use crate::session::{Flush, Inbox, Session, Wait};

/// The session's descriptor for the reactor, which so outlives its registration.
struct Fd(Arc<Session>);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.transport().as_fd().as_raw_fd()
    }
}

/// Whatever ends the task (the runtime's shutdown too), nobody may go on waiting for it.
struct Funeral(Arc<Session>);

impl Drop for Funeral {
    fn drop(&mut self) {
        self.0.close("the task that receives has ended");
    }
}

/// Starts the task on the current runtime. It ends when the session is closed or broken.
pub(super) fn start(session: &Arc<Session>) -> Result<()> {
    let runtime = Handle::try_current().map_err(|error| Error::System {
        what: "a tokio runtime around the call",
        source: io::Error::other(error),
    })?;
    #[allow(
        deprecated,
        reason = "its successor is unsafe, and this crate has no unsafe code; what it asks for holds: \
                  `Fd` always gives the same descriptor and keeps its owner alive"
    )]
    let fd = AsyncFd::new(Fd(Arc::clone(session))).map_err(|source| Error::System {
        what: "a place in tokio's reactor",
        source,
    })?;
    let mut driver = Driver {
        funeral: Funeral(Arc::clone(session)),
        fd,
        inbox: Inbox::new(),
        sleep: None,
    };
    runtime.spawn(async move {
        if let Err(error) = poll_fn(|context| driver.poll(context)).await {
            driver
                .funeral
                .0
                .close(&format!("waiting for it failed: {error}"));
        }
    });
    Ok(())
}

struct Driver {
    funeral: Funeral,
    fd: AsyncFd<Fd>,
    inbox: Inbox,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Driver {
    /// Ready when the session is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.funeral.0.set_driver(context.waker());
        if self.receive(context)? == Duty::Over {
            return Poll::Ready(Ok(()));
        }
        self.expire(context);
        // Last: an answer may be what the next request had to wait for.
        self.flush(context)?;
        if self.funeral.0.is_broken() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn receive(&mut self, context: &mut Context<'_>) -> io::Result<Duty> {
        loop {
            let Poll::Ready(guard) = self.fd.poll_read_ready(context) else {
                return Ok(Duty::Goes);
            };
            let mut guard = guard?;
            match self.funeral.0.readable(&mut self.inbox) {
                Ok(true) => {}
                Ok(false) => return Ok(Duty::Over),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            match self.funeral.0.flush(Wait::Forbidden) {
                Flush::Done => return Ok(()),
                Flush::NeedsThread => {
                    let session = Arc::clone(&self.funeral.0);
                    ::tokio::task::spawn_blocking(move || session.flush(Wait::Allowed));
                    return Ok(());
                }
                Flush::Full => match self.fd.poll_write_ready(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(guard) => guard?.clear_ready(),
                },
            }
        }
    }

    fn expire(&mut self, context: &mut Context<'_>) {
        loop {
            let Some(alarm) = self.funeral.0.expire(&mut self.inbox) else {
                self.sleep = None;
                return;
            };
            let sleep = match &mut self.sleep {
                Some((set, sleep)) if *set == alarm => sleep,
                other => {
                    let sleep = Box::pin(sleep_until(alarm.into()));
                    &mut other.insert((alarm, sleep)).1
                }
            };
            if sleep.as_mut().poll(context).is_pending() {
                return;
            }
            self.sleep = None;
            if self.funeral.0.is_broken() {
                return;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Duty {
    Goes,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;
    use crate::transport::Transport;
    use crate::wire::{MessageType, encode};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn answers_that_came_while_the_process_was_stopped_count() {
        let runtime = ::tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let session = Session::new(Transport::from_socket(ours.into()).unwrap());
            start(&session).unwrap();
            let limit = Duration::from_millis(100);
            let ids: Vec<u32> = (1..=20).collect();
            let pending: Vec<_> = ids
                .iter()
                .map(|_| {
                    let request = Request::on_path(MessageType::READ, "/a").unwrap();
                    session.submit(request, limit).unwrap()
                })
                .collect();
            let mut sent = [0; 4096];
            assert!(theirs.read(&mut sent).unwrap() > 0);
            for id in ids {
                let reply = encode(MessageType::READ, id, 0, &[b'x'; 4000]).unwrap();
                theirs.write_all(&reply).unwrap();
            }
            // Nothing else runs in this runtime meanwhile.
            std::thread::sleep(limit + Duration::from_secs(2));
            for pending in pending {
                assert_eq!(pending.await.unwrap().bytes().len(), 4000);
            }
            assert!(!session.is_broken());
        });
    }
}
