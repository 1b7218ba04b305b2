//! Every verb of the blocking client against a server that keeps a tree.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::store::Server;
use crate::common::{eventually, within};
use xenstore::{Access, Client, Error, Permission, wire::PAYLOAD_MAX};

fn connected() -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect_path(&server.socket()).unwrap();
    (server, client)
}

#[test]
fn what_is_written_is_read_back() {
    let (_server, client) = connected();
    client.write("/a/b/c", "value").unwrap();
    assert_eq!(client.read("/a/b/c").unwrap(), b"value");
    assert_eq!(client.read_string("/a/b/c").unwrap(), "value");
    assert_eq!(client.read_string("/a/b").unwrap(), "", "parents are made");
    client.write("/a/b/c", "").unwrap();
    assert_eq!(client.read("/a/b/c").unwrap(), b"");
}

#[test]
fn binary_values_survive() {
    let (_server, client) = connected();
    let value: Vec<u8> = (0..=255).collect();
    client.write("/binary", &value).unwrap();
    assert_eq!(client.read("/binary").unwrap(), value);
    let error = client.read_string("/binary").unwrap_err();
    assert!(matches!(error, Error::NotText { .. }), "{error}");
}

#[test]
fn values_up_to_the_limit_pass_and_one_byte_more_is_refused_before_it_is_sent() {
    let (_server, client) = connected();
    let path = "/large";
    let largest = vec![b'x'; PAYLOAD_MAX - path.len() - 1];
    client.write(path, &largest).unwrap();
    assert_eq!(client.read(path).unwrap(), largest);
    let sent = client.statistics().requests;
    let error = client
        .write(path, vec![b'x'; largest.len() + 1])
        .unwrap_err();
    assert!(matches!(error, Error::TooLong { bytes, limit, .. }
        if bytes == PAYLOAD_MAX + 1 && limit == PAYLOAD_MAX));
    assert_eq!(client.statistics().requests, sent);
    assert_eq!(
        client.read(path).unwrap(),
        largest,
        "the connection is fine"
    );
}

#[test]
fn missing_nodes_are_not_found_or_none() {
    let (_server, client) = connected();
    let error = client.read("/none").unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "READ /none: does not exist");
    assert_eq!(client.read_opt("/none").unwrap(), None);
    assert_eq!(client.read_string_opt("/none").unwrap(), None);
    assert!(!client.exists("/none").unwrap());
    assert!(client.directory("/none").unwrap_err().is_not_found());
    assert!(client.exists("/").unwrap());
}

#[test]
fn mkdir_keeps_what_is_there_and_rm_takes_all_below() {
    let (_server, client) = connected();
    client.write("/d/x", "1").unwrap();
    client.mkdir("/d/x").unwrap();
    assert_eq!(client.read("/d/x").unwrap(), b"1");
    client.mkdir("/d/y/z").unwrap();
    client.rm("/d/y").unwrap();
    client.rm("/d/y").unwrap();
    assert!(!client.exists("/d/y/z").unwrap());
    assert!(client.rm("/nowhere/y").unwrap_err().is_not_found());
}

#[test]
fn directories_list_their_children() {
    let (_server, client) = connected();
    for name in ["one", "two", "three"] {
        client.write(&format!("/d/{name}"), "").unwrap();
    }
    let names: BTreeSet<String> = client.directory("/d").unwrap().into_iter().collect();
    assert_eq!(
        names,
        BTreeSet::from(["one", "two", "three"].map(String::from))
    );
    assert!(client.directory("/d/one").unwrap().is_empty());
}

/// Names that together need several messages.
fn fill_large_directory(client: &Client) -> BTreeSet<String> {
    let names: BTreeSet<String> = (0..700).map(|i| format!("child-number-{i}")).collect();
    for name in &names {
        client.write(&format!("/large/{name}"), "").unwrap();
    }
    names
}

#[test]
fn directories_larger_than_a_message_are_complete() {
    let (_server, client) = connected();
    let expected = fill_large_directory(&client);
    let names = client.directory("/large").unwrap();
    assert_eq!(names.len(), expected.len(), "no name twice");
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_large_directory_that_changes_while_it_is_read_is_read_again() {
    let (server, client) = connected();
    let expected = fill_large_directory(&client);
    server.faults().disturb_parts.store(5, Ordering::SeqCst);
    let names = client.directory("/large").unwrap();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(server.faults().disturb_parts.load(Ordering::SeqCst), 0);
}

#[test]
fn a_large_directory_that_never_holds_still_is_given_up() {
    let (server, client) = connected();
    fill_large_directory(&client);
    server
        .faults()
        .disturb_parts
        .store(u32::MAX, Ordering::SeqCst);
    let error = client.directory("/large").unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[test]
fn a_large_directory_at_a_server_without_parts_is_an_error_that_says_so() {
    let (server, client) = connected();
    fill_large_directory(&client);
    server.faults().no_parts.store(true, Ordering::Relaxed);
    let error = client.directory("/large").unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("in parts"), "{error}");
}

#[test]
fn permissions_round_trip() {
    let (_server, client) = connected();
    client.write("/p", "").unwrap();
    let permissions = [
        Permission::new(0, Access::None),
        Permission::new(5, Access::Read),
        Permission::new(6, Access::Write),
        Permission::new(7, Access::Both),
    ];
    client.set_permissions("/p", &permissions).unwrap();
    assert_eq!(client.permissions("/p").unwrap(), permissions);
    client.mkdir("/private").unwrap();
    let error = client
        .set_permissions("/private", &permissions)
        .unwrap_err();
    assert!(error.is_permission_denied());
    assert_eq!(error.errno_name(), Some("EACCES"));
}

#[test]
fn server_errors_come_with_their_name_and_the_path() {
    let (_server, client) = connected();
    let error = client.write("/quota", "x").unwrap_err();
    assert_eq!(error.errno_name(), Some("ENOSPC"));
    assert!(error.to_string().contains("WRITE /quota"), "{error}");
    let error = client.introduce(3, 0x1234, 0).unwrap_err();
    assert_eq!(error.errno_name(), Some("EINVAL"));
    assert!(!client.is_broken());
}

#[test]
fn domain_and_server_verbs_work() {
    let (_server, client) = connected();
    assert_eq!(client.domain_path(7).unwrap(), "/local/domain/7");
    assert!(client.is_introduced(0).unwrap());
    assert!(!client.is_introduced(7).unwrap());
    client.introduce(7, 0xfeff_f000, 1).unwrap();
    assert!(client.release(7).unwrap_err().is_not_found());
    assert!(client.resume(7).unwrap_err().is_not_found());
    client.set_target(7, 8).unwrap();
    assert!(client.control(&["help"]).unwrap().contains("check"));
    assert_eq!(
        client.control(&["no"]).unwrap_err().errno_name(),
        Some("EINVAL")
    );
    assert_eq!(
        client.features().unwrap().bits(),
        0,
        "an old server has none"
    );
    client.reset_watches().unwrap();
}

#[test]
fn everything_works_when_the_server_dribbles() {
    within(Duration::from_secs(60), "a dribbling server", || {
        let (server, client) = connected();
        server.faults().split.store(true, Ordering::Relaxed);
        client.write("/s", vec![7; 2000]).unwrap();
        assert_eq!(client.read("/s").unwrap(), vec![7; 2000]);
        assert!(client.read("/none").unwrap_err().is_not_found());
        fill_large_directory(&client);
        assert_eq!(client.directory("/large").unwrap().len(), 700);
    });
}

#[test]
fn many_threads_share_one_connection_and_each_gets_its_own_answer() {
    let (server, client) = connected();
    server.faults().delay_micros.store(50, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let client = client.clone();
            scope.spawn(move || {
                for i in 0..100 {
                    let path = format!("/t/{thread}/{i}");
                    client.write(&path, &path).unwrap();
                    assert_eq!(client.read_string(&path).unwrap(), path);
                }
            });
        }
    });
}

#[test]
fn the_connection_closes_with_its_last_user() {
    let (server, client) = connected();
    let watch = client.watch("/w").unwrap();
    let second = client.clone();
    drop(client);
    assert!(second.exists("/").unwrap());
    drop(second);
    assert_eq!(server.connections(), 1, "the watch still needs it");
    drop(watch);
    eventually("the connection is closed", || server.connections() == 0);
}

#[test]
fn no_server_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect_path(&folder.path().join("socket")).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }));
    assert!(error.to_string().contains("socket"), "{error}");
    let error = Client::connect_path(folder.path()).unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }),
        "a folder: {error}"
    );
}
