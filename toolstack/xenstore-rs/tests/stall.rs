//! What happens to a connection while its process is stopped.

use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::peer::Peer;
use crate::common::{eventually, within};
use rustix::process::{Pid, Signal, kill_process};
use xenstore::Client;
use xenstore::wire::MessageType;

/// Where the client of the other process finds its server.
const SOCKET: &str = "XENSTORE_RS_TEST_SOCKET";
/// How long the client waits for an answer.
const LIMIT: Duration = Duration::from_secs(2);
const READERS: usize = 30;

/// The state of a process as `/proc` tells it: `T` when it is stopped.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().trim().starts_with('T')
}

#[test]
fn a_process_that_was_stopped_keeps_its_connection_and_its_watches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stall::the_client_that_is_stopped", "--ignored"])
        .args(["--nocapture"])
        .env(SOCKET, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let signal = |signal| {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    };
    let (stream, _) = within(LIMIT * 10, "the client connects", move || {
        listener.accept().unwrap()
    });
    let mut peer = Peer::on(stream);
    let token = peer.accept_watch();
    let requests: Vec<_> = (0..READERS)
        .map(|_| peer.expect(MessageType::READ))
        .collect();
    signal(Signal::STOP);
    eventually("the client is stopped", || is_stopped(child.id()));
    for request in &requests {
        peer.reply(request, &[b'x'; 4000]);
    }
    peer.event("/w/meanwhile", &token);
    thread::sleep(2 * LIMIT);
    signal(Signal::CONT);
    let after = peer.expect(MessageType::READ);
    peer.reply(&after, b"fine");
    peer.event("/w/after", &token);
    let status = within(LIMIT * 10, "the client", move || child.wait().unwrap());
    assert!(status.success(), "the client says what it missed");
}

#[test]
#[ignore = "it is the other process of the test above, which starts it"]
fn the_client_that_is_stopped() {
    let path = std::env::var_os(SOCKET).expect("the test above says where the server is");
    let client = Client::connect_path(path.as_ref()).unwrap();
    let client = client.with_timeout(LIMIT);
    let watch = client.watch("/w").unwrap();
    assert_eq!(watch.recv().unwrap().path, "/w");
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.read("/a").unwrap().len())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 4000);
    }
    assert_eq!(watch.recv().unwrap().path, "/w/meanwhile");
    assert_eq!(client.read_string("/after").unwrap(), "fine");
    assert_eq!(watch.recv().unwrap().path, "/w/after");
}
