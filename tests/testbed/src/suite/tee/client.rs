//! `bed-tee` in a guest: what it is told, and calls that last.

use super::super::{Context, Failed, ensure};
use agent::client::Remote;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Where a call that was begun says how it ended.
const LOG: &str = "/tmp/call";

/// What `bed-tee` prints.
pub(super) fn bed_tee(guest: &Remote, args: &[&str]) -> Result<Value, Failed> {
    let argv = ["bed-tee"].iter().chain(args).copied();
    let text = guest.command(argv).time(Duration::from_secs(60)).text()?;
    Ok(serde_json::from_str(&text)?)
}

/// What avps-tee tells of a guest.
pub(super) fn status(context: &Context, guest: &str) -> Result<Value, Failed> {
    let text = context.sh(&format!("avpsctl tee status {guest} --json"))?;
    let mut report: Value = serde_json::from_str(&text)?;
    Ok(report["guests"][0].take())
}

/// Makes so many calls that do nothing, with a buffer of so many bytes: all were answered alike.
pub(super) fn calls(guest: &Remote, count: u32, bytes: usize) -> Result<Value, Failed> {
    alike(guest, "calls", count, bytes)
}

/// The same with an application that hashes the buffer, and does so rightly.
pub(super) fn hash(guest: &Remote, count: u32, bytes: usize) -> Result<Value, Failed> {
    alike(guest, "hash", count, bytes)
}

fn alike(guest: &Remote, what: &str, count: u32, bytes: usize) -> Result<Value, Failed> {
    let (count, bytes) = (count.to_string(), bytes.to_string());
    let seen = bed_tee(guest, &[what, &count, "--bytes", &bytes])?;
    let answers = seen["results"].as_object().map_or(0, serde_json::Map::len);
    ensure(answers == 1, || format!("{count} calls: {seen}"))?;
    Ok(seen)
}

/// Has a guest begin a call of so many milliseconds.
pub(super) fn begin(guest: &Remote, milliseconds: u32) -> Result<(), Failed> {
    start(guest, &format!("wait {milliseconds}"))
}

/// Has `bed-tee` begin with something that [`ended`] waits for, once the guest has said that it will: its vCPU may stand
/// still then.
pub(super) fn start(guest: &Remote, args: &str) -> Result<(), Failed> {
    let line = format!("> {LOG}; (sleep 0.2; bed-tee {args}) > {LOG} 2>&1 &");
    guest.shell(&line).text()?;
    Ok(())
}

/// What the call has said so far: nothing before its end.
pub(super) fn said(guest: &Remote) -> Result<String, Failed> {
    Ok(guest.shell(&format!("cat {LOG}")).text()?)
}

/// What the call says at its end.
pub(super) fn ended(guest: &Remote, within: Duration) -> Result<String, Failed> {
    let until = Instant::now() + within;
    loop {
        let said = said(guest)?;
        if !said.is_empty() {
            return Ok(said);
        }
        ensure(Instant::now() < until, || {
            format!("the call has not ended after {within:?}")
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
}
