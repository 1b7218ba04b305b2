//! A fuzzer's bytes as a machine's device tree, in `toolstack/platform`: `cargo +nightly fuzz run device_tree`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/exercise.rs"]
mod exercise;

/// Asks for everything that an emitter takes out of a tree.
const DOCUMENT: &str = include_str!("../../tests/data/full.avps.toml");

fuzz_target!(|bytes: &[u8]| exercise::exercise(DOCUMENT, bytes));
