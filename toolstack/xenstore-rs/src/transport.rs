//! The two ways to the server: a unix socket, and the kernel's `/dev/xen/xenbus`.
//!
//! Every call here returns at once, save one: the kernel answers `WATCH` and `UNWATCH` itself and
//! holds the writer until the server has replied, whatever `O_NONBLOCK` says. Callers ask
//! [`Transport::may_block`] and do those writes where waiting hurts nobody.
//!
//! Differences of the device, all read in Linux' `drivers/xen/xenbus/xenbus_dev_frontend.c`:
//! - header and payload together must fit its 4096-byte buffer, so a payload has 16 bytes less;
//! - it queues a request with a pointer into that one buffer and returns before anybody has copied
//!   from there: a second write ahead of the first one's answer can replace the first one's
//!   payload. So one request at a time ([`Transport::one_at_a_time`]);
//! - an error of `write(2)` concerns that one message, which the kernel drops whole: the stream
//!   goes on;
//! - it passes on path and token of a watch and drops a depth;
//! - closing it ends this file's watches and transactions. `RESET_WATCHES` however goes to the
//!   server untouched and would end those of the whole domain, the kernel's own drivers included.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno as OsErrno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Errno, Error, Result};
use crate::wire::{HEADER_LEN, MessageType, PAYLOAD_MAX};

/// The kernel's device, in dom0 and in guests.
pub const DEVICE: &str = "/dev/xen/xenbus";
/// The C and OCaml servers' socket, in the domain they run in.
pub const SOCKET: &str = "/run/xenstored/socket";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    Device,
}

/// An open connection's file descriptor.
#[derive(Debug)]
pub(crate) struct Transport {
    fd: OwnedFd,
    kind: Kind,
}

/// What became of an attempt to send.
#[derive(Debug)]
pub(crate) enum Sent {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing for now; poll for room.
    Full,
    /// This message was refused and is gone, the connection is fine.
    Refused(Errno),
}

impl Transport {
    /// The device, or the socket where there is no device.
    pub(crate) fn open() -> Result<Self> {
        let device_error = match Self::open_device(Path::new(DEVICE)) {
            Ok(transport) => return Ok(transport),
            Err(error) => error,
        };
        Self::connect(Path::new(SOCKET)).map_err(|socket_error| Error::Unreachable {
            tried: format!("{DEVICE}: {device_error}, then {SOCKET}"),
            source: socket_error,
        })
    }

    pub(crate) fn open_path(path: &Path) -> Result<Self> {
        let unreachable = |source| Error::Unreachable {
            tried: path.display().to_string(),
            source,
        };
        let stat = rustix::fs::stat(path).map_err(|error| unreachable(error.into()))?;
        let is_device = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device();
        if is_device {
            Self::open_device(path).map_err(unreachable)
        } else {
            Self::connect(path).map_err(unreachable)
        }
    }

    fn open_device(path: &Path) -> io::Result<Self> {
        // O_NONBLOCK concerns reads only, there the driver polls first.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            fd,
            kind: Kind::Device,
        })
    }

    fn connect(path: &Path) -> io::Result<Self> {
        // Connected while blocking: a full backlog is waited for, not reported.
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
        Self::from_socket(fd)
    }

    /// Takes over a connected stream socket.
    pub(crate) fn from_socket(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            fd,
            kind: Kind::Socket,
        })
    }

    /// A socket that is treated as if it were the kernel's device.
    #[cfg(test)]
    pub(crate) fn device_for_test(fd: OwnedFd) -> Self {
        Self {
            kind: Kind::Device,
            ..Self::from_socket(fd).unwrap()
        }
    }

    /// Largest payload of a request, in bytes.
    pub(crate) fn payload_limit(&self) -> usize {
        match self.kind {
            Kind::Socket => PAYLOAD_MAX,
            Kind::Device => PAYLOAD_MAX.saturating_sub(HEADER_LEN),
        }
    }

    pub(crate) fn is_device(&self) -> bool {
        self.kind == Kind::Device
    }

    /// Must a request be answered before the next is sent?
    pub(crate) fn one_at_a_time(&self) -> bool {
        self.is_device()
    }

    /// May sending this hold the caller until the server has answered?
    pub(crate) fn may_block(&self, kind: MessageType) -> bool {
        self.is_device() && matches!(kind, MessageType::WATCH | MessageType::UNWATCH)
    }

    /// Sends from the front of `bytes`, which for the device is one whole message.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<Sent> {
        loop {
            let result = match self.kind {
                Kind::Socket => {
                    rustix::net::send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                }
                Kind::Device => rustix::io::write(&self.fd, bytes),
            };
            return match (result, self.kind) {
                (Err(OsErrno::INTR), _) => continue,
                (Ok(0), _) => Err(io::ErrorKind::WriteZero.into()),
                (Ok(count), _) => Ok(Sent::Bytes(count)),
                (Err(OsErrno::AGAIN), Kind::Socket) => Ok(Sent::Full),
                (Err(error), Kind::Socket) => Err(error.into()),
                (Err(error), Kind::Device) => {
                    Ok(Sent::Refused(Errno::from_number(error.raw_os_error())))
                }
            };
        }
    }

    /// Receives what is there. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; any other means the connection is lost.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Err(OsErrno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
