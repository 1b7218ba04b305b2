//! The tokio client: the same promises as the blocking one, and those about dropped futures.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::peer::{oversized_header, reply_bytes, socket_and_peer};
use crate::common::store::Server;
use crate::common::{eventually, within};
use xenstore::tokio::{Client, Watch};
use xenstore::wire::MessageType;
use xenstore::{Error, PENDING_MAX, Permission, RetryPolicy};

const STORM: usize = 100_000;

/// Runs on a runtime of `threads` workers (0: everything on this thread), with a time limit.
fn run<F: Future<Output = ()> + Send + 'static>(
    threads: usize,
    limit_seconds: u64,
    body: impl FnOnce() -> F + Send + 'static,
) {
    within(
        Duration::from_secs(limit_seconds),
        "the runtime",
        move || {
            let mut builder = match threads {
                0 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            if threads > 0 {
                builder.worker_threads(threads);
            }
            builder.enable_all().build().unwrap().block_on(body());
        },
    );
}

async fn connected() -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect_path(&server.socket()).await.unwrap();
    (server, client)
}

async fn next(watch: &Watch) -> String {
    let event = watch.recv_timeout(Duration::from_secs(10)).await.unwrap();
    event.expect("an event").path
}

#[test]
fn verbs_do_what_the_blocking_ones_do() {
    run(0, 30, || async {
        let (_server, client) = connected().await;
        client.write("/a/b", "value").await.unwrap();
        assert_eq!(client.read("/a/b").await.unwrap(), b"value");
        assert_eq!(client.read_string("/a/b").await.unwrap(), "value");
        assert_eq!(client.read_opt("/none").await.unwrap(), None);
        assert_eq!(client.read_string_opt("/none").await.unwrap(), None);
        assert!(client.read("/none").await.unwrap_err().is_not_found());
        client.mkdir("/a/c").await.unwrap();
        assert_eq!(client.directory("/a").await.unwrap(), ["b", "c"]);
        client.rm("/a/c").await.unwrap();
        assert!(!client.exists("/a/c").await.unwrap());
        let permissions: Vec<Permission> = vec!["n0".parse().unwrap(), "b5".parse().unwrap()];
        client.set_permissions("/a", &permissions).await.unwrap();
        assert_eq!(client.permissions("/a").await.unwrap(), permissions);
        assert_eq!(client.domain_path(3).await.unwrap(), "/local/domain/3");
        assert!(client.is_introduced(0).await.unwrap());
        assert!(client.control(&["help"]).await.unwrap().contains("check"));
        assert_eq!(client.features().await.unwrap().bits(), 0);
        client.introduce(7, 1, 1).await.unwrap();
        assert!(client.release(7).await.unwrap_err().is_not_found());
        assert!(client.resume(7).await.unwrap_err().is_not_found());
        client.set_target(7, 8).await.unwrap();
        client.reset_watches().await.unwrap();
        let error = client.write("/quota", "x").await.unwrap_err();
        assert_eq!(error.errno_name(), Some("ENOSPC"));
        let error = client.write("/a", vec![0; 5000]).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { .. }));
    });
}

#[test]
fn directories_larger_than_a_message_are_complete() {
    run(0, 60, || async {
        let (server, client) = connected().await;
        server.faults().split.store(true, Ordering::Relaxed);
        let expected: BTreeSet<String> = (0..700).map(|i| format!("child-number-{i}")).collect();
        for name in &expected {
            client.write(&format!("/large/{name}"), "").await.unwrap();
        }
        server.faults().disturb_parts.store(3, Ordering::SeqCst);
        let names = client.directory("/large").await.unwrap();
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
    });
}

#[test]
fn requests_of_many_tasks_are_under_way_together() {
    run(2, 60, || async {
        let (socket, mut peer) = socket_and_peer();
        let client = Client::from_socket(socket).unwrap();
        let answering = std::thread::spawn(move || {
            // No answer before all have asked: one after the other would wait for ever.
            let requests: Vec<_> = (0..1000).map(|_| peer.request()).collect();
            for request in requests.iter().rev() {
                let path = request.payload.strip_suffix(b"\0").unwrap();
                peer.send(&reply_bytes(request, path));
            }
            peer
        });
        let tasks: Vec<_> = (0..1000)
            .map(|i| {
                let client = client.clone();
                tokio::spawn(async move {
                    let path = format!("/{i}");
                    assert_eq!(client.read_string(&path).await.unwrap(), path);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        answering.join().unwrap();
    });
}

fn event_and_read(threads: usize) {
    run(threads, 120, || async {
        let (server, client) = connected().await;
        client.write("/w", "value").await.unwrap();
        let watch = client.watch("/w").await.unwrap();
        next(&watch).await;
        let bursts = [1, 12, 100, PENDING_MAX];
        let mut seen = 0;
        for burst in bursts.iter().cycle() {
            if seen == STORM {
                break;
            }
            let burst = (*burst).min(STORM - seen);
            server.fire((seen..seen + burst).map(|i| format!("/w/{i}")));
            for i in seen..seen + burst {
                assert_eq!(next(&watch).await, format!("/w/{i}"));
                assert_eq!(client.read("/w").await.unwrap(), b"value");
            }
            seen += burst;
        }
        assert_eq!(client.statistics().collapsed, 0);
    });
}

#[test]
fn a_read_after_each_event_never_hangs_on_one_thread() {
    event_and_read(0);
}

#[test]
fn a_read_after_each_event_never_hangs_on_several_threads() {
    event_and_read(2);
}

#[test]
fn a_flood_without_pause_is_bounded_and_ends_with_the_truth() {
    run(0, 120, || async {
        let (server, client) = connected().await;
        client.write("/w/counter", "0").await.unwrap();
        let watch = client.watch("/w").await.unwrap();
        next(&watch).await;
        let flood = std::thread::spawn(move || {
            for chunk in 0..STORM / 1000 {
                server.fire((0..1000).map(|i| format!("/w/{}", chunk * 1000 + i)));
            }
            let writer = xenstore::Client::connect_path(&server.socket()).unwrap();
            writer.write("/w/counter", "last").unwrap();
            server
        });
        loop {
            next(&watch).await;
            if client.read("/w/counter").await.unwrap() == b"last" {
                break;
            }
        }
        let _server = flood.join().unwrap();
        let mut left = 0;
        while watch.try_recv().unwrap().is_some() {
            left += 1;
        }
        assert!(left <= PENDING_MAX, "{left} events were waiting");
    });
}

#[test]
fn a_dropped_read_does_not_disturb_the_next_one() {
    run(0, 30, || async {
        let (socket, mut peer) = socket_and_peer();
        let client = Client::from_socket(socket).unwrap();
        let slow = tokio::time::timeout(Duration::from_millis(50), client.read("/slow")).await;
        assert!(slow.is_err());
        let first = peer.expect(MessageType::READ);
        let answering = std::thread::spawn(move || {
            let second = peer.expect(MessageType::READ);
            peer.reply(&first, b"of the first");
            peer.reply(&second, b"of the second");
            peer
        });
        assert_eq!(client.read("/b").await.unwrap(), b"of the second");
        assert_eq!(client.statistics().strays, 0, "it was known, and given up");
        answering.join().unwrap();
    });
}

#[test]
fn a_transaction_whose_start_was_dropped_is_ended() {
    run(0, 30, || async {
        let (socket, mut peer) = socket_and_peer();
        let client = Client::from_socket(socket).unwrap();
        let begun = tokio::time::timeout(Duration::from_millis(50), client.begin()).await;
        assert!(begun.is_err());
        let start = peer.expect(MessageType::TRANSACTION_START);
        peer.reply(&start, b"77\0");
        let end = tokio::task::spawn_blocking(move || peer.expect(MessageType::TRANSACTION_END));
        let end = end.await.unwrap();
        assert_eq!((end.transaction_id, &end.payload[..]), (77, &b"F\0"[..]));
    });
}

#[test]
fn a_watch_whose_start_was_dropped_is_ended() {
    run(0, 30, || async {
        let (server, client) = connected().await;
        server
            .faults()
            .delay_micros
            .store(200_000, Ordering::Relaxed);
        let watch = tokio::time::timeout(Duration::from_millis(50), client.watch("/w")).await;
        assert!(watch.is_err());
        tokio::task::spawn_blocking(move || {
            eventually("the watch was there", || server.watches() == 1);
            eventually("the watch is gone", || server.watches() == 0);
        })
        .await
        .unwrap();
        assert!(client.exists("/").await.unwrap());
    });
}

#[test]
fn a_dropped_recv_loses_no_event() {
    run(0, 30, || async {
        let (server, client) = connected().await;
        let watch = client.watch("/w").await.unwrap();
        next(&watch).await;
        for i in 0..200 {
            let nothing = watch
                .recv_timeout(Duration::from_micros(100))
                .await
                .unwrap();
            assert_eq!(nothing, None);
            server.fire([format!("/w/{i}")]);
            assert_eq!(next(&watch).await, format!("/w/{i}"));
        }
    });
}

/// Wakes nobody; it is counted how often it is held.
struct Counted;

impl std::task::Wake for Counted {
    fn wake(self: std::sync::Arc<Self>) {}
}

#[test]
fn a_dropped_recv_leaves_no_waker_behind() {
    run(0, 30, || async {
        let (_server, client) = connected().await;
        let watch = client.watch("/w").await.unwrap();
        next(&watch).await;
        let counted = std::sync::Arc::new(Counted);
        for _ in 0..100 {
            let waker = std::task::Waker::from(std::sync::Arc::clone(&counted));
            let mut recv = std::pin::pin!(watch.recv());
            let polled = recv
                .as_mut()
                .poll(&mut std::task::Context::from_waker(&waker));
            assert!(polled.is_pending());
            assert!(std::sync::Arc::strong_count(&counted) > 2, "it waits");
        }
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    });
}

#[test]
fn sixty_four_writers_lose_no_update() {
    run(2, 120, || async {
        let (server, client) = connected().await;
        client.write("/counter", "0").await.unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    for _ in 0..25 {
                        client
                            .transaction(async |tx| {
                                let count: u32 = tx.read_string("/counter").await?.parse().unwrap();
                                tx.write("/counter", (count + 1).to_string()).await
                            })
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(client.read("/counter").await.unwrap(), b"1600");
        assert!(server.conflicts() > 0, "the test did not test anything");
        assert_eq!(server.open_transactions(), 0);
    });
}

#[test]
fn a_dropped_transaction_is_discarded_and_an_endless_conflict_ends() {
    run(0, 30, || async {
        let (server, client) = connected().await;
        let tx = client.begin().await.unwrap();
        tx.write("/a", "1").await.unwrap();
        drop(tx);
        assert!(!client.exists("/a").await.unwrap());
        assert_eq!(server.open_transactions(), 0);

        server
            .faults()
            .refuse_commits
            .store(u32::MAX, Ordering::SeqCst);
        let policy = RetryPolicy {
            attempts: 4,
            ..RetryPolicy::default()
        };
        let result = client
            .transaction_with(policy, async |tx| tx.write("/a", "1").await)
            .await;
        assert!(matches!(result, Err(Error::Conflict { attempts: 4, .. })));
    });
}

#[test]
fn a_dead_server_costs_one_timeout_and_everybody_is_told() {
    run(0, 30, || async {
        let (socket, peer) = socket_and_peer();
        let client = Client::from_socket(socket).unwrap();
        let patient = client.clone();
        let patient = tokio::spawn(async move { patient.read("/x").await.unwrap_err() });
        tokio::task::yield_now().await;
        let start = Instant::now();
        let client = client.with_timeout(Duration::from_millis(200));
        let error = client.read("/a").await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
        let error = patient.await.unwrap();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        assert!(client.is_broken());
        drop(peer);
    });
}

#[test]
fn nonsense_and_death_of_the_server_reach_every_waiter() {
    run(0, 30, || async {
        for nonsense in [true, false] {
            let (socket, mut peer) = socket_and_peer();
            let client = Client::from_socket(socket).unwrap();
            let waiting: Vec<_> = (0..4)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { client.read("/a").await.unwrap_err() })
                })
                .collect();
            tokio::task::spawn_blocking(move || {
                let requests: Vec<_> = (0..4).map(|_| peer.request()).collect();
                if nonsense {
                    peer.send(&oversized_header(&requests[0]));
                } else {
                    peer.send(&reply_bytes(&requests[0], b"half")[..17]);
                }
            })
            .await
            .unwrap();
            for task in waiting {
                let error = task.await.unwrap();
                assert!(error.is_fatal(), "{error}");
                assert_eq!(matches!(error, Error::Protocol { .. }), nonsense, "{error}");
            }
        }
    });
}

#[test]
fn a_server_that_does_not_read_is_waited_for_without_blocking_the_runtime() {
    run(0, 60, || async {
        let (socket, mut peer) = socket_and_peer();
        let client = Client::from_socket(socket).unwrap();
        let writing: Vec<_> = (0..300)
            .map(|i| {
                let client = client.clone();
                tokio::spawn(async move { client.write(&format!("/{i}"), vec![1; 4000]).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(client.statistics().requests, 300);
        let serving = std::thread::spawn(move || {
            for _ in 0..300 {
                let request = peer.expect(MessageType::WRITE);
                peer.ok(&request);
            }
            peer
        });
        for task in writing {
            task.await.unwrap().unwrap();
        }
        serving.join().unwrap();
    });
}

#[test]
fn outside_of_a_runtime_it_says_what_is_missing() {
    let (socket, _peer) = socket_and_peer();
    let error = Client::from_socket(socket).unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[test]
fn the_end_of_its_runtime_breaks_the_connection_instead_of_hanging_its_users() {
    let (socket, peer) = socket_and_peer();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(async { Client::from_socket(socket).unwrap() });
    drop(runtime);
    assert!(client.is_broken());
    drop(peer);
}
