//! Frames of the control channel, on any reliable byte stream.
//!
//! `magic u16 · channel u16 · kind u8 · 0 u8 · id u32 · length u32 · payload`, little endian.
//!
//! A frame is at most [`MAX_PAYLOAD`] bytes of payload; a longer one, or a wrong magic, means that both sides lost
//! each other: the stream is given up, never searched for a next frame.

use std::io::{self, Read, Write};

/// Largest payload in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 14;

const MAGIC: u16 = 0x5aa5;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Agent → host, id 0: the agent (re)started; JSON [`crate::message::Hello`].
    Hello = 1,
    /// Host → agent: JSON [`crate::message::Request`]; opens the exchange `id`.
    Request = 2,
    /// Host → agent: bytes for the request's input (standard input, file content).
    Input = 3,
    /// Host → agent: no more input.
    InputEnd = 4,
    /// Host → agent: give up; what the request started is killed. The agent still replies.
    Cancel = 5,
    /// Agent → host: bytes of standard output, or of a file.
    Output = 6,
    /// Agent → host: bytes of standard error.
    ErrorOutput = 7,
    /// Agent → host: JSON [`crate::message::Reply`]; ends the exchange.
    Reply = 8,
    /// dom0's agent → host, id 0: the guest behind this channel went away.
    Lost = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Input,
            4 => Self::InputEnd,
            5 => Self::Cancel,
            6 => Self::Output,
            7 => Self::ErrorOutput,
            8 => Self::Reply,
            9 => Self::Lost,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 0 is dom0's agent; others were given out by it for a guest.
    pub channel: u16,
    /// What it carries.
    pub kind: Kind,
    /// The exchange it belongs to, chosen by the host; 0 belongs to none.
    pub id: u32,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of `kind` for exchange `id`.
    #[must_use]
    pub fn new(channel: u16, kind: Kind, id: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            channel,
            kind,
            id,
            payload: payload.into(),
        }
    }

    /// The frame's bytes on the wire.
    ///
    /// # Errors
    /// The payload is larger than [`MAX_PAYLOAD`].
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        if self.payload.len() > MAX_PAYLOAD {
            return Err(invalid(format!(
                "a frame of {} bytes is too large",
                self.payload.len()
            )));
        }
        let length = u32::try_from(self.payload.len()).map_err(|e| invalid(e.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.push(0);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        Ok(bytes)
    }

    /// Writes the frame in one call.
    ///
    /// # Errors
    /// As [`Frame::encode`], and what the writer returns.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.encode()?)?;
        writer.flush()
    }

    /// Reads the next frame; `None` at a clean end of the stream.
    ///
    /// # Errors
    /// The reader's, and `InvalidData` when this is not the start of a frame.
    pub fn read(reader: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        let mut have = 0;
        while have < HEADER {
            match reader.read(&mut header[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let [m0, m1, c0, c1, kind, _, i0, i1, i2, i3, l0, l1, l2, l3] = header;
        if u16::from_le_bytes([m0, m1]) != MAGIC {
            return Err(invalid(format!("not a frame: {header:02x?}")));
        }
        let kind = Kind::from_byte(kind)
            .ok_or_else(|| invalid(format!("unknown kind of frame: {kind}")))?;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(invalid(format!("a frame of {length} bytes is too large")));
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload)?;
        Ok(Some(Self {
            channel: u16::from_le_bytes([c0, c1]),
            kind,
            id: u32::from_le_bytes([i0, i1, i2, i3]),
            payload,
        }))
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let frame = Frame::new(7, Kind::Output, 0x1234_5678, vec![1, 2, 3]);
        let bytes = frame.encode().unwrap();
        assert_eq!(bytes.len(), HEADER + 3);
        assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), Some(frame));
    }

    #[test]
    fn a_stream_that_lost_its_place_is_refused() {
        let mut bytes = Frame::new(0, Kind::Reply, 1, Vec::new()).encode().unwrap();
        bytes.remove(0);
        bytes.push(0);
        assert_eq!(
            Frame::read(&mut bytes.as_slice()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_frame_cut_short_is_an_error_and_an_empty_stream_is_an_end() {
        let bytes = Frame::new(0, Kind::Input, 1, vec![0; 10]).encode().unwrap();
        assert_eq!(
            Frame::read(&mut &bytes[..15]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            Frame::read(&mut &bytes[..5]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(Frame::read(&mut &bytes[..0]).unwrap(), None);
    }

    #[test]
    fn an_oversized_length_is_refused_before_memory_is_taken() {
        let mut bytes = Frame::new(0, Kind::Input, 1, Vec::new()).encode().unwrap();
        bytes[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            Frame::read(&mut bytes.as_slice()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(
            Frame::new(0, Kind::Input, 1, vec![0; MAX_PAYLOAD + 1])
                .encode()
                .is_err()
        );
    }
}
