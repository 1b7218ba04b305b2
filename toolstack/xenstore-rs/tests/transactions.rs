//! Transactions of the blocking client: nothing lost, nothing left open.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::peer::client_and_peer;
use crate::common::store::Server;
use crate::common::{eventually, within};
use xenstore::wire::MessageType;
use xenstore::{Client, Error, RetryPolicy};

const WRITERS: usize = 64;
const INCREMENTS: usize = 25;

fn connected() -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect_path(&server.socket()).unwrap();
    (server, client)
}

fn increment(client: &Client) {
    client
        .transaction(|tx| {
            let count: usize = tx.read_string("/counter")?.parse().unwrap();
            tx.write("/counter", (count + 1).to_string())
        })
        .unwrap();
}

#[test]
fn changes_show_at_the_commit_and_not_before() {
    let (_server, client) = connected();
    let tx = client.begin().unwrap();
    tx.write("/a/b", "1").unwrap();
    assert_eq!(tx.read("/a/b").unwrap(), b"1");
    assert_eq!(tx.directory("/a").unwrap(), ["b"]);
    assert!(!client.exists("/a").unwrap());
    tx.commit().unwrap();
    assert_eq!(client.read("/a/b").unwrap(), b"1");
}

#[test]
fn a_dropped_or_aborted_transaction_leaves_nothing() {
    let (server, client) = connected();
    let tx = client.begin().unwrap();
    tx.write("/a", "1").unwrap();
    drop(tx);
    let tx = client.begin().unwrap();
    tx.mkdir("/b").unwrap();
    tx.abort().unwrap();
    eventually("no transaction is open", || server.open_transactions() == 0);
    assert!(!client.exists("/a").unwrap());
    assert!(!client.exists("/b").unwrap());
}

#[test]
fn an_error_of_the_body_discards_the_transaction_and_comes_back() {
    let (server, client) = connected();
    let result: Result<(), _> = client.transaction(|tx| {
        tx.write("/a", "1")?;
        tx.read("/missing").map(drop)
    });
    assert!(result.unwrap_err().is_not_found());
    eventually("no transaction is open", || server.open_transactions() == 0);
    assert!(!client.exists("/a").unwrap());
}

#[test]
fn a_panic_in_the_body_discards_the_transaction() {
    let (server, client) = connected();
    let panicking = client.clone();
    thread::spawn(move || {
        let _ = panicking.transaction(|tx| -> xenstore::Result<()> {
            tx.write("/a", "1")?;
            panic!("on purpose");
        });
    })
    .join()
    .unwrap_err();
    eventually("no transaction is open", || server.open_transactions() == 0);
    assert!(!client.exists("/a").unwrap(), "and the client goes on");
}

#[test]
fn a_conflict_is_seen_by_begin_and_retried_by_transaction() {
    let (_server, client) = connected();
    client.write("/counter", "0").unwrap();
    let tx = client.begin().unwrap();
    tx.read("/counter").unwrap();
    client.write("/counter", "5").unwrap();
    tx.write("/counter", "1").unwrap();
    assert!(tx.commit().unwrap_err().is_conflict());
    assert_eq!(client.read("/counter").unwrap(), b"5");

    let mut runs = 0;
    client
        .transaction(|tx| {
            runs += 1;
            let count: u32 = tx.read_string("/counter")?.parse().unwrap();
            if runs < 3 {
                client.write("/counter", (count + 10).to_string())?;
            }
            tx.write("/counter", (count + 1).to_string())
        })
        .unwrap();
    assert_eq!(runs, 3);
    assert_eq!(client.read("/counter").unwrap(), b"26");
}

#[test]
fn a_storm_of_eagain_is_sat_out() {
    let (server, client) = connected();
    client.write("/counter", "0").unwrap();
    server.faults().refuse_commits.store(100, Ordering::SeqCst);
    within(Duration::from_secs(30), "100 refusals", move || {
        increment(&client);
        assert_eq!(client.read("/counter").unwrap(), b"1");
        assert_eq!(server.conflicts(), 100);
    });
}

#[test]
fn an_endless_storm_of_eagain_ends_in_an_error_that_says_how_often() {
    let (server, client) = connected();
    server
        .faults()
        .refuse_commits
        .store(u32::MAX, Ordering::SeqCst);
    let policy = RetryPolicy {
        attempts: 7,
        first_wait: Duration::from_micros(10),
        longest_wait: Duration::from_millis(1),
    };
    let error = client
        .transaction_with(policy, |tx| tx.write("/a", "1"))
        .unwrap_err();
    assert!(
        matches!(error, Error::Conflict { attempts: 7, .. }),
        "{error}"
    );
    assert_eq!(server.conflicts(), 7);
    assert_eq!(server.open_transactions(), 0);
}

#[test]
fn sixty_four_writers_on_sixty_four_connections_lose_no_update() {
    within(Duration::from_secs(120), "64 connections", || {
        let (server, client) = connected();
        client.write("/counter", "0").unwrap();
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                let writer = Client::connect_path(&server.socket()).unwrap();
                scope.spawn(move || (0..INCREMENTS).for_each(|_| increment(&writer)));
            }
        });
        let expected = (WRITERS * INCREMENTS).to_string();
        assert_eq!(client.read_string("/counter").unwrap(), expected);
        assert!(server.conflicts() > 0, "the test did not test anything");
        eventually("no transaction is open", || server.open_transactions() == 0);
    });
}

#[test]
fn sixty_four_writers_on_one_connection_lose_no_update() {
    within(Duration::from_secs(120), "one connection", || {
        let (server, client) = connected();
        client.write("/counter", "0").unwrap();
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                let writer = client.clone();
                scope.spawn(move || (0..INCREMENTS).for_each(|_| increment(&writer)));
            }
        });
        let expected = (WRITERS * INCREMENTS).to_string();
        assert_eq!(client.read_string("/counter").unwrap(), expected);
        assert!(server.conflicts() > 0, "the test did not test anything");
    });
}

#[test]
fn requests_of_a_transaction_carry_its_id_and_others_do_not() {
    let (client, mut peer) = client_and_peer();
    let asking = thread::spawn(move || {
        let tx = client.begin().unwrap();
        tx.write("/a", "1").unwrap();
        client.write("/b", "2").unwrap();
        tx.commit().unwrap();
    });
    let start = peer.expect(MessageType::TRANSACTION_START);
    assert_eq!((start.transaction_id, &start.payload[..]), (0, &b"\0"[..]));
    peer.reply(&start, b"4711\0");
    let inside = peer.expect(MessageType::WRITE);
    assert_eq!(inside.transaction_id, 4711);
    peer.ok(&inside);
    let outside = peer.expect(MessageType::WRITE);
    assert_eq!(outside.transaction_id, 0);
    peer.ok(&outside);
    let end = peer.expect(MessageType::TRANSACTION_END);
    assert_eq!((end.transaction_id, &end.payload[..]), (4711, &b"T\0"[..]));
    peer.ok(&end);
    asking.join().unwrap();
}

#[test]
fn a_server_lost_in_the_middle_is_no_conflict() {
    let (client, mut peer) = client_and_peer();
    let asking = thread::spawn(move || client.transaction(|tx| tx.write("/a", "1")));
    let start = peer.expect(MessageType::TRANSACTION_START);
    peer.reply(&start, b"1\0");
    peer.expect(MessageType::WRITE);
    let begun = Instant::now();
    drop(peer);
    let error = asking.join().unwrap().unwrap_err();
    assert!(error.is_fatal(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "not retried");
}
