//! Event channels through `/dev/xen/evtchn`.
//!
//! An event masks its port; the port stays silent until it is unmasked. The usual round is therefore:
//! wait until the descriptor is readable, [`EventChannels::pending`], handle, then
//! [`EventChannels::unmask`]. An event that arrives in between is not lost, it shows after the
//! unmask. Xen delivers a port that is already pending only once: events say "look", they do not
//! count.
//!
//! All methods take `&self`; the kernel serialises them, so one handle can serve several threads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use xen_sys::evtchn as abi;

use crate::counters::{Counters, count};
use crate::error::{Error, EventAction, Result};
use crate::ids::{DomId, EventPort};
use crate::sys;

/// Most ports one read returns and one write takes: one kernel buffer of 4 KiB.
const BATCH: usize = 1024;

/// An open event channel device: a set of ports that are closed when it is dropped.
#[derive(Debug)]
pub struct EventChannels {
    fd: OwnedFd,
    counters: Arc<Counters>,
}

impl EventChannels {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Open`] where this is no Xen domain or the device may not be used.
    pub fn open() -> Result<Self> {
        Self::open_counted(Arc::default())
    }

    /// Opens the device, counting in `counters`.
    ///
    /// # Errors
    /// As [`EventChannels::open`].
    pub fn open_counted(counters: Arc<Counters>) -> Result<Self> {
        Self::from_fd_counted(sys::open(abi::DEVICE, "xen-evtchn")?, counters)
    }

    /// Takes over an open device, for example from another process, with the ports bound in it.
    ///
    /// The file becomes non-blocking, for everyone who shares it.
    ///
    /// # Errors
    /// [`Error::NotADevice`] for another kind of file.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::from_fd_counted(fd, Arc::default())
    }

    /// As [`EventChannels::from_fd`], counting in `counters`.
    ///
    /// # Errors
    /// As [`EventChannels::from_fd`].
    pub fn from_fd_counted(fd: OwnedFd, counters: Arc<Counters>) -> Result<Self> {
        let fd = sys::adopt(fd, abi::DEVICE)?;
        set_nonblocking(fd.as_fd()).map_err(|source| Error::EventChannel {
            action: EventAction::Prepare,
            source,
        })?;
        Ok(Self { fd, counters })
    }

    /// The counters this handle counts in.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Binds a new local port to a port that another domain (or Xen for it) offers; returns the
    /// local port, unmasked.
    ///
    /// A fresh binding starts with an event pending.
    ///
    /// # Errors
    /// [`Error::EventChannel`]; `EINVAL` if the remote port is not offered to this domain or is bound.
    pub fn bind_interdomain(&self, domid: DomId, remote: EventPort) -> Result<EventPort> {
        let mut argument = abi::BindInterdomain {
            remote_domain: u32::from(domid.get()),
            remote_port: remote.get(),
        };
        self.bind(
            abi::BIND_INTERDOMAIN,
            &mut argument,
            EventAction::BindInterdomain(domid, remote),
        )
    }

    /// Allocates a local port that `domid` may bind.
    ///
    /// # Errors
    /// [`Error::EventChannel`]; `ENOSPC` when this domain has no free port.
    pub fn bind_unbound(&self, domid: DomId) -> Result<EventPort> {
        let mut argument = abi::BindUnboundPort {
            remote_domain: u32::from(domid.get()),
        };
        self.bind(
            abi::BIND_UNBOUND_PORT,
            &mut argument,
            EventAction::BindUnbound(domid),
        )
    }

    /// Closes a port of this handle.
    ///
    /// # Errors
    /// [`Error::EventChannel`]; `ENOTCONN` if this handle has no such port.
    pub fn unbind(&self, port: EventPort) -> Result<()> {
        self.port_call(abi::UNBIND, port, EventAction::Unbind(port))
    }

    /// Sends an event to the other end of a port of this handle.
    ///
    /// # Errors
    /// [`Error::EventChannel`]; `ENOTCONN` if this handle has no such port. An end that nobody has
    /// bound is no error, the event is dropped.
    pub fn notify(&self, port: EventPort) -> Result<()> {
        count(&self.counters.notifies, 1);
        self.port_call(abi::NOTIFY, port, EventAction::Notify(port))
    }

    /// Appends the ports with an event to `ports`, at most 1024, without waiting; returns their
    /// number. Each stays masked until [`EventChannels::unmask`].
    ///
    /// # Errors
    /// [`Error::EventChannel`]; `EFBIG` when the kernel's ring overflowed (only possible if ports
    /// are unmasked that were not handled), until [`EventChannels::reset`].
    pub fn pending(&self, ports: &mut Vec<EventPort>) -> Result<usize> {
        let mut buffer = [0_u32; BATCH];
        // SAFETY: the buffer is writable for its whole size, and any bytes are valid in it.
        let bytes = sys::retry(|| unsafe {
            transferred(libc::read(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                size_of_val(&buffer),
            ))
        });
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(source) => {
                return Err(Error::EventChannel {
                    action: EventAction::Read,
                    source,
                });
            }
        };
        let before = ports.len();
        ports.extend(
            buffer
                .iter()
                .take(bytes / size_of::<abi::Port>())
                .filter_map(|&port| EventPort::new(port)),
        );
        if bytes > 0 {
            count(&self.counters.event_reads, 1);
        }
        Ok(ports.len().saturating_sub(before))
    }

    /// Lets these ports deliver again. Ports this handle does not have are ignored by the kernel.
    ///
    /// # Errors
    /// [`Error::EventChannel`] if the kernel has no memory.
    pub fn unmask(&self, ports: &[EventPort]) -> Result<()> {
        for batch in ports.chunks(BATCH) {
            count(&self.counters.unmasks, 1);
            // SAFETY: `EventPort` is a transparent wrapper of `u32`; the slice is readable for its
            // whole size.
            sys::retry(|| unsafe {
                transferred(libc::write(
                    self.fd.as_raw_fd(),
                    batch.as_ptr().cast(),
                    size_of_val(batch),
                ))
            })
            .map_err(|source| Error::EventChannel {
                action: EventAction::Unmask,
                source,
            })?;
        }
        Ok(())
    }

    /// Empties the kernel's ring of pending ports and clears its overflow.
    ///
    /// Ports that were in it stay masked: unmask all ports and look after each of them.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub fn reset(&self) -> Result<()> {
        // SAFETY: RESET takes no argument.
        unsafe { sys::ioctl(self.fd.as_fd(), abi::RESET, std::ptr::null_mut::<u8>()) }
            .map(drop)
            .map_err(|source| Error::EventChannel {
                action: EventAction::Reset,
                source,
            })
    }

    /// Restricts the handle for good: from now on it can only bind ports that `domid` offers.
    /// Ports bound before stay usable.
    ///
    /// # Errors
    /// [`Error::Restrict`]; `EINVAL` for domain 0, `EACCES` if it is restricted already.
    pub fn restrict(&self, domid: DomId) -> Result<()> {
        let mut argument = abi::RestrictDomid { domid: domid.get() };
        // SAFETY: RESTRICT_DOMID reads one `RestrictDomid`.
        unsafe { sys::ioctl(self.fd.as_fd(), abi::RESTRICT_DOMID, &mut argument) }
            .map(drop)
            .map_err(|source| Error::Restrict {
                device: sys::name(abi::DEVICE),
                domid,
                source,
            })
    }

    fn bind<T>(&self, request: u32, argument: &mut T, action: EventAction) -> Result<EventPort> {
        // SAFETY: both callers pass the argument structure of their request.
        unsafe { sys::ioctl(self.fd.as_fd(), request, argument) }
            .and_then(|port| {
                u32::try_from(port)
                    .ok()
                    .and_then(EventPort::new)
                    .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
            })
            .map_err(|source| Error::EventChannel { action, source })
    }

    fn port_call(&self, request: u32, port: EventPort, action: EventAction) -> Result<()> {
        let mut argument = abi::PortArgument { port: port.get() };
        // SAFETY: UNBIND and NOTIFY read one `PortArgument`.
        unsafe { sys::ioctl(self.fd.as_fd(), request, &mut argument) }
            .map(drop)
            .map_err(|source| Error::EventChannel { action, source })
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F_SETFL takes an integer.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Result of `read` and `write` as a number of bytes.
fn transferred(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
