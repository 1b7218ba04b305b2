//! Following domains until they shut down or die.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::api::{Code, Context, DeathWatch, RawEventKind};
use crate::error::{Error, Result};
use crate::info::ShutdownReason;
use crate::logger::Log;

/// What became of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainEvent {
    /// It shut down and waits, with its memory, to be destroyed.
    Shutdown(ShutdownReason),
    /// It is being destroyed, or gone. The last event of a domain.
    Death,
}

/// Something happened to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Which domain.
    pub domid: u32,
    /// What.
    pub event: DomainEvent,
}

/// One followed domain.
struct Followed {
    domid: u32,
    watch: DeathWatch,
    shutdown_told: bool,
}

/// Events of chosen domains: each shuts down at most once and dies at most once.
///
/// Waiting blocks, so it belongs in a thread of its own; [`Events::canceller`] ends it from
/// elsewhere. As an iterator it ends when it is cancelled, or when no domain is left to follow.
pub struct Events {
    context: Arc<dyn Context>,
    log: Log,
    followed: Vec<Followed>,
    ready: std::collections::VecDeque<Event>,
    wake: UnixStream,
    canceller: Canceller,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Events")
            .field("domains", &self.domains())
            .finish_non_exhaustive()
    }
}

/// Ends the waiting of an [`Events`], from any thread.
#[derive(Clone, Debug)]
pub struct Canceller {
    cancelled: Arc<AtomicBool>,
    wake: Arc<UnixStream>,
}

impl Canceller {
    /// Ends the present and every later wait.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        // When the socket is full, the waiting side is awake already.
        let _ = (&*self.wake).write(b"c");
    }

    /// Whether [`Canceller::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

impl Events {
    pub(crate) fn new(context: Arc<dyn Context>, log: Log) -> Result<Self> {
        let system = |source| Error::System {
            what: "make a channel for domain events",
            source,
        };
        let (wake, waker) = UnixStream::pair().map_err(system)?;
        wake.set_nonblocking(true).map_err(system)?;
        waker.set_nonblocking(true).map_err(system)?;
        Ok(Self {
            context,
            log,
            followed: Vec::new(),
            ready: std::collections::VecDeque::new(),
            wake,
            canceller: Canceller {
                cancelled: Arc::default(),
                wake: Arc::new(waker),
            },
        })
    }

    /// A handle that ends the waiting.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The domains that are followed and have not died.
    #[must_use]
    pub fn domains(&self) -> Vec<u32> {
        self.followed.iter().map(|one| one.domid).collect()
    }

    /// Follows one more domain. One that has shut down or does not exist is reported at once.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when XenStore does not take the watch.
    pub fn watch(&mut self, domid: u32) -> Result<()> {
        if self.followed.iter().any(|one| one.domid == domid) {
            return Ok(());
        }
        let watch = self.call("follow a domain", |context| context.watch_death(domid))?;
        self.followed.push(Followed {
            domid,
            watch,
            shutdown_told: false,
        });
        // libxl looks at all domains only when XenStore's watch fires: for the first one at once,
        // for later ones not before some domain changes.
        match self.context.info(domid) {
            Err(code) if code.is_no_domain() => self.take(domid, RawEventKind::Death),
            Ok(domain) if domain.dying => self.take(domid, RawEventKind::Death),
            Ok(domain) => {
                if let Some(reason) = domain.shutdown_reason {
                    self.tell_shutdown(domid, reason);
                }
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Waits for the next event; `None` when `limit` is over or the wait is cancelled. With a limit of zero it looks for what is
    /// there and does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when libxl's event handling breaks down, as it does when xenstored goes
    /// away; the following cannot go on then.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Option<Event>> {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut looked = false;
        loop {
            while let Some(event) = self.context.next_event() {
                self.take(event.domid, event.kind);
            }
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.context.is_broken() {
                return Err(Error::failed(
                    "wait for domain events",
                    Code::FAIL,
                    self.log.take_complaints(),
                ));
            }
            if self.canceller.is_cancelled() {
                return Ok(None);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if looked && left == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.poll(left)?;
            looked = true;
        }
    }

    /// One round of libxl's event loop.
    fn poll(&mut self, left: Option<Duration>) -> Result<()> {
        let mut fds = vec![libc::pollfd {
            fd: self.wake.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let mut timeout = match left {
            None => -1,
            Some(Duration::ZERO) => 0,
            // Rounded up, so that the end is past when poll returns.
            Some(left) => i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX),
        };
        self.call("wait for domain events", |context| {
            context.before_poll(&mut fds, &mut timeout)
        })?;
        let count = libc::nfds_t::try_from(fds.len()).unwrap_or(libc::nfds_t::MAX);
        // SAFETY: `fds` has `count` valid entries.
        let status = unsafe { libc::poll(fds.as_mut_ptr(), count, timeout) };
        if status < 0 {
            let source = std::io::Error::last_os_error();
            if source.kind() == std::io::ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(Error::System {
                what: "wait for domain events",
                source,
            });
        }
        self.context.after_poll(fds.get(1..).unwrap_or_default());
        // Emptied, so that a cancelled `Events` that is asked again does not spin; the flag stays.
        let _ = (&self.wake).read(&mut [0; 16]);
        Ok(())
    }

    fn take(&mut self, domid: u32, kind: RawEventKind) {
        match kind {
            RawEventKind::Shutdown(reason) => {
                self.tell_shutdown(domid, ShutdownReason::from_code(i32::from(reason)));
            }
            RawEventKind::Death => {
                if let Some(at) = self.followed.iter().position(|one| one.domid == domid) {
                    let one = self.followed.swap_remove(at);
                    self.context.unwatch_death(one.watch);
                    self.ready.push_back(Event {
                        domid,
                        event: DomainEvent::Death,
                    });
                }
            }
            RawEventKind::Other => {}
        }
    }

    fn tell_shutdown(&mut self, domid: u32, reason: ShutdownReason) {
        if let Some(one) = self
            .followed
            .iter_mut()
            .find(|one| one.domid == domid && !one.shutdown_told)
        {
            one.shutdown_told = true;
            self.ready.push_back(Event {
                domid,
                event: DomainEvent::Shutdown(reason),
            });
        }
    }

    fn call<T>(
        &self,
        what: &str,
        call: impl FnOnce(&dyn Context) -> std::result::Result<T, Code>,
    ) -> Result<T> {
        self.log.take_complaints();
        call(&*self.context).map_err(|code| Error::failed(what, code, self.log.take_complaints()))
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.followed.is_empty() && self.ready.is_empty() {
            return None;
        }
        self.wait(None).transpose()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for one in self.followed.drain(..) {
            self.context.unwatch_death(one.watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use uuid::Uuid;

    use super::*;
    use crate::api::RawEvent;
    use crate::cpus::{CpuPool, Vcpu};
    use crate::info::{Domain, PhysInfo, Version};

    type Answer<T> = std::result::Result<T, Code>;

    /// A libxl that tells of a domain's death when its socket has something to read.
    struct Fake {
        socket: UnixStream,
        events: Mutex<Vec<RawEvent>>,
        polls: Mutex<Vec<i32>>,
    }

    impl Context for Fake {
        fn watch_death(&self, _: u32) -> Answer<DeathWatch> {
            Ok(DeathWatch(1))
        }
        fn unwatch_death(&self, _: DeathWatch) {}
        fn before_poll(&self, fds: &mut Vec<libc::pollfd>, timeout_ms: &mut i32) -> Answer<()> {
            self.polls.lock().unwrap().push(*timeout_ms);
            fds.push(libc::pollfd {
                fd: self.socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            });
            Ok(())
        }
        fn after_poll(&self, fds: &[libc::pollfd]) {
            let mut byte = [0];
            if fds[0].revents != 0 && (&self.socket).read(&mut byte).is_ok() {
                self.events.lock().unwrap().push(RawEvent {
                    domid: u32::from(byte[0]),
                    kind: RawEventKind::Death,
                });
            }
        }
        fn next_event(&self) -> Option<RawEvent> {
            self.events.lock().unwrap().pop()
        }
        fn is_broken(&self) -> bool {
            false
        }
        fn child_signal(&self) {}
        fn version(&self) -> Answer<Version> {
            Err(Code::FAIL)
        }
        fn physinfo(&self) -> Answer<PhysInfo> {
            Err(Code::FAIL)
        }
        fn list(&self) -> Answer<Vec<Domain>> {
            Err(Code::FAIL)
        }
        fn info(&self, _: u32) -> Answer<Domain> {
            Err(Code::FAIL)
        }
        fn console_tty(&self, _: u32) -> Answer<PathBuf> {
            Err(Code::FAIL)
        }
        fn vcpus(&self, _: u32) -> Answer<Vec<Vcpu>> {
            Err(Code::FAIL)
        }
        fn pools(&self) -> Answer<Vec<CpuPool>> {
            Err(Code::FAIL)
        }
        fn create_pool(&self, _: &CStr, _: u32, _: &[u32], _: Uuid) -> Answer<u32> {
            Err(Code::FAIL)
        }
        fn destroy_pool(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn add_cpu(&self, _: u32, _: i32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn remove_cpu(&self, _: u32, _: i32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn round_trip(&self, _: &CStr) -> Answer<String> {
            Err(Code::FAIL)
        }
        fn retrieve_config(&self, _: u32) -> Answer<String> {
            Err(Code::FAIL)
        }
        fn need_memory(&self, _: &CStr) -> Answer<u64> {
            Err(Code::FAIL)
        }
        fn create(&self, _: &CStr) -> Answer<u32> {
            Err(Code::FAIL)
        }
        fn destroy(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn shutdown(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn reboot(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn pause(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn unpause(&self, _: u32) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn memory_target(&self, _: u32) -> Answer<u64> {
            Err(Code::FAIL)
        }
        fn set_memory_target(&self, _: u32, _: i64, _: bool) -> Answer<()> {
            Err(Code::FAIL)
        }
        fn wait_for_memory_target(&self, _: u32, _: i32) -> Answer<()> {
            Err(Code::FAIL)
        }
    }

    fn events() -> (Events, UnixStream, Arc<Fake>) {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let fake = Arc::new(Fake {
            socket,
            events: Mutex::default(),
            polls: Mutex::default(),
        });
        let context: Arc<dyn Context> = Arc::clone(&fake) as _;
        let mut events = Events::new(context, Log::new(|_, _| {})).unwrap();
        events.watch(7).unwrap();
        (events, theirs, fake)
    }

    const DEATH: Event = Event {
        domid: 7,
        event: DomainEvent::Death,
    };

    #[test]
    fn a_wait_without_time_looks_for_what_is_there() {
        let (mut events, mut theirs, fake) = events();
        assert_eq!(events.wait(Some(Duration::ZERO)).unwrap(), None);
        theirs.write_all(&[7]).unwrap();
        assert_eq!(events.wait(Some(Duration::ZERO)).unwrap(), Some(DEATH));
        assert_eq!(*fake.polls.lock().unwrap(), [0, 0], "and never sleeps");
    }

    #[test]
    fn a_cancelled_wait_does_not_look_and_ends() {
        let (mut events, _theirs, fake) = events();
        events.canceller().cancel();
        assert_eq!(events.wait(None).unwrap(), None);
        assert!(fake.polls.lock().unwrap().is_empty());
    }
}
