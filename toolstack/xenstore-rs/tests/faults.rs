//! What happens when the server is slow, dead, or out of its mind.

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::peer::{client_and_peer, oversized_header, reply_bytes};
use crate::common::{eventually, within};
use xenstore::wire::{MessageType, encode};
use xenstore::{Client, Error};

const LIMIT: Duration = Duration::from_secs(20);

/// Runs `ask` with a client while `answer` plays the server.
fn exchange<T: Send + 'static>(
    ask: impl FnOnce(Client) -> T + Send + 'static,
    answer: impl FnOnce(&mut crate::common::peer::Peer),
) -> T {
    let (client, mut peer) = client_and_peer();
    let asking = thread::spawn(move || ask(client));
    answer(&mut peer);
    within(LIMIT, "the client", move || asking.join().unwrap())
}

#[test]
fn a_reply_split_byte_by_byte_is_understood() {
    let value = exchange(
        |client| client.read_string("/a").unwrap(),
        |peer| {
            let request = peer.expect(MessageType::READ);
            peer.send_split(&reply_bytes(&request, b"value"));
        },
    );
    assert_eq!(value, "value");
}

#[test]
fn replies_out_of_order_find_their_requests() {
    let (client, mut peer) = client_and_peer();
    let threads: Vec<_> = (0..20)
        .map(|i| {
            let client = client.clone();
            thread::spawn(move || client.read_string(&format!("/{i}")).unwrap())
        })
        .collect();
    let requests: Vec<_> = (0..20).map(|_| peer.expect(MessageType::READ)).collect();
    for request in requests.iter().rev() {
        let path = request.payload.strip_suffix(b"\0").unwrap();
        peer.reply(request, path);
    }
    for (i, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("/{i}"));
    }
}

#[test]
fn an_oversized_length_ends_the_connection_with_the_reason_for_every_waiter() {
    let (client, mut peer) = client_and_peer();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.read("/a").unwrap_err())
        })
        .collect();
    let requests: Vec<_> = (0..4).map(|_| peer.request()).collect();
    peer.send(&oversized_header(&requests[2]));
    for thread in threads {
        let error = within(LIMIT, "a waiter", move || thread.join().unwrap());
        assert!(
            matches!(error, Error::Protocol { fatal: true, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("limit of 4096"), "{error}");
    }
    let error = client.read("/b").unwrap_err();
    assert!(error.is_fatal(), "later calls too: {error}");
}

#[test]
fn garbage_on_the_wire_does_no_harm_to_the_process() {
    let error = exchange(
        |client| client.read("/a").unwrap_err(),
        |peer| {
            peer.request();
            peer.send(&[0xa5; 4000]);
        },
    );
    assert!(error.is_fatal(), "{error}");
}

#[test]
fn messages_of_unknown_type_or_for_nobody_are_passed_over() {
    let (value, strays) = exchange(
        |client| {
            let value = client.read_string("/a").unwrap();
            (value, client.statistics().strays)
        },
        |peer| {
            let request = peer.request();
            peer.send(&encode(MessageType(99), 0, 0, b"what is this").unwrap());
            let mut other = request.clone();
            other.request_id = other.request_id.wrapping_add(1000);
            peer.reply(&other, b"not yours");
            peer.error(&other, "EIO");
            peer.event("/nobody", "w7777");
            peer.event("/nobody", "not-our-token");
            peer.reply(&request, b"value");
        },
    );
    assert_eq!(value, "value");
    assert_eq!(strays, 5);
}

#[test]
fn a_reply_of_the_wrong_type_fails_its_request_only() {
    let second = exchange(
        |client| {
            let error = client.read("/a").unwrap_err();
            assert!(
                matches!(error, Error::Protocol { fatal: false, .. }),
                "{error}"
            );
            client.read_string("/b").unwrap()
        },
        |peer| {
            let request = peer.request();
            let wrong = encode(MessageType(77), request.request_id, 0, b"x").unwrap();
            peer.send(&wrong);
            let request = peer.request();
            peer.reply(&request, b"fine");
        },
    );
    assert_eq!(second, "fine");
}

#[test]
fn replies_that_make_no_sense_fail_their_request_only() {
    exchange(
        |client| {
            let fails = |result: Result<(), Error>| {
                let error = result.unwrap_err();
                assert!(
                    matches!(error, Error::Protocol { fatal: false, .. }),
                    "{error}"
                );
            };
            fails(client.permissions("/a").map(drop));
            fails(client.directory("/a").map(drop));
            fails(client.is_introduced(1).map(drop));
            fails(client.begin().map(drop));
            fails(client.domain_path(1).map(drop));
            assert!(!client.is_broken());
        },
        |peer| {
            for payload in [&b"zz\0"[..], b"no end", b"maybe\0", b"0\0", b"a\0b\0"] {
                let request = peer.request();
                peer.reply(&request, payload);
            }
        },
    );
}

#[test]
fn a_watch_event_without_a_token_ends_the_connection() {
    let error = exchange(
        |client| client.read("/a").unwrap_err(),
        |peer| {
            peer.request();
            peer.send(&encode(MessageType::WATCH_EVENT, 0, 0, b"/path-only\0").unwrap());
        },
    );
    assert!(error.to_string().contains("watch event"), "{error}");
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_reply_is_reported_at_once() {
    let start = Instant::now();
    let error = exchange(
        |client| client.read("/a").unwrap_err(),
        |peer| {
            let request = peer.request();
            peer.send(&reply_bytes(&request, b"half of this")[..20]);
            peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        },
    );
    assert!(matches!(error, Error::Disconnected { .. }));
    assert!(error.to_string().contains("middle of a message"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "not by timeout");
}

#[test]
fn a_watch_hands_out_what_came_before_the_server_died() {
    let (client, mut peer) = client_and_peer();
    let watching = thread::spawn(move || {
        let watch = client.watch("/w").unwrap();
        let events = [watch.recv().unwrap().path, watch.recv().unwrap().path];
        (events, watch.recv().unwrap_err())
    });
    let token = peer.accept_watch();
    peer.event("/w/last", &token);
    drop(peer);
    let (events, error) = within(LIMIT, "the watch", move || watching.join().unwrap());
    assert_eq!(events, ["/w", "/w/last"]);
    assert!(error.is_fatal(), "{error}");
}

#[test]
fn a_dead_server_costs_one_timeout_and_everybody_is_told() {
    let (client, mut peer) = client_and_peer();
    let client = client.with_timeout(Duration::from_millis(200));
    let start = Instant::now();
    let patient = client.clone().with_timeout(Duration::from_secs(3600));
    let (ready, watching) = mpsc::channel();
    let watcher = thread::spawn(move || {
        let watch = patient.watch("/w").unwrap();
        watch.recv().unwrap();
        ready.send(()).unwrap();
        (watch.recv().unwrap_err(), patient.read("/x").unwrap_err())
    });
    peer.accept_watch();
    watching.recv().unwrap();
    let error = client.read("/a").unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("READ /a"), "{error}");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(10),
        "{took:?}"
    );
    let (watch, read) = within(LIMIT, "the patient one", move || watcher.join().unwrap());
    for error in [watch, read] {
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        assert!(
            error.to_string().contains("not answered within 200ms"),
            "{error}"
        );
    }
    assert!(client.is_broken());
    drop(peer);
}

#[test]
fn a_shorter_limit_counts_although_a_longer_one_is_already_running() {
    let (client, mut peer) = client_and_peer();
    let patient = client.clone();
    let waiting = thread::spawn(move || patient.read("/long").unwrap_err());
    peer.request();
    let error = client
        .with_timeout(Duration::from_millis(100))
        .read("/short")
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let error = within(LIMIT, "the other", move || waiting.join().unwrap());
    assert!(matches!(error, Error::Disconnected { .. }), "{error}");
}

#[test]
fn a_slow_server_is_waited_for_within_the_limit() {
    let value = exchange(
        |client| {
            let client = client.with_timeout(Duration::from_secs(5));
            client.read_string("/a").unwrap()
        },
        |peer| {
            let request = peer.request();
            thread::sleep(Duration::from_millis(300));
            peer.reply(&request, b"late but there");
        },
    );
    assert_eq!(value, "late but there");
}

#[test]
fn a_server_that_does_not_read_stops_nobody_for_longer_than_the_limit() {
    let (client, peer) = client_and_peer();
    let client = client.with_timeout(Duration::from_millis(500));
    let start = Instant::now();
    // Far more than a socket's buffer takes.
    let threads: Vec<_> = (0..200)
        .map(|i| {
            let client = client.clone();
            thread::spawn(move || client.write(&format!("/{i}"), vec![0; 4000]).unwrap_err())
        })
        .collect();
    for thread in threads {
        let error = within(LIMIT, "a writer", move || thread.join().unwrap());
        assert!(error.is_fatal(), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(peer);
}

#[test]
fn what_did_not_fit_into_the_socket_goes_out_later_and_in_order() {
    let (client, mut peer) = client_and_peer();
    let threads: Vec<_> = (0..200)
        .map(|i| {
            let client = client.clone();
            let value = vec![u8::try_from(i % 251).unwrap(); 4000];
            thread::spawn(move || client.write(&format!("/{i}"), value).unwrap())
        })
        .collect();
    eventually("all are sent or queued", || {
        client.statistics().requests == 200
    });
    for _ in 0..200 {
        let request = peer.expect(MessageType::WRITE);
        let path = request.payload.split(|byte| *byte == 0).next().unwrap();
        let number: usize = str::from_utf8(&path[1..]).unwrap().parse().unwrap();
        let value = &request.payload[path.len() + 1..];
        assert_eq!(value, vec![u8::try_from(number % 251).unwrap(); 4000]);
        peer.ok(&request);
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn too_many_waiting_requests_are_refused_and_the_rest_goes_on() {
    within(Duration::from_secs(60), "a full connection", || {
        let (client, mut peer) = client_and_peer();
        let threads: Vec<_> = (0..xenstore::IN_FLIGHT_MAX)
            .map(|_| {
                let client = client.clone();
                thread::Builder::new()
                    .stack_size(64 * 1024)
                    .spawn(move || client.read("/a").unwrap())
                    .unwrap()
            })
            .collect();
        let requests: Vec<_> = threads.iter().map(|_| peer.request()).collect();
        let error = client.read("/one-more").unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        assert!(!client.is_broken());
        for request in &requests {
            peer.reply(request, b"x");
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let again = thread::spawn(move || client.read("/one-more").unwrap());
        let request = peer.request();
        peer.reply(&request, b"x");
        again.join().unwrap();
    });
}

#[test]
fn a_peer_that_closes_before_anything_was_asked_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = Client::from_socket(ours.into()).unwrap();
    drop(theirs);
    eventually("the connection is broken", || client.is_broken());
    let error = client.read("/a").unwrap_err();
    assert!(
        error.to_string().contains("the server closed it"),
        "{error}"
    );
}
