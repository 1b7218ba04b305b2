//! Processes that supervise a platform are found and ended, and no others.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use avpsctl::rundir::RunDir;

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
    // A start is known to the hundredth of a second.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let other = Command::new("sleep").arg("600").spawn().expect("starts");
    let mut other = Process(other);
    let (own, others) = (std::process::id().to_string(), other.0.id().to_string());
    for entry in std::fs::read_dir(dir.path()).expect("it is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        std::fs::write(&path, text.replacen(&own, &others, 1)).expect("written");
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
        .args(["--exact", "the_other_process", "--ignored"])
        .env(FOLDER, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let mut child = Process(child);
    let start = Instant::now();
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
