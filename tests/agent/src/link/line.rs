//! One line of the link: a packet as text that survives among kernel messages.
//!
//! `\n~A.kind.session.seq.ack.base64.crc32\n`: numbers in hexadecimal, the CRC over everything between `~A.` and it.
//! `~A.` is the opener's mark, `~B.` the listener's, so that a terminal's echo is not taken for an answer.
//! A kernel message may stand before, after or within a packet; within, the CRC no longer fits and the packet is lost.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// Bytes of data in one packet.
pub const MAX_DATA: usize = 480;
/// A longer line cannot be a packet.
pub const MAX_LINE: usize = 1024;

/// Who wrote a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one who calls.
    Opener,
    /// The one who is called.
    Listener,
}

impl Side {
    fn mark(self) -> &'static str {
        match self {
            Self::Opener => "~A.",
            Self::Listener => "~B.",
        }
    }
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// The opener's call, and the other side's answer to it.
    Hello,
    /// Data, acknowledging as well.
    Data,
    /// Acknowledgement only.
    Ack,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it says.
    pub kind: PacketKind,
    /// Chosen by the opener for each attachment; packets of another session are old and dropped.
    pub session: u32,
    /// Number of this data packet; 0 in the others.
    pub seq: u32,
    /// The data packet expected next.
    pub ack: u32,
    /// The data.
    pub data: Vec<u8>,
}

impl Packet {
    /// The line, with the line ends around it.
    #[must_use]
    pub fn encode(&self, from: Side) -> String {
        let kind = match self.kind {
            PacketKind::Hello => 'h',
            PacketKind::Data => 'd',
            PacketKind::Ack => 'a',
        };
        let body = format!(
            "{kind}.{:x}.{:x}.{:x}.{}",
            self.session,
            self.seq,
            self.ack,
            STANDARD_NO_PAD.encode(&self.data)
        );
        format!(
            "\n{}{body}.{:08x}\n",
            from.mark(),
            crc32fast::hash(body.as_bytes())
        )
    }

    /// The packet of the other side in a line, if there is a whole one, and the text that stood before it.
    #[must_use]
    pub fn find(line: &[u8], from: Side) -> (&[u8], Option<Self>) {
        let mark = from.mark();
        let Some(at) = line
            .windows(mark.len())
            .rposition(|window| window == mark.as_bytes())
        else {
            return (line, None);
        };
        let (before, packet) = line.split_at(at);
        match std::str::from_utf8(&packet[mark.len()..])
            .ok()
            .and_then(Self::parse)
        {
            Some(packet) => (before, Some(packet)),
            None => (line, None),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (body, crc) = text.trim_end_matches('\r').rsplit_once('.')?;
        if crc.len() != 8 || u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body.as_bytes())
        {
            return None;
        }
        let mut fields = body.split('.');
        let kind = match fields.next()? {
            "h" => PacketKind::Hello,
            "d" => PacketKind::Data,
            "a" => PacketKind::Ack,
            _ => return None,
        };
        let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
        Some(Self {
            kind,
            session: number()?,
            seq: number()?,
            ack: number()?,
            data: STANDARD_NO_PAD.decode(fields.next()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet {
            kind: PacketKind::Data,
            session: 0xabc,
            seq: 3,
            ack: 4,
            data: b"hello".to_vec(),
        }
    }

    #[test]
    fn a_packet_is_found_behind_a_kernel_message() {
        let line = format!(
            "[    1.0] half a mess{}",
            packet().encode(Side::Listener).trim()
        );
        let (before, found) = Packet::find(line.as_bytes(), Side::Listener);
        assert_eq!(before, b"[    1.0] half a mess");
        assert_eq!(found, Some(packet()));
    }

    #[test]
    fn an_echo_is_not_taken_for_an_answer() {
        let line = packet().encode(Side::Opener);
        assert_eq!(Packet::find(line.trim().as_bytes(), Side::Listener).1, None);
    }

    #[test]
    fn a_kernel_message_inside_a_packet_is_noticed() {
        let mut line = packet().encode(Side::Listener).trim().to_owned();
        line.insert_str(12, "[ 1.0] oops");
        assert_eq!(Packet::find(line.as_bytes(), Side::Listener).1, None);
    }

    #[test]
    fn the_largest_packet_fits_a_line() {
        let mut packet = packet();
        packet.data = vec![0xff; MAX_DATA];
        packet.session = u32::MAX;
        packet.seq = u32::MAX;
        packet.ack = u32::MAX;
        assert!(packet.encode(Side::Opener).len() < MAX_LINE);
    }
}
