//! Locks that end with their process. What needs other processes is an integration test: a child that is being started has every lock
//! of its parent until it runs its own program.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
