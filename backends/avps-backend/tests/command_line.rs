//! What a person or a script sees of the program where there is no Xen: messages and exit codes; and that a
//! worker never outlives its holder.

use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

fn backend() -> Command {
    Command::new(env!("CARGO_BIN_EXE_avps-backend"))
}

fn run(arguments: &[&str]) -> Output {
    backend()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn socket_pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

/// Whether a worker's holder stays when it has said what it has to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// It stays until the worker has ended.
    Stays,
    Goes,
}

/// Starts a worker on a socket, does `talk` on the other end, and gives the worker's end.
fn worker(holder: Holder, talk: impl FnOnce(&OwnedFd)) -> (ExitStatus, Duration) {
    let (ours, theirs) = socket_pair();
    let mut child = backend()
        .args(["worker", "--guest", "3"])
        .stdin(Stdio::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    talk(&ours);
    let kept = (holder == Holder::Stays).then_some(ours);
    let said = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            drop(kept);
            return (status, said.elapsed());
        }
        if said.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the worker has not ended");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn packet(text: &str) -> Vec<u8> {
    let mut packet = vec![1, 0, 0, 0];
    packet.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    packet.extend_from_slice(text.as_bytes());
    packet
}

#[test]
fn init_touches_nothing_outside_a_driver_domain() {
    let output = run(&["init"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("first process"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn outside_of_xen_serve_says_so_and_exits_with_3() {
    if std::path::Path::new("/dev/xen/xenbus").exists() {
        // On a Xen domain there is something to serve: the tests in the bed cover it.
        return;
    }
    let output = run(&["serve"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(
        text.contains("XenStore") && text.contains("Xen domain"),
        "{text}"
    );
}

#[test]
fn stats_without_a_daemon_says_so_and_exits_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none");
    let output = run(&["stats", "--json", "--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("not running"));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for arguments in [
        &["serve", "--adopt", "guest"][..],
        &["serve", "--log-level", "loud"],
        &["vhost-user", "--socket", "s"],
        &[
            "vhost-user",
            "--socket",
            "s",
            "--image",
            "i",
            "--queues",
            "17",
        ],
        &[
            "vhost-user",
            "--socket",
            "s",
            "--image",
            "i",
            "--cache",
            "none",
        ],
        &["dance"],
        &[],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_is_on_standard_output_and_teaches() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--adopt 'guest/0=/srv/guest.img'"), "{text}");
    assert!(!text.contains("worker"), "{text}");
}

#[test]
fn a_worker_without_a_holder_ends_with_an_explanation() {
    let output = run(&["worker", "--guest", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("started by `avps-backend serve`"));
}

#[test]
fn a_worker_ends_when_its_holder_does() {
    let (status, after) = worker(Holder::Goes, |_| {});
    assert_eq!(status.code(), Some(1));
    assert!(after < Duration::from_secs(5));
}

#[test]
fn a_worker_does_not_take_nonsense_for_orders() {
    for bytes in [
        b"nonsense".to_vec(),
        packet("{}"),
        packet("\"stop\""),
        packet("{\"start\":{}}"),
        packet(
            "{\"start\":{\"guest\":{\"domid\":3,\"ioserv\":0,\"ports\":[],\"memory_kib\":0},\"slots\":[],\"tuning\":{\"polling\":true,\"copy_limit\":null}}}",
        ),
    ] {
        // Its holder stays: it is for the nonsense that it ends.
        let (status, _) = worker(Holder::Stays, |socket| {
            rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL).unwrap();
        });
        assert_eq!(status.code(), Some(1), "{}", bytes.escape_ascii());
    }
}

#[test]
fn vhost_user_says_which_image_or_socket_it_cannot_have_and_exits_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let attempt = |socket: &str, image: &str| {
        let output = run(&["vhost-user", "--socket", socket, "--image", image]);
        assert_eq!(output.status.code(), Some(3));
        stderr(&output)
    };
    let said = attempt(&at("socket"), &at("missing"));
    assert!(said.contains(&at("missing")), "{said}");

    std::fs::write(at("image"), [0; 4096]).unwrap();
    let said = attempt(&at("image"), &at("image"));
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read(at("image")).unwrap(), [0; 4096]);

    std::fs::write(at("odd"), [0; 1000]).unwrap();
    let said = attempt(&at("socket"), &at("odd"));
    assert!(said.contains(&at("odd")), "{said}");
    assert!(!directory.path().join("socket").exists());
}

#[test]
fn vhost_user_serves_without_xen_until_a_signal_and_removes_its_socket() {
    use rustix::process::{Pid, Signal, kill_process};
    let directory = tempfile::tempdir().unwrap();
    let (image, socket) = (
        directory.path().join("image"),
        directory.path().join("socket"),
    );
    std::fs::write(&image, [0; 4096]).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = backend()
            .args(["vhost-user", "--read-only", "--image"])
            .arg(&image)
            .arg("--socket")
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        // A front end that says nothing does not keep it from ending. The socket is there before it listens.
        let mut connected = std::os::unix::net::UnixStream::connect(&socket);
        while connected.is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
            connected = std::os::unix::net::UnixStream::connect(&socket);
        }
        let killed = kill_process(Pid::from_child(&child), signal);
        let ended = child.wait().unwrap();
        assert!(connected.is_ok() && killed.is_ok());
        assert_eq!(ended.code(), Some(0));
        assert!(!socket.exists());
    }
}
