//! The wire format: message header, message types, limits, and a decoder that is fed bytes.
//!
//! Nothing here does I/O, keeps state between connections, or trusts the peer: a length above the
//! protocol's limit is an error before a byte of memory is set aside for it.
//!
//! Source: `xen/include/public/io/xs_wire.h`, `docs/misc/xenstore.txt`. All integers are in the
//! byte order of the machine: both ends run on it.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Largest payload of one message, in bytes, in either direction (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;
/// Longest absolute path, in bytes without the NUL (`XENSTORE_ABS_PATH_MAX`).
pub const ABSOLUTE_PATH_MAX: usize = 3072;
/// Longest relative path, in bytes without the NUL (`XENSTORE_REL_PATH_MAX`).
pub const RELATIVE_PATH_MAX: usize = 2048;
/// Bytes of a message header (`struct xsd_sockmsg`).
pub const HEADER_LEN: usize = size_of::<Header>();

/// `struct xsd_sockmsg`: what precedes every payload.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// A [`MessageType`], or a number this crate does not know.
    pub kind: u32,
    /// Chosen by the client, echoed by the server.
    pub request_id: u32,
    /// Transaction, 0 for none.
    pub transaction_id: u32,
    /// Bytes of payload that follow.
    pub length: u32,
}

/// Message types (`enum xsd_sockmsg_type`).
///
/// A newtype and not an enum: a server may send numbers that did not exist when this was compiled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageType(pub u32);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl MessageType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name `xs_wire.h` uses, without its `XS_`; `None` for a number unknown here.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    /// A command to the server itself.
    CONTROL = 0, "CONTROL";
    /// List a node's children.
    DIRECTORY = 1, "DIRECTORY";
    /// Read a value.
    READ = 2, "READ";
    /// Read a node's permissions.
    GET_PERMS = 3, "GET_PERMS";
    /// Start watching.
    WATCH = 4, "WATCH";
    /// Stop watching.
    UNWATCH = 5, "UNWATCH";
    /// Start a transaction.
    TRANSACTION_START = 6, "TRANSACTION_START";
    /// Commit or discard a transaction.
    TRANSACTION_END = 7, "TRANSACTION_END";
    /// Tell the server of a domain.
    INTRODUCE = 8, "INTRODUCE";
    /// Make the server forget a domain.
    RELEASE = 9, "RELEASE";
    /// Ask for a domain's home.
    GET_DOMAIN_PATH = 10, "GET_DOMAIN_PATH";
    /// Write a value.
    WRITE = 11, "WRITE";
    /// Create a node.
    MKDIR = 12, "MKDIR";
    /// Remove a node and all below it.
    RM = 13, "RM";
    /// Replace a node's permissions.
    SET_PERMS = 14, "SET_PERMS";
    /// Sent by the server only: something watched has changed.
    WATCH_EVENT = 15, "WATCH_EVENT";
    /// Sent by the server only: the request failed.
    ERROR = 16, "ERROR";
    /// Is the server connected to this domain?
    IS_DOMAIN_INTRODUCED = 17, "IS_DOMAIN_INTRODUCED";
    /// Report the next shutdown of a domain again.
    RESUME = 18, "RESUME";
    /// Give a domain the rights of another.
    SET_TARGET = 19, "SET_TARGET";
    /// Drop all watches and transactions of this connection.
    RESET_WATCHES = 21, "RESET_WATCHES";
    /// List a node's children in pieces.
    DIRECTORY_PART = 22, "DIRECTORY_PART";
    /// Ask for the server's feature bits (Xen 4.22).
    GET_FEATURE = 23, "GET_FEATURE";
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "message type {}", self.0),
        }
    }
}

impl std::fmt::Debug for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// Whose reply it is. Meaningless in a watch event: Linux leaves it uninitialised there.
    pub request_id: u32,
    /// Transaction, 0 for none. Meaningless in a watch event.
    pub transaction_id: u32,
    /// At most [`PAYLOAD_MAX`] bytes.
    pub payload: Vec<u8>,
}

/// The payload does not fit into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a payload of {0} bytes is above the protocol's limit of {PAYLOAD_MAX}")]
pub struct Oversized(pub usize);

impl Message {
    /// The bytes to send: header and payload in one piece.
    ///
    /// # Errors
    /// [`Oversized`] when the payload is above [`PAYLOAD_MAX`]: a server would drop the connection.
    pub fn encode(&self) -> Result<Vec<u8>, Oversized> {
        encode(
            self.kind,
            self.request_id,
            self.transaction_id,
            &self.payload,
        )
    }
}

/// As [`Message::encode`], from the parts.
///
/// # Errors
/// [`Oversized`] when the payload is above [`PAYLOAD_MAX`].
pub fn encode(
    kind: MessageType,
    request_id: u32,
    transaction_id: u32,
    payload: &[u8],
) -> Result<Vec<u8>, Oversized> {
    let length = u32::try_from(payload.len()).map_err(|_| Oversized(payload.len()))?;
    if payload.len() > PAYLOAD_MAX {
        return Err(Oversized(payload.len()));
    }
    let header = Header {
        kind: kind.0,
        request_id,
        transaction_id,
        length,
    };
    let mut bytes = Vec::with_capacity(HEADER_LEN.saturating_add(payload.len()));
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Turns a stream of bytes into messages, however the stream is cut.
///
/// It holds at most one header and one payload. After an error the stream has lost its rhythm and
/// cannot be followed any further: every later call returns the same error.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    header_filled: usize,
    current: Option<Header>,
    payload: Vec<u8>,
    failed: Option<Oversized>,
}

impl Decoder {
    /// A decoder at the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input`: up to the end of one message, or all of them.
    ///
    /// Call it until it returns `Ok(None)`: `input` is empty then.
    ///
    /// # Errors
    /// [`Oversized`] when a header announces more than [`PAYLOAD_MAX`] bytes.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Oversized> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let header = match self.current {
            Some(header) => header,
            None => match self.take_header(input)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let wanted = usize::try_from(header.length).unwrap_or(usize::MAX);
        let missing = wanted.saturating_sub(self.payload.len());
        self.payload.extend_from_slice(take(input, missing));
        if self.payload.len() < wanted {
            return Ok(None);
        }
        self.current = None;
        Ok(Some(Message {
            kind: MessageType(header.kind),
            request_id: header.request_id,
            transaction_id: header.transaction_id,
            payload: std::mem::take(&mut self.payload),
        }))
    }

    /// Has a message begun that is not complete yet?
    pub fn is_mid_message(&self) -> bool {
        self.current.is_some() || self.header_filled > 0
    }

    /// Bytes of memory held for the message in progress.
    pub fn allocated(&self) -> usize {
        self.payload.capacity()
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Oversized> {
        let Some(room) = self.header.get_mut(self.header_filled..) else {
            return Ok(None);
        };
        let bytes = take(input, room.len());
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.header_filled = self.header_filled.saturating_add(bytes.len());
        if self.header_filled < HEADER_LEN {
            return Ok(None);
        }
        self.header_filled = 0;
        let header: Header = zerocopy::transmute!(self.header);
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            let error = Oversized(length);
            self.failed = Some(error);
            return Err(error);
        }
        self.payload = Vec::with_capacity(length);
        self.current = Some(header);
        Ok(Some(header))
    }
}

/// Splits up to `count` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = input
        .split_at_checked(count)
        .unwrap_or((input, Default::default()));
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_layout_of_xsd_sockmsg() {
        assert_eq!(HEADER_LEN, 16);
        let bytes = encode(MessageType::WRITE, 0x0102_0304, 7, b"ab").unwrap();
        assert_eq!(bytes[0..4], 11u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 0x0102_0304u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 7u32.to_ne_bytes());
        assert_eq!(bytes[12..16], 2u32.to_ne_bytes());
        assert_eq!(&bytes[16..], b"ab");
    }

    #[test]
    fn a_payload_above_the_limit_is_neither_sent_nor_received() {
        let error = encode(MessageType::WRITE, 1, 0, &[0; PAYLOAD_MAX + 1]).unwrap_err();
        assert_eq!(error, Oversized(PAYLOAD_MAX + 1));

        let mut bytes = encode(MessageType::READ, 1, 0, b"").unwrap();
        bytes[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        let mut decoder = Decoder::new();
        assert!(decoder.next(&mut &bytes[..]).is_err());
        assert_eq!(decoder.allocated(), 0);
        assert!(
            decoder.next(&mut &b"more"[..]).is_err(),
            "the stream is lost"
        );
    }

    #[test]
    fn the_largest_payload_passes_both_ways() {
        let payload = vec![0xa5; PAYLOAD_MAX];
        let bytes = encode(MessageType::READ, 9, 0, &payload).unwrap();
        let mut decoder = Decoder::new();
        let mut input = &bytes[..];
        let message = decoder.next(&mut input).unwrap().unwrap();
        assert_eq!(message.payload, payload);
        assert!(input.is_empty() && !decoder.is_mid_message());
    }

    #[test]
    fn unknown_types_pass_through_with_their_number() {
        let bytes = encode(MessageType(4711), 1, 2, b"x").unwrap();
        let message = Decoder::new().next(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!(message.kind, MessageType(4711));
        assert_eq!(message.kind.to_string(), "message type 4711");
    }
}
