//! The machine's serial port as lines.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The port, both ways.
pub(super) struct Console {
    stream: UnixStream,
    pieces: Receiver<Vec<u8>>,
    begun: Vec<u8>,
}

/// What came within the time given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Complete lines; none when only a part of one came.
    Lines(Vec<String>),
    /// Not a byte.
    Nothing,
    /// The port was closed.
    End,
}

impl Console {
    /// Reads on a thread of its own: QEMU must never wait for us.
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Self> {
        let mut reader = stream.try_clone()?;
        let (sender, pieces) = channel();
        std::thread::Builder::new()
            .name("console".into())
            .spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count) = reader.read(&mut buffer) {
                    if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            stream,
            pieces,
            begun: Vec::new(),
        })
    }

    /// Waits for something.
    pub(super) fn wait(&mut self, time: Duration) -> Came {
        match self.pieces.recv_timeout(time) {
            Ok(piece) => {
                self.begun.extend(piece);
                // Whatever has come meanwhile belongs to it.
                while let Ok(more) = self.pieces.try_recv() {
                    self.begun.extend(more);
                }
                Came::Lines(lines(&mut self.begun))
            }
            Err(RecvTimeoutError::Timeout) => Came::Nothing,
            Err(RecvTimeoutError::Disconnected) => Came::End,
        }
    }

    /// Presses a key.
    pub(super) fn press(&mut self, key: char) -> std::io::Result<()> {
        let mut buffer = [0; 4];
        self.stream
            .write_all(key.encode_utf8(&mut buffer).as_bytes())
    }
}

/// Takes the complete lines off the front.
fn lines(begun: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let whole: Vec<u8> = begun.drain(..=end).collect();
    String::from_utf8_lossy(&whole)
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_given_when_they_are_complete() {
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        let mut console = Console::new(ours).unwrap();
        let long = Duration::from_secs(10);
        qemu.write_all(b"(XEN) one\r\n(XE").unwrap();
        assert_eq!(console.wait(long), Came::Lines(vec!["(XEN) one".into()]));
        qemu.write_all(b"N) two\n").unwrap();
        assert_eq!(console.wait(long), Came::Lines(vec!["(XEN) two".into()]));
        assert_eq!(console.wait(Duration::from_millis(1)), Came::Nothing);
        drop(qemu);
        assert_eq!(console.wait(long), Came::End);
    }
}
