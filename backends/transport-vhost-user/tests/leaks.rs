//! Connections leave nothing behind in the process. A program of its own: others would disturb the count.

mod common;

use common::*;
use devices::block::{BlockConfig, QueueCount};

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

#[test]
fn a_connection_leaves_no_descriptor_and_no_thread_behind() {
    let served = Served::disk(BlockConfig {
        queues: QueueCount::new(4).unwrap(),
        ..BlockConfig::default()
    });
    let visit = || {
        let guest = Guest::new("visitor");
        let mut front = connect(&served.path, &guest, 4);
        let mut rings: Vec<Ring> = (0..4).map(Ring::new).collect();
        for ring in &mut rings {
            start(&mut front, ring, 0);
            assert_eq!(ring.disk(&guest, 0, 0, (DATA, 512)).0, 0);
        }
    };
    visit();
    // The server's thread, the test's, and its main one.
    until("the first to be gone", || count("task") == 3);
    let before = count("fd");
    for _ in 0..20 {
        visit();
    }
    until("all to be gone", || count("task") == 3);
    until("no descriptor more", || count("fd") <= before);
}
