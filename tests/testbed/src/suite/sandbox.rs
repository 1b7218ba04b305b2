//! Workers that were taken over: what they can reach of dom0 and of another guest.
//!
//! `avps-backend-probe` stands in the holder's place, starts workers as the holder does and has each try one attack.

use super::guests::{self, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use agent::client::Error;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// What `/dev/xen/gntdev` cannot restrict (SECURITY.md): a worker may have the grants that any guest gave to dom0.
const CANNOT_BE_REFUSED: [&str; 2] = [
    "map a page the victim granted",
    "copy a page the victim granted",
];
/// Not an attack: must be possible, or nothing is proved.
const CONTROL: &str = "serve its own guest";
/// What the kernel refuses for the handles' sake alone, without a sandbox.
const REFUSED_BY_HANDLES: [&str; 8] = [
    "call a hypercall",
    "restrict privcmd to the victim",
    "ask Xen about the victim",
    "raise an interrupt in the victim",
    "map the victim's memory",
    "map the victim's ioreq page",
    "bind an event channel to the victim",
    "take an event channel it was not given",
];
/// What a worker can do without a sandbox: these attacks are real.
const POSSIBLE_WITHOUT: [&str; 6] = [
    "open a file to write it",
    "start a process",
    "kill a process",
    "become root",
    "open /dev/xen/privcmd",
    "write the holder's file",
];
/// Attacks that were planned; fewer outcomes mean that some were forgotten.
const ATTACKS: usize = 40;
const TIME: Duration = Duration::from_secs(240);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "sandbox: the worker of a running guest is confined, and its holder knows",
            120,
            is_confined,
        ),
        // Both in one: two guests are needed, and a while of the other one's work.
        Test::new(
            "sandbox: a worker that was taken over reaches neither dom0 nor another guest; its handles alone keep it from that guest",
            420,
            taken_over,
        ),
    ]
}

/// What the probe prints.
#[derive(Deserialize)]
struct Report {
    sandbox_lacks: Option<Vec<String>>,
    attacks: Vec<Attack>,
}

#[derive(Deserialize)]
struct Attack {
    attack: String,
    outcome: String,
    how: String,
}

impl Report {
    fn attack(&self, name: &str) -> Result<&Attack, Failed> {
        let found = self.attacks.iter().find(|attack| attack.attack == name);
        found.ok_or_else(|| Failed(format!("{name:?} was not tried")))
    }

    /// `outcome` is how each of `names` ended.
    fn all(&self, names: &[&str], outcome: &str) -> Outcome {
        names.iter().try_for_each(|name| {
            let attack = self.attack(name)?;
            ensure(attack.outcome == outcome, || attack.text())
        })
    }
}

impl Attack {
    fn text(&self) -> String {
        format!("{}: {} ({})", self.attack, self.outcome, self.how)
    }
}

fn is_confined(context: &Context) -> Outcome {
    let spec = Spec::new("confined", "");
    guests::with_guest(context, &spec, |_| {
        let domid: u32 = context.sh("xl domid confined")?.parse()?;
        let guest = of_guest(context, spec.name)?;
        let lacks = &guest["sandbox_lacks"];
        ensure(lacks.as_array().is_some_and(Vec::is_empty), || {
            format!("the sandbox lacks {lacks}")
        })?;
        let pid = &guest["worker_pid"];
        let status = context.sh(&format!("cat /proc/{pid}/status"))?;
        let id = 65_536 + domid;
        for line in [
            format!("Uid:\t{id}\t{id}\t{id}\t{id}"),
            "CapEff:\t0000000000000000".to_owned(),
            "CapBnd:\t0000000000000000".to_owned(),
            "NoNewPrivs:\t1".to_owned(),
            "Seccomp:\t2".to_owned(),
        ] {
            ensure(status.lines().any(|other| other == line), || {
                format!("{line:?} is not in: {status}")
            })?;
        }
        let holder = guests::holder(context)?;
        for kind in ["mnt", "net", "ipc", "uts", "user"] {
            let of = |pid: &str| context.sh(&format!("readlink /proc/{pid}/ns/{kind}"));
            let (its, holders) = (of(&pid.to_string())?, of(&holder.to_string())?);
            ensure(its != holders, || {
                format!("{kind} namespace is the holder's")
            })?;
        }
        let seen = context.sh(&format!("ls -A /proc/{pid}/root/"))?;
        ensure(seen.is_empty(), || format!("it sees {seen}"))
    })
}

fn taken_over(context: &Context) -> Outcome {
    let [confined, free] = attacked(context, ["required", "off"])?;
    is_kept_in(context, &confined)?;
    free.all(&[CONTROL], "possible")?;
    free.all(&REFUSED_BY_HANDLES, "refused")?;
    free.all(&POSSIBLE_WITHOUT, "possible")
}

/// The worker has told of its sandbox, and that nothing of it is missing.
fn is_whole(report: &Report) -> Outcome {
    let lacks = report.sandbox_lacks.as_ref();
    ensure(lacks.is_some_and(Vec::is_empty), || match lacks {
        Some(lacks) => format!("the sandbox lacks {lacks:?}"),
        None => "the worker did not say what its sandbox lacks".to_owned(),
    })
}

fn is_kept_in(context: &Context, report: &Report) -> Outcome {
    is_whole(report)?;
    report.all(&[CONTROL], "possible")?;
    // Were they refused, SECURITY.md would say too much.
    report.all(&CANNOT_BE_REFUSED, "possible")?;
    let excused = |attack: &&Attack| {
        attack.attack != CONTROL && !CANNOT_BE_REFUSED.contains(&attack.attack.as_str())
    };
    let wrong: Vec<String> = report
        .attacks
        .iter()
        .filter(excused)
        .filter(|attack| attack.outcome != "refused" && attack.outcome != "killed")
        .map(Attack::text)
        .collect();
    ensure(wrong.is_empty(), || wrong.join("; "))?;
    for name in CANNOT_BE_REFUSED {
        context.note(format!(
            "as SECURITY.md says: {}",
            report.attack(name)?.text()
        ));
    }
    Ok(())
}

/// Plays a worker of one guest that attacks another, which works on its disk meanwhile and must not notice.
fn attacked<const N: usize>(
    context: &Context,
    sandboxes: [&str; N],
) -> Result<[Report; N], Failed> {
    let (robber, bystander) = (Spec::new("robber", ""), Spec::new("bystander", ""));
    let mut reports = Vec::new();
    guests::with_guest(context, &robber, |_| {
        guests::with_guest(context, &bystander, |guest| {
            let (log, enough) = ("/tmp/load.log", "/tmp/enough");
            // It works until the last attack has been tried.
            let argv = ["bed-load", "exercise", "/dev/vda", "--until", enough];
            let load = guest.spawn(argv, log)?;
            for sandbox in sandboxes {
                reports.push(probe(context, &robber, &bystander, sandbox)?);
            }
            let still = guest.wait(load, Duration::ZERO);
            ensure(matches!(still, Err(Error::Refused { .. })), || {
                format!("the bystander's load ended before the attacks: {still:?}")
            })?;
            guest.shell(&format!("touch {enough}")).text()?;
            let exit = guest.wait(load, TIME)?;
            ensure(exit.success(), || {
                format!("bed-load in the bystander: {exit}")
            })?;
            guests::kernel_is_content(guest)?;
            for spec in [&robber, &bystander] {
                let restarts = of_guest(context, spec.name)?["restarts"].clone();
                ensure(restarts == 0, || {
                    format!("the worker of {} died {restarts} times", spec.name)
                })?;
            }
            Ok(())
        })
    })?;
    reports
        .try_into()
        .map_err(|_| Failed("not everything was tried".into()))
}

fn probe(
    context: &Context,
    robber: &Spec<'_>,
    victim: &Spec<'_>,
    sandbox: &str,
) -> Result<Report, Failed> {
    let domid = |spec: &Spec<'_>| context.sh(&format!("xl domid {}", spec.name));
    let (guest, victim) = (domid(robber)?, domid(victim)?);
    // A record of the holder's. In a test without a sandbox it is opened and not written.
    let record = context.sh("find /run/avps -type f | head -n 1")?;
    let argv = [
        "avps-backend-probe",
        "attack",
        "--guest",
        &guest,
        "--victim",
        &victim,
        "--file",
        &record,
        "--sandbox",
        sandbox,
    ];
    let text = context.dom0().command(argv).time(TIME).text()?;
    let report: Report = serde_json::from_str(&text)?;
    ensure(report.attacks.len() >= ATTACKS, || {
        format!("only {} attacks were tried", report.attacks.len())
    })?;
    let failed = report
        .attacks
        .iter()
        .find(|attack| attack.outcome == "failed");
    ensure(failed.is_none(), || {
        failed.map(Attack::text).unwrap_or_default()
    })?;
    Ok(report)
}

/// What the backend tells about a guest.
fn of_guest(context: &Context, name: &str) -> Result<Value, Failed> {
    let argv = ["avps-backend", "stats", "--json"];
    let report: Value = serde_json::from_str(&context.dom0().command(argv).text()?)?;
    let guests = report["guests"].as_array().cloned().unwrap_or_default();
    let found = guests.into_iter().find(|guest| guest["name"] == name);
    found.ok_or_else(|| Failed(format!("the backend has no guest {name}: {report}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_says_nothing_of_its_sandbox_is_not_confined() {
        let report = |text: &str| serde_json::from_str::<Report>(text).unwrap();
        assert!(is_whole(&report(r#"{"sandbox_lacks": [], "attacks": []}"#)).is_ok());
        for lacking in [
            r#"{"sandbox_lacks": ["seccomp"], "attacks": []}"#,
            r#"{"sandbox_lacks": null, "attacks": []}"#,
            r#"{"attacks": []}"#,
        ] {
            assert!(is_whole(&report(lacking)).is_err(), "{lacking}");
        }
    }
}
