//! A fuzzer's bytes as a document, in `toolstack/platform`:
//! `cargo +nightly fuzz run document fuzz/corpus/document ../../configs ../../configs/fixtures ../../configs/fixtures/good`.
#![no_main]

use std::process::Command;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common/exercise.rs"]
mod exercise;

/// QEMU's virt machine.
static MACHINE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/machines/virt.dts");
    let dtc = Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", source])
        .output();
    let output = dtc.expect("dtc runs; Debian has it in the package device-tree-compiler");
    assert!(output.status.success(), "{output:?}");
    output.stdout
});

fuzz_target!(|text: &str| exercise::exercise(text, &MACHINE));
