//! Who takes part when a guest of a driver domain reads: not dom0.

use super::super::guests;
use super::super::{Context, Failed, Outcome, Test, bench_block, ensure};
use super::platform;

/// Requests of the short run and of the long one. What a run costs besides its requests falls out of the difference.
const REQUESTS: [u32; 2] = [300, 2300];
/// Most notifications that dom0 may get per request of a guest that it does not serve: none, but for what its own clock and
/// the tests' console do in the time of the long run.
const BYSTANDER: f64 = 0.02;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "driver: dom0 gets no notification for a request of a driver domain's guest",
        180,
        bystander,
    )]
}

fn bystander(context: &Context) -> Outcome {
    platform::running(context)?;
    let read = bench_block::CLASSES
        .iter()
        .find(|class| class.name == "d1.4k.read");
    let read = read.ok_or_else(|| Failed("there is no such class".into()))?;
    let remote = context.guest("alpha")?;
    let per_request = |disk: &str| -> Result<f64, Failed> {
        let mut seen = Vec::new();
        for requests in REQUESTS {
            let before = notifications(context)?;
            bench_block::measure(&remote, disk, read, requests)?;
            seen.push(f64::from(notifications(context)?.saturating_sub(before)));
        }
        let [short, long] = seen.as_slice() else {
            return Err(Failed("two runs".into()));
        };
        Ok((long - short) / f64::from(REQUESTS[1] - REQUESTS[0]))
    };
    // The same count sees dom0 where it takes part: a backend that polls needs no notification.
    guests::restart_backend(context, &["--polling", "off"])?;
    let by_dom0 = per_request("/dev/vdd");
    guests::restart_backend(context, &[])?;
    let by_dom0 = by_dom0?;
    let storage = context.guest("storage")?;
    let before = guests::counted(&storage, "alpha")?;
    let by_driver = per_request("/dev/vda")?;
    let after = guests::counted(&storage, "alpha")?;
    context.note(format!(
        "event-channel notifications of dom0 per 4 KiB read: {by_driver:.4} from a disk of a driver domain, {by_dom0:.4} from one of its own"
    ));
    ensure(by_dom0 > 10.0 * BYSTANDER, || {
        format!("dom0 got {by_dom0} notifications per request that it served: they are not counted")
    })?;
    ensure(by_driver.abs() < BYSTANDER, || {
        format!("dom0 got {by_driver} notifications per request that it had no part in")
    })?;
    // And the driver domain has done it by copies of what was granted.
    let requests = u64::from(REQUESTS.iter().sum::<u32>());
    for counter in ["requests", "copies"] {
        let grown = after
            .device(counter)?
            .saturating_sub(before.device(counter)?);
        ensure(grown >= requests, || {
            format!("{grown} {counter} of the driver domain for {requests} requests: {after:?}")
        })?;
    }
    ensure(after.device("errors")? == 0, || format!("{after:?}"))
}

/// Event-channel notifications that dom0's Linux has taken so far.
fn notifications(context: &Context) -> Result<u32, Failed> {
    let sum = "awk '/xen-dyn/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts";
    Ok(context.sh(sum)?.trim().parse()?)
}
