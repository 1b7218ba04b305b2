use super::*;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A console that loses, spoils and mixes: decided by a small generator, so that a failure can be repeated.
struct BadConsole {
    seed: u64,
}

impl BadConsole {
    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn carry(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.is_empty() {
            return bytes;
        }
        let at = usize::try_from(self.random(bytes.len() as u64)).unwrap();
        match self.random(6) {
            0 => bytes[at] ^= 0x11,
            1 => drop(bytes.splice(at..at, b"[    3.1] a kernel message\n".iter().copied())),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(0..0, b"no line end".iter().copied())),
            _ => {}
        }
        bytes
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_over_a_bad_console() {
    for seed in 0..20 {
        let mut console = BadConsole { seed };
        let mut now = Instant::now();
        let mut opener = Link::new(Role::Opener { session: 7 });
        let mut listener = Link::new(Role::Listener);
        let sent: Vec<u8> = (0..20_000_u32)
            .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
            .collect();
        opener.send(&sent);
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for _ in 0..5000 {
            let text = opener.output(now);
            listener.input(&console.carry(&text), now);
            let got = listener.take();
            there.extend_from_slice(&got);
            listener.send(&got);
            let text = listener.output(now);
            opener.input(&console.carry(&text), now);
            back.extend_from_slice(&opener.take());
            if back.len() == sent.len() && opener.unsent() == 0 {
                break;
            }
            now += Duration::from_millis(50);
        }
        assert!(
            there == sent,
            "seed {seed}: {} of {} bytes arrived",
            there.len(),
            sent.len()
        );
        assert!(
            back == sent,
            "seed {seed}: {} of {} bytes came back",
            back.len(),
            sent.len()
        );
    }
}

#[test]
fn a_new_call_starts_over_and_the_old_session_is_not_heard() {
    let now = Instant::now();
    let mut listener = Link::new(Role::Listener);
    let mut first = Link::new(Role::Opener { session: 1 });
    listener.input(first.output(now).as_bytes(), now);
    first.input(listener.output(now).as_bytes(), now);
    assert!(first.established());
    first.send(b"old");
    let old = first.output(now);
    let mut second = Link::new(Role::Opener { session: 2 });
    listener.input(second.output(now).as_bytes(), now);
    listener.input(old.as_bytes(), now);
    assert_eq!(listener.take(), b"");
    assert_eq!(listener.restarts(), 2);
    second.input(listener.output(now).as_bytes(), now);
    second.send(b"new");
    listener.input(second.output(now).as_bytes(), now);
    assert_eq!(listener.take(), b"new");
}

#[test]
fn console_text_is_kept_apart() {
    let now = Instant::now();
    let mut link = Link::new(Role::Opener { session: 1 });
    link.input(b"[ 0.1] one\n~B.d.garbled\n[ 0.2] two\n", now);
    assert_eq!(link.take_text(), b"[ 0.1] one\n~B.d.garbled\n[ 0.2] two\n");
}

fn terminal_pair() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    (master.into(), slave)
}

#[test]
fn a_stream_runs_over_a_real_terminal_and_ends_when_it_closes() {
    let (master, slave) = terminal_pair();
    let mut listener = Listener::new(master).unwrap();
    let server = std::thread::spawn(move || {
        let (mut reader, mut writer) = listener.accept().unwrap();
        let mut buffer = [0; 1000];
        let mut left = 50_000;
        while left > 0 {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0, "the stream ended early");
            writer.write_all(&buffer[..count]).unwrap();
            left -= count;
        }
        // Until everything is acknowledged: the caller closes.
        std::thread::sleep(Duration::from_millis(500));
    });
    let (mut reader, mut writer) = open(slave, 99, |_| ()).unwrap();
    reader.wait_established(Duration::from_secs(10)).unwrap();
    let sent: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let copy = sent.clone();
    let feeder = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer
    });
    let mut got = vec![0; sent.len()];
    reader.read_exact(&mut got).unwrap();
    assert!(got == sent, "bytes differ");
    server.join().unwrap();
    let _writer = feeder.join().unwrap();
    assert_eq!(
        reader.read(&mut [0; 10]).unwrap(),
        0,
        "the other terminal is closed"
    );
}
