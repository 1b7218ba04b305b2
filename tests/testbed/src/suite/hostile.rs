//! A guest that attacks its own disk's backend, next to one that must not notice.

use super::guests::{self, Load, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use agent::client::Remote;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Operations of the attack in every run of the tests; `cargo xtask soak hostile` makes more.
const OPERATIONS: u64 = 5_000;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "hostile: a guest that attacks its disk harms neither its neighbour nor the backend",
        300,
        harmless,
    )]
}

fn harmless(context: &Context) -> Outcome {
    let seen = attack(context, OPERATIONS)?;
    let of = |name: &str| seen.get(name).copied().unwrap_or(0.0);
    context.note(format!(
        "{} operations, {} of them accesses; the device asked for {} resets; the neighbour made {} passes",
        of("operations"),
        of("accesses"),
        of("needs_resets"),
        of("neighbour_passes"),
    ));
    Ok(())
}

/// Attacks with that many operations next to a neighbour with verified load. Fails when anything but the attacker's own
/// requests suffers; gives figures otherwise.
pub(super) fn attack(context: &Context, operations: u64) -> Result<BTreeMap<String, f64>, Failed> {
    let neighbour = Spec::new("neighbour", "memory = \"grant\"");
    let attacker = Spec::new("attacker", "memory = \"grant\"");
    let mut figures = BTreeMap::new();
    guests::with_guest(context, &neighbour, |quiet| {
        guests::with_guest(context, &attacker, |hostile| {
            let before = workers(context)?;
            figures = side_by_side(quiet, hostile, operations)?;
            ensure(workers(context)? == before, || "a worker was replaced")?;
            backend_is_content(context)?;
            guests::kernel_is_content(quiet)?;
            let load = guests::load(quiet, &["verify", "/dev/vda", "--bytes", BYTES])?;
            guests::image_holds(&context.dom0(), &neighbour.image(), &load)?;
            let counted = guests::counted(&context.dom0(), neighbour.name)?;
            let trouble = counted.device("errors") + counted.device("needs_resets");
            ensure(trouble == 0, || {
                format!("the neighbour's device: {counted:?}")
            })?;
            let counted = guests::counted(&context.dom0(), attacker.name)?;
            for name in ["requests", "errors", "needs_resets", "resets", "ioreqs"] {
                let value = u32::try_from(counted.device(name))?;
                figures.insert(name.into(), value.into());
            }
            ensure(counted.device("maps") == counted.device("unmaps"), || {
                format!("mapped and not unmapped: {counted:?}")
            })?;
            // The attacker's kernel has its disk again, and it works.
            has_its_disk(hostile)?;
            let load = guests::load(hostile, &["exercise", "/dev/vda", "--bytes", BYTES])?;
            guests::image_holds(&context.dom0(), &attacker.image(), &load)
        })
    })?;
    guests::nothing_left(&context.dom0())?;
    Ok(figures)
}

/// Bytes of the neighbour's disk that it writes and reads.
const BYTES: &str = "4194304";

/// The attack, and meanwhile passes of verified load by the neighbour, at least one.
fn side_by_side(
    quiet: &Remote,
    hostile: &Remote,
    operations: u64,
) -> Result<BTreeMap<String, f64>, Failed> {
    let over = AtomicBool::new(false);
    let passes = || -> Result<f64, Failed> {
        let mut passes = 0.0;
        loop {
            let done = over.load(Ordering::SeqCst);
            let _: Load = guests::load(quiet, &["exercise", "/dev/vda", "--bytes", BYTES])?;
            passes += 1.0;
            if done {
                return Ok(passes);
            }
        }
    };
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(passes);
        let report = drive(hostile, operations);
        over.store(true, Ordering::SeqCst);
        let passes = neighbour.join();
        let passes = passes.map_err(|_| Failed("the neighbour's thread panicked".into()))?;
        let mut figures = report?;
        figures.insert("neighbour_passes".into(), passes?);
        Ok(figures)
    })
}

fn drive(hostile: &Remote, operations: u64) -> Result<BTreeMap<String, f64>, Failed> {
    let count = operations.to_string();
    let argv = [
        "hostile-guest",
        "--operations",
        &count,
        "--prove",
        "--rebind",
    ];
    // A register access under emulation takes about a millisecond at worst.
    let time = Duration::from_secs(60) + Duration::from_millis(4 * operations);
    let output = hostile.command(argv).time(time).output()?;
    let text = output.text();
    let said: Value = serde_json::from_str(&text).map_err(|e| {
        Failed(format!(
            "hostile-guest: {text} {}: {e}",
            output.error_text()
        ))
    })?;
    ensure(said["passed"] == true, || said["notes"].to_string())?;
    let figures = said["figures"].as_object().into_iter().flatten();
    Ok(figures
        .map(|(name, value)| (name.clone(), value.as_f64().unwrap_or(0.0)))
        .collect())
}

/// The guest's kernel has `/dev/vda`; else the failure says what that kernel has and said.
fn has_its_disk(guest: &Remote) -> Outcome {
    let look = "[ -b /dev/vda ] || { ls /sys/block; dmesg | tail -n 10; }";
    let seen = guest.shell(look).text()?;
    ensure(seen.is_empty(), || {
        format!("/dev/vda did not come back; the guest has and says:\n{seen}")
    })
}

/// The process ids of all workers.
fn workers(context: &Context) -> Result<String, Failed> {
    context.sh("ps -o pid,args | awk '/[a]vps-backend worker/ { print $1 }' | sort -n")
}

/// No thread of the backend panicked.
fn backend_is_content(context: &Context) -> Outcome {
    let log = guests::BACKEND_LOG;
    let said = context.sh(&format!("grep -iE 'panicked|gives up' {log} || true"))?;
    ensure(said.is_empty(), || {
        format!("the backend's log says: {said}")
    })
}
