//! Calls: what they carry, and how a guest waits for them.

use std::sync::Arc;

use optee_abi::message::{Direction, Param, Registered};
use optee_abi::smc::{Answer, FunctionId, ReturnCode};
use optee_abi::{ShmRef, TeeResult};

use super::driver::{self, Driver, Params};
use super::world::{APPLICATION, OTHER, rights, shared};
use crate::Shared;
use crate::guest::dispatcher::Taken;
use crate::pool::{LARGE, Pool};
use crate::rights::Rights;

fn driver() -> Driver {
    Driver::new(&shared(), 1, rights())
}

#[test]
fn a_buffer_goes_to_the_application_and_what_it_wrote_comes_back() {
    let driver = driver();
    driver
        .share(ShmRef(0x77), 0x6000, 3 * 4096 - 100, 100)
        .unwrap();
    let session = driver.open(APPLICATION).unwrap();
    driver.fill(0x6000 + 100, b"what it is told");
    let memory = |direction, size| Param::Registered {
        direction,
        memory: Registered {
            offset: 0,
            size,
            shm_ref: ShmRef(0x77),
        },
    };
    // The made-up application turns bytes around and says how many it wrote.
    let answer = driver.invoke(session, &[memory(Direction::Inout, 15)]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(answer.sizes[0], 15);
    assert_eq!(driver.bytes(0x6000 + 100, 15), b"dlot si ti tahw");
    // What only goes there comes back as it was, and what only comes from there was not read.
    driver.fill(0x6000 + 100, b"abc");
    let answer = driver.invoke(session, &[memory(Direction::Input, 3)]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(driver.bytes(0x6000 + 100, 3), b"abc");
    let answer = driver.invoke(session, &[memory(Direction::Output, 3)]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(driver.bytes(0x6000 + 100, 3), [0; 3]);
    let beyond = driver.invoke(session, &[memory(Direction::Inout, 3 * 4096)]);
    assert_eq!(beyond.result, TeeResult::SECURITY);
    driver.close(session).unwrap();
    assert_eq!(driver.invoke(session, &[]).result, TeeResult::COMMUNICATION);
}

/// A guest that has shared so many pieces of [`LARGE`] bytes, one behind the other; the parameters that they are.
fn with_large(shared: &Arc<Shared>, pieces: u64) -> (Driver, Vec<Param>) {
    let all = Rights {
        shared_memory_bytes: pieces * BYTES,
        ..rights()
    };
    let driver = Driver::new(shared, 1, all);
    let params = (0..pieces).map(|number| {
        driver
            .share(ShmRef(number), large(number), BYTES, 0)
            .unwrap();
        Param::Registered {
            direction: Direction::Inout,
            memory: Registered {
                offset: 0,
                size: BYTES,
                shm_ref: ShmRef(number),
            },
        }
    });
    let params = params.collect();
    (driver, params)
}

const BYTES: u64 = LARGE as u64;

/// Where the piece of this number is.
fn large(number: u64) -> u64 {
    0x6000 + number * BYTES
}

#[test]
fn each_parameter_of_a_call_may_be_as_large_as_a_buffer() {
    let (driver, params) = with_large(&shared(), 2);
    let session = driver.open(APPLICATION).unwrap();
    let contents = [251_usize, 241].map(|period| {
        let bytes = (0..LARGE).map(|number| (number % period) as u8);
        bytes.collect::<Vec<u8>>()
    });
    for (number, content) in (0..).zip(&contents) {
        driver.fill(large(number), content);
    }
    let answer = driver.invoke(session, &params);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(answer.sizes, [BYTES; 2]);
    for (number, mut content) in (0..).zip(contents) {
        content.reverse();
        assert!(driver.bytes(large(number), LARGE) == content, "{number}");
    }
    // One that goes there and one that comes from there, both twice: the buffers are the same ones.
    let ways = [Direction::Input, Direction::Output];
    let turned = |(param, way): (&Param, Direction)| match *param {
        Param::Registered { memory, .. } => Param::Registered {
            direction: way,
            memory,
        },
        _ => unreachable!("none of these"),
    };
    let params: Vec<Param> = params.iter().zip(ways).map(turned).collect();
    let before = driver.bytes(large(0), LARGE);
    for _ in 0..2 {
        let answer = driver.invoke(session, &params);
        assert_eq!(answer.result, TeeResult::SUCCESS);
        assert!(driver.bytes(large(0), LARGE) == before);
        assert!(driver.bytes(large(1), LARGE) == vec![0; LARGE]);
    }
}

#[test]
fn small_parameters_share_a_buffer_with_each_other_and_none_is_mistaken_for_another() {
    let (driver, params) = with_large(&shared(), 1);
    let session = driver.open(APPLICATION).unwrap();
    driver.fill(large(0), b"abcdefghij");
    let piece = |offset, size| Param::Registered {
        direction: Direction::Inout,
        memory: Registered {
            offset,
            size,
            shm_ref: ShmRef(0),
        },
    };
    let answer = driver.invoke(session, &[piece(0, 3), piece(3, 2), piece(5, 0), params[0]]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(answer.sizes, [3, 2, 0, BYTES]);
    // The last one covers all and is copied back last, as it was before.
    assert_eq!(driver.bytes(large(1) - 10, 10), b"jihgfedcba");
    let answer = driver.invoke(session, &[piece(BYTES - 10, 3), piece(BYTES - 7, 2)]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(driver.bytes(large(1) - 10, 10), b"hijfgedcba");
}

#[test]
fn a_call_that_needs_more_buffers_than_it_may_have_is_told_so() {
    let mut shared = shared();
    Arc::get_mut(&mut shared).unwrap().pool = Pool::new(2, 2);
    let (driver, params) = with_large(&shared, 2);
    let session = driver.open(APPLICATION).unwrap();
    let answer = driver.invoke(session, &params);
    assert_eq!(answer.result, TeeResult::OUT_OF_MEMORY);
    let events = format!("{:?}", shared.audit.entries());
    assert!(events.contains("--buffers to 4"), "{events}");
    let answer = driver.invoke(session, &params[..1]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
}

#[test]
fn a_parameter_that_no_buffer_holds_is_told_so() {
    let (driver, _) = with_large(&shared(), 2);
    let session = driver.open(APPLICATION).unwrap();
    driver.unshare(ShmRef(0)).unwrap();
    driver.unshare(ShmRef(1)).unwrap();
    driver.share(ShmRef(2), large(0), BYTES + 1, 0).unwrap();
    let param = Param::Registered {
        direction: Direction::Input,
        memory: Registered {
            offset: 0,
            size: BYTES + 1,
            shm_ref: ShmRef(2),
        },
    };
    let answer = driver.invoke(session, &[param]);
    assert_eq!(answer.result, TeeResult::OUT_OF_MEMORY);
    let events = format!("{:?}", driver.dispatcher.shared.audit.entries());
    assert!(events.contains(&format!("{} bytes", BYTES + 1)), "{events}");
}

#[test]
fn numbers_go_both_ways() {
    let driver = driver();
    let session = driver.open(APPLICATION).unwrap();
    let value = Param::Value {
        direction: Direction::Inout,
        a: 20,
        b: 22,
        c: 0,
    };
    let answer = driver.invoke(session, &[value]);
    assert_eq!(answer.result, TeeResult::SUCCESS);
    assert_eq!(answer.values[0], [22, 20]);
}

#[test]
fn sessions_and_memory_have_their_limits_and_become_free_again() {
    let driver = driver();
    let most = rights().sessions;
    let sessions: Vec<_> = (0..most)
        .map(|_| driver.open(APPLICATION).unwrap())
        .collect();
    assert_eq!(driver.open(APPLICATION), Err(TeeResult::BUSY));
    assert_eq!(driver.open(OTHER), Err(TeeResult::ACCESS_DENIED));
    driver.close(sessions[0]).unwrap();
    driver.open(APPLICATION).unwrap();

    let pages = rights().shared_memory_bytes / 4096;
    for number in 0..pages {
        driver.share(ShmRef(number), 0x6000, 4096, 0).unwrap();
    }
    let more = driver.share(ShmRef(pages), 0x6000, 4096, 0);
    assert_eq!(more, Err(TeeResult::OUT_OF_MEMORY));
    let again = driver.share(ShmRef(0), 0x6000, 4096, 0);
    assert_eq!(again, Err(TeeResult::OUT_OF_MEMORY));
    driver.unshare(ShmRef(1)).unwrap();
    assert_eq!(driver.unshare(ShmRef(1)), Err(TeeResult::BAD_PARAMETERS));
    driver.share(ShmRef(1), 0x6000, 4096, 0).unwrap();
}

#[test]
fn memory_that_is_not_the_guests_cannot_be_shared() {
    let driver = driver();
    let outside = driver.share(ShmRef(1), 0x4000_0000_0000, 8192, 0);
    assert_eq!(outside, Err(TeeResult::BAD_PARAMETERS));
    // A list that lies nowhere.
    let answer = driver.share_list(ShmRef(1), 0x4000_0000_0000, 4096);
    assert_eq!(answer, Err(TeeResult::BAD_PARAMETERS));
}

#[test]
fn a_guest_reaches_neither_the_sessions_nor_the_memory_of_another() {
    let shared = shared();
    let one = Driver::new(&shared, 1, rights());
    let other = Driver::new(&shared, 2, rights());
    let session = one.open(APPLICATION).unwrap();
    one.share(ShmRef(5), 0x6000, 4096, 0).unwrap();
    assert_eq!(other.invoke(session, &[]).result, TeeResult::COMMUNICATION);
    assert_eq!(other.close(session), Err(TeeResult::BAD_PARAMETERS));
    let theirs = other.open(APPLICATION).unwrap();
    let memory = Param::Registered {
        direction: Direction::Inout,
        memory: Registered {
            offset: 0,
            size: 16,
            shm_ref: ShmRef(5),
        },
    };
    let answer = other.invoke(theirs, &[memory]);
    assert_eq!(answer.result, TeeResult::BAD_PARAMETERS);
    assert_eq!(one.invoke(session, &[memory]).result, TeeResult::SUCCESS);
}

#[test]
fn a_call_beyond_what_may_be_under_way_is_told_so_and_a_resumption_of_nothing_too() {
    let driver = driver();
    let answer = driver.resume(17);
    assert_eq!(answer, Answer::from(ReturnCode::BadResume));
    let held: Vec<_> = (0..rights().concurrency)
        .map(|_| driver.begin(&Params::close(1)).unwrap())
        .collect();
    let refused = driver.begin(&Params::close(1)).unwrap_err();
    assert_eq!(refused, Answer::from(ReturnCode::ThreadLimit));
    for work in held {
        assert!(driver.dispatcher.work(work).is_some());
    }
    assert_eq!(driver.dispatcher.calls.count(), 0);
}

#[test]
fn a_call_that_lasts_sends_its_guest_to_sleep_and_is_answered_when_it_comes_back() {
    let driver = driver();
    let work = driver.begin(&Params::close(1)).unwrap();
    let thread = work.id;
    let (answers, next) = driver.dispatcher.expire();
    assert!(answers.is_empty() && next.is_some());
    std::thread::sleep(driver.dispatcher.shared.hold);
    let (answers, _) = driver.dispatcher.expire();
    let [due] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert!(matches!(due.answer, Answer::Rpc { .. }), "{due:?}");
    // The room for requests says how long.
    let request = driver.bytes(driver::MESSAGE + 32, 96);
    assert_eq!(request[0], 5, "OPTEE_RPC_CMD_SUSPEND");
    assert!(driver.dispatcher.work(work).is_none());
    assert_eq!(driver.resume(thread), Answer::from(ReturnCode::Ok));
    assert_eq!(driver.resume(thread), Answer::from(ReturnCode::BadResume));
    let (_, next) = driver.dispatcher.expire();
    assert_eq!(next, None);
}

#[test]
fn a_guest_that_takes_notifications_is_told_of_the_end_of_a_call() {
    let rights = Rights {
        interrupt: Some(44),
        ..rights()
    };
    let driver = Driver::new(&shared(), 1, rights);
    let fetched = |value, more| Answer::Notification { value, more };
    assert_eq!(
        driver.ask(FunctionId::ENABLE_ASYNC_NOTIF),
        ReturnCode::Ok.into()
    );
    let works = [1, 2].map(|session| driver.begin(&Params::close(session)).unwrap());
    std::thread::sleep(driver.dispatcher.shared.hold);
    let (answers, _) = driver.dispatcher.expire();
    assert_eq!(answers.len(), 2);
    let request = driver.bytes(driver::MESSAGE + 32, 96);
    assert_eq!(request[0], 4, "OPTEE_RPC_CMD_NOTIFICATION");
    assert!(!driver.dispatcher.calls.interrupts());
    let threads = works.each_ref().map(|work| work.id);
    for work in works {
        assert!(driver.dispatcher.work(work).is_none());
    }
    assert!(driver.dispatcher.calls.interrupts());
    assert!(!driver.dispatcher.calls.interrupts());
    let next = || driver.ask(FunctionId::GET_ASYNC_NOTIF_VALUE);
    assert_eq!(next(), fetched(Some(1), true));
    assert_eq!(next(), fetched(Some(2), false));
    assert_eq!(next(), fetched(None, false));
    for thread in threads {
        assert_eq!(driver.resume(thread), Answer::from(ReturnCode::Ok));
    }
}

#[test]
fn a_call_that_is_told_of_too_soon_is_held_again_and_the_next_life_tells_of_all() {
    let rights = || Rights {
        interrupt: Some(44),
        ..rights()
    };
    let shared = shared();
    let driver = Driver::new(&shared, 1, rights());
    driver.ask(FunctionId::ENABLE_ASYNC_NOTIF);
    let work = driver.begin(&Params::close(1)).unwrap();
    std::thread::sleep(driver.dispatcher.shared.hold);
    assert_eq!(driver.dispatcher.expire().0.len(), 1);
    let function = FunctionId::RETURN_FROM_RPC.0.into();
    let back = driver.call([function, 0, 0, work.id.into(), 0, 0, 0, 0]);
    assert!(matches!(back, Taken::Held), "{back:?}");
    let due = driver.dispatcher.work(work).unwrap();
    assert_eq!(due.answer, Answer::from(ReturnCode::Ok));

    let again = Driver::new(&shared, 1, rights());
    assert!(again.dispatcher.memory.notifies());
    again.dispatcher.calls.tell_all();
    let told: Vec<_> = (0..9)
        .map(|_| again.ask(FunctionId::GET_ASYNC_NOTIF_VALUE))
        .collect();
    let last = Answer::Notification {
        value: Some(8),
        more: false,
    };
    assert_eq!(told[7], last);
    // A driver begins again, and says nothing.
    again.ask(FunctionId::EXCHANGE_CAPABILITIES);
    assert!(
        !Driver::new(&shared, 1, rights())
            .dispatcher
            .memory
            .notifies()
    );
}

#[test]
fn what_ends_gives_everything_back() {
    let shared = shared();
    let driver = Driver::new(&shared, 1, rights());
    driver.open(APPLICATION).unwrap();
    driver.share(ShmRef(5), 0x6000, 4096, 0).unwrap();
    let work = driver.begin(&Params::close(1)).unwrap();
    let answers = driver.dispatcher.close_down(true);
    assert_eq!(answers.len(), 1);
    assert!(driver.dispatcher.work(work).is_none());
    assert_eq!(driver.dispatcher.memory.totals(), (0, 0));
    assert_eq!(driver.ram_in_use(), 0);
}
