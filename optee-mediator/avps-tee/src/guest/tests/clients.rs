//! Users and groups of guests as clients of applications.

use optee_abi::{Login, TeeResult, Uuid};

use super::driver::Driver;
use super::world::{APPLICATION, rights, shared};
use crate::rights::Rights;
use crate::world::Client;

const ALICE: Uuid = Uuid([1; 16]);
const BOB: Uuid = Uuid([2; 16]);

#[test]
fn an_application_is_told_each_client_of_each_guest_apart_and_the_same_each_time() {
    let shared = shared();
    let many = || Rights {
        sessions: 8,
        ..rights()
    };
    let guests = [1, 2].map(|number| Driver::new(&shared, number, many()));
    let mut told = Vec::new();
    for guest in &guests {
        for (login, client) in [
            (Login::User, ALICE),
            (Login::User, BOB),
            // The same name as a group is another.
            (Login::Group, ALICE),
            (Login::User, ALICE),
        ] {
            guest.open_as(APPLICATION, login, client).unwrap();
        }
        let clients = guest.applications.clients.lock().unwrap().clone();
        let [alice, bob, group, again] = clients.try_into().unwrap();
        assert_eq!(alice, again);
        assert!(matches!(alice, Client::User(_)), "{alice:?}");
        assert!(matches!(group, Client::Group(_)), "{group:?}");
        told.extend([alice, bob, group]);
    }
    let number = |client: &Client| match *client {
        Client::User(number) | Client::Group(number) => number,
        Client::Public => unreachable!("nobody was public"),
    };
    let numbers: std::collections::BTreeSet<u32> = told.iter().map(number).collect();
    assert_eq!(numbers.len(), 6, "{told:?}");
}

#[test]
fn a_client_that_linux_does_not_know_is_refused_and_a_public_one_is_nobody() {
    let driver = Driver::new(&shared(), 1, rights());
    let refused = driver.open_as(APPLICATION, Login::Application, ALICE);
    assert_eq!(refused, Err(TeeResult::ACCESS_DENIED));
    driver.open(APPLICATION).unwrap();
    assert_eq!(
        *driver.applications.clients.lock().unwrap(),
        [Client::Public]
    );
}

#[test]
fn a_client_whose_identity_cannot_be_kept_is_refused() {
    let shared = shared();
    std::fs::write(shared.journals.with_file_name("identities"), "{").unwrap();
    let driver = Driver::new(&shared, 1, rights());
    let refused = driver.open_as(APPLICATION, Login::User, ALICE);
    assert_eq!(refused, Err(TeeResult::GENERIC));
    let audit = format!("{:?}", shared.audit.entries());
    assert!(audit.contains("identities of clients"), "{audit}");
    assert_eq!(driver.dispatcher.sessions.all().len(), 0);
    driver.open(APPLICATION).unwrap();
}
