//! The agent and its client, on this host, over a socket pair.

use super::*;
use crate::client::{Client, Error};
use crate::message::Place;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A way to the host that takes its time for each piece.
struct Slow(UnixStream);

/// How long it takes for 32 KiB.
const PIECE: Duration = Duration::from_millis(400);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let time = PIECE.mul_f64(bytes.len() as f64 / f64::from(32 << 10));
        std::thread::sleep(time);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn pair() -> Client {
    pair_by(|stream| stream)
}

fn pair_by<W: Write + Send + 'static>(way: impl FnOnce(UnixStream) -> W) -> Client {
    let (here, there) = UnixStream::pair().unwrap();
    let reader = there.try_clone().unwrap();
    let there = way(there);
    std::thread::spawn(move || {
        let hello = Hello {
            place: Place::Host,
            uptime_ms: 5,
            steps: Vec::new(),
        };
        let _ = serve(reader, there, hello);
    });
    let client = Client::new(here.try_clone().unwrap(), here).unwrap();
    client.wait_hello(Duration::from_secs(5)).unwrap();
    client
}

#[test]
fn a_program_gets_its_input_and_gives_output_and_code() {
    let dom0 = pair().dom0();
    let output = dom0
        .shell("cat; echo \"$WORD\" >&2; exit 3")
        .env("WORD", "oops")
        .input(vec![b'x'; 100_000])
        .output()
        .unwrap();
    assert_eq!(output.stdout, vec![b'x'; 100_000]);
    assert_eq!(output.error_text(), "oops");
    assert_eq!(output.exit.code, Some(3));
}

#[test]
fn a_program_that_does_not_exist_is_a_clear_refusal() {
    let error = pair()
        .dom0()
        .command(["/no/such/program"])
        .output()
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains("/no/such/program")),
        "{error}"
    );
}

#[test]
fn many_programs_run_at_once() {
    let client = pair();
    let began = Instant::now();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let dom0 = client.dom0();
            std::thread::spawn(move || dom0.shell(&format!("sleep 0.5; echo {n}")).text().unwrap())
        })
        .collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), n.to_string());
    }
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_program_over_its_time_is_killed_with_its_children() {
    let dom0 = pair().dom0();
    let mark = format!("10{}", std::process::id());
    let output = dom0
        .shell(&format!("sleep {mark} & sleep {mark}"))
        .time(Duration::from_millis(300))
        .output();
    assert!(output.unwrap().exit.timed_out);
    std::thread::sleep(Duration::from_millis(200));
    let left = dom0
        .command(["pgrep", "-fx", &format!("sleep {mark}")])
        .output()
        .unwrap();
    assert_eq!(left.text(), "");
}

#[test]
fn what_a_program_printed_before_its_time_ran_out_is_kept() {
    let dom0 = pair().dom0();
    let output = dom0
        .shell("echo first; echo wrong >&2; printf second; sleep 60")
        .time(Duration::from_millis(500))
        .output()
        .unwrap();
    assert!(output.exit.timed_out);
    assert_eq!(
        (output.text(), output.error_text()),
        ("first\nsecond".into(), "wrong".into())
    );
}

#[test]
fn what_was_printed_is_kept_however_slow_the_way_to_the_host_is() {
    // As much as a pipe and the agent's own buffer hold: the programs need not wait for the host.
    for (line, timed_out) in [
        ("head -c 90000 /dev/zero; sleep 60", true),
        ("head -c 90000 /dev/zero", false),
        // Somebody who is left behind goes on, and is not waited for.
        (
            "head -c 90000 /dev/zero; (setsid sh -c 'while sleep 0.1; do echo more; done' &)",
            false,
        ),
    ] {
        let dom0 = pair_by(Slow).dom0();
        let began = Instant::now();
        let output = dom0
            .shell(line)
            .time(Duration::from_millis(300))
            .output()
            .unwrap();
        assert_eq!(output.exit.timed_out, timed_out, "{line}");
        let zeros = output.stdout.iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros, 90_000, "{line}");
        assert_eq!(output.exit.dropped, [0, 0], "{line}");
        assert!(
            began.elapsed() < 20 * PIECE,
            "{line}: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_daemon_left_behind_does_not_hold_the_answer() {
    let began = Instant::now();
    let output = pair()
        .dom0()
        .shell("sleep 8 & echo started")
        .output()
        .unwrap();
    assert_eq!(output.text(), "started");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn output_is_bounded_and_what_is_dropped_is_counted() {
    let dom0 = pair().dom0();
    let output = dom0.shell("head -c 20000000 /dev/zero").output().unwrap();
    assert_eq!(output.stdout.len(), 16 << 20);
    assert_eq!(output.exit.dropped, [20_000_000 - (16 << 20), 0]);
}

#[test]
fn files_go_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/file").display().to_string();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let dom0 = pair().dom0();
    dom0.put_bytes(&bytes, &path, 0o755).unwrap();
    assert!(dom0.get(&path).unwrap() == bytes);
    assert_eq!(
        dom0.command(["stat", "-c", "%a", &path]).text().unwrap(),
        "755"
    );
    assert!(matches!(
        dom0.get("/no/such/file"),
        Err(Error::Refused { .. })
    ));
    assert_eq!(
        std::fs::read_dir(dir.path().join("sub")).unwrap().count(),
        1,
        "a part file was left"
    );
}

#[test]
fn a_background_program_is_logged_signalled_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log").display().to_string();
    let dom0 = pair().dom0();
    let pid = dom0
        .spawn(["sh", "-c", "echo here; exec sleep 60"], &log)
        .unwrap();
    assert!(dom0.wait(pid, Duration::from_millis(200)).is_err());
    dom0.kill(pid, 15).unwrap();
    assert_eq!(
        dom0.wait(pid, Duration::from_secs(5)).unwrap().signal,
        Some(15)
    );
    assert!(
        dom0.kill(pid, 15).is_err(),
        "a process id is not used after its end"
    );
    assert_eq!(dom0.get(&log).unwrap(), b"here\n");
}

#[test]
fn followed_files_arrive_whole_also_what_is_written_last() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("a")).unwrap();
    std::fs::write(dir.path().join("a/one"), "first ").unwrap();
    let dom0 = pair().dom0();
    let mut follower = dom0.follow(&dir.path().display().to_string()).unwrap();
    let first = follower.next_chunk().unwrap();
    assert_eq!(
        (first.path.as_str(), first.offset, first.bytes.as_slice()),
        ("a/one", 0, &b"first "[..])
    );
    std::fs::write(dir.path().join("a/one"), "first last").unwrap();
    follower.stopper()();
    let last = follower.next_chunk().unwrap();
    assert_eq!((last.offset, last.bytes.as_slice()), (6, &b"last"[..]));
    assert!(follower.next_chunk().is_none());
}

#[test]
fn an_agent_that_goes_away_is_a_loss_not_a_hang() {
    let (here, there) = UnixStream::pair().unwrap();
    let client = Client::new(here.try_clone().unwrap(), here).unwrap();
    let dom0 = client.dom0();
    let waiting = std::thread::spawn(move || dom0.command(["true"]).output());
    std::thread::sleep(Duration::from_millis(100));
    drop(there);
    assert!(matches!(waiting.join().unwrap(), Err(Error::Lost { .. })));
}

#[test]
fn another_process_can_share_the_stream() {
    let client = pair();
    let (here, there) = UnixStream::pair().unwrap();
    let inner = client.clone();
    std::thread::spawn(move || crate::client::proxy(&inner, there.try_clone().unwrap(), there));
    let second = Client::new(here.try_clone().unwrap(), here).unwrap();
    second.wait_hello(Duration::from_secs(5)).unwrap();
    let (a, b) = (client.dom0(), second.dom0());
    assert_eq!(a.command(["echo", "1"]).text().unwrap(), "1");
    assert_eq!(b.shell("cat").input("2").text().unwrap(), "2");
}
