//! A driver domain that was taken over, and what Xen lets it do.

use super::super::guests;
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::platform;
use crate::suite::bench::Figures;
use agent::client::Remote;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// What Xen 4.20 as it is cannot refuse: mapping a guest's grant table is the same right as mapping its ioreq pages
/// (XENMEM_acquire_resource), and who writes there grants itself what it likes. `configs/xen` has a change to Xen for it.
pub(super) const XEN_CANNOT_REFUSE: [&str; 2] = ["resource-grant-table@own", "grant-forge@own"];

/// Attempts that there are, at least: fewer were not all made.
const ATTEMPTS: usize = 272;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "driver: one that was taken over reaches no other domain, and of its guests what Xen is known not to refuse",
            420,
            |context| judge(context, &XEN_CANNOT_REFUSE),
        ),
        Test::new(
            "driver: of two that serve a guest, one can take the other's place; the rest of the guests does not notice",
            240,
            limits,
        ),
    ]
}

/// Tests on a Xen with the changes that ship in `configs/xen`.
pub(super) fn on_changed_xen() -> Vec<Test> {
    vec![Test::new(
        "driver: one that was taken over reaches no page that was not granted, on a Xen with the change for it",
        420,
        |context| judge(context, &[]),
    )]
}

fn judge(context: &Context, let_through: &[&str]) -> Outcome {
    let mut figures = Figures::default();
    run(context, let_through, &mut figures)?;
    for (name, value) in &figures.values {
        context.note(format!("{name} = {value}"));
    }
    for note in &figures.notes {
        context.note(note.clone());
    }
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// Attacks from "storage": "beta" is its guest, "stranger" is not, "spare" is another driver domain.
pub(super) fn run(context: &Context, let_through: &[&str], figures: &mut Figures) -> Outcome {
    platform::running(context)?;
    let number = |name: &str| platform::domid(context, name).map(|domid| domid.to_string());
    let (own, foreign, other) = (number("beta")?, number("stranger")?, number("spare")?);
    let driver = context.guest("storage")?;
    let attack = [
        "hostile-driver",
        "attack",
        "--own",
        &own,
        "--foreign",
        &foreign,
        "--other-driver",
        &other,
    ];
    let report = hostile(&driver, &attack, Duration::from_secs(360))?;
    compare(&report, let_through, figures);
    if !let_through.is_empty() {
        let names = let_through.join(", ");
        figures
            .notes
            .push(format!("let through by Xen as it is: {names}"));
    }
    // Nobody has noticed.
    undisturbed(context, &["alpha", "beta", "stranger"])
}

/// What the attacker's program reports, against what is expected of each attempt; `known` are those that Xen lets through.
fn compare(report: &Value, known: &[&str], figures: &mut Figures) {
    let mut surprises = Vec::new();
    for (name, value) in report["figures"].as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(value) => figures.add(name.clone(), value),
            None => surprises.push(format!("{name} is no number: {value}")),
        }
    }
    let mut let_through = BTreeSet::new();
    let attempts = report["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    if attempts.len() < ATTEMPTS {
        surprises.push(format!(
            "{} attempts were made, and there are {ATTEMPTS}",
            attempts.len()
        ));
    }
    for attempt in attempts {
        let text = |key: &str| attempt[key].as_str().unwrap_or_default();
        let (name, outcome, expected) = (text("name"), text("outcome"), text("expected"));
        let as_expected = match expected {
            "refused" => outcome == "refused",
            "control" | "limit" => outcome == "allowed",
            "any" => true,
            _ => false,
        };
        if as_expected {
            continue;
        }
        if outcome == "allowed" && known.contains(&name) {
            let_through.insert(name.to_owned());
        } else {
            surprises.push(format!(
                "{name}: {outcome}, expected {expected} ({})",
                text("detail")
            ));
        }
    }
    let expected: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
    if let_through != expected {
        surprises.push(format!(
            "Xen let through {let_through:?}, known is {expected:?}"
        ));
    }
    figures.failed |= !surprises.is_empty();
    figures.notes.extend(surprises);
}

/// Runs the attacker's program in a driver domain; its report.
fn hostile(driver: &Remote, command: &[&str], time: Duration) -> Result<Value, Failed> {
    let output = driver
        .command(command.iter().copied())
        .time(time)
        .output()?;
    let text = output.text();
    serde_json::from_str(&text)
        .map_err(|error| Failed(format!("{error}: {text} {}", output.error_text())))
}

/// These guests can use their disks, and their kernels have nothing to say.
fn undisturbed(context: &Context, guests: &[&str]) -> Outcome {
    for guest in guests {
        let guest = context.guest(guest)?;
        guests::load(&guest, &["exercise", "/dev/vda", "--bytes", "1048576"])?;
        guests::kernel_is_content(&guest)?;
    }
    Ok(())
}

/// What the right to be a device model does not confine: "spare" serves one disk of "alpha", and takes the place of "storage",
/// which serves another. Xen has no addresses and no interrupts in that right; the checker's answer is AVPS0901.
fn limits(context: &Context) -> Outcome {
    let document = platform::running(context)?;
    let alpha = context.guest("alpha")?;
    let own = platform::domid(context, "alpha")?.to_string();
    // Something has to ask for the disk meanwhile.
    alpha
        .shell("while dd if=/dev/vda of=/dev/null bs=4k count=64 iflag=direct; do :; done > /dev/null 2>&1 &")
        .text()?;
    let limits = [
        "hostile-driver",
        "limits",
        "--own",
        &own,
        "--window",
        "0x2000000",
        "--line",
        "33",
        "--seize",
        "3000",
        "--hold",
        "50",
    ];
    let report = hostile(&context.guest("spare")?, &limits, Duration::from_secs(90))?;
    for attempt in report["attempts"].as_array().into_iter().flatten() {
        let text = |key: &str| attempt[key].as_str().unwrap_or_default();
        context.note(format!(
            "{}: {} ({})",
            text("name"),
            text("outcome"),
            text("detail")
        ));
    }
    ensure(report["passed"] == true, || {
        format!("another outcome than is known of Xen 4.20: {report:#}")
    })?;
    let window = report["attempts"].as_array().into_iter().flatten();
    let mut window = window.filter(|attempt| attempt["name"] == "limit-window");
    let detail = window.next().and_then(|attempt| attempt["detail"].as_str());
    ensure(
        detail.is_some_and(|detail| !detail.contains(" got 0 accesses")),
        || format!("nobody was asked in the other's place: {detail:?}"),
    )?;
    undisturbed(context, &["beta", "stranger"])?;
    // A notification that the other one took is lost: alpha's disk may wait for ever. It begins again.
    context.sh("avpsctl destroy alpha")?;
    document.up(context)?;
    guests::load(
        &context.guest("alpha")?,
        &["exercise", "/dev/vda", "--bytes", "1048576"],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(attempts: &[Value], known: &[&str]) -> Figures {
        let refused = json!({"name": "x", "outcome": "refused", "expected": "refused"});
        let mut all = vec![refused; ATTEMPTS - 1];
        all.extend_from_slice(attempts);
        let report = json!({"figures": {"attacks": all.len()}, "attempts": all});
        let mut figures = Figures::default();
        compare(&report, known, &mut figures);
        figures
    }

    #[test]
    fn each_attempt_has_to_come_out_as_expected_and_none_may_be_missing() {
        let attempt = |outcome: &str, expected: &str| json!({"name": "y", "outcome": outcome, "expected": expected, "detail": ""});
        for (outcome, expected, known, failed) in [
            ("refused", "refused", &[][..], false),
            ("allowed", "control", &[], false),
            ("failed", "any", &[], false),
            ("allowed", "refused", &["y"], false),
            ("allowed", "refused", &[], true),
            ("failed", "refused", &[], true),
            ("failed", "refused", &["y"], true),
            ("refused", "control", &[], true),
            ("refused", "refused", &["y"], true),
            ("refused", "", &[], true),
        ] {
            let figures = seen(&[attempt(outcome, expected)], known);
            assert_eq!(figures.failed, failed, "{outcome} {expected} {figures:?}");
        }
        assert!(seen(&[], &[]).failed);
        let mut figures = Figures::default();
        compare(&json!({}), &[], &mut figures);
        assert!(figures.failed);
    }
}
