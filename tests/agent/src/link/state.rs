//! The link without input and output: sequence numbers, acknowledgements, retransmission.
//!
//! The opener (dom0's agent) calls until the other side (the guest's agent) answers. Then both send a window of
//! packets and repeat from the first unacknowledged one when no acknowledgement comes. A new call starts over.

use super::line::{MAX_DATA, MAX_LINE, Packet, PacketKind, Side};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets under way; with [`MAX_DATA`] they stay below the 4096 bytes a Linux terminal keeps for its reader.
const WINDOW: usize = 4;
const CALL_EVERY: Duration = Duration::from_millis(300);
const RESEND_FIRST: Duration = Duration::from_millis(300);
const RESEND_MAX: Duration = Duration::from_secs(2);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Calls with this session number.
    Opener {
        /// Different for each attachment.
        session: u32,
    },
    /// Waits to be called.
    Listener,
}

impl Role {
    fn sides(self) -> (Side, Side) {
        match self {
            Self::Opener { .. } => (Side::Opener, Side::Listener),
            Self::Listener => (Side::Listener, Side::Opener),
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    role: Role,
    session: Option<u32>,
    line: Vec<u8>,
    text: Vec<u8>,
    waiting: VecDeque<u8>,
    flying: VecDeque<Packet>,
    next_seq: u32,
    expected: u32,
    received: Vec<u8>,
    answer: Option<PacketKind>,
    resend_at: Option<Instant>,
    resend_after: Duration,
    stalled_since: Option<Instant>,
    restarts: u32,
}

impl Link {
    /// A link that has not met its other end.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            session: None,
            line: Vec::new(),
            text: Vec::new(),
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
            next_seq: 0,
            expected: 0,
            received: Vec::new(),
            answer: None,
            resend_at: None,
            resend_after: RESEND_FIRST,
            stalled_since: None,
            restarts: 0,
        }
    }

    /// Both ends have met.
    #[must_use]
    pub fn established(&self) -> bool {
        self.session.is_some()
    }

    /// How often a listener was called.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Bytes accepted by [`Link::send`] that the other end has not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.waiting.len()
            + self
                .flying
                .iter()
                .map(|packet| packet.data.len())
                .sum::<usize>()
    }

    /// How long nothing was acknowledged although something waits for it.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Duration {
        self.stalled_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Queues bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// Bytes that arrived, in order.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Console text that was no packet.
    pub fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// Takes what the console gave.
    pub fn input(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > MAX_LINE {
                    self.text.append(&mut self.line);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let (text, packet) = Packet::find(&line, self.role.sides().1);
            if !text.is_empty() {
                self.text.extend_from_slice(text);
                self.text.push(b'\n');
            }
            if let Some(packet) = packet {
                self.packet(packet, now);
            }
        }
    }

    fn packet(&mut self, packet: Packet, now: Instant) {
        if packet.kind == PacketKind::Hello {
            match self.role {
                Role::Opener { session } if packet.session == session => {
                    self.session = Some(session)
                }
                Role::Opener { .. } => {}
                Role::Listener => {
                    if self.session != Some(packet.session) {
                        let restarts = self.restarts + 1;
                        *self = Self::new(Role::Listener);
                        self.restarts = restarts;
                        self.session = Some(packet.session);
                    }
                    self.answer = Some(PacketKind::Hello);
                }
            }
            return;
        }
        if self.session != Some(packet.session) {
            return;
        }
        self.acknowledge(packet.ack, now);
        if packet.kind == PacketKind::Data {
            if packet.seq == self.expected {
                self.expected = self.expected.wrapping_add(1);
                self.received.extend_from_slice(&packet.data);
            }
            self.answer = Some(PacketKind::Ack);
        }
    }

    fn acknowledge(&mut self, ack: u32, now: Instant) {
        let Some(first) = self.flying.front() else {
            return;
        };
        let count = usize::try_from(ack.wrapping_sub(first.seq)).unwrap_or(usize::MAX);
        if count == 0 || count > self.flying.len() {
            return;
        }
        self.flying.drain(..count);
        self.resend_after = RESEND_FIRST;
        let more = !self.flying.is_empty();
        self.resend_at = more.then(|| now + self.resend_after);
        self.stalled_since = more.then_some(now);
    }

    /// Text to be written to the console now.
    pub fn output(&mut self, now: Instant) -> String {
        let mut out = String::new();
        let (us, _) = self.role.sides();
        let Some(session) = self.session else {
            if let Role::Opener { session } = self.role
                && self.resend_at.is_none_or(|at| at <= now)
            {
                self.resend_at = Some(now + CALL_EVERY);
                out = Packet {
                    kind: PacketKind::Hello,
                    session,
                    seq: 0,
                    ack: 0,
                    data: Vec::new(),
                }
                .encode(us);
            }
            return out;
        };
        if !self.flying.is_empty() && self.resend_at.is_some_and(|at| at <= now) {
            for packet in &mut self.flying {
                packet.ack = self.expected;
                out.push_str(&packet.encode(us));
            }
            self.answer = self.answer.filter(|answer| *answer == PacketKind::Hello);
            self.resend_after = (self.resend_after * 2).min(RESEND_MAX);
            self.resend_at = Some(now + self.resend_after);
        }
        while self.flying.len() < WINDOW && !self.waiting.is_empty() {
            let take = self.waiting.len().min(MAX_DATA);
            let data = self.waiting.drain(..take).collect();
            let packet = Packet {
                kind: PacketKind::Data,
                session,
                seq: self.next_seq,
                ack: self.expected,
                data,
            };
            self.next_seq = self.next_seq.wrapping_add(1);
            out.push_str(&packet.encode(us));
            if self.flying.is_empty() {
                self.resend_at = Some(now + self.resend_after);
                self.stalled_since = Some(now);
            }
            self.flying.push_back(packet);
            self.answer = self.answer.filter(|answer| *answer == PacketKind::Hello);
        }
        if let Some(kind) = self.answer.take() {
            let packet = Packet {
                kind,
                session,
                seq: 0,
                ack: self.expected,
                data: Vec::new(),
            };
            out.insert_str(0, &packet.encode(us));
        }
        out
    }

    /// When [`Link::output`] has something new although nothing came in.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let calling = self.session.is_none() && matches!(self.role, Role::Opener { .. });
        self.resend_at
            .filter(|_| calling || !self.flying.is_empty())
    }
}
