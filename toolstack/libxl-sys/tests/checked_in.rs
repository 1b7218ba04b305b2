//! What can be said of the checked-in bindings without Xen's headers. That they are what the
//! headers give is the subject of `regenerate.rs`; that structures have the layout written down
//! beside them is checked by the compiler in every build.

use sha2::{Digest, Sha256};

const BINDINGS: [(&str, &str); 2] = [
    ("4.17", include_str!("../src/v4_17.rs")),
    ("4.20", include_str!("../src/v4_20.rs")),
];

#[test]
fn no_binding_was_edited_after_the_generator_wrote_it() {
    for (release, text) in BINDINGS {
        let (head, body) = text.split_once("\n\n").expect("a head and a body");
        let recorded = head
            .lines()
            .find_map(|line| line.strip_prefix("// body sha256 "))
            .expect("a recorded hash");
        let hash: String = Sha256::digest(body.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hash, recorded,
            "Xen {release}'s binding was changed by hand"
        );
        assert!(
            head.contains(&format!("headers of Xen {release};")),
            "{head}"
        );
    }
}

#[test]
fn every_release_is_listed_newest_first_under_its_own_soname() {
    let sonames = libxl_sys::SONAMES;
    assert_eq!(sonames.len(), BINDINGS.len());
    assert!(sonames.windows(2).all(|pair| pair[0].1 > pair[1].1));
    for (soname, (major, minor)) in sonames {
        assert_eq!(soname, format!("libxenlight.so.{major}.{minor}"));
        assert!(
            BINDINGS
                .iter()
                .any(|(release, _)| *release == format!("{major}.{minor}"))
        );
    }
}
