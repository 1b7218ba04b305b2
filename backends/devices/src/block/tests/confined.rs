//! The engines in a process like the one that serves guests: confined, and ended by any call it was not to make.

use std::cell::RefCell;
use std::process::{Command, Stdio};

use vm_memory::{Bytes, GuestAddress};

use super::bench::*;
use super::range;
use crate::block::IoEngine;
use crate::device::Completions;

/// Set for the process that is confined.
const INSIDE: &str = "AVPS_TEST_CONFINED";
/// Guest memory behind what is written.
const ELSEWHERE: u64 = DATA + 0x20_0000;
const MARK: &str = "all engines work";

/// This test again, in a process of one thread: confining concerns threads one by one.
#[test]
fn every_engine_works_in_a_confined_process() {
    if std::env::var_os(INSIDE).is_some() {
        work();
        // The test harness would go on, for example to remove files by name.
        std::process::exit(0);
    }
    let output = Command::new("/proc/self/exe")
        .args([
            "--exact",
            "block::tests::confined::every_engine_works_in_a_confined_process",
        ])
        .args(["--test-threads=1", "--nocapture"])
        .env_clear()
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert!(said.contains(MARK), "{said}{errors}");
}

fn work() {
    let benches = RefCell::new(Vec::new());
    for engine in [
        IoEngine::Inline,
        IoEngine::Threads,
        IoEngine::IoUring,
        IoEngine::Auto,
    ] {
        with_engine(engine, || benches.borrow_mut().push(Bench::new()));
    }
    let missing = confinement::confine(&confinement::Needs {
        id: 70_000,
        ioctls: Vec::new(),
    });
    let list = missing
        .iter()
        .find(|missing| missing.step == confinement::Step::SystemCalls);
    assert!(list.is_none(), "{missing:?}");
    for bench in benches.into_inner() {
        exercise(bench);
    }
    println!("{MARK}");
}

/// Small and large transfers, flushes, and both ways of giving space back.
fn exercise(mut bench: Bench) {
    let large = 64 << 10;
    for n in 0..16 {
        let data = DATA + n * 0x1_0000;
        bench.fill(data, large as usize, n as u8);
        bench.add(OUT, n * 128, &[(data, large)], &[]);
        bench.add(OUT, 4096 + n * 8, &[(data, 4096)], &[]);
        bench.add(FLUSH, 0, &[], &[]);
    }
    let mut done = Completions::new();
    bench
        .queue
        .submit(&mut bench.requests, &mut bench.memory, &mut done);
    bench.queue.drain(&mut bench.memory, &mut done);
    assert_eq!(done.drain_used().count(), 48);
    assert_eq!(bench.bytes(STATUSES, 48), [OK; 48]);
    let mut expected = bench.bytes(DATA, large as usize);
    assert_eq!(bench.one(IN, 0, &[], &[(ELSEWHERE, large)]), OK);
    assert_eq!(bench.bytes(ELSEWHERE, large as usize), expected);
    for (kind, flags) in [(WRITE_ZEROES, 0), (WRITE_ZEROES, 1), (DISCARD, 0)] {
        let range = range(8, 16, flags);
        let at = GuestAddress(ELSEWHERE);
        bench.guest.write_slice(&range, at).unwrap();
        assert_eq!(bench.one(kind, 0, &[(ELSEWHERE, 16)], &[]), OK);
    }
    expected[8 * 512..24 * 512].fill(0);
    assert_eq!(bench.on_disk(0, large as usize), expected);
}
