//! `bed-tee` in a guest: what it is told, and calls that last.

use super::super::{Context, Failed, ensure};
use agent::client::Remote;
use serde_json::Value;
use std::time::{Duration, Instant};

/// GlobalPlatform's TEE_SUCCESS.
pub(super) const SUCCESS: &str = "0x00000000";
/// TEE_ERROR_BAD_PARAMETERS: OP-TEE's test application says so of a function that it does not have.
pub(super) const NO_SUCH_FUNCTION: &str = "0xffff0006";
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

/// Makes so many calls of a function that the application does not have, with a buffer of so many bytes: it has answered each.
pub(super) fn calls(guest: &Remote, count: u32, bytes: usize) -> Result<Value, Failed> {
    answered(guest, "calls", count, bytes, NO_SUCH_FUNCTION)
}

/// The same with an application that hashes the buffer, and does so rightly.
pub(super) fn hash(guest: &Remote, count: u32, bytes: usize) -> Result<Value, Failed> {
    answered(guest, "hash", count, bytes, SUCCESS)
}

fn answered(
    guest: &Remote,
    what: &str,
    count: u32,
    bytes: usize,
    answer: &str,
) -> Result<Value, Failed> {
    let (number, bytes) = (count.to_string(), bytes.to_string());
    let seen = bed_tee(guest, &[what, &number, "--bytes", &bytes])?;
    ensure(all_were(&seen, count, answer), || {
        format!("{count} calls were not all answered {answer}: {seen}")
    })?;
    Ok(seen)
}

/// Whether so many calls, and no others, were answered this.
pub(super) fn all_were(seen: &Value, count: u32, answer: &str) -> bool {
    count > 0 && seen["results"] == serde_json::json!({ answer: count })
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

/// Waits until the secure world has a call of the guest's: it has a session meanwhile.
pub(super) fn under_way(context: &Context, guest: &str) -> Result<(), Failed> {
    let until = Instant::now() + context.within(Duration::from_secs(20));
    loop {
        let status = status(context, guest)?;
        let sessions = status["sessions"].as_array();
        if sessions.is_some_and(|sessions| !sessions.is_empty()) {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("{guest} has not begun its call: {status}")
        })?;
        std::thread::sleep(Duration::from_millis(100));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_that_are_all_answered_with_another_error_are_not_answered() {
        let seen = |results: Value| json!({ "results": results });
        assert!(all_were(&seen(json!({ SUCCESS: 20 })), 20, SUCCESS));
        for (results, count) in [
            (json!({ "0xffff000e": 20 }), 20),
            (json!({ SUCCESS: 19 }), 20),
            (json!({ SUCCESS: 19, "0xffff000e": 1 }), 20),
            (json!({}), 0),
            (Value::Null, 20),
        ] {
            assert!(!all_were(&seen(results), count, SUCCESS));
        }
    }
}
