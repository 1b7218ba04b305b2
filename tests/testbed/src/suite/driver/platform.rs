//! The platform of these tests, and the policy under which it runs.

use super::super::document::Document;
use super::super::guests::{self, IMAGES};
use super::super::{Context, Failed, Outcome};
use crate::process::Run;
use agent::client::Remote;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The document.
pub(super) const DOCUMENT: &str = include_str!("driven.avps.toml");
/// Where the policy is in dom0.
const POLICY: &str = "/etc/avps/xenpolicy";
/// Longest time of `avpsctl up` and `down`.
pub(super) const TIME: Duration = Duration::from_secs(180);
/// Disks of the driver domain that dom0 serves.
pub(super) const DURABLE: [&str; 2] = ["storage-0", "storage-1"];
/// Disks of guests that dom0 serves.
const OF_DOM0: [&str; 2] = ["alpha", "stranger"];
/// The size of all these.
const MIB: u64 = 48;

/// The platform runs as its document says, under its policy; whatever was there before. `avpsctl up` refuses where Xen does
/// not enforce it.
pub(super) fn running(context: &Context) -> Result<Document, Failed> {
    let document = put(context)?;
    document.up(context)?;
    Ok(document)
}

/// The document and its images are in dom0, its policy is loaded, and dom0's backend runs.
pub(super) fn put(context: &Context) -> Result<Document, Failed> {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let document = Document::put(context, "driven", DOCUMENT, TIME)?;
    for name in DURABLE.iter().chain(&OF_DOM0) {
        let image = format!("{IMAGES}/{name}.img");
        context.sh(&format!("[ -f {image} ] || truncate -s {MIB}M {image}"))?;
    }
    load(context, &build(context, "driven.avps.toml", DOCUMENT, &[])?)?;
    Ok(document)
}

/// Gives Xen a policy.
pub(in super::super) fn load(context: &Context, policy: &[u8]) -> Outcome {
    context.dom0().put_bytes(policy, POLICY, 0o644)?;
    context
        .sh(&format!("avpsctl policy load {POLICY}"))
        .map(drop)
}

/// Policies that this run has compiled, by what they were made of.
static COMPILED: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Compiles a document or a policy's source on this host, once a run; `others` lie beside it.
pub(super) fn build(
    context: &Context,
    name: &str,
    text: &str,
    others: &[(&str, String)],
) -> Result<Vec<u8>, Failed> {
    let xen = context.bed().policy_source().ok_or_else(|| {
        Failed("a policy needs the source of the Xen that was brought along".into())
    })?;
    let made_of = format!("{}\n{name}\n{text}\n{others:?}", xen.display());
    let compiled = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(policy) = compiled().get(&made_of) {
        return Ok(policy.clone());
    }
    let folder = tempfile::tempdir()?;
    let (source, policy) = (folder.path().join(name), folder.path().join("xenpolicy"));
    std::fs::write(&source, text)?;
    for (name, text) in others {
        std::fs::write(folder.path().join(name), text)?;
    }
    let arguments: [PathBuf; 4] = [xen.into(), "--output".into(), policy.clone(), source];
    let cargo = [
        "run",
        "-q",
        "-p",
        "avpsctl",
        "--",
        "policy",
        "build",
        "--xen-source",
    ];
    Run::new("cargo").args(cargo).args(arguments).run()?;
    let policy = std::fs::read(policy)?;
    compiled().insert(made_of, policy.clone());
    Ok(policy)
}

/// Ends everything; nothing may be left.
pub(super) fn down(context: &Context, document: &Document) -> Outcome {
    document.down(context, Ok(()))?;
    for name in DURABLE.iter().chain(&OF_DOM0) {
        context.sh(&format!("rm -f {IMAGES}/{name}.img"))?;
    }
    Ok(())
}

/// A running domain's number.
pub(super) fn domid(context: &Context, name: &str) -> Result<u16, Failed> {
    Ok(context.sh(&format!("xl domid {name}"))?.trim().parse()?)
}

/// SHA-256 of the first bytes of a disk in a driver domain.
pub(super) fn sha256(driver: &Remote, image: &str, bytes: u64) -> Result<String, Failed> {
    let line = format!("head -c {bytes} {image} | sha256sum | cut -c -64");
    Ok(driver.shell(&line).text()?.trim().to_owned())
}
