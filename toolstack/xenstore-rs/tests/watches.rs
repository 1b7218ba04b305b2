//! Watches of the blocking client: what an event means, and that a storm neither hangs nor grows.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::common::peer::client_and_peer;
use crate::common::store::Server;
use crate::common::{eventually, within};
use xenstore::wire::MessageType;
use xenstore::{Client, Error, PENDING_MAX, Watch};

const STORM: usize = 100_000;
const LIMIT: Duration = Duration::from_secs(120);

fn connected() -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect_path(&server.socket()).unwrap();
    (server, client)
}

fn next(watch: &Watch) -> String {
    let event = watch.recv_timeout(Duration::from_secs(10)).unwrap();
    event.expect("an event").path
}

#[test]
fn the_first_event_comes_at_once_and_names_the_watch() {
    let (_server, client) = connected();
    let watch = client.watch("/w").unwrap();
    assert_eq!(next(&watch), "/w");
    assert_eq!(watch.path(), "/w");
    assert_eq!(watch.recv_timeout(Duration::from_millis(50)).unwrap(), None);
    assert_eq!(watch.try_recv().unwrap(), None);
}

#[test]
fn changes_below_are_reported_with_their_path() {
    let (_server, client) = connected();
    let watch = client.watch("/w").unwrap();
    next(&watch);
    client.write("/w/deep/node", "1").unwrap();
    assert_eq!(next(&watch), "/w/deep/node");
    client.write("/elsewhere", "1").unwrap();
    client.rm("/w/deep").unwrap();
    assert_eq!(next(&watch), "/w/deep");
    assert_eq!(watch.try_recv().unwrap(), None);
}

#[test]
fn two_watches_on_one_path_both_see_it() {
    let (_server, client) = connected();
    let watches = [client.watch("/w").unwrap(), client.watch("/w").unwrap()];
    watches
        .iter()
        .for_each(|watch| assert_eq!(next(watch), "/w"));
    client.write("/w/x", "").unwrap();
    watches
        .iter()
        .for_each(|watch| assert_eq!(next(watch), "/w/x"));
}

#[test]
fn dropping_a_watch_ends_it_at_the_server() {
    let (server, client) = connected();
    let watch = client.watch("/w").unwrap();
    assert_eq!(server.watches(), 1);
    drop(watch);
    eventually("the server has no watch", || server.watches() == 0);
    assert!(!client.is_broken());
}

#[test]
fn a_watch_that_is_refused_leaves_nothing_behind() {
    let (client, mut peer) = client_and_peer();
    let watching = thread::spawn(move || (client.watch("/w").unwrap_err(), client));
    let request = peer.expect(MessageType::WATCH);
    peer.error(&request, "EACCES");
    let (error, client) = watching.join().unwrap();
    assert!(error.is_permission_denied());
    let reading = thread::spawn(move || client.read("/a").unwrap());
    let request = peer.expect(MessageType::READ);
    peer.reply(&request, b"no unwatch came before this");
    reading.join().unwrap();
}

#[test]
fn an_event_ahead_of_the_answer_to_watch_is_not_lost() {
    let (client, mut peer) = client_and_peer();
    let watching = thread::spawn(move || next(&client.watch("/w").unwrap()));
    let request = peer.expect(MessageType::WATCH);
    let token = request.payload.split(|byte| *byte == 0).nth(1).unwrap();
    peer.event("/w", str::from_utf8(token).unwrap());
    peer.ok(&request);
    assert_eq!(watching.join().unwrap(), "/w");
}

#[test]
fn a_read_after_each_event_never_hangs_and_no_event_of_a_burst_is_lost() {
    within(LIMIT, "event, read, event, read", || {
        let (server, client) = connected();
        client.write("/w", "value").unwrap();
        let watch = client.watch("/w").unwrap();
        next(&watch);
        let bursts = [1, 12, 100, PENDING_MAX];
        let mut seen = 0;
        for burst in bursts.iter().cycle() {
            if seen == STORM {
                break;
            }
            let burst = (*burst).min(STORM - seen);
            let paths = (seen..seen + burst).map(|i| format!("/w/{i}"));
            server.fire(paths);
            for i in seen..seen + burst {
                assert_eq!(next(&watch), format!("/w/{i}"));
                assert_eq!(client.read("/w").unwrap(), b"value");
            }
            seen += burst;
        }
        assert_eq!(client.statistics().events, STORM as u64 + 1);
        assert_eq!(client.statistics().collapsed, 0);
    });
}

#[test]
fn a_flood_without_pause_is_bounded_and_ends_with_the_truth() {
    within(LIMIT, "the flood", || {
        let (server, client) = connected();
        client.write("/w/counter", "0").unwrap();
        let watch = client.watch("/w").unwrap();
        next(&watch);
        let flood = thread::spawn(move || {
            for chunk in 0..STORM / 1000 {
                server.fire((0..1000).map(|i| format!("/w/{}", chunk * 1000 + i)));
            }
            let writer = Client::connect_path(&server.socket()).unwrap();
            writer.write("/w/counter", "last").unwrap();
            server
        });
        let mut taken = 0;
        loop {
            next(&watch);
            taken += 1;
            if client.read("/w/counter").unwrap() == b"last" {
                break;
            }
        }
        let _server = flood.join().unwrap();
        eventually("all events came in", || {
            client.statistics().events == STORM as u64 + 2
        });
        let mut left = 0;
        while watch.try_recv().unwrap().is_some() {
            left += 1;
        }
        assert!(left <= PENDING_MAX, "{left} events were waiting");
        assert!(taken <= STORM + 2);
    });
}

#[test]
fn a_watch_nobody_looks_at_disturbs_nobody_and_collapses() {
    within(LIMIT, "a neglected watch", || {
        let (server, client) = connected();
        let neglected = client.watch("/w").unwrap();
        next(&neglected);
        server.fire((0..STORM).map(|i| format!("/w/{i}")));
        client.write("/x", "1").unwrap();
        assert_eq!(client.read("/x").unwrap(), b"1");
        assert_eq!(client.statistics().collapsed, 1);
        assert_eq!(next(&neglected), "/w");
        assert_eq!(
            neglected.try_recv().unwrap(),
            None,
            "one event stands for all"
        );
        server.fire(["/w/after".to_owned()]);
        assert_eq!(next(&neglected), "/w/after");
    });
}

#[test]
fn equal_events_are_merged() {
    let (server, client) = connected();
    let watch = client.watch("/w").unwrap();
    next(&watch);
    server.fire((0..500).map(|_| "/w/same".to_owned()));
    assert!(
        !client.exists("/x").unwrap(),
        "all events are in before this"
    );
    assert_eq!(next(&watch), "/w/same");
    assert_eq!(watch.try_recv().unwrap(), None);
    assert_eq!(client.statistics().coalesced, 499);
}

#[test]
fn depth_is_the_same_with_and_without_the_servers_help() {
    for offered in [false, true] {
        let (server, client) = connected();
        server
            .faults()
            .watch_depth
            .store(offered, Ordering::Relaxed);
        assert_eq!(client.features().unwrap().watch_depth(), offered);
        let watch = client.watch_depth("/w", 1).unwrap();
        assert_eq!(next(&watch), "/w");
        let arrived = client.statistics().events;
        client.write("/w/a/b", "").unwrap();
        client.write("/w/a", "").unwrap();
        assert_eq!(next(&watch), "/w/a", "offered: {offered}");
        assert_eq!(watch.try_recv().unwrap(), None);
        let deep = if offered { 0 } else { 1 };
        assert_eq!(client.statistics().events - arrived, 1 + deep);
    }
}

#[test]
fn depth_of_a_special_watch_needs_the_server() {
    let (server, client) = connected();
    let error = client.watch_depth("@releaseDomain", 1).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    server.faults().watch_depth.store(true, Ordering::Relaxed);
    assert!(client.watch_depth("@releaseDomain", 1).is_ok());
}

#[test]
fn several_threads_may_wait_on_one_watch() {
    within(LIMIT, "two waiters", || {
        let (server, client) = connected();
        let watch = client.watch("/w").unwrap();
        next(&watch);
        let seen: usize = thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut seen = 0;
                        while next(&watch) != "/w/stop" {
                            seen += 1;
                        }
                        server.fire(["/w/stop".to_owned()]);
                        seen
                    })
                })
                .collect();
            for i in 0..500 {
                server.fire([format!("/w/{i}")]);
            }
            server.fire(["/w/stop".to_owned()]);
            waiters.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!(seen, 500);
    });
}
