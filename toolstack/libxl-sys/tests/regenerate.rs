//! Makes the bindings again from Xen's own headers and compares them with the checked-in files.
//!
//! Built only with the feature `bindgen`. It needs libclang and, in the environment, the header
//! folders of every release; without them it fails, since nothing was compared.

use std::process::Command;

#[test]
fn the_checked_in_bindings_are_what_the_headers_give() {
    let folders: Vec<String> = [
        ("4.17", "AVPS_XEN_HEADERS_4_17"),
        ("4.20", "AVPS_XEN_HEADERS_4_20"),
    ]
    .into_iter()
    .map(|(release, variable)| {
        let folder = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} must name the usr/include of libxen-dev {release}, unpacked")
        });
        format!("{release}={folder}")
    })
    .collect();
    let output = Command::new(env!("CARGO_BIN_EXE_libxl-sys-bindgen"))
        .arg("--check")
        .args(folders)
        .output()
        .expect("the generator starts");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
