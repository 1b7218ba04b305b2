//! A worker as a process, without Xen: confined before it serves, and able to do its work all the same.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde_json::{Value, json};

/// In place of a device of Xen's: a worker asks only that it be a device.
fn null() -> File {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
}

struct Worker {
    child: Child,
    socket: OwnedFd,
}

impl Worker {
    fn start(sandbox: &str) -> Self {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_avps-backend"))
            .args(["worker", "--guest", "3", "--sandbox", sandbox])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let worker = Self { child, socket };
        let null = null();
        let guest = json!({"domid": 3, "ioserv": 1, "ports": [1], "memory_kib": 0});
        let slots = json!([{"slot": 0, "base": 0x200_0000, "irq": 33}]);
        worker.send(
            &json!({"start": {"guest": guest, "slots": slots, "tuning": {"polling": true, "copy_limit": null}}}),
            &[null.as_fd(), null.as_fd()],
        );
        worker
    }

    fn send(&self, order: &Value, fds: &[BorrowedFd<'_>]) {
        let text = order.to_string();
        let mut header = Vec::new();
        header.extend(1_u16.to_le_bytes());
        header.extend(u16::try_from(fds.len()).unwrap().to_le_bytes());
        header.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let parts = [IoSlice::new(&header), IoSlice::new(text.as_bytes())];
        sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    fn hear(&self) -> Value {
        let mut packet = vec![0; 70_000];
        let mut control = RecvAncillaryBuffer::default();
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::empty()).unwrap();
        serde_json::from_slice(packet.get(8..received.bytes).unwrap_or(b"null")).unwrap()
    }

    /// A line of its status in /proc.
    fn status(&self, key: &str) -> String {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line[key.len()..].replace('\t', " ").trim().to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Root, and not only root of a container.
fn may_administer() -> bool {
    rustix::process::geteuid().is_root()
        && rustix::thread::capabilities(None).is_ok_and(|sets| {
            sets.effective
                .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
        })
}

#[test]
fn a_worker_is_confined_before_it_serves() {
    let mut worker = Worker::start("best-effort");
    let heard = worker.hear();
    assert!(heard["confined"]["missing"].is_array(), "{heard}");
    assert_eq!(worker.status("Seccomp:"), "2");
    assert_eq!(worker.status("NoNewPrivs:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(worker.status(set), "0000000000000000", "{set}");
    }
    if may_administer() {
        assert_eq!(heard["confined"]["missing"], json!([]));
        assert_eq!(worker.status("CapBnd:"), "0000000000000000");
        assert_eq!(worker.status("Uid:"), "65539 65539 65539 65539");
        assert_eq!(worker.status("Gid:"), "65539 65539 65539 65539");
        assert_eq!(worker.status("Groups:"), "");
        for kind in ["mnt", "net", "ipc", "uts", "user"] {
            let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{kind}"));
            let its = of(&worker.child.id().to_string()).unwrap();
            assert_ne!(its, of("self").unwrap(), "{kind}");
        }
        let root = format!("/proc/{}/root", worker.child.id());
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 0);
    } else {
        // Whoever may not administer cannot be confined in whole, and the worker must not say that it is.
        assert_ne!(heard["confined"]["missing"], json!([]));
    }
    worker.send(&json!("stop"), &[]);
    assert!(worker.child.wait().unwrap().success());
}

#[test]
fn a_confined_worker_takes_devices_and_tells_what_fails() {
    let mut worker = Worker::start("best-effort");
    worker.hear();
    let image = tempfile::tempfile().unwrap();
    image.set_len(1 << 20).unwrap();
    let record = tempfile::tempfile().unwrap();
    record.set_len(160 << 10).unwrap();
    let null = null();
    let block = json!({
        "read_only": false, "block_size": 512, "serial": "s", "cache": "writeback", "queues": 1, "memory": "grant"
    });
    worker.send(
        &json!({"attach": {"slot": 0, "block": block}}),
        &[image.as_fd(), null.as_fd(), record.as_fd()],
    );
    worker.send(&json!("serve"), &[]);
    // There is no Xen behind its handles: it says so, and is not ended by a call that was forgotten in the list.
    let heard = worker.hear();
    assert!(heard["fatal"]["reason"].is_string(), "{heard}");
    assert_eq!(worker.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_worker_without_sandbox_says_so() {
    let worker = Worker::start("off");
    let heard = worker.hear();
    assert_eq!(heard["confined"]["missing"][0], "everything (switched off)");
    assert_eq!(worker.status("Seccomp:"), "0");
}

#[test]
fn being_confined_leaves_a_worker_quick_to_start() {
    let time = |sandbox: &str| {
        let mut times: Vec<Duration> = (0..7)
            .map(|_| {
                let began = Instant::now();
                let worker = Worker::start(sandbox);
                worker.hear();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times
    };
    let (with, without) = (time("best-effort"), time("off"));
    println!("start to confined {with:?}, without sandbox {without:?}");
    // The quickest of each: other tests run at the same time.
    assert!(with[0] < Duration::from_millis(50), "{with:?}");
}
