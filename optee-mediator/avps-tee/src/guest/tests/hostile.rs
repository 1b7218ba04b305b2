//! A guest that sends whatever it likes, and changes it while it is read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hostile_calls::{Guest, Numbers};
use optee_abi::message::{Direction, Param, Registered};
use optee_abi::{SessionId, ShmRef, TeeResult};

use super::driver::{Driver, MESSAGE};
use super::world::{APPLICATION, PAGES, eventually, rights, shared};
use crate::guest::dispatcher::Taken;

/// Calls of the hostile guest.
const CALLS: u32 = 1_000_000;

/// Where a message, a list or a piece of memory may be said to be: mostly there, not always.
const PLACES: [u64; 8] = [
    MESSAGE,
    LIST,
    0x6000,
    0x6010,
    0x6000 - 8,
    PAGES as u64 * 4096,
    0xffff_ffff_f000,
    u64::MAX,
];
/// Lists name pages there and not there, themselves among them.
const LISTED: [u64; 6] = [0x6000, 0x7000, LIST, 0x1000, 1 << 50, 0x6001];
const LIST: u64 = 0x2000;
/// Calls that the neighbour makes meanwhile, at least.
const BESIDE: u32 = 1_000;
/// No call of the neighbour's takes longer: less than a call may be held before its guest is sent to sleep, many times over.
const AT_MOST: Duration = Duration::from_secs(5);
/// What the neighbour shares.
const THEIRS: (ShmRef, u64) = (ShmRef(1), 0x6000);

/// A call of the neighbour: its bytes go to the application, which turns them around.
fn call_beside(neighbour: &Driver, session: SessionId, number: u32) {
    let mut bytes = [number.to_le_bytes(), (!number).to_le_bytes()].concat();
    neighbour.fill(THEIRS.1, &bytes);
    let memory = Param::Registered {
        direction: Direction::Inout,
        memory: Registered {
            offset: 0,
            size: 8,
            shm_ref: THEIRS.0,
        },
    };
    let began = Instant::now();
    let answer = neighbour.invoke(session, &[memory]);
    let took = began.elapsed();
    assert_eq!(answer.result, TeeResult::SUCCESS, "call {number}");
    assert!(took < AT_MOST, "call {number} took {took:?}");
    bytes.reverse();
    assert_eq!(neighbour.bytes(THEIRS.1, 8), bytes, "call {number}");
}

#[test]
fn a_million_wrong_calls_end_and_leave_nothing_and_nobody_else_notices() {
    let shared = shared();
    let neighbour = Driver::new(&shared, 2, rights());
    let theirs = neighbour.open(APPLICATION).unwrap();
    neighbour.share(THEIRS.0, THEIRS.1, 4096, 0).unwrap();
    let hostile = Driver::new(&shared, 1, rights());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Another vCPU of the guest.
        scope.spawn(|| {
            let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15);
            while !done.load(Ordering::Relaxed) {
                let at = numbers.below(3 * 4096) + MESSAGE;
                hostile.fill(at, &[numbers.next() as u8]);
                std::thread::yield_now();
            }
        });
        // The neighbour's work.
        let beside = scope.spawn(|| {
            let mut made = 0;
            while !done.load(Ordering::Relaxed) {
                call_beside(&neighbour, theirs, made);
                made += 1;
                // What is tried is the attack; a call now and then shows whether it does harm.
                std::thread::sleep(Duration::from_millis(1));
            }
            made
        });
        let mut numbers = Numbers::new(0x2545_f491_4f6c_dd1d);
        for _ in 0..CALLS {
            let mut sessions: Vec<u32> = vec![0, 1, theirs.0, 0xffff_ffff];
            sessions.extend(hostile.dispatcher.sessions.all().iter().map(|(id, _)| id.0));
            let guest = Guest {
                application: APPLICATION,
                message: MESSAGE,
                places: &PLACES,
                pages: &LISTED,
                sessions: &sessions,
            };
            let call = guest.call(&mut numbers);
            hostile.fill(MESSAGE, &call.message);
            hostile.fill(LIST, &call.list.map(u64::to_le_bytes).concat());
            match hostile.call(call.registers) {
                Taken::Answered(_) => {}
                Taken::Work(work) => assert!(hostile.dispatcher.work(work).is_some()),
                Taken::Held => panic!("a vCPU stands still for nothing"),
            }
        }
        done.store(true, Ordering::Relaxed);
        let made = beside.join().expect("the neighbour was disturbed");
        assert!(made >= BESIDE, "{made} calls of the neighbour meanwhile");
    });
    // Nothing waits, and what is open is what its rights say.
    assert_eq!(hostile.dispatcher.calls.count(), 0);
    let open = hostile.dispatcher.sessions.all().len();
    assert_eq!(open, hostile.applications.open.lock().unwrap().len());
    assert!(open <= rights().sessions as usize);
    let (_, bytes) = hostile.dispatcher.memory.totals();
    assert!(bytes <= rights().shared_memory_bytes);
    assert_eq!(hostile.ram_in_use() as u64 * 4096, bytes);
    // Some of it was right.
    let counters = hostile.dispatcher.counters.snapshot();
    assert!(counters["calls"] > 5_000, "{counters:?}");
    // Calls of the neighbour work, and the buffers are there.
    call_beside(&neighbour, theirs, BESIDE);
    assert_eq!(neighbour.applications.open.lock().unwrap().len(), 1);
    drop(hostile.dispatcher.close_down(true));
    hostile.dispatcher.finish();
    eventually("all of its sessions are closed", || {
        hostile.applications.open.lock().unwrap().is_empty()
    });
    assert_eq!(hostile.ram_in_use(), 0);
}
