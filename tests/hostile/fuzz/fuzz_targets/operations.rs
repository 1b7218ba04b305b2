//! A fuzzer's bytes as operations of a driver: `cargo +nightly fuzz run operations`, in `tests/hostile`.
#![no_main]

use hostile::attack::of_bytes;
use hostile::machine::{collect_panics, panics};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    collect_panics();
    let episode = of_bytes(bytes);
    assert!(episode.findings.is_empty(), "{:?}", episode.findings);
    assert!(panics().is_empty(), "{:?}", panics());
});
