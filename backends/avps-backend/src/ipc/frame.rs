//! One message, one packet: a small header, serde_json, and file descriptors, over a SOCK_SEQPACKET pair.
//!
//! The holder trusts nothing it receives here: a worker serves a hostile guest and may have been taken
//! over. Sizes and numbers of descriptors are bounded, the kernel keeps packets apart, and anything odd
//! is an error that ends the conversation. Neither side ever waits for the other to make room.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Version of the messages; both ends are the same program, so they must be equal.
pub(crate) const VERSION: u16 = 1;
/// Longest JSON text of one message, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;
/// Most descriptors one message carries.
pub(crate) const MAX_FDS: usize = 16;

/// version (2), number of descriptors (2), length of the JSON text (4), all little endian.
const HEADER: usize = 8;

/// Why a message was not sent or not understood.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// The kernel refused.
    #[error("the socket between holder and worker failed: {0}")]
    Socket(#[from] Errno),
    /// The peer does not read; its socket buffer is full.
    #[error("the peer does not take messages any more (its socket is full)")]
    Full,
    /// The peer is gone.
    #[error("the peer has closed the socket")]
    Closed,
    /// Too big for a packet.
    #[error("a message of {0} bytes is longer than the limit of {MAX_PAYLOAD}")]
    TooLong(usize),
    /// Too many descriptors.
    #[error("a message with {0} descriptors is over the limit of {MAX_FDS}")]
    TooManyFds(usize),
    /// The packet does not have the announced shape.
    #[error("a packet was malformed: {0}")]
    Malformed(&'static str),
    /// Another release on the other end.
    #[error("the peer speaks version {0} of the messages, this program {VERSION}")]
    Version(u16),
    /// The text is not a message.
    #[error("a message could not be read or written: {0}")]
    Json(#[from] serde_json::Error),
}

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// A connected pair: our end, and the end to be inherited by a worker.
    ///
    /// # Errors
    /// The kernel has no socket left to give.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), FrameError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { socket: ours }, theirs))
    }

    /// The worker's end, from the descriptor it was started with.
    pub(crate) fn from_fd(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Another handle on the same end, for a thread that reads while this one writes.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn try_clone(&self) -> Result<Self, FrameError> {
        Ok(Self {
            socket: rustix::io::fcntl_dupfd_cloexec(&self.socket, 0)?,
        })
    }

    /// Sends one message without ever waiting for room.
    ///
    /// # Errors
    /// [`FrameError::Full`] when the peer does not read, [`FrameError::Closed`] when it is gone.
    pub(crate) fn send<M: Serialize>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrameError> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MAX_PAYLOAD {
            return Err(FrameError::TooLong(text.len()));
        }
        if fds.len() > MAX_FDS {
            return Err(FrameError::TooManyFds(fds.len()));
        }
        let length = u32::try_from(text.len()).map_err(|_| FrameError::TooLong(text.len()))?;
        let count = u16::try_from(fds.len()).map_err(|_| FrameError::TooManyFds(fds.len()))?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&count.to_le_bytes());
        header.extend_from_slice(&length.to_le_bytes());

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(FrameError::TooManyFds(fds.len()));
        }
        let parts = [IoSlice::new(&header), IoSlice::new(&text)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            return match rustix::net::sendmsg(&self.socket, &parts, &mut control, flags) {
                Ok(_) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS) => Err(FrameError::Full),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(FrameError::Closed),
                Err(error) => Err(FrameError::Socket(error)),
            };
        }
    }

    /// Waits for one message. `None` when the peer has closed its end.
    ///
    /// # Errors
    /// Any packet that is not exactly one well-formed message of our version.
    pub(crate) fn receive<M: DeserializeOwned>(
        &self,
    ) -> Result<Option<(M, Vec<OwnedFd>)>, FrameError> {
        let mut packet = vec![0_u8; HEADER.saturating_add(MAX_PAYLOAD)];
        let mut fds = Vec::new();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            match rustix::net::recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(FrameError::Socket(error)),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(FrameError::Malformed("longer than any message may be"));
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(FrameError::Malformed("more descriptors than allowed"));
        }
        packet.truncate(received.bytes);
        let (header, text) = packet
            .split_first_chunk::<HEADER>()
            .ok_or(FrameError::Malformed("shorter than its header"))?;
        let [v0, v1, c0, c1, l0, l1, l2, l3] = *header;
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if usize::from(u16::from_le_bytes([c0, c1])) != fds.len() {
            return Err(FrameError::Malformed(
                "the number of descriptors is not the announced one",
            ));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if u32::try_from(text.len()) != Ok(length) {
            return Err(FrameError::Malformed("the length is not the announced one"));
        }
        Ok(Some((serde_json::from_slice(text)?, fds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel::from_fd(theirs))
    }

    fn raw(channel: &Channel, bytes: &[u8]) {
        rustix::net::send(&channel.socket, bytes, SendFlags::empty()).unwrap();
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        a.send(&("hello", 7_u32), &[file.as_fd(), a.socket.as_fd()])
            .unwrap();
        let ((word, number), fds) = b.receive::<(String, u32)>().unwrap().unwrap();
        assert_eq!((word.as_str(), number), ("hello", 7));
        assert_eq!(fds.len(), 2);
        let mut other = File::from(fds.into_iter().next().unwrap());
        let mut text = String::new();
        other.rewind().unwrap();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
    }

    #[test]
    fn received_descriptors_are_not_inherited_by_children() {
        let (a, b) = pair();
        a.send(&(), &[a.socket.as_fd()]).unwrap();
        let ((), fds) = b.receive::<()>().unwrap().unwrap();
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn messages_keep_their_bounds() {
        let (a, b) = pair();
        a.send(&"first", &[]).unwrap();
        a.send(&"second", &[]).unwrap();
        assert_eq!(b.receive::<String>().unwrap().unwrap().0, "first");
        assert_eq!(b.receive::<String>().unwrap().unwrap().0, "second");
    }

    #[test]
    fn a_closed_peer_is_an_end_and_not_an_error() {
        let (a, b) = pair();
        drop(a);
        assert!(b.receive::<String>().unwrap().is_none());
        assert!(matches!(b.send(&"x", &[]), Err(FrameError::Closed)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_noticed_and_not_waited_for() {
        let (a, _b) = pair();
        let long = "x".repeat(MAX_PAYLOAD / 2);
        let full = (0..1000).find_map(|_| a.send(&long, &[]).err());
        assert!(matches!(full, Some(FrameError::Full)), "{full:?}");
    }

    #[test]
    fn too_much_is_refused_before_it_is_sent() {
        let (a, _b) = pair();
        let long = "x".repeat(MAX_PAYLOAD + 1);
        assert!(matches!(a.send(&long, &[]), Err(FrameError::TooLong(_))));
        let fds = [a.socket.as_fd(); MAX_FDS + 1];
        assert!(matches!(a.send(&(), &fds), Err(FrameError::TooManyFds(_))));
    }

    #[test]
    fn malformed_packets_are_errors() {
        let (a, b) = pair();
        let receive = || b.receive::<String>().unwrap_err();
        raw(&a, b"abc");
        assert!(matches!(receive(), FrameError::Malformed(_)));
        raw(&a, &[9, 0, 0, 0, 2, 0, 0, 0, b'"', b'"']);
        assert!(matches!(receive(), FrameError::Version(9)));
        raw(&a, &[1, 0, 0, 0, 3, 0, 0, 0, b'"', b'"']);
        assert!(matches!(receive(), FrameError::Malformed(_)));
        raw(&a, &[1, 0, 1, 0, 2, 0, 0, 0, b'"', b'"']);
        assert!(matches!(receive(), FrameError::Malformed(_)));
        raw(&a, &[1, 0, 0, 0, 2, 0, 0, 0, b'{', b'}']);
        assert!(matches!(receive(), FrameError::Json(_)));
        raw(&a, &vec![0; HEADER + MAX_PAYLOAD + 1]);
        assert!(matches!(receive(), FrameError::Malformed(_)));
    }

    #[test]
    fn more_descriptors_than_allowed_are_an_error() {
        let (a, b) = pair();
        let fds = vec![a.socket.as_fd(); 40];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(
            &a.socket,
            &[IoSlice::new(&[1, 0, 40, 0, 2, 0, 0, 0, b'"', b'"'])],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        assert!(matches!(
            b.receive::<String>(),
            Err(FrameError::Malformed(_))
        ));
    }
}
