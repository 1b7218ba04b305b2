//! What a guest's memory costs: pages for requests, memory for one call, and the journal.

use std::time::Duration;

use optee_abi::message::{Direction, Memory, Param, Place};
use optee_abi::smc::{Answer, FunctionId, Rpc};
use optee_abi::{Ipa, ShmRef, TeeResult};

use super::driver::{Driver, Params};
use super::world::{APPLICATION, Opens, STAYS, eventually, rights, shared};
use crate::rights::Rights;

#[test]
fn pages_for_requests_are_as_many_as_calls_at_once_however_often_these_last() {
    let driver = Driver::new(&shared(), 1, rights());
    let before = driver.ram_in_use();
    let mut asked = 0;
    for round in 0..20_u64 {
        let works = [0x6000, 0x7000].map(|page| {
            let function = FunctionId::CALL_WITH_ARG;
            let work = driver.begin_at(function, page, &Params::close(1));
            work.unwrap()
        });
        std::thread::sleep(driver.dispatcher.shared.hold + Duration::from_millis(1));
        let (answers, _) = driver.dispatcher.expire();
        for (number, due) in (0..).zip(&answers) {
            let Answer::Rpc { rpc, thread } = due.answer else {
                panic!("{due:?}")
            };
            if let Rpc::Allocate { .. } = rpc {
                asked += 1;
                // Of the guest's choice: another page each time.
                let page = 0x10_000 + (round * 2 + number) * 4096;
                let function = FunctionId::RETURN_FROM_RPC.0.into();
                let cookie = 100 + round * 2 + number;
                driver.call([function, 0, page, thread.into(), 0, cookie, 0, 0]);
            }
        }
        for work in works {
            let thread = work.id;
            if driver.dispatcher.work(work).is_none() {
                driver.resume(thread);
            }
        }
    }
    assert_eq!(driver.dispatcher.calls.count(), 0);
    assert_eq!((asked, driver.ram_in_use() - before), (2, 2));
}

fn temporary(address: u64, size: u64) -> Param {
    Param::Temporary {
        direction: Direction::Input,
        memory: Memory {
            place: Place::Contiguous(Ipa(address)),
            size,
            shm_ref: ShmRef(0),
        },
    }
}

#[test]
fn memory_for_one_call_counts_as_shared_while_the_call_lasts() {
    let shared = shared();
    let driver = Driver::new(&shared, 1, rights());
    let session = driver.open(APPLICATION).unwrap();
    driver.share(ShmRef(1), 0x6000, 6 * 4096, 0).unwrap();
    // Six of eight pages are shared.
    let all = [temporary(0x10_000, 2 * 4096)];
    assert_eq!(driver.invoke(session, &all).result, TeeResult::SUCCESS);
    let more = [temporary(0x10_000, 3 * 4096)];
    assert_eq!(
        driver.invoke(session, &more).result,
        TeeResult::OUT_OF_MEMORY
    );
    let together = [temporary(0x10_000, 4096), temporary(0x12_000, 2 * 4096)];
    assert_eq!(
        driver.invoke(session, &together).result,
        TeeResult::OUT_OF_MEMORY
    );
    let audit = format!("{:?}", shared.audit.entries());
    assert!(audit.contains("would share more"), "{audit}");
    // All of it is given back.
    assert_eq!(driver.dispatcher.memory.totals(), (1, 6 * 4096));
    driver.share(ShmRef(2), 0x6000, 2 * 4096, 0).unwrap();
}

#[test]
fn memory_for_one_call_goes_with_its_guest_and_not_with_the_call() {
    let driver = Driver::new(&shared(), 1, rights());
    let session = driver.open(APPLICATION).unwrap();
    let before = driver.ram_in_use();
    std::thread::scope(|scope| {
        let _opens = Opens(&driver.applications.gate);
        let message = Params::with(session, STAYS, &[temporary(0x10_000, 2 * 4096)]);
        let work = driver.begin(&message).unwrap();
        scope.spawn(|| driver.dispatcher.work(work));
        eventually("a call in the secure world", || {
            driver.applications.gate.inside() == 1
        });
        assert_eq!(driver.ram_in_use() - before, 3);
        // Its domain could not be removed while pages of it are mapped.
        drop(driver.dispatcher.close_down(true));
        assert_eq!(driver.ram_in_use(), 0);
    });
}

#[test]
fn memory_that_a_call_still_has_counts_although_it_is_unregistered() {
    let driver = Driver::new(&shared(), 1, rights());
    driver.share(ShmRef(1), 0x6000, 8 * 4096, 0).unwrap();
    let held = driver.dispatcher.memory.get(ShmRef(1)).unwrap();
    driver.unshare(ShmRef(1)).unwrap();
    let more = driver.share(ShmRef(2), 0x6000, 4096, 0);
    assert_eq!(more, Err(TeeResult::OUT_OF_MEMORY));
    drop(held);
    driver.share(ShmRef(2), 0x6000, 8 * 4096, 0).unwrap();
}

#[test]
fn the_journal_is_bounded_in_bytes_by_what_may_be_shared() {
    const PAGES: u64 = 64;
    let shared = shared();
    let rights = Rights {
        shared_memory_bytes: PAGES * 4096,
        ..rights()
    };
    let driver = Driver::new(&shared, 1, rights);
    // Every other page: no two are one behind the other.
    let list: Vec<u8> = (0..PAGES)
        .flat_map(|number| (0x10_000 + number * 2 * 4096).to_le_bytes())
        .collect();
    let mut longest = 0;
    for number in 0..400 {
        driver.fill(0x2000, &list);
        driver
            .share_list(ShmRef(number), 0x2000, PAGES * 4096)
            .unwrap();
        driver.unshare(ShmRef(number)).unwrap();
        let files = std::fs::read_dir(&shared.journals).unwrap();
        let bytes: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        longest = longest.max(bytes);
    }
    assert!(longest < 24 * 1024, "{longest} bytes for {PAGES} pages");
}
