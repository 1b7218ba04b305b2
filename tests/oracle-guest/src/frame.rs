//! One report is one line: `@og <sequence> <words> ~<checksum>`.
//!
//! Several guests and Xen itself write to one console. The checksum covers sequence and words, so a line that was torn
//! or mixed with another is noticed, and a gap in the sequence tells that one was lost.

use core::fmt::{self, Write};

/// Begins every report.
pub const MARK: &str = "@og ";
/// Bytes of a line at most, its end included: what Xen takes from a guest in one piece.
pub const LINE: usize = 127;

/// A report that is being written. What does not fit is cut off, and the checksum covers what is left.
#[derive(Debug)]
pub struct Writer {
    bytes: [u8; LINE],
    length: usize,
}

/// ` ~`, four digits, the line's end.
const TAIL: usize = 7;

impl Writer {
    /// Begins the report with this number.
    #[must_use]
    pub fn new(sequence: u32) -> Self {
        let mut writer = Self {
            bytes: [0; LINE],
            length: 0,
        };
        // Writing into the buffer cannot fail.
        let _ = write!(writer, "{MARK}{sequence} ");
        writer
    }

    /// Ends the line; these bytes go to the console.
    #[must_use]
    pub fn finish(&mut self) -> &[u8] {
        let sum = checksum(self.bytes.get(MARK.len()..self.length).unwrap_or_default());
        let mut tail = Tail([0; TAIL], 0);
        let _ = writeln!(tail, " ~{sum:04x}");
        if let Some(room) = self.bytes.get_mut(self.length..self.length + TAIL) {
            room.copy_from_slice(&tail.0);
            self.length += TAIL;
        }
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // A line break inside would end the report early; Xen drops what is not printable.
            let byte = if (b' '..=b'~').contains(&byte) {
                byte
            } else {
                b'?'
            };
            if self.length + TAIL < LINE
                && let Some(place) = self.bytes.get_mut(self.length)
            {
                *place = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

struct Tail([u8; TAIL], usize);

impl Write for Tail {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(place) = self.0.get_mut(self.1) {
                *place = byte;
                self.1 += 1;
            }
        }
        Ok(())
    }
}

/// A report, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Counts from 0 in each guest.
    pub sequence: u32,
    /// The words between sequence and checksum.
    pub words: &'a str,
}

/// Why a line that holds [`MARK`] is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// No checksum at its end.
    Unfinished,
    /// Another checksum than that of what it holds.
    Mixed,
}

/// The report in a line of the console; `None` when it holds none.
#[must_use]
pub fn read(line: &str) -> Option<Result<Frame<'_>, Torn>> {
    let (_, rest) = line.split_once(MARK)?;
    let Some((body, sum)) = rest.trim_end().rsplit_once(" ~") else {
        return Some(Err(Torn::Unfinished));
    };
    let frame = || {
        (u16::from_str_radix(sum, 16) == Ok(checksum(body.as_bytes()))).then_some(())?;
        let (sequence, words) = body.split_once(' ')?;
        Some(Frame {
            sequence: sequence.parse().ok()?,
            words,
        })
    };
    Some(frame().ok_or(Torn::Mixed))
}

/// CRC-16 as CCITT defines it, begun with 0xffff.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 {
                sum << 1
            } else {
                (sum << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn line(sequence: u32, words: &str) -> String {
        let mut writer = Writer::new(sequence);
        writer.write_str(words).unwrap();
        String::from_utf8(writer.finish().to_vec()).unwrap()
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0x29b1);
    }

    #[test]
    fn a_report_is_read_behind_whatever_xen_puts_before_it() {
        let text = std::format!("(XEN) d1: {}", line(7, "memory 0x40000000+0x1000"));
        let frame = read(&text).unwrap().unwrap();
        assert_eq!(
            (frame.sequence, frame.words),
            (7, "memory 0x40000000+0x1000")
        );
        assert_eq!(read("(XEN) Latest ChangeSet:"), None);
    }

    #[test]
    fn a_torn_or_mixed_line_is_noticed() {
        let whole = line(1, "cpu 1 up");
        assert_eq!(read(&whole[..10]), Some(Err(Torn::Unfinished)));
        assert_eq!(
            read(&whole.replace("cpu 1", "cpu 2")),
            Some(Err(Torn::Mixed))
        );
        assert_eq!(read("@og  ~ffff"), Some(Err(Torn::Mixed)));
    }

    #[test]
    fn what_does_not_fit_or_is_not_printable_leaves_a_whole_line() {
        let long = line(4_000_000_000, &"x".repeat(500));
        assert_eq!(long.len(), LINE);
        assert!(read(&long).unwrap().is_ok());
        let odd = line(0, "a\nb\u{e9}");
        assert_eq!(read(&odd).unwrap().unwrap().words, "a?b??");
    }
}
