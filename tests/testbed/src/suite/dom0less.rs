//! A machine with everything at once: a control domain, a safety guest that Xen itself starts, and guests that hammer on Xen.
//!
//! The safety guest's heart beats every 10 ms of its own time. It must lose no beat, and keep the rhythm that it had before:
//! while the others flood, while the control domain's services are killed, and when its kernel has stopped. Time is QEMU's
//! count of instructions here (`-icount`), so that neither this host's load nor its clock is measured. At the end Xen is asked
//! what everybody has, and that must be the plan.

use super::own_machine::{self, console};
use super::report::Report;
use super::{Context, Failed, Outcome, ensure};
use crate::failure::Failure;
use crate::oracle::{self, Content, Oracle, documents};
use crate::progress::Step;
use crate::run::media::Media;
use oracle_guest::{frame, gaps};
use platform::Plan;
use platform::plan::{Module, ModuleRole};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The test's name.
pub(super) const NAME: &str =
    "dom0less: a safety guest keeps its rhythm while guests flood and the control domain dies";
/// The document.
const DOCUMENT: &str = "safety-with-control.avps.toml";
/// Beats that are judged together.
const STRETCH: u64 = gaps::STRETCH as u64;
/// Longest wait for the next hundred of them; a second of the guest's time is several of this host's.
const TIME: Duration = Duration::from_secs(240);
/// How much longer the gap that 999 of 1000 do not exceed may be than before the disturbance.
const RHYTHM: f64 = 1.2;
/// The control domain's services. Nothing is served by avps-backend here.
const SERVICES: &str = "xenstored xenconsoled";
/// What Linux says when `c` is written to its sysrq-trigger.
const PANIC: &str = "Kernel panic - not syncing: sysrq triggered crash";
/// What a guest says when it begins to flood.
const FLOODING: &str = "flooding";

/// Runs it.
pub(super) fn run(media: &Media, oracle: &Oracle, report: &Report) -> Result<(), Failure> {
    let own = own_machine::Test {
        name: NAME,
        folder: "dom0less",
        boots: "booting Xen, a control domain and three guests",
    };
    let plan = documents::shipped(oracle, DOCUMENT)?;
    let content = |module: &Module| content(&plan, media, module);
    let mut machine = own_machine::laid_out(oracle, &plan, own.folder, &content)?;
    machine.counted = true;
    own.run(media, &machine, report, |context, step| {
        beats_on(context, step).and_then(|()| is_as_planned(context, &plan))
    })
}

/// The bed's own file for a module.
fn content(plan: &Plan, media: &Media, module: &Module) -> Content {
    match (own_machine::is_control(plan, module), module.role) {
        (true, ModuleRole::Kernel) => Content::File(media.kernel.clone()),
        (true, _) => Content::File(media.initramfs.clone()),
        (false, _) => Content::Guest,
    }
}

fn beats_on(context: &Context, step: &Step) -> Outcome {
    step.state("beats while nothing disturbs".to_owned());
    let up = last_beat(context)?;
    let quiet = undisturbed(context, up)?;
    step.state("beats while guests flood".to_owned());
    let mut stretches = vec![judged(context, &quiet, quiet.beat, "guests flood")?];
    step.state("beats while the control domain's services are killed".to_owned());
    let before = last_beat(context)?;
    context.sh(&format!(
        "for service in {SERVICES}; do pidof $service > /dev/null || {{ echo $service does not run; exit 1; }}; done && \
         killall -9 {SERVICES} && for i in $(seq 50); do pidof {SERVICES} > /dev/null || exit 0; sleep 0.1; done; \
         echo they live; exit 1"
    ))?;
    stretches.push(judged(context, &quiet, before, "its services were killed")?);
    step.state("beats while the control domain's kernel has stopped".to_owned());
    let before = last_beat(context)?;
    // The panic must not end the machine, so nothing restarts.
    context.sh("echo 0 > /proc/sys/kernel/panic; echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &")?;
    dom0_is_dead(context)?;
    let dead = last_beat(context)?;
    stretches.push(judged(context, &quiet, before, "its kernel has stopped")?);
    let last = beat_from(context, dead + 1, "its kernel has stopped")?;
    let most: Vec<f64> = stretches.iter().map(|beat| beat.against(&quiet)).collect();
    let longest = stretches.iter().map(|beat| beat.max).max();
    context.note(format!(
        "{} beats, {} lost; 99.9 % of the gaps below {:.3} periods undisturbed, and below {most:.3?} times that disturbed; \
         the longest {:.3} and {:.3} periods",
        last.beat,
        last.missed,
        quiet.periods(quiet.most),
        quiet.periods(quiet.max),
        quiet.periods(longest.unwrap_or_default()),
    ));
    Ok(())
}

/// The last beats before the first flood. `up` was the last one before the control domain was up and idle.
fn undisturbed(context: &Context, up: u64) -> Result<Beat, Failed> {
    let first = up + STRETCH;
    let text = until(context, || {
        let text = console(context)?;
        let floods = text.lines().any(|line| words(line) == Some(FLOODING));
        Ok(if floods {
            Ok(text)
        } else {
            Err("the guests do not flood".to_owned())
        })
    })?;
    let quiet = lines_before_flood(&text).filter_map(Beat::read).last();
    let quiet = quiet.filter(|beat| beat.beat >= first && beat.missed == 0);
    quiet.ok_or_else(|| {
        Failed(format!(
            "no {STRETCH} beats without loss between beat {up}, when the control domain was up, and the flood"
        ))
    })
}

fn lines_before_flood(console: &str) -> impl Iterator<Item = &str> {
    let mut lines = console.lines();
    std::iter::from_fn(move || lines.next().filter(|line| words(line) != Some(FLOODING)))
}

/// The stretch after the beat `before`; fails if its rhythm is not the undisturbed one's.
fn judged(context: &Context, quiet: &Beat, before: u64, why: &str) -> Result<Beat, Failed> {
    let beat = beat_from(context, before + STRETCH, why)?;
    let ratio = beat.against(quiet);
    ensure(ratio <= RHYTHM, || {
        format!(
            "while {why}, 1 gap of 1000 was longer than {} ticks, and {} undisturbed: {ratio:.3} times",
            beat.most, quiet.most
        )
    })?;
    Ok(beat)
}

/// Asks Xen what everybody has.
fn is_as_planned(context: &Context, plan: &Plan) -> Outcome {
    let mut port = UnixStream::connect(context.bed().socket("serial"))?;
    // QEMU waits for whoever is connected; what comes is in the log as well.
    let mut reader = port.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    port.write_all(b"q")?;
    // The end of what it tells; two keys pressed at once are one.
    until(context, || {
        let ended = console(context)?.contains("(XEN) Notifying guest");
        Ok(Some(())
            .filter(|()| ended)
            .ok_or("Xen does not tell of its domains".to_owned()))
    })?;
    port.write_all(b"r")?;
    until(context, || {
        let (guests, readback) = oracle::told(&console(context)?);
        let differences = documents::differences(plan, &guests, &readback, &[]);
        Ok(if differences.is_empty() {
            Ok(())
        } else {
            Err(differences.join("; "))
        })
    })
}

/// Waits until there is what is looked for; fails with what is there instead when its time is over, or the machine's.
fn until<T>(
    context: &Context,
    mut look: impl FnMut() -> Result<Result<T, String>, Failed>,
) -> Result<T, Failed> {
    let end = Instant::now() + TIME;
    loop {
        let seen = match look()? {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        ensure(context.bed().alive(), || {
            format!("the machine ended; {seen}")
        })?;
        ensure(Instant::now() < end, || seen)?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until dom0's kernel has said that it panics, and its agent does not answer any more.
fn dom0_is_dead(context: &Context) -> Outcome {
    until(context, || {
        Ok(match has_panicked(&console(context)?) {
            true => Ok(()),
            false => Err("dom0's kernel does not panic when it is told to".to_owned()),
        })
    })?;
    until(context, || {
        let dom0 = context.dom0();
        let asked = dom0.command(["true"]).time(Duration::from_secs(5));
        Ok(if asked.text().is_ok() {
            Err("dom0's kernel goes on after a panic".to_owned())
        } else {
            Ok(())
        })
    })
}

/// Whether dom0's Linux has said so. A guest's line is Xen's, and begins with its mark.
fn has_panicked(console: &str) -> bool {
    let mut lines = console.lines();
    lines.any(|line| !line.starts_with("(XEN)") && !line.starts_with("(d") && line.contains(PANIC))
}

/// What the safety guest told of its last beats.
#[derive(Clone, Copy, Debug)]
struct Beat {
    beat: u64,
    /// Of all.
    missed: u64,
    /// Longest of the last 1000 gaps, in ticks.
    max: u64,
    /// What 999 of them do not exceed.
    most: u64,
    period: u64,
}

impl Beat {
    /// How its gaps compare with those of another stretch.
    fn against(&self, other: &Self) -> f64 {
        self.most as f64 / other.most.max(1) as f64
    }

    fn periods(&self, gap: u64) -> f64 {
        gap as f64 / self.period.max(1) as f64
    }

    /// In the line of a report.
    fn read(line: &str) -> Option<Self> {
        let mut words = words(line)?.strip_prefix("beat ")?.split(' ');
        let beat = words.next()?.parse().ok()?;
        let fields: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
        let field = |wanted: &str| {
            let (_, value) = fields.iter().find(|(name, _)| *name == wanted)?;
            value.parse().ok()
        };
        Some(Self {
            beat,
            missed: field("missed")?,
            max: field("max")?,
            most: field("p99.9")?,
            period: field("period")?,
        })
    }

    /// The last one on the console.
    fn last(console: &str) -> Option<Self> {
        console.lines().rev().find_map(Self::read)
    }
}

/// The words of the report in a line.
fn words(line: &str) -> Option<&str> {
    Some(frame::read(line)?.ok()?.words)
}

/// Number of the last beat that was told.
fn last_beat(context: &Context) -> Result<u64, Failed> {
    Ok(Beat::last(&console(context)?).map_or(0, |beat| beat.beat))
}

/// Waits for the first report from beat `number` on, and sees that none was lost.
fn beat_from(context: &Context, number: u64, why: &str) -> Result<Beat, Failed> {
    let mut last = 0;
    let mut until = Instant::now() + TIME;
    loop {
        let text = console(context)?;
        let mut beats = text.lines().filter_map(Beat::read);
        if let Some(beat) = beats.find(|beat| beat.beat >= number) {
            ensure(beat.missed == 0, || {
                format!("{} beats lost while {why}", beat.missed)
            })?;
            return Ok(beat);
        }
        let now = Beat::last(&text).map_or(0, |beat| beat.beat);
        if now > last {
            last = now;
            until = Instant::now() + TIME;
        }
        ensure(context.bed().alive(), || {
            format!("the machine ended while {why}")
        })?;
        ensure(Instant::now() < until, || {
            format!("no beat after number {last} while {why}; {number} was awaited")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dom0s_own_panic_is_its_death() {
        let panic = format!("[   12.345678] {PANIC}");
        assert!(has_panicked(&format!("(XEN) up\n{panic}\n")));
        assert!(!has_panicked(
            "(XEN) up\n[    1.0] Run /init as init process\n"
        ));
        assert!(!has_panicked(&format!(
            "(XEN) DOM1: {panic}\n(d1) {panic}\n"
        )));
    }

    #[test]
    fn the_last_whole_beat_on_a_console_counts() {
        let mut writer = frame::Writer::new(7);
        let words = "beat 200 missed=1 of=200 max=30 p99.9=20 period=10";
        std::fmt::Write::write_str(&mut writer, words).expect("it fits");
        let line = String::from_utf8_lossy(writer.finish()).into_owned();
        let console = format!("(XEN) up\n(d1) {line}(d1) @og 8 beat 300 torn ~0000\n(d2) hello\n");
        let beat = Beat::last(&console).expect("a beat");
        assert_eq!((beat.beat, beat.missed), (200, 1));
        assert_eq!((beat.max, beat.most, beat.period), (30, 20, 10));
        assert!(Beat::last("(XEN) up").is_none());
    }
}
