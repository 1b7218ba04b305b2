//! Workers and holders killed while a guest writes and checks its disk: it must see a delay and nothing else.

use super::bench::Figures;
use super::guests::{self, Load, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use crate::progress::Step;
use agent::client::Remote;
use std::time::{Duration, Instant};

/// Kills of each kind in the gate and in the full tier; `cargo xtask soak kills` has more.
const KILLS: [u32; 2] = [8, 20];
/// Time between two kills.
const PAUSE: Duration = Duration::from_millis(500);
/// Time for the load's last pass.
const LAST_PASS: Duration = Duration::from_secs(120);

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "restart: a worker killed again and again costs a guest no data and no error",
            240,
            |context| judge(context, Victim::Worker),
        ),
        Test::new(
            "restart: a holder killed again and again costs a guest no data and no error",
            240,
            |context| judge(context, Victim::Holder),
        ),
    ]
}

/// The guest.
pub(super) const SURVIVOR: &str = "survivor";

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The process that serves the guest; the holder starts the next one.
    Worker,
    /// The holder, with whom its workers end; it is started again as an init system would.
    Holder,
}

impl Victim {
    /// As figures are named.
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Holder => "holder",
        }
    }
}

fn judge(context: &Context, victim: Victim) -> Outcome {
    let mut figures = Figures::default();
    let [gate, full] = KILLS;
    let kills = context.amount(gate, full);
    run(context, victim, kills, &mut figures)?;
    let get = |name: &str| {
        let name = format!("{}.{name}", victim.name());
        figures.values.get(&name).copied().unwrap_or(f64::NAN)
    };
    context.note(format!(
        "{} kills; from one to the next completed request: median {} ms, longest {} ms",
        get("kills"),
        get("recovery_ms.median"),
        get("recovery_ms.max")
    ));
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// Kills `kills` times while a guest writes, flushes, reads back and checks a file on ext4.
pub(super) fn run(context: &Context, victim: Victim, kills: u32, figures: &mut Figures) -> Outcome {
    let strike = || kill(context, SURVIVOR, victim);
    let trial = Trial {
        name: victim.name(),
        what: "kills",
        count: kills,
        strike: &strike,
    };
    trial.run(context, figures)
}

/// What is done to the backend again and again under a guest's load.
pub(super) struct Trial<'a> {
    /// Begins the names of its figures.
    pub(super) name: &'a str,
    /// The figure that counts it.
    pub(super) what: &'a str,
    pub(super) count: u32,
    /// Does it once; false if nobody was there to do it to.
    pub(super) strike: &'a dyn Fn() -> Result<bool, Failed>,
}

impl Trial<'_> {
    /// Does it while a guest writes, flushes, reads back and checks a file on ext4.
    pub(super) fn run(&self, context: &Context, figures: &mut Figures) -> Outcome {
        let spec = Spec {
            mib: 48,
            fill: "/sbin/mke2fs -q -t ext4 $image",
            ..Spec::new(SURVIVOR, "")
        };
        guests::up(context, &spec)?;
        let outcome = context
            .guest(SURVIVOR)
            .and_then(|guest| self.on_file_system(&guest, figures));
        let mut ended = guests::down_keeping_image(context, &spec);
        if outcome.is_ok() && ended.is_ok() {
            let checked = context
                .dom0()
                .shell(&format!("/sbin/e2fsck -fn {}", spec.image()))
                .output()?;
            if !checked.exit.success() {
                figures.failed = true;
                figures.notes.push(format!("e2fsck: {}", checked.text()));
                self.add(figures, "corruptions", 1.0);
            }
        }
        ended = ended.and(context.sh(&format!("rm -f {}", spec.image())).map(drop));
        outcome.and(ended)
    }

    fn add(&self, figures: &mut Figures, name: &str, value: f64) {
        figures.add(format!("{}.{name}", self.name), value);
    }

    fn on_file_system(&self, guest: &Remote, figures: &mut Figures) -> Outcome {
        guest
            .shell(
                "mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && truncate -s 16M /mnt/data && sync",
            )
            .text()?;
        self.during_load(guest, "/mnt/data", figures)?;
        guest.shell("umount /mnt").text()?;
        Ok(())
    }

    /// Does it while a guest writes, flushes, reads back and checks a file or a disk of 16 MiB.
    pub(super) fn during_load(&self, guest: &Remote, file: &str, figures: &mut Figures) -> Outcome {
        let (log, enough) = ("/tmp/load.log", "/tmp/enough");
        // Of a trial before.
        guest.shell(&format!("rm -f {log} {enough}")).text()?;
        let load = guest.spawn(
            [
                "bed-load",
                "exercise",
                file,
                "--bytes",
                "16777216",
                "--max-request",
                "131072",
                "--depth",
                "4",
                "--flush-every",
                "16",
                "--until",
                enough,
            ],
            log,
        )?;
        let mut done = 0;
        let step = Step::begin(format!("{} {}", self.name, self.what), "begun");
        for number in 0..self.count {
            step.state(format!("{number} of {}", self.count));
            std::thread::sleep(PAUSE);
            done += u32::from((self.strike)()?);
        }
        step.state("waiting for the guest's load to end");
        guest.shell(&format!("touch {enough}")).text()?;
        let exit = guest.wait(load, LAST_PASS)?;
        drop(step);
        let said = String::from_utf8_lossy(&guest.get(log)?).into_owned();
        let errors = guests::complaints(guest)?;
        let report: Option<Load> = serde_json::from_str(said.trim()).ok();
        let corrupt = !exit.success() || report.is_none();
        if corrupt {
            figures.notes.push(format!("bed-load {exit}: {said}"));
        }
        if corrupt || !errors.is_empty() {
            let said = guest.shell("dmesg | tail -n 25").text()?;
            figures
                .notes
                .push(format!("the guest's kernel says:\n{said}"));
        }
        if done < self.count {
            figures.notes.push(format!(
                "only {done} of {} {} met a living {}",
                self.count, self.what, self.name
            ));
        }
        figures.failed |= corrupt || !errors.is_empty() || done < self.count;
        self.add(figures, self.what, f64::from(done));
        self.add(figures, "guest_errors", errors.lines().count() as f64);
        self.add(figures, "corruptions", f64::from(u8::from(corrupt)));
        if let Some(report) = report {
            // Each makes one pause: the longest ones are theirs.
            let pauses = report.pauses_ms.iter().take(done as usize);
            figures.series(
                &format!("{}.recovery_ms", self.name),
                pauses.map(|&pause| pause as f64).collect(),
            );
            self.add(figures, "requests", (report.writes + report.reads) as f64);
        }
        Ok(())
    }
}

/// Kills the victim; false if it was not alive at that moment.
pub(super) fn kill(context: &Context, name: &str, victim: Victim) -> Result<bool, Failed> {
    let line = match victim {
        Victim::Worker => format!(
            "domid=$(xl domid {name}) && pid=$(ps -o pid,args | awk -v d=$domid '/[a]vps-backend worker/ && $0 ~ \"--guest \" d \" \" {{ print $1 }}') && [ -n \"$pid\" ] && kill -9 $pid && echo killed || true"
        ),
        Victim::Holder => {
            "pid=$(xenstore-read data/avps-backend/pid) && kill -9 $pid && echo killed || true"
                .into()
        }
    };
    let killed = context.sh(&line)?.contains("killed");
    if victim == Victim::Holder {
        let gone = Instant::now() + context.within(Duration::from_secs(10));
        while Instant::now() < gone && guests::backend_is_ready(&context.dom0())? {}
        guests::backend(&context.dom0())?;
    }
    Ok(killed)
}
