//! More guests than OP-TEE has room for, and more shared memory than dom0 may have.

use super::super::{Context, Failed, Outcome, Test, ensure};
use super::callers::{self, Callers, Mode};
use super::client::{NO_SUCH_FUNCTION, bed_tee, calls, ended, start, status};
use agent::client::Remote;
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "tee: four guests on an OP-TEE for two domains share more buffers than dom0 may; who wants more than its right harms nobody",
        240,
        four,
    )]
}

/// OP-TEE has room for two domains, dom0 among them.
const GUESTS: u8 = 4;
/// Buffers of each, and their bytes: four times as many as Xen's mediator lets dom0 share (xen/arch/arm/tee/optee.c).
const BUFFERS: u64 = 16;
const BYTES: u64 = 512 * 1024;
/// What a guest may share: twice what it does.
const RIGHT: u64 = callers::SHARED_MEMORY_MIB * 1024 * 1024;
/// That all buffers are held, a guest finds in this file.
const GO: &str = "/tmp/go";

fn four(context: &Context) -> Outcome {
    let callers = Callers::start(context, GUESTS, Mode::Mediated)?;
    let outcome = all_at_once(context, &callers).and_then(|()| beyond(context, &callers));
    callers.end(context, outcome)
}

fn share(guest: &Remote, count: u64) -> Outcome {
    guest.shell(&format!("rm -f {GO}")).text()?;
    start(
        guest,
        &format!("share {BYTES} --count {count} --until {GO}"),
    )
}

/// What a guest has registered, in bytes.
fn shared(context: &Context, guest: &str) -> Result<u64, Failed> {
    let status = status(context, guest)?;
    let bytes = status["shared_bytes"].as_u64();
    bytes.ok_or_else(|| Failed(format!("{guest}: {status}")))
}

/// Waits until a guest has so many bytes registered.
fn holds(context: &Context, guest: &str, bytes: u64) -> Outcome {
    let until = Instant::now() + context.within(Duration::from_secs(60));
    loop {
        let now = shared(context, guest)?;
        if now >= bytes {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("{guest} shares {now} of {bytes} bytes")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// All guests hold all their buffers, and then call with each of them.
fn all_at_once(context: &Context, callers: &Callers) -> Outcome {
    let guests = callers.all(context)?;
    for guest in &guests {
        share(guest, BUFFERS)?;
    }
    for guest in &guests {
        holds(context, guest.name(), BUFFERS * BYTES)?;
    }
    let began = Instant::now();
    for guest in &guests {
        guest.shell(&format!("touch {GO}")).text()?;
    }
    // dom0's own programs have their part all the while.
    calls(&context.dom0(), 5, 4096)?;
    for guest in &guests {
        let said = ended(guest, Duration::from_secs(90))?;
        let seen: Value = serde_json::from_str(&said)?;
        ensure(
            seen["shared"] == BUFFERS && seen["results"][NO_SUCH_FUNCTION] == BUFFERS,
            || format!("{}: {seen}", guest.name()),
        )?;
    }
    context.note(format!(
        "{GUESTS} guests held {BUFFERS} buffers of 512 KiB each; a call with each of the {} took {:.1} s in all",
        BUFFERS * u64::from(GUESTS),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// One guest wants more than its right, while the others call.
fn beyond(context: &Context, callers: &Callers) -> Outcome {
    let guests = callers.all(context)?;
    let Some((greedy, others)) = guests.split_first() else {
        return Err(Failed("there is no guest".into()));
    };
    let wanted = 2 * RIGHT / BYTES;
    share(greedy, wanted)?;
    for guest in others {
        calls(guest, 5, usize::try_from(BYTES)?)?;
    }
    greedy.shell(&format!("touch {GO}")).text()?;
    let seen: Value = serde_json::from_str(&ended(greedy, Duration::from_secs(90))?)?;
    let had = seen["shared"].as_u64();
    let had = had.ok_or_else(|| Failed(format!("it does not say what it had: {seen}")))?;
    ensure(
        had < wanted && had * BYTES <= RIGHT && (had + 2) * BYTES > RIGHT,
        || format!("of {wanted} buffers it had {had}"),
    )?;
    // It has lost nothing by that.
    let again = bed_tee(greedy, &["share", "4096"])?;
    ensure(again["shared"] == 1, || format!("afterwards: {again}"))?;
    let trail = context.sh(&format!("avpsctl tee audit {}", greedy.name()))?;
    ensure(trail.contains("would share more"), || trail)?;
    context.note(format!("of {wanted} buffers it had {had}"));
    Ok(())
}
