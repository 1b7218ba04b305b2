//! What dies in a driver domain, and what its guests notice.

use super::super::bench::Figures;
use super::super::kills::Trial;
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::platform;
use agent::client::Remote;
use std::time::{Duration, Instant};

/// Kills of workers in the gate and in the full tier.
const KILLS: [u32; 2] = [8, 50];
const HOLDER_KILLS: u32 = 5;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "driver: a worker killed again and again in a driver domain costs a guest no data and no error",
            240,
            workers,
        ),
        Test::new(
            "driver: a holder killed again and again in a driver domain costs a guest no data and no error",
            240,
            holders,
        ),
    ]
}

fn workers(context: &Context) -> Outcome {
    platform::running(context)?;
    let driver = context.guest("storage")?;
    let victim = platform::domid(context, "beta")?;
    let [gate, full] = KILLS;
    let kills = context.amount(gate, full);
    killed(context, "driver.worker", kills, &|| {
        kill_worker(&driver, victim)
    })
}

fn holders(context: &Context) -> Outcome {
    platform::running(context)?;
    let driver = context.guest("storage")?;
    let served = worker(platform::domid(context, "beta")?);
    killed(context, "driver.holder", HOLDER_KILLS, &|| {
        let killed = kill(&driver, "/[a]vps-backend serve/")?;
        // Its workers end with it. The next holder is not struck before it serves again.
        let until = Instant::now() + context.within(Duration::from_secs(10));
        while find(&driver, &served)?.is_empty() {
            ensure(Instant::now() < until, || "no holder serves after 10 s")?;
        }
        Ok(killed)
    })
}

/// `beta` works at its disk meanwhile.
fn killed(
    context: &Context,
    name: &'static str,
    count: u32,
    strike: &dyn Fn() -> Result<bool, Failed>,
) -> Outcome {
    let trial = Trial {
        name,
        what: "kills",
        count,
        strike,
    };
    let mut figures = Figures::default();
    trial.during_load(&context.guest("beta")?, "/dev/vda", &mut figures)?;
    let of = |figure: &str| {
        let name = format!("{name}.{figure}");
        figures.values.get(&name).copied().unwrap_or(f64::NAN)
    };
    context.note(format!(
        "{} kills; from one to the next completed request: median {} ms, longest {} ms",
        of("kills"),
        of("recovery_ms.median"),
        of("recovery_ms.max")
    ));
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// Kills the process that serves a guest; false if there was none at that moment.
pub(super) fn kill_worker(driver: &Remote, guest: u16) -> Result<bool, Failed> {
    kill(driver, &worker(guest))
}

/// A guest's worker, as awk matches it.
fn worker(guest: u16) -> String {
    format!("/[a]vps-backend worker/ && / --guest {guest} /")
}

/// The numbers of processes with this command line.
fn find(driver: &Remote, command: &str) -> Result<String, Failed> {
    let line = format!("ps -o pid,args | awk '{command} {{ print $1 }}'");
    Ok(driver.shell(&line).text()?)
}

/// Kills the process whose command line is this, as awk matches it.
fn kill(driver: &Remote, command: &str) -> Result<bool, Failed> {
    let found = find(driver, command)?;
    if found.is_empty() {
        return Ok(false);
    }
    let line = format!(
        "kill -9 {found} && echo killed || true",
        found = found.replace('\n', " ")
    );
    Ok(driver.shell(&line).text()?.contains("killed"))
}
