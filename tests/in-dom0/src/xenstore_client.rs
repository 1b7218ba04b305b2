//! The XenStore client's own promises against the real server and the real kernel: limits,
//! transactions, watches, domains, a server that stands still, and nothing left behind.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xenstore::{Client, Error as StoreError};

use crate::Outcome;
use crate::xenstore_tools::{Place, check, equal};

/// Name and body of each test.
pub(crate) const TESTS: &[crate::Test] = &[
    (
        "xenstore: the largest value passes, one byte more is refused before it is sent",
        the_largest_value_passes,
    ),
    (
        "xenstore: requests of several threads on one connection are not mixed up",
        requests_of_several_threads_are_not_mixed_up,
    ),
    (
        "xenstore: transactions of several threads lose no update",
        transactions_of_several_threads_lose_no_update,
    ),
    (
        "xenstore: a conflict, an abort and a dropped transaction change nothing",
        unsuccessful_transactions_change_nothing,
    ),
    (
        "xenstore: a read after each of many events never hangs",
        a_read_after_each_event_never_hangs,
    ),
    (
        "xenstore: a watch stops at its depth, offered by the server or not",
        a_watch_stops_at_its_depth,
    ),
    (
        "xenstore: domains are known by number, and unknown ones are errors with a name",
        domains_are_known_by_number,
    ),
    (
        "xenstore: special watches work, and kernel drivers keep theirs",
        special_watches_work,
    ),
    (
        "xenstore: a server that stands still costs a timeout, not a thread",
        a_server_that_stands_still_costs_a_timeout,
    ),
    (
        "xenstore: a process that was stopped keeps its connection and its watches",
        a_process_that_was_stopped_keeps_its_connection,
    ),
    (
        "xenstore: closed connections leave no thread and no descriptor",
        closed_connections_leave_nothing,
    ),
    (
        "xenstore: the tokio client does the same on device and socket",
        the_tokio_client_does_the_same,
    ),
];

fn the_largest_value_passes() -> Outcome {
    for place in Place::each("limits")? {
        let Place { client, way, .. } = &place;
        let path = place.path("large");
        let limit = if *way == xenstore::DEVICE { 4080 } else { 4096 };
        let largest = vec![b'x'; limit - path.len() - 1];
        client.write(&path, &largest)?;
        equal(way, client.read(&path)?, largest.clone())?;
        let error = client.write(&path, [&largest[..], b"x"].concat());
        check(
            matches!(error, Err(StoreError::TooLong { limit: told, .. }) if told == limit),
            || format!("{way}: {error:?}"),
        )?;
        equal(way, client.read(&path)?.len(), largest.len())?;
        // As long as a path may be; the server agrees.
        let mut path = place.path("p");
        path.push_str(&"/long-name".repeat((3072 - path.len()) / 10));
        client.write(&path, "x")?;
        equal(way, client.read_string(&path)?.as_str(), "x")?;
    }
    Ok(())
}

/// The kernel's device keeps a request's payload in one buffer per open file.
fn requests_of_several_threads_are_not_mixed_up() -> Outcome {
    for place in Place::each("threads")? {
        let place = &place;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|thread| {
                    scope.spawn(move || {
                        write_and_read(place, thread).map_err(|error| error.to_string())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(join)
        })?;
    }
    Ok(())
}

fn write_and_read(place: &Place, thread: usize) -> Outcome {
    for i in 0..12 {
        let path = place.path(&format!("{thread}/{i}"));
        place.client.write(&path, &path)?;
        equal(place.way, &place.client.read_string(&path)?, &path)?;
    }
    Ok(())
}

fn join(thread: thread::ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), String> {
    thread
        .join()
        .unwrap_or_else(|_| Err("a thread panicked".to_owned()))
}

fn count_up(client: &Client, path: &str) -> Outcome {
    for _ in 0..5 {
        client.transaction(|tx| {
            let count: u32 = tx.read_string(path)?.parse().unwrap_or(u32::MAX / 2);
            tx.write(path, (count + 1).to_string())
        })?;
    }
    Ok(())
}

fn transactions_of_several_threads_lose_no_update() -> Outcome {
    for place in Place::each("counter")? {
        let Place { client, way, .. } = &place;
        let path = &place.path("count");
        client.write(path, "0")?;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|i| {
                    scope.spawn(move || {
                        // Half of them share a connection, half have one each.
                        let client = match i % 2 {
                            0 => client.clone(),
                            _ => Client::connect_path(Path::new(way)).map_err(|e| e.to_string())?,
                        };
                        count_up(&client, path).map_err(|e| e.to_string())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(join)
        })?;
        equal(way, client.read_string(path)?.as_str(), "30")?;
    }
    Ok(())
}

fn unsuccessful_transactions_change_nothing() -> Outcome {
    for place in Place::each("undone")? {
        let Place { client, way, .. } = &place;
        let path = place.path("node");
        client.write(&path, "before")?;

        let tx = client.begin()?;
        equal(way, tx.read_string(&path)?.as_str(), "before")?;
        client.write(&path, "meanwhile")?;
        tx.write(&path, "too late")?;
        let end = tx.commit();
        check(end.as_ref().is_err_and(StoreError::is_conflict), || {
            format!("{way}: {end:?}")
        })?;

        let tx = client.begin()?;
        tx.write(&path, "aborted")?;
        tx.abort()?;
        let tx = client.begin()?;
        tx.rm(&path)?;
        drop(tx);
        equal(way, client.read_string(&path)?.as_str(), "meanwhile")?;

        let tx = client.begin()?;
        tx.mkdir(&place.path("new"))?;
        equal("seen inside", tx.exists(&place.path("new"))?, true)?;
        equal("not outside", client.exists(&place.path("new"))?, false)?;
        tx.commit()?;
        equal("seen after", client.exists(&place.path("new"))?, true)?;
    }
    Ok(())
}

fn a_read_after_each_event_never_hangs() -> Outcome {
    const EVENTS: usize = 150;
    for place in Place::each("storm")? {
        let Place { client, root, way } = &place;
        let watch = client.watch(root)?;
        watch.recv()?;
        let last = place.path("last");
        let storm = {
            let (root, last) = (root.clone(), last.clone());
            thread::spawn(move || -> xenstore::Result<()> {
                let writer = Client::connect_path(Path::new(xenstore::SOCKET))?;
                for i in 0..EVENTS {
                    writer.write(&format!("{root}/{}", i % 50), "x")?;
                }
                writer.write(&last, "x")
            })
        };
        let mut seen = 0;
        loop {
            let event = watch.recv_timeout(Duration::from_secs(60))?;
            let event = event.ok_or_else(|| format!("{way}: silent after {seen} events"))?;
            seen += 1;
            client.read_opt(&event.path)?;
            if event.path == last {
                break;
            }
        }
        storm.join().map_err(|_| "the writer panicked")??;
        check((50..=EVENTS + 1).contains(&seen), || {
            format!("{way}: {seen} events")
        })?;
    }
    Ok(())
}

fn a_watch_stops_at_its_depth() -> Outcome {
    for place in Place::each("depth")? {
        let Place { client, root, way } = &place;
        let watch = client.watch_depth(root, 1)?;
        equal(way, watch.recv()?.path.as_str(), root)?;
        client.write(&place.path("child"), "")?;
        equal(way, watch.recv()?.path, place.path("child"))?;
        client.write(&place.path("child/deep"), "")?;
        client.write(root, "")?;
        equal(way, watch.recv()?.path.as_str(), root)?;
        let offered = client.features()?.watch_depth();
        let special = client.watch_depth("@releaseDomain", 1);
        let expected = offered && *way == xenstore::SOCKET;
        equal("a special watch with depth", special.is_ok(), expected)?;
    }
    Ok(())
}

/// A domain no test creates.
const ABSENT: u16 = 32_000;

fn domains_are_known_by_number() -> Outcome {
    for place in Place::each("domains")? {
        let Place { client, way, .. } = &place;
        equal(way, client.domain_path(0)?.as_str(), "/local/domain/0")?;
        equal(way, client.domain_path(17)?.as_str(), "/local/domain/17")?;
        equal("dom0", client.is_introduced(0)?, true)?;
        equal("nobody", client.is_introduced(ABSENT)?, false)?;
        for (verb, result) in [
            ("introduce", client.introduce(ABSENT, 0x39001, 1)),
            ("introduce, port 0", client.introduce(ABSENT, 0x39001, 0)),
            ("release", client.release(ABSENT)),
            ("resume", client.resume(ABSENT)),
            ("set target", client.set_target(ABSENT, ABSENT + 1)),
        ] {
            let named = result
                .as_ref()
                .is_err_and(|error| error.errno_name().is_some());
            check(named, || format!("{way}: {verb} gave {result:?}"))?;
        }
        let nested = client.begin()?;
        let reset = client.reset_watches();
        if *way == xenstore::DEVICE {
            let refused = matches!(reset, Err(StoreError::Unsupported { .. }));
            check(refused, || format!("{reset:?}"))?;
            nested.abort()?;
        } else {
            reset?;
            let ended = nested.commit();
            check(ended.as_ref().is_err_and(StoreError::is_not_found), || {
                format!("a transaction outlived the reset: {ended:?}")
            })?;
        }
        check(!client.is_broken(), || format!("{way} broke"))?;
    }
    Ok(())
}

fn special_watches_work() -> Outcome {
    for place in Place::each("special")? {
        let Place { client, way, .. } = &place;
        let watches = [
            client.watch("@introduceDomain")?,
            client.watch("@releaseDomain")?,
        ];
        for watch in &watches {
            equal(way, watch.recv()?.path.as_str(), watch.path())?;
        }
        let twice = client.watch("@releaseDomain")?;
        equal(way, twice.recv()?.path.as_str(), "@releaseDomain")?;
        drop(watches);
        // The connection's stream is still in step after watches were ended without waiting.
        equal(way, client.domain_path(0)?.as_str(), "/local/domain/0")?;
    }
    Ok(())
}

/// Stops the server's process, and lets it go on whatever happens.
struct StoppedServer(String);

impl StoppedServer {
    fn new() -> Result<Self, Box<dyn Error>> {
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if matches!(name.trim_end(), "xenstored" | "oxenstored") {
                let pid = path
                    .file_name()
                    .ok_or("no pid")?
                    .to_string_lossy()
                    .into_owned();
                Command::new("kill").args(["-STOP", &pid]).status()?;
                return Ok(Self(pid));
            }
        }
        Err("no xenstored runs here".into())
    }
}

impl Drop for StoppedServer {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0]).status();
    }
}

fn a_server_that_stands_still_costs_a_timeout() -> Outcome {
    // The kernel holds the writer of a WATCH until the server answers: the client must not be.
    let ask_read = |client: &Client| client.read("/tool").map(drop);
    let ask_watch = |client: &Client| client.watch("/tool").map(drop);
    let asks: [fn(&Client) -> xenstore::Result<()>; 2] = [ask_read, ask_watch];
    for way in [xenstore::DEVICE, xenstore::SOCKET] {
        for ask in asks {
            let client = Client::connect_path(Path::new(way))?;
            let client = client.with_timeout(Duration::from_millis(700));
            client.exists("/tool")?;
            let stopped = StoppedServer::new()?;
            let start = Instant::now();
            let result = ask(&client);
            let took = start.elapsed();
            drop(stopped);
            check(matches!(result, Err(StoreError::Timeout { .. })), || {
                format!("{way}: {result:?}")
            })?;
            check(took < Duration::from_secs(20), || {
                format!("{way}: after {took:?}")
            })?;
            let later = ask_read(&client);
            check(later.is_err_and(|error| error.is_fatal()), || {
                format!("{way}: the connection was used again")
            })?;
        }
        Client::connect_path(Path::new(way))?.exists("/tool")?;
    }
    Ok(())
}

/// How long an answer may take in the test below; the process is stopped for three times as long.
const STOP_LIMIT: Duration = Duration::from_secs(2);

fn a_process_that_was_stopped_keeps_its_connection() -> Outcome {
    for place in Place::each("stopped")? {
        let way = place.way;
        let client = place.client.clone().with_timeout(STOP_LIMIT);
        let (large, meanwhile) = (place.path("large"), place.path("meanwhile"));
        client.write(&large, vec![b'x'; 2000])?;
        let watch = client.watch(&meanwhile)?;
        watch.recv()?;
        // Stops this process, and lets it go on.
        let pid = std::process::id();
        let seconds = 3 * STOP_LIMIT.as_secs();
        let script = format!(
            "sleep 1; kill -STOP {pid} && xenstore-write {meanwhile} 1; sleep {seconds}; kill -CONT {pid}"
        );
        let mut shell = Command::new("sh").args(["-c", &script]).spawn()?;
        let done = Arc::new(AtomicBool::new(false));
        // Some have a request under way when it stops.
        let readers: Vec<_> = (0..6)
            .map(|_| {
                let (client, large, done) = (client.clone(), large.clone(), Arc::clone(&done));
                thread::spawn(move || -> xenstore::Result<Duration> {
                    let mut longest = Duration::ZERO;
                    while !done.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        client.read(&large)?;
                        longest = longest.max(start.elapsed());
                    }
                    Ok(longest)
                })
            })
            .collect();
        let status = shell.wait()?;
        done.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for reader in readers {
            let took = reader.join().map_err(|_| "a reader panicked")?;
            longest = longest.max(took.map_err(|error| format!("{way}: {error}"))?);
        }
        check(status.success(), || format!("{way}: the shell: {status}"))?;
        check(longest > 2 * STOP_LIMIT, || {
            format!("{way}: no request was under way: {longest:?} is the longest")
        })?;
        let event = watch.recv_timeout(Duration::from_secs(20))?;
        equal(way, event.map(|event| event.path), Some(meanwhile.clone()))?;
        client.write(&meanwhile, "2")?;
        let event = watch.recv_timeout(Duration::from_secs(20))?;
        equal(way, event.map(|event| event.path), Some(meanwhile))?;
    }
    Ok(())
}

fn closed_connections_leave_nothing() -> Outcome {
    let count = |folder: &str| Ok::<_, Box<dyn Error>>(fs::read_dir(folder)?.count());
    let threads = || count("/proc/self/task");
    let descriptors = || count("/proc/self/fd");
    let before = (threads()?, descriptors()?);
    for round in 0..12 {
        let way = if round % 2 == 0 {
            xenstore::DEVICE
        } else {
            xenstore::SOCKET
        };
        let client = Client::connect_path(Path::new(way))?;
        let watch = client.watch("/tool")?;
        let tx = client.begin()?;
        watch.recv()?;
        tx.exists("/tool")?;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = (threads()?, descriptors()?);
        if now <= before {
            return Ok(());
        }
        check(Instant::now() < deadline, || {
            format!("threads and descriptors: {before:?} before, {now:?} after")
        })?;
        thread::sleep(Duration::from_millis(50));
    }
}

fn the_tokio_client_does_the_same() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for place in Place::each("tokio")? {
        let Place { root, way, .. } = &place;
        runtime.block_on(async {
            let client = xenstore::tokio::Client::connect_path(Path::new(way)).await?;
            let watch = client.watch(root).await?;
            equal(way, watch.recv().await?.path.as_str(), root)?;
            for i in 0..15 {
                let path = place.path(&format!("node-{i}"));
                client
                    .transaction(async |tx| tx.write(&path, "x").await)
                    .await?;
                equal(way, watch.recv().await?.path.as_str(), &path)?;
                equal(way, client.read_string(&path).await?.as_str(), "x")?;
            }
            equal(way, client.directory(root).await?.len(), 15)?;
            drop(watch);
            let error = client.read(&place.path("none")).await;
            check(error.as_ref().is_err_and(StoreError::is_not_found), || {
                format!("{way}: {error:?}")
            })
        })?;
    }
    Ok(())
}
