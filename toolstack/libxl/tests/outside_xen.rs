//! What a user is told on a machine that is no Xen dom0. With Xen below, the calls themselves are
//! tested in the bed, by in-dom0.

use libxl::{Error, Libxl};

#[test]
fn opening_fails_with_what_was_looked_for_or_what_is_missing() {
    let error = Libxl::open(|_, _| ()).expect_err("this machine is no dom0");
    let text = error.to_string();
    match error {
        Error::NoLibrary { tried } => {
            let sonames: Vec<&str> = tried.iter().map(|(soname, _)| soname.as_str()).collect();
            assert_eq!(sonames, ["libxenlight.so.4.20", "libxenlight.so.4.17"]);
            assert!(
                text.contains("libxenlight.so.4.20 and libxenlight.so.4.17"),
                "{text}"
            );
            assert!(text.contains("libxenmisc4.20"), "{text}");
        }
        // Where Xen's libraries are installed, the next thing that is missing is Xen.
        Error::NotOnXen { messages, .. } => {
            assert!(text.contains("dom0"), "{text}");
            assert!(
                messages
                    .iter()
                    .any(|message| message.contains("cannot open libxc handle")),
                "{messages:?}"
            );
        }
        other => panic!("neither a missing library nor a missing Xen: {other}"),
    }
}

#[test]
fn the_known_releases_are_told_newest_first() {
    assert_eq!(
        libxl::known_releases().collect::<Vec<_>>(),
        ["4.20", "4.17"]
    );
}
