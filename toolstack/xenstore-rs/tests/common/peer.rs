//! A peer that says exactly what a test wants it to say.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use xenstore::Client;
use xenstore::wire::{Decoder, HEADER_LEN, Message, MessageType, encode};

pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
    buffered: Vec<u8>,
}

/// A blocking client and the peer it is connected to.
pub(crate) fn client_and_peer() -> (Client, Peer) {
    let (socket, peer) = socket_and_peer();
    (Client::from_socket(socket).unwrap(), peer)
}

/// A socket for a client, and the peer at its other end.
pub(crate) fn socket_and_peer() -> (OwnedFd, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours.into(), Peer::on(theirs))
}

impl Peer {
    /// The peer of whoever is at the other end of a stream.
    pub(crate) fn on(stream: UnixStream) -> Peer {
        Peer {
            stream,
            decoder: Decoder::new(),
            buffered: Vec::new(),
        }
    }

    /// The next request; `None` when the client has closed the connection.
    pub(crate) fn try_request(&mut self) -> Option<Message> {
        loop {
            let mut input = &self.buffered[..];
            let message = self.decoder.next(&mut input).unwrap();
            self.buffered = input.to_vec();
            if message.is_some() {
                return message;
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffered.extend_from_slice(&chunk[..count]),
            }
        }
    }

    pub(crate) fn request(&mut self) -> Message {
        self.try_request().expect("a request")
    }

    /// A request of this kind, or else the test fails.
    pub(crate) fn expect(&mut self, kind: MessageType) -> Message {
        let message = self.request();
        assert_eq!(message.kind, kind);
        message
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_split(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.stream.write_all(std::slice::from_ref(byte)).unwrap();
        }
    }

    pub(crate) fn reply(&mut self, to: &Message, payload: &[u8]) {
        self.send(&reply_bytes(to, payload));
    }

    pub(crate) fn ok(&mut self, to: &Message) {
        self.reply(to, b"OK\0");
    }

    pub(crate) fn error(&mut self, to: &Message, name: &str) {
        let payload = format!("{name}\0");
        let bytes = encode(
            MessageType::ERROR,
            to.request_id,
            to.transaction_id,
            payload.as_bytes(),
        );
        self.send(&bytes.unwrap());
    }

    pub(crate) fn event(&mut self, path: &str, token: &str) {
        self.send(&event_bytes(path, token));
    }

    /// Answers a `WATCH`, the first event included; returns the token.
    pub(crate) fn accept_watch(&mut self) -> String {
        let request = self.expect(MessageType::WATCH);
        let text = String::from_utf8(request.payload.clone()).unwrap();
        let mut strings = text.split('\0');
        let path = strings.next().unwrap().to_owned();
        let token = strings.next().unwrap().to_owned();
        self.ok(&request);
        self.event(&path, &token);
        token
    }
}

pub(crate) fn reply_bytes(to: &Message, payload: &[u8]) -> Vec<u8> {
    encode(to.kind, to.request_id, to.transaction_id, payload).unwrap()
}

/// As Linux' device sends it: ids that mean nothing.
pub(crate) fn event_bytes(path: &str, token: &str) -> Vec<u8> {
    let payload = format!("{path}\0{token}\0");
    encode(
        MessageType::WATCH_EVENT,
        0xdead_beef,
        0x5555_aaaa,
        payload.as_bytes(),
    )
    .unwrap()
}

/// A header that announces more than the protocol allows.
pub(crate) fn oversized_header(to: &Message) -> Vec<u8> {
    let mut bytes = reply_bytes(to, b"");
    bytes[HEADER_LEN - 4..].copy_from_slice(&(1u32 << 30).to_ne_bytes());
    bytes
}
