//! A guest that sends whatever it likes, and changes it while it is read.

use std::sync::atomic::{AtomicBool, Ordering};

use optee_abi::ShmRef;
use optee_abi::smc::FunctionId;

use super::driver::{Driver, MESSAGE};
use super::world::{APPLICATION, PAGES, rights, shared};
use crate::guest::desk::Taken;

/// Calls of the hostile guest.
const CALLS: u32 = 1_000_000;

/// Numbers without order (xorshift64*), the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// Functions that a driver calls, and some that it does not.
const FUNCTIONS: [u32; 12] = [
    FunctionId::CALL_WITH_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_REGD_ARG.0,
    FunctionId::RETURN_FROM_RPC.0,
    FunctionId::EXCHANGE_CAPABILITIES.0,
    FunctionId::DISABLE_SHM_CACHE.0,
    FunctionId::VM_DESTROYED.0,
    FunctionId::GET_SHM_CONFIG.0,
    0x3200_0000,
    0x8400_0000,
];
/// Where a message, a list or a piece of memory may be said to be: mostly there, not always.
const PLACES: [u64; 8] = [
    MESSAGE,
    0x2000,
    0x6000,
    0x6010,
    0x6000 - 8,
    PAGES as u64 * 4096,
    0xffff_ffff_f000,
    u64::MAX,
];
const SIZES: [u64; 8] = [0, 1, 100, 4096, 8192, 9 * 4096, 1 << 40, u64::MAX];

/// A message that is almost right.
fn message(numbers: &mut Numbers, sessions: &[u32]) -> Vec<u8> {
    let command = numbers.one_of(&[0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 0xffff_ffff]);
    let session = numbers.one_of(sessions);
    // Half of them are right as far as their form goes.
    let right = numbers.below(2) == 0;
    let count = match (right, numbers.below(16)) {
        (true, _) => 4,
        (_, 0) => numbers.next() as u32,
        _ => numbers.below(7) as u32,
    };
    let header = [
        command,
        numbers.below(16) as u32,
        session,
        0,
        0,
        0,
        0,
        count,
    ];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (a, b) = APPLICATION.octet_words();
    for number in 0..7 {
        let meta = command == 0 && number < 2 && numbers.below(8) > 0;
        let words = match (meta, number) {
            (true, 0) => [0x101, a, b, 0],
            (true, _) => [0x101, 0, 0, numbers.one_of(&[0, 0, 0, 1, 0x8000_0000])],
            _ if right => [
                numbers.one_of(&[0, 0, 0, 0, 0, 1, 2, 3, 5, 6, 7, 9]),
                numbers.below(64),
                numbers.below(2048),
                numbers.below(6),
            ],
            _ => [
                numbers.one_of(&[0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 0x20a, 0x20b, 0x101, 12]),
                numbers.one_of(&PLACES),
                numbers.one_of(&SIZES),
                numbers.below(6),
            ],
        };
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    // Some of it is anything.
    while !right && numbers.below(3) == 0 {
        let at = usize::try_from(numbers.below(bytes.len() as u64)).unwrap();
        bytes[at] = numbers.next() as u8;
    }
    bytes
}

#[test]
fn a_million_wrong_calls_end_and_leave_nothing_and_nobody_else_notices() {
    let shared = shared();
    let neighbour = Driver::new(&shared, 2, rights());
    let theirs = neighbour.open(APPLICATION).unwrap();
    let hostile = Driver::new(&shared, 1, rights());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Another vCPU of the guest.
        scope.spawn(|| {
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
            while !done.load(Ordering::Relaxed) {
                let at = numbers.below(3 * 4096) + MESSAGE;
                hostile.fill(at, &[numbers.next() as u8]);
                std::thread::yield_now();
            }
        });
        let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
        for _ in 0..CALLS {
            let mut sessions: Vec<u32> = vec![0, 1, theirs.0, 0xffff_ffff];
            sessions.extend(hostile.desk.sessions.all().iter().map(|(id, _)| id.0));
            let bytes = message(&mut numbers, &sessions);
            hostile.fill(MESSAGE, &bytes);
            // Lists that name pages there and not there, themselves among them.
            for entry in 0..4 {
                let page = numbers.one_of(&[0x6000, 0x7000, 0x2000, 0x1000, 1 << 50, 0x6001]);
                hostile.fill(0x2000 + entry * 8, &u64::to_le_bytes(page));
            }
            let function = numbers.one_of(&FUNCTIONS);
            let place = match numbers.below(4) {
                0 => numbers.one_of(&PLACES),
                _ => MESSAGE,
            };
            let registers = [
                function.into(),
                place >> 32,
                place,
                numbers.below(6),
                numbers.next(),
                numbers.next(),
                0,
                numbers.next(),
            ];
            match hostile.call(registers) {
                Taken::Answered(_) => {}
                Taken::Work(work) => assert!(hostile.desk.work(work).is_some()),
                Taken::Held => panic!("a vCPU stands still for nothing"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    // Nothing waits, and what is open is what its rights say.
    assert_eq!(hostile.desk.calls.count(), 0);
    let open = hostile.desk.sessions.all().len();
    assert_eq!(open, hostile.applications.open.lock().unwrap().len());
    assert!(open <= rights().sessions as usize);
    let (_, bytes) = hostile.desk.memory.totals();
    assert!(bytes <= rights().shared_memory_bytes);
    assert_eq!(hostile.ram_in_use() as u64 * 4096, bytes);
    // Some of it was right.
    let counters = hostile.desk.counters.snapshot();
    assert!(counters["calls"] > 5_000, "{counters:?}");
    // Calls of the neighbour work, and the buffers are there.
    neighbour.share(ShmRef(1), 0x6000, 4096, 0).unwrap();
    assert_eq!(neighbour.invoke(theirs, &[]).result.0, 0);
    assert_eq!(neighbour.applications.open.lock().unwrap().len(), 1);
    drop(hostile.desk.close_down(true));
    assert_eq!(hostile.ram_in_use(), 0);
}
