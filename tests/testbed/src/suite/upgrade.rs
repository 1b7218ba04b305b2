//! Another build of the program takes the place of the one that serves a guest, which must see a delay and nothing else.

use super::bench::Figures;
use super::guests;
use super::kills::{SURVIVOR, Trial};
use super::{Context, Failed, Outcome, Test, ensure};
use std::time::{Duration, Instant};

/// Upgrades in a row in the gate and in the full tier: each takes over what another build left.
const UPGRADES: [u32; 2] = [2, 3];
/// Time for the old holder to end, and for the new worker to serve.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "restart: an upgrade in place under load costs a guest no data and no error",
        240,
        under_load,
    )]
}

fn under_load(context: &Context) -> Outcome {
    let mut figures = Figures::default();
    let strike = || upgrade(context, SURVIVOR).map(|()| true);
    let trial = Trial {
        name: "upgrade",
        what: "upgrades",
        count: context.amount(UPGRADES[0], UPGRADES[1]),
        strike: &strike,
    };
    trial.run(context, &mut figures)?;
    let of = |name: &str| figures.values.get(name).copied().unwrap_or(f64::NAN);
    context.note(format!(
        "{} upgrades; the guest's pauses: median {} ms, longest {} ms",
        of("upgrade.upgrades"),
        of("upgrade.recovery_ms.median"),
        of("upgrade.recovery_ms.max")
    ));
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// What serves a guest now.
struct Serving {
    holder: u32,
    worker: u32,
}

impl Serving {
    /// None while the guest has no worker.
    fn now(context: &Context, guest: &str) -> Result<Option<Self>, Failed> {
        let report = context.sh(&format!("avpsctl backend stats --json {guest}"))?;
        let report: serde_json::Value = serde_json::from_str(&report)?;
        let pid = |value: &serde_json::Value| value.as_u64().and_then(|pid| pid.try_into().ok());
        let worker = pid(&report["guests"][0]["worker_pid"]);
        Ok(pid(&report["pid"])
            .zip(worker)
            .map(|(holder, worker)| Self { holder, worker }))
    }
}

/// Installs another build and restarts the daemon, as a package manager and systemd do.
fn upgrade(context: &Context, guest: &str) -> Outcome {
    let old =
        Serving::now(context, guest)?.ok_or_else(|| Failed("the guest has no worker".into()))?;
    let file = context.sh("readlink -f $(command -v avps-backend)")?;
    // Bytes behind an executable's end change nothing but the file. One rename: whoever starts it has one or the other.
    let mark = format!("the build after holder {}", old.holder);
    context.sh(&format!(
        "cp -p {file} {file}.new && echo {mark} >> {file}.new && mv -f {file}.new {file}"
    ))?;
    for pid in [old.holder, old.worker] {
        ensure(!runs(context, pid, &file, &mark)?, || {
            format!("process {pid} runs from the new file before it was restarted")
        })?;
    }
    context.sh(&format!("kill -TERM {}", old.holder))?;
    // The next holder refuses to start before.
    until("the old holder and its worker have ended", || {
        let line = format!(
            "[ -e /proc/{}/exe ] || [ -e /proc/{}/exe ] || echo gone",
            old.holder, old.worker
        );
        Ok(context.sh(&line)? == "gone")
    })?;
    guests::backend(&context.dom0())?;
    let mut new = None;
    until("the guest has a worker again", || {
        new = Serving::now(context, guest)?;
        Ok(new.is_some())
    })?;
    let new = new.ok_or_else(|| Failed("the guest has no worker".into()))?;
    for (who, pid) in [("holder", new.holder), ("worker", new.worker)] {
        ensure(runs(context, pid, &file, &mark)?, || {
            format!("the {who} (process {pid}) does not run from the new file")
        })?;
    }
    Ok(())
}

/// Whether a process runs from the very file at this path, which ends with this line.
fn runs(context: &Context, pid: u32, file: &str, mark: &str) -> Result<bool, Failed> {
    let exe = format!("/proc/{pid}/exe");
    let line = format!("[ ! {exe} -ef {file} ] || tail -c {} {exe}", mark.len() + 1);
    Ok(context.sh(&line)? == mark)
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failed>) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        ensure(Instant::now() < end, || {
            format!("{what}: not in {PATIENCE:?}")
        })?;
    }
    Ok(())
}
