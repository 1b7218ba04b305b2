//! What guests share of the secure world: permits, the rate, and what a call that does not end leaves to others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use optee_abi::{SessionId, TeeResult};

use super::driver::{Driver, Params};
use super::world::{APPLICATION, Opens, STAYS, WAITS, eventually, meanwhile, rights, shared};
use crate::Shared;
use crate::rights::Rights;

/// Pages for messages of calls that are under way at once.
const ONE: u64 = 0x6000;
const ANOTHER: u64 = 0x7000;

fn many() -> Rights {
    Rights {
        sessions: 8,
        concurrency: 8,
        ..rights()
    }
}

fn open(driver: &Driver) -> SessionId {
    driver.open(APPLICATION).unwrap()
}

/// Sessions that are open in the secure world.
fn in_secure_world(driver: &Driver) -> usize {
    driver.applications.open.lock().unwrap().len()
}

fn trail(shared: &Arc<Shared>) -> String {
    let entries = shared.audit.entries();
    let line = |entry: &tee_report::Entry| format!("{}: {}\n", entry.event, entry.text);
    entries.iter().map(line).collect()
}

#[test]
fn a_guest_that_closes_sessions_leaves_the_last_permit_to_others() {
    let shared = shared();
    let driver = Driver::new(&shared, 1, many());
    let [busy, idle] = [(); 2].map(|()| open(&driver));
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        scope.spawn(|| driver.send_at(ONE, &Params::invoke(busy, STAYS)));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        scope.spawn(|| driver.send_at(ANOTHER, &Params::close(idle.0)));
        meanwhile();
        // Both permits would be one guest's.
        assert_eq!(in_secure_world(&driver), 2);
        let neighbour = Driver::new(&shared, 2, many());
        open(&neighbour);
    });
    assert_eq!(in_secure_world(&driver), 1);
}

#[test]
fn a_session_is_not_closed_while_a_call_has_it() {
    let driver = Driver::new(&shared(), 1, many());
    let session = open(&driver);
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let call = scope.spawn(|| driver.send_at(ONE, &Params::invoke(session, STAYS)));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        // OP-TEE would let the second call wait in one of its threads.
        let closed = driver.send_at(ANOTHER, &Params::close(session.0));
        assert_eq!(closed, TeeResult::SUCCESS);
        let again = driver.send_at(ANOTHER, &Params::close(session.0));
        assert_eq!(again, TeeResult::BAD_PARAMETERS);
        assert_eq!(in_secure_world(&driver), 1);
        driver.applications.gate.open();
        assert_eq!(call.join().unwrap(), TeeResult::SUCCESS);
    });
    eventually("the session is closed", || in_secure_world(&driver) == 0);
}

#[test]
fn closing_counts_against_the_rate_and_is_never_refused() {
    let two = Rights {
        rate: Some(2),
        ..many()
    };
    let driver = Driver::new(&shared(), 1, two);
    let session = open(&driver);
    // A driver forgets the session whatever it is answered.
    driver.close(session).unwrap();
    assert_eq!(driver.open(APPLICATION), Err(TeeResult::BUSY));
    assert_eq!(in_secure_world(&driver), 0);
}

#[test]
fn cancelling_counts_against_the_rate() {
    let two = Rights {
        rate: Some(2),
        ..many()
    };
    let driver = Driver::new(&shared(), 1, two);
    let session = open(&driver);
    let cancel = || driver.send_at(ONE, &Params::cancel(session));
    assert_eq!([cancel(), cancel()], [TeeResult::SUCCESS, TeeResult::BUSY]);
}

#[test]
fn a_cancellation_waits_for_a_permit_and_comes_through_beside_its_own_call() {
    let shared = shared();
    let [driver, neighbour] = [1, 2].map(|number| Driver::new(&shared, number, many()));
    let [session, theirs] = [&driver, &neighbour].map(open);
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let _others = Opens(&neighbour.applications.gate);
        let call = scope.spawn(|| driver.send_at(ONE, &Params::invoke(session, WAITS)));
        scope.spawn(|| neighbour.send_at(ONE, &Params::invoke(theirs, STAYS)));
        for driver in [&driver, &neighbour] {
            eventually("a call in the secure world", || {
                driver.applications.gate.inside() == 1
            });
        }
        let cancelled = scope.spawn(|| driver.send_at(ANOTHER, &Params::cancel(session)));
        meanwhile();
        assert_eq!(driver.applications.gate.cancelled(), 0, "without a permit");
        neighbour.applications.gate.open();
        assert_eq!(cancelled.join().unwrap(), TeeResult::SUCCESS);
        assert_eq!(call.join().unwrap(), TeeResult::CANCEL);
    });
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_for_a_permit_is_answered_at_once() {
    let driver = Driver::new(&shared(), 1, many());
    let [busy, waiting] = [(); 2].map(|()| open(&driver));
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        scope.spawn(|| driver.send_at(ONE, &Params::invoke(busy, STAYS)));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        let call = scope.spawn(|| driver.send_at(ANOTHER, &Params::invoke(waiting, WAITS)));
        eventually("both are under way", || {
            driver.dispatcher.calls.count() == 2
        });
        let cancelled = driver.send_at(0x8000, &Params::cancel(waiting));
        assert_eq!(cancelled, TeeResult::SUCCESS);
        eventually("an answer", || call.is_finished());
        assert_eq!(call.join().unwrap(), TeeResult::CANCEL);
        assert_eq!(driver.applications.gate.inside(), 1);
    });
    // It was never in the secure world, and its session is as it was.
    assert_eq!(driver.applications.gate.cancelled(), 0);
    assert_eq!(driver.invoke(waiting, &[]).result, TeeResult::SUCCESS);
}

#[test]
fn a_guest_whose_application_does_not_end_is_quarantined_until_it_does() {
    let shared = shared();
    let hasty = Rights {
        timeout_ms: Some(20),
        ..many()
    };
    let driver = Driver::new(&shared, 1, hasty);
    let [stuck, other] = [(); 2].map(|()| open(&driver));
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let work = driver.begin(&Params::invoke(stuck, STAYS)).unwrap();
        scope.spawn(|| driver.dispatcher.work(work));
        eventually("the call is given up", || {
            driver.dispatcher.expire();
            trail(&shared).contains("given-up: ")
        });
        let refused = scope.spawn(|| driver.send_at(ONE, &Params::invoke(other, 0)));
        eventually("an answer", || refused.is_finished());
        assert_eq!(refused.join().unwrap(), TeeResult::BUSY);
        // What it gives back is taken, and closed when it may.
        let closed = scope.spawn(|| driver.send_at(ONE, &Params::close(other.0)));
        eventually("an answer", || closed.is_finished());
        assert_eq!(closed.join().unwrap(), TeeResult::SUCCESS);
        assert_eq!(driver.applications.gate.inside(), 1);
        let neighbour = Driver::new(&shared, 2, many());
        open(&neighbour);
        assert!(!trail(&shared).contains("released: "));
    });
    eventually("all of its sessions are closed", || {
        in_secure_world(&driver) == 0
    });
    open(&driver);
    let trail = trail(&shared);
    for event in ["quarantined: ", "released: "] {
        assert!(trail.contains(event), "{event}: {trail}");
    }
}

#[test]
fn a_close_that_lasts_is_given_up_like_any_call() {
    let shared = shared();
    let hasty = Rights {
        timeout_ms: Some(20),
        ..many()
    };
    let driver = Driver::new(&shared, 1, hasty);
    let session = open(&driver);
    driver.applications.slow_close.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let work = driver.begin(&Params::close(session.0)).unwrap();
        scope.spawn(|| driver.dispatcher.work(work));
        eventually("the call is given up", || {
            driver.dispatcher.expire();
            trail(&shared).contains("given-up: ")
        });
        assert_eq!(driver.open(APPLICATION), Err(TeeResult::BUSY));
    });
    eventually("the session is closed", || in_secure_world(&driver) == 0);
}
