//! A guest that attacks its own disk's backend, next to one that must not notice.

use super::guests::{self, Load, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use agent::client::Remote;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Operations of the attack in the gate and in the full tier; `cargo xtask soak hostile` makes more.
const OPERATIONS: [u64; 2] = [2_000, 5_000];

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "hostile: a guest that attacks its disk harms neither its neighbour nor the backend",
        300,
        harmless,
    )]
}

fn harmless(context: &Context) -> Outcome {
    let seen = attack(context, context.amount(OPERATIONS[0], OPERATIONS[1]))?;
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
    guests::backend(&context.dom0())?;
    // So that large requests are mapped, which they are not by default: mappings are attacked as well.
    guests::restart_backend(context, &["--copy-limit", "16384"])?;
    let outcome = guests::with_guest(context, &neighbour, |quiet| {
        guests::with_guest(context, &attacker, |hostile| {
            let before = workers(context)?;
            ensure(before.lines().count() == 2, || {
                format!("the workers of two guests: {before:?}")
            })?;
            figures = side_by_side(quiet, hostile, operations)?;
            ensure(workers(context)? == before, || "a worker was replaced")?;
            backend_is_content(context)?;
            guests::kernel_is_content(quiet)?;
            let load = guests::load(quiet, &["verify", "/dev/vda", "--bytes", BYTES])?;
            guests::image_holds(&context.dom0(), &neighbour.image(), &load)?;
            let counted = guests::counted(&context.dom0(), neighbour.name)?;
            let trouble = counted.device("errors")? + counted.device("needs_resets")?;
            ensure(trouble == 0 && counted.device("requests")? > 0, || {
                format!("the neighbour's device: {counted:?}")
            })?;
            counted.each_map_was_undone()?;
            let counted = guests::counted(&context.dom0(), attacker.name)?;
            for name in ["requests", "errors", "needs_resets", "resets", "ioreqs"] {
                let value = u32::try_from(counted.device(name)?)?;
                figures.insert(name.into(), value.into());
            }
            let (maps, unmaps) = (counted.device("maps")?, counted.device("unmaps")?);
            ensure(maps == unmaps, || {
                format!("mapped and not unmapped: {counted:?}")
            })?;
            // The attacker's kernel has its disk again, and it works, large requests included.
            has_its_disk(hostile)?;
            let load = guests::load(hostile, &["exercise", "/dev/vda", "--bytes", BYTES])?;
            guests::image_holds(&context.dom0(), &attacker.image(), &load)?;
            guests::counted(&context.dom0(), attacker.name)?.each_map_was_undone()
        })
    });
    outcome.and(guests::restart_backend(context, &[]))?;
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
    attacked(&said, operations).map_err(Failed)
}

/// The figures of an attack that was made in full and that its program calls passed.
fn attacked(said: &Value, operations: u64) -> Result<BTreeMap<String, f64>, String> {
    if said["passed"] != true {
        return Err(said["notes"].to_string());
    }
    let mut figures = BTreeMap::new();
    for (name, value) in said["figures"].as_object().into_iter().flatten() {
        let value = value.as_f64();
        let value = value.ok_or_else(|| format!("{name} is no number: {said}"))?;
        figures.insert(name.clone(), value);
    }
    let made = figures.get("operations").copied().unwrap_or(0.0);
    // Counts of one attack are far below 2^53.
    if made < operations as f64 {
        return Err(format!(
            "{made} of {operations} operations were made: {said}"
        ));
    }
    Ok(figures)
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
    let log = String::from_utf8_lossy(&context.dom0().get(guests::BACKEND_LOG)?).into_owned();
    ensure(!log.is_empty(), || "the backend's log is empty")?;
    let is_trouble = |line: &&str| {
        let line = line.to_lowercase();
        line.contains("panicked") || line.contains("gives up")
    };
    let trouble: Vec<&str> = log.lines().filter(is_trouble).collect();
    ensure(trouble.is_empty(), || {
        format!("the backend's log says: {}", trouble.join("\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_attack_that_was_made_in_full_has_passed() {
        let said = |passed: bool, figures: Value| json!({"passed": passed, "figures": figures, "notes": ["why"]});
        let whole = said(true, json!({"operations": 100, "accesses": 7}));
        assert_eq!(attacked(&whole, 100).unwrap()["accesses"], 7.0);
        for (said, operations) in [
            (whole.clone(), 101),
            (said(true, json!({})), 1),
            (
                said(true, json!({"operations": 100, "accesses": null})),
                100,
            ),
            (said(false, json!({"operations": 100})), 100),
        ] {
            assert!(attacked(&said, operations).is_err(), "{said}");
        }
    }
}
