//! What is left of a guest that has ended, and of a right that was taken away.

use std::sync::Arc;

use optee_abi::{ShmRef, TeeResult};

use super::driver::{Driver, Params};
use super::world::{APPLICATION, Gate, OTHER, Opens, STAYS, eventually, rights, shared};
use crate::guest::dispatcher::Dispatcher;
use crate::guest::ending::Ending;
use crate::rights::Rights;

#[test]
fn a_guest_that_ends_in_a_call_leaves_no_account_and_no_buffer() {
    let shared = shared();
    let driver = Driver::new(&shared, 1, rights());
    driver.share(ShmRef(1), 0x6000, 4096, 0).unwrap();
    let session = driver.open(APPLICATION).unwrap();
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let work = driver.begin(&Params::invoke(session, STAYS)).unwrap();
        scope.spawn(|| driver.dispatcher.work(work));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        drop(driver.dispatcher.close_down(true));
        driver.dispatcher.finish();
        let [leaving] = shared.permits.leaving().try_into().unwrap();
        assert_eq!((leaving.name.as_str(), leaving.calls), ("guest-1", 1));
    });
    let open = || driver.applications.open.lock().unwrap().len();
    eventually("its session is closed", || open() == 0);
    eventually("its account is closed", || shared.permits.accounts() == 0);
    assert_eq!((shared.permits.leaving().len(), shared.pool.idle()), (0, 0));
}

#[test]
fn sessions_of_an_application_that_is_no_longer_allowed_are_closed() {
    let shared = shared();
    let both = Rights {
        stand_ins: vec![(OTHER, APPLICATION)],
        ..rights()
    };
    let driver = Driver::new(&shared, 1, both);
    let taken = driver.open(APPLICATION).unwrap();
    let kept = driver.open(OTHER).unwrap();
    let fewer = Rights {
        applications: Vec::new(),
        stand_ins: vec![(OTHER, APPLICATION)],
        ..rights()
    };
    driver.dispatcher.set_rights(fewer);
    assert_eq!(driver.invoke(taken, &[]).result, TeeResult::TARGET_DEAD);
    assert_eq!(driver.invoke(kept, &[]).result, TeeResult::SUCCESS);
    let open = || driver.applications.open.lock().unwrap().len();
    eventually("one session is left", || open() == 1);
    let audit = format!("{:?}", shared.audit.entries());
    assert!(audit.contains("revoked"), "{audit}");
    // Its driver does not know yet.
    driver.close(taken).unwrap();
    assert_eq!(driver.close(taken), Err(TeeResult::BAD_PARAMETERS));
    assert_eq!(driver.open(APPLICATION), Err(TeeResult::ACCESS_DENIED));
    assert_eq!(open(), 1);
}

#[test]
fn whoever_says_that_a_guest_has_ended_does_not_wait_for_the_secure_world() {
    let driver = Driver::new(&shared(), 1, rights());
    let gate = Arc::new(Gate::default());
    let _opens = Opens(&gate);
    // Giving something back lasts, as where somebody's calls have all of OP-TEE's threads.
    let busy = Arc::clone(&gate);
    let finish = move |left: Arc<Dispatcher>| {
        busy.stay(0, None);
        left.finish();
    };
    let ending = Ending::start("end".into(), finish).unwrap();
    let left = Arc::downgrade(&driver.dispatcher);
    ending.begin(driver.dispatcher);
    eventually("the thread has taken over", || gate.inside() == 1);
    assert!(left.upgrade().is_some());
    gate.open();
    // The thread was the last one to have it.
    eventually("nothing is left", || left.upgrade().is_none());
}

#[test]
fn a_session_that_is_opened_while_its_right_is_taken_away_is_closed() {
    let driver = Driver::new(&shared(), 1, rights());
    driver
        .applications
        .slow_open
        .store(true, std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let opened = scope.spawn(|| driver.open(APPLICATION));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        let none = Rights {
            applications: Vec::new(),
            ..rights()
        };
        driver.dispatcher.set_rights(none);
        driver.applications.gate.open();
        assert_eq!(opened.join().unwrap(), Err(TeeResult::ACCESS_DENIED));
    });
    let open = || driver.applications.open.lock().unwrap().len();
    eventually("the session is closed", || open() == 0);
    assert!(driver.dispatcher.sessions.all().is_empty());
}
