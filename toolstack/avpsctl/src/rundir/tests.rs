//! Locks that end with their process, and processes that are found and ended.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant as SystemInstant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_platform_is_changed_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path().join("deep/er"));
    let lock = run.lock("demo", &Cancel::never()).await.expect("free");
    let refused = run.lock("demo", &Cancel::never()).await;
    let own = std::process::id().to_string();
    assert!(matches!(refused, Err(Error::Locked { pid, .. }) if pid == own));
    run.lock("other", &Cancel::never())
        .await
        .expect("another platform is free");
    drop(lock);
    run.lock("demo", &Cancel::never())
        .await
        .expect("free again");
}

#[test]
fn a_supervisor_that_died_is_not_believed_in() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    assert_eq!(run.supervisor("demo"), None);
    let lock = run.become_supervisor("demo").expect("works").expect("free");
    assert_eq!(run.supervisor("demo"), Some(std::process::id()));
    assert!(run.become_supervisor("demo").expect("works").is_none());
    assert_eq!(run.supervisors(), [("demo".to_owned(), std::process::id())]);
    drop(lock);
    assert_eq!(
        run.supervisor("demo"),
        None,
        "the file is still there, the lock is not"
    );
}

#[test]
fn who_asks_for_the_supervisor_never_keeps_one_from_beginning() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    run.supervisor("demo");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let refused = (0..1000)
            .filter(|_| {
                let role = run.become_supervisor("demo").expect("works");
                let known = run.supervisor("demo");
                role.is_none() || known != Some(std::process::id())
            })
            .count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0, "of 1000");
    });
    assert!(
        asked.load(Ordering::Relaxed) > 1000,
        "nobody asked meanwhile"
    );
}

#[tokio::test]
async fn nobody_else_may_open_the_locks() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    let _lock = run.lock("demo", &Cancel::never()).await.expect("free");
    let _role = run.become_supervisor("demo").expect("works");
    let modes: Vec<u32> = fs::read_dir(dir.path())
        .expect("it is there")
        .map(|entry| entry.expect("an entry").metadata().expect("its mode"))
        .map(|metadata| metadata.permissions().mode() & 0o777)
        .collect();
    assert!(modes.len() >= 2, "{modes:?}");
    assert!(modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}

/// Ended when the test ends.
struct Process(Child);

impl Process {
    fn is_there(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_that_got_the_number_of_a_dead_supervisor_is_not_hit() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    // The lock is still held, as by a child of the dead one that inherited it.
    let _role = run.become_supervisor("demo").expect("works").expect("free");
    let other = Command::new("sleep").arg("600").spawn().expect("starts");
    let mut other = Process(other);
    let (own, others) = (std::process::id().to_string(), other.0.id().to_string());
    for entry in fs::read_dir(dir.path()).expect("it is there") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a text");
        fs::write(&path, text.replacen(&own, &others, 1)).expect("written");
    }
    let stopped = run.stop_supervisor("demo");
    let stopped = tokio::time::timeout(Duration::from_secs(5), stopped).await;
    assert!(other.is_there(), "it was ended in place of a supervisor");
    assert_eq!(stopped.expect("at once").expect("no error"), None);
}

/// Tells the other process where to supervise.
const FOLDER: &str = "AVPSCTL_TEST_RUN_DIR";

#[tokio::test]
async fn a_supervisor_is_ended_and_its_end_awaited() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path());
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "rundir::tests::the_other_process", "--ignored"])
        .env(FOLDER, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let mut child = Process(child);
    let start = SystemInstant::now();
    while run.supervisor("demo") != Some(child.0.id()) {
        assert!(start.elapsed() < Duration::from_secs(20), "it never begins");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopped = run.stop_supervisor("demo").await.expect("it ends");
    assert_eq!(stopped, Some(child.0.id()));
    assert_eq!(run.supervisor("demo"), None);
    assert!(!child.is_there());
    assert!(run.become_supervisor("demo").expect("works").is_some());
}

#[test]
#[ignore = "it is the other process of the test above, which starts it"]
fn the_other_process() {
    let folder = std::env::var_os(FOLDER).expect("the test above says where");
    let _role = RunDir::new(folder)
        .become_supervisor("demo")
        .expect("works")
        .expect("free");
    std::thread::sleep(Duration::from_secs(600));
}
