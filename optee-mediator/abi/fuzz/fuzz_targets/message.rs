//! A fuzzer's bytes as a guest's registers, its message, its lists of pages and its answers, in `optee-mediator/abi`:
//! `cargo +nightly fuzz run message`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/exercise.rs"]
mod exercise;

fuzz_target!(|bytes: &[u8]| exercise::exercise(bytes));
