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
pub(super) fn run(context: &Context, known: &[&str], figures: &mut Figures) -> Outcome {
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
    for (name, value) in report["figures"].as_object().into_iter().flatten() {
        figures.add(name.clone(), value.as_f64().unwrap_or(f64::NAN));
    }
    let mut surprises = Vec::new();
    let mut let_through = BTreeSet::new();
    for attempt in report["attempts"].as_array().into_iter().flatten() {
        let text = |key: &str| attempt[key].as_str().unwrap_or_default();
        let (name, outcome, expected) = (text("name"), text("outcome"), text("expected"));
        let as_expected = match expected {
            "refused" => outcome == "refused",
            "control" | "limit" => outcome == "allowed",
            _ => true,
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
    figures.failed |=
        !surprises.is_empty() || figures.values.get("attacks").copied().unwrap_or(0.0) < 1.0;
    figures.notes.extend(surprises);
    if !known.is_empty() {
        figures
            .notes
            .push(format!("let through by Xen as it is: {}", known.join(", ")));
    }
    // Nobody has noticed.
    undisturbed(context, &["alpha", "beta", "stranger"])
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
    // A notification that the other one took is lost: alpha's disk may wait for ever. It begins anew.
    context.sh("avpsctl destroy alpha")?;
    document.up(context)?;
    guests::load(
        &context.guest("alpha")?,
        &["exercise", "/dev/vda", "--bytes", "1048576"],
    )
    .map(drop)
}
