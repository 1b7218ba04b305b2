//! What tests about device trees share: the machines in tests/machines, and dtc.

pub(crate) mod corpus;
pub(crate) mod exercise;
pub(crate) mod schema;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use platform::{Analysis, Files, Plan};

/// Compiles source text with dtc. Warnings fail the test unless `quiet`.
pub(crate) fn dtc(source: &str, quiet: bool) -> Vec<u8> {
    let mut command = Command::new("dtc");
    command.args(["-I", "dts", "-O", "dtb"]);
    if quiet {
        command.arg("-q");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dtc runs; Debian has it in the package device-tree-compiler");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(source.as_bytes()).expect("dtc reads");
    drop(stdin);
    let output = child.wait_with_output().expect("dtc ends");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dtc: {complaints}\n{source}");
    assert!(
        quiet || complaints.is_empty(),
        "dtc: {complaints}\n{source}"
    );
    output.stdout
}

/// The device tree of a machine in tests/machines.
pub(crate) fn machine(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let source = std::fs::read_to_string(path.join(name)).expect("part of the repository");
    dtc(&source, true)
}

/// A machine whose only file is its device tree.
pub(crate) struct OneFile(pub(crate) Vec<u8>);

impl Files for OneFile {
    fn read(&self, _path: &str) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}

/// Analyses a document on a machine with this device tree.
pub(crate) fn analyse_on(machine: &[u8], text: &str) -> Analysis {
    platform::analyse_in(text, "/base", &OneFile(machine.to_vec()))
}

/// The plan of a document without errors.
pub(crate) fn plan_on(machine: &[u8], text: &str) -> Plan {
    let analysis = analyse_on(machine, text);
    let findings = analysis.findings;
    analysis.plan.unwrap_or_else(|| panic!("{findings:#?}"))
}
