//! Front ends come, go, and die; requests in flight are ended first; the socket is made and removed.

mod common;

use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use common::gate::Gate;
use common::*;
use devices::block::BlockConfig;
use transport_vhost_user::{ServeError, Server};
use vhost::VhostBackend;

#[test]
fn requests_end_in_the_background_and_interrupt() {
    let gate = Gate::new();
    let served = Served::new(gate.clone());
    let guest = Guest::new("background");
    let mut front = connect(&served.path, &guest, 1);
    let mut ring = Ring::new(0);
    start(&mut front, &ring, 0);
    for round in 0..3 {
        for head in 0..4 {
            ring.descriptor(&guest, head, (DATA, 16, 0, 0));
            ring.offer(&guest, head);
        }
        until("all in flight", || {
            gate.in_flight.load(Ordering::SeqCst) == 4
        });
        assert_eq!(ring.used_index(&guest), 4 * round);
        gate.open();
        let heads: Vec<u16> = (0..4).map(|_| ring.used(&guest).0).collect();
        assert_eq!(heads, [0, 1, 2, 3]);
        until("an interrupt", || ring.call.read().is_ok());
    }
}

#[test]
fn a_ring_larger_than_the_devices_queue_does_not_flood_the_device() {
    let gate = Gate::with_size(40);
    let served = Served::new(gate.clone());
    let guest = Guest::new("large");
    let mut front = connect(&served.path, &guest, 1);
    let mut ring = Ring::new(0);
    start(&mut front, &ring, 0);
    for head in 0..60 {
        ring.descriptor(&guest, head, (DATA, 16, 0, 0));
        ring.offer(&guest, head);
    }
    for _ in 0..60 {
        until("some in flight", || {
            let in_flight = gate.in_flight.load(Ordering::SeqCst);
            assert!(in_flight <= 40, "{in_flight}");
            gate.open();
            ring.used_index(&guest) == 60 || in_flight > 0
        });
        ring.used(&guest);
    }
}

#[test]
fn a_queue_stops_only_when_its_requests_have_ended() {
    let gate = Gate::new();
    let served = Served::new(gate.clone());
    let guest = Guest::new("stop");
    let mut front = connect(&served.path, &guest, 1);
    let mut ring = Ring::new(0);
    start(&mut front, &ring, 0);
    for head in 0..3 {
        ring.descriptor(&guest, head, (DATA, 16, 0, 0));
        ring.offer(&guest, head);
    }
    until("all in flight", || {
        gate.in_flight.load(Ordering::SeqCst) == 3
    });
    let opener = {
        let gate = gate.clone();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            gate.open();
        })
    };
    assert_eq!(stop(&mut front, &ring), 3);
    assert_eq!(ring.used_index(&guest), 3);
    assert_eq!(gate.resets.load(Ordering::SeqCst), 1);
    opener.join().unwrap();
}

#[test]
fn a_killed_front_end_leaves_nothing_and_the_next_one_is_served() {
    let gate = Gate::new();
    let served = Served::new(gate.clone());
    for round in 1..=3 {
        let name = format!("victim{round}");
        let guest = Guest::new(&name);
        let mut front = connect(&served.path, &guest, 1);
        let mut ring = Ring::new(0);
        start(&mut front, &ring, 0);
        for head in 0..8 {
            ring.descriptor(&guest, head, (DATA, 16, 0, 0));
            ring.offer(&guest, head);
        }
        until("all in flight", || {
            gate.in_flight.load(Ordering::SeqCst) == 8
        });
        // What the kernel does for a killed process: its descriptors and its memory go.
        drop((front, ring, guest));
        gate.open();
        until("nothing in flight", || {
            gate.in_flight.load(Ordering::SeqCst) == 0
        });
        until("a device at rest", || {
            gate.resets.load(Ordering::SeqCst) == round
        });
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.contains(&name)
        };
        until("the memory is gone", || !mapped());
    }
}

#[test]
fn a_second_front_end_finds_what_the_first_has_written() {
    let served = Served::disk(BlockConfig::default());
    let guest = Guest::new("first");
    let mut front = connect(&served.path, &guest, 1);
    let mut ring = Ring::new(0);
    start(&mut front, &ring, 0);
    guest.put(DATA, &[0x77; 4096]);
    assert_eq!(ring.disk(&guest, 1, 8, (DATA, 4096)).0, 0);
    drop(front);
    let guest = Guest::new("second");
    let mut front = connect(&served.path, &guest, 1);
    let mut ring = Ring::new(0);
    start(&mut front, &ring, 0);
    assert_eq!(ring.disk(&guest, 0, 8, (DATA, 4096)).0, 0);
    assert_eq!(guest.get(DATA, 4096), [0x77; 4096]);
}

#[test]
fn nonsense_on_the_socket_ends_only_its_connection() {
    use std::io::Write;
    let served = Served::disk(BlockConfig::default());
    for bytes in [&b""[..], b"GET / HTTP/1.0\r\n\r\n", &[0xff; 64], &[0; 12]] {
        let mut stream = UnixStream::connect(&served.path).unwrap();
        stream.write_all(bytes).unwrap();
    }
    // A second owner is a protocol error.
    let guest = Guest::new("twice");
    let front = connect(&served.path, &guest, 1);
    assert!(front.set_owner().is_err());
    drop(front);
    connect(&served.path, &guest, 1);
}

#[test]
fn a_stop_ends_the_connection_and_removes_the_socket() {
    let mut served = Served::disk(BlockConfig::default());
    let guest = Guest::new("end");
    let mut front = connect(&served.path, &guest, 1);
    let ring = Ring::new(0);
    start(&mut front, &ring, 0);
    served.end().unwrap();
    assert!(!served.path.exists());
    assert!(front.get_features().is_err());
}

#[test]
fn a_place_that_is_taken_is_left_alone_and_a_dead_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Server::bind(&path),
        Err(ServeError::NotASocket(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();

    let first = Server::bind(&path).unwrap();
    assert!(matches!(Server::bind(&path), Err(ServeError::InUse(_))));
    drop(first);
    assert!(!path.exists());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = Server::bind(&path).unwrap();
    // Somebody else's, by now: not ours to remove.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "other").unwrap();
    drop(second);
    assert!(path.exists());

    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(
        Server::bind(&nowhere),
        Err(ServeError::Bind { .. })
    ));
}
