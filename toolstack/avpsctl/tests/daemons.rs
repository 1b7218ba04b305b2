//! What avpsctl makes of the answers of daemons: hostile text in them, and no answer in time. The daemons are played here.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::Duration;

use common::{code, command, err, json, out};
use serde_json::{Value, json};

/// What a guest or a worker would write to command a terminal and to forge lines: CSI in both forms, a direction override,
/// a line of its own.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\u{202e}y\nforged: line";

/// Listens at a socket, and does this with the first client.
fn daemon(
    folder: &Path,
    serve: impl FnOnce(std::os::unix::net::UnixStream) + Send + 'static,
) -> PathBuf {
    let path = folder.join("daemon.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    thread::spawn(move || serve(listener.accept().expect("a client").0));
    path
}

fn ask(report: &Value, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = report.to_string();
    let socket = daemon(folder.path(), move |mut client| {
        // The client may have gone, which its own output tells.
        let _ = client.write_all(text.as_bytes());
    });
    let socket = socket.to_str().expect("UTF-8").to_owned();
    let args: Vec<&str> = args.iter().copied().chain(["--socket", &socket]).collect();
    command(&args).output().expect("runs")
}

fn backend() -> Value {
    let mut counters = serde_json::Map::new();
    counters.insert(HOSTILE.into(), json!(7));
    json!({
        "schema": "avps-backend-stats/1", "version": HOSTILE, "pid": 41,
        "guests": [{
            "domid": 3, "name": HOSTILE, "worker_pid": 42, "sandbox_lacks": [HOSTILE], "restarts": 0, "stale": false,
            "counters": counters,
            "devices": [{"path": HOSTILE, "state": HOSTILE, "memory": HOSTILE, "counters": counters}],
        }],
    })
}

fn mediator() -> Value {
    let mut counters = serde_json::Map::new();
    counters.insert(HOSTILE.into(), json!(7));
    json!({
        "schema": "avps-tee/1", "version": HOSTILE, "pid": 41, "turns": 2,
        "guests": [{
            "domid": 3, "name": HOSTILE,
            "rights": {
                "applications": [HOSTILE], "stand_ins": {"a": HOSTILE}, "sessions": 1, "shared_memory_bytes": 4096,
                "rate": null, "concurrency": 1, "timeout_ms": null, "weight": 1,
            },
            "sessions": [{"id": 1, "application": HOSTILE, "given_up": false}],
            "calls": 0, "regions": 0, "shared_bytes": 0, "counters": counters,
        }],
        "audit": [{"number": 0, "at": 1.0, "domid": 3, "guest": HOSTILE, "event": HOSTILE, "text": HOSTILE}],
    })
}

/// Whether a terminal would do anything but show this.
fn harmless(text: &str) -> bool {
    let forbidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    !text.contains(forbidden) && !text.lines().any(|line| line.starts_with("forged"))
}

#[test]
fn nothing_a_daemon_reports_commands_the_terminal_or_forges_a_line() {
    for (report, args) in [
        (backend(), &["backend", "stats"][..]),
        (backend(), &["backend", "stats", "--openmetrics"]),
        (mediator(), &["tee", "status"]),
        (mediator(), &["tee", "status", "--openmetrics"]),
        (mediator(), &["tee", "sessions"]),
        (mediator(), &["tee", "audit"]),
        (mediator(), &["tee", "policy"]),
    ] {
        let output = ask(&report, args);
        assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
        let text = out(&output);
        assert!(text.contains("31m"), "{args:?} shows nothing of it: {text}");
        assert!(harmless(&text), "{args:?}: {text:?}");
    }
}

#[test]
fn programs_get_the_exact_text_without_a_control_character_in_the_json() {
    for (report, args) in [
        (backend(), ["--json", "backend", "stats"]),
        (mediator(), ["--json", "tee", "status"]),
    ] {
        let output = ask(&report, &args);
        assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
        assert!(harmless(&out(&output)), "{args:?}: {:?}", out(&output));
        assert_eq!(json(&output)["guests"][0]["name"], HOSTILE);
    }
}

#[test]
fn a_daemon_that_closes_without_an_answer_was_too_slow() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let socket = daemon(folder.path(), drop);
    let socket = socket.to_str().expect("UTF-8");
    let output = command(&["backend", "stats", "--socket", socket])
        .output()
        .expect("runs");
    assert_eq!(code(&output), 3, "{}", err(&output));
    let text = err(&output);
    assert!(
        text.contains("avps-backend did not answer in time"),
        "{text}"
    );
    assert!(!text.contains("another release"), "{text}");
    assert!(text.contains("help:"), "{text}");
}

#[test]
fn a_daemon_that_stalls_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let socket = daemon(folder.path(), |mut client| {
        let _ = client.write_all(b"{\"schema\": ");
        // Until the client gives up.
        let _ = client.read(&mut [0; 1]);
        thread::sleep(Duration::from_millis(1));
    });
    let socket = socket.to_str().expect("UTF-8");
    let output = command(&["tee", "status", "--socket", socket])
        .output()
        .expect("runs");
    assert_eq!(code(&output), 3, "{}", err(&output));
    let text = err(&output);
    assert!(text.contains("avps-tee did not answer in time"), "{text}");
}

#[test]
fn an_answer_of_another_release_is_named_as_such() {
    let output = ask(
        &json!({"schema": "avps-backend-stats/9"}),
        &["backend", "stats"],
    );
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert!(err(&output).contains("another release"), "{}", err(&output));
}
