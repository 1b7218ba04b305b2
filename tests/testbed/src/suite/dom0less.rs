//! A machine with everything at once: a control domain, a safety guest that Xen itself starts, and guests that hammer on Xen.
//!
//! The safety guest's heart beats every 10 ms of its own time. It must lose no beat and keep its rhythm while the others flood,
//! while the control domain's services are killed, and when its kernel has stopped. Time is QEMU's count of instructions here
//! (`-icount`), so that neither this host's load nor its clock is measured.

use super::report::{Case, Report};
use super::{Context, Failed, Outcome, ensure};
use crate::artefacts::Workshop;
use crate::artefacts::oracle::{self, machine_tree};
use crate::failure::Failure;
use crate::paths;
use crate::progress::Step;
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::{Layout, Machine, SERIAL_LOG};
use oracle_guest::frame;
use platform::Plan;
use platform::plan::{DomainKind, Module, ModuleRole};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The test's name.
pub(super) const NAME: &str =
    "dom0less: a safety guest keeps its rhythm while guests flood and the control domain dies";
/// The document.
const DOCUMENT: &str = "configs/safety-with-control.avps.toml";
/// What the bed's Xen is told beside what the document says: everybody's words on one console.
const XEN: &str = "console=dtuart dtuart=serial0 loglvl=all guest_loglvl=all bootscrub=0";
/// Beats between two reports, and how many more have to come after each disturbance.
const BEATS: u64 = 300;
/// Longest wait for them; a second of the guest's time is several of this host's.
const TIME: Duration = Duration::from_secs(240);
/// The gap that 999 of 1000 must not exceed, in periods. Emulated CPUs that take turns in one thread cost up to 0.18 by
/// themselves.
const RHYTHM: f64 = 1.25;

/// Runs it.
pub(super) fn run(media: &Media, report: &mut Report) -> Result<(), Failure> {
    let step = Step::begin("dom0less", "booting Xen, a control domain and three guests");
    let began = Instant::now();
    let machine = machine(media)?;
    let bed = Arc::new(Bed::boot(media, &machine, "dom0less")?);
    let context = Context::new(Arc::clone(&bed));
    let outcome = beats_on(&context, &step);
    step.done("done");
    let logs = bed.logs().display().to_string();
    let failure = outcome
        .err()
        .map(|Failed(seen)| format!("{seen}\nLogs: {logs}"));
    report.case(Case {
        suite: "bed",
        name: NAME.to_owned(),
        time: began.elapsed(),
        failure,
    });
    for note in context.notes() {
        report.aside(&note);
    }
    // Its control domain has stopped: nobody could switch it off in good order.
    bed.kill();
    Ok(())
}

/// The document, laid out for the bed's files.
fn machine(media: &Media) -> Result<Machine, Failure> {
    let path = paths::workspace().join(DOCUMENT);
    let failed = |what: String| Failure::new(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|e| failed(e.to_string()))?;
    let plan = platform::analyse(&text, "/").plan;
    let mut plan = plan.ok_or_else(|| failed("it has findings; see avpsctl check".to_owned()))?;
    plan.xen.cmdline = format!("{XEN} {}", plan.xen.cmdline);
    let bytes = plan.machine.banks.iter().map(|bank| bank.size_bytes);
    let mut machine = Machine {
        memory_mib: u32::try_from(bytes.sum::<u64>() >> 20).unwrap_or(u32::MAX),
        cpus: u8::try_from(plan.machine.cpus.unwrap_or(1)).unwrap_or(u8::MAX),
        counted: true,
        ..Machine::default()
    };
    let workshop = Workshop::open();
    let oracle = oracle::oracle(&workshop)?;
    let arguments = [
        "-cpu",
        "cortex-a57",
        "-smp",
        &machine.cpus.to_string(),
        "-m",
        &machine.memory_mib.to_string(),
    ]
    .map(str::to_owned);
    let tree = machine_tree(
        &workshop,
        &oracle.qemu,
        "virt,virtualization=on,gic-version=3",
        &arguments,
    )?;
    let folder = paths::tree_target().join("dom0less");
    std::fs::create_dir_all(&folder).map_err(|e| failed(e.to_string()))?;
    let base = compiled(&tree, &folder.join("machine.dtb"))?;
    let file = |module: &Module| file(&plan, media, &oracle.guest, module);
    let size = |module: &Module| std::fs::metadata(file(module)).ok().map(|file| file.len());
    let dtb =
        platform::emit::dom0less::dtb(&plan, &base, &size).map_err(|e| failed(e.to_string()))?;
    let modules = plan.boot.modules.iter();
    let modules = modules.filter_map(|module| Some((file(module), module.at?)));
    let layout = Layout {
        dtb: folder.join("xen.dtb"),
        modules: modules.collect(),
    };
    std::fs::write(&layout.dtb, dtb).map_err(|e| failed(e.to_string()))?;
    machine.layout = Some(layout);
    Ok(machine)
}

/// The bed's own file for a module.
fn file(plan: &Plan, media: &Media, guest: &Path, module: &Module) -> PathBuf {
    let control = plan
        .domain(&module.domain)
        .is_some_and(|d| d.kind == DomainKind::Control);
    match (control, module.role) {
        (true, ModuleRole::Kernel) => media.kernel.clone(),
        (true, _) => media.initramfs.clone(),
        (false, _) => guest.to_path_buf(),
    }
}

pub(super) fn compiled(source: &Path, to: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::new(format!("{}: {what}", source.display()));
    crate::process::Run::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
        .arg(to)
        .arg(source)
        .output()
        .map_err(|e| failed(e.to_string()))?;
    std::fs::read(to).map_err(|e| failed(e.to_string()))
}

fn beats_on(context: &Context, step: &Step) -> Outcome {
    step.state("beats while guests flood".to_owned());
    let flooded = more(context, "guests flood")?;
    step.state("beats while the control domain's services are killed".to_owned());
    context.sh(
        "killall -9 xenstored xenconsoled avps-backend 2>/dev/null; sleep 0.2; ! pidof xenstored",
    )?;
    more(context, "its services were killed")?;
    step.state("beats while the control domain's kernel has stopped".to_owned());
    // The panic is what the answer's absence tells; it must not end the machine, so nothing restarts.
    context.sh("echo 0 > /proc/sys/kernel/panic; echo 1 > /proc/sys/kernel/sysrq; (sleep 1; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &")?;
    dom0_is_dead(context)?;
    let last = more(context, "its kernel has stopped")?;
    context.note(format!(
        "beats {} to {}, period {:.1} ms: longest gap {:.3} periods, 99.9 % below {:.3}; missed {}",
        flooded.beat,
        last.beat,
        10.0,
        last.ratio(last.max),
        last.ratio(last.most),
        last.missed
    ));
    Ok(())
}

/// Waits until dom0's agent does not answer any more.
fn dom0_is_dead(context: &Context) -> Outcome {
    let until = Instant::now() + TIME;
    while Instant::now() < until {
        let alive = context
            .dom0()
            .command(["true"])
            .time(Duration::from_secs(5))
            .text();
        if alive.is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Err(Failed("dom0's kernel goes on after a panic".into()))
}

/// What the safety guest told last.
#[derive(Clone, Copy, Debug)]
struct Beat {
    beat: u64,
    missed: u64,
    max: u64,
    /// Gap that 999 of 1000 do not exceed.
    most: u64,
    period: u64,
}

impl Beat {
    fn ratio(&self, gap: u64) -> f64 {
        gap as f64 / self.period.max(1) as f64
    }

    /// The last one on the console.
    fn last(console: &str) -> Option<Self> {
        let mut lines = console.lines().rev();
        lines.find_map(|line| {
            let words = frame::read(line)?.ok()?.words;
            let mut words = words.strip_prefix("beat ")?.split(' ');
            let beat = words.next()?.parse().ok()?;
            let mut field = |name: &str| {
                let word = words.next()?;
                word.strip_prefix(name)?.strip_prefix('=')?.parse().ok()
            };
            Some(Self {
                beat,
                missed: field("missed")?,
                max: field("max")?,
                most: field("p99.9")?,
                period: field("period")?,
            })
        })
    }
}

fn console(context: &Context) -> Result<String, Failed> {
    let bytes = std::fs::read(context.bed().logs().join(SERIAL_LOG))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for more beats, and sees that none was lost and none came late.
fn more(context: &Context, why: &str) -> Result<Beat, Failed> {
    let before = Beat::last(&console(context)?).map_or(0, |beat| beat.beat);
    let until = Instant::now() + TIME;
    loop {
        let beat = Beat::last(&console(context)?);
        if let Some(beat) = beat.filter(|beat| beat.beat >= before + BEATS) {
            ensure(beat.missed == 0, || {
                format!("{} beats lost while {why}", beat.missed)
            })?;
            ensure(beat.ratio(beat.most) <= RHYTHM, || {
                format!(
                    "1 beat of 1000 came after {:.3} periods while {why}",
                    beat.ratio(beat.most)
                )
            })?;
            return Ok(beat);
        }
        ensure(context.bed().alive(), || {
            format!("the machine ended while {why}")
        })?;
        ensure(Instant::now() < until, || {
            let last = beat.map_or(0, |beat| beat.beat);
            format!("no beat after number {last} while {why}; {before} was the last before")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_beat_on_a_console_counts() {
        let mut writer = frame::Writer::new(7);
        std::fmt::Write::write_str(&mut writer, "beat 200 missed=1 max=30 p99.9=20 period=10")
            .expect("it fits");
        let line = String::from_utf8_lossy(writer.finish()).into_owned();
        let console = format!("(XEN) up\n(d1) {line}(d1) @og 8 beat 300 torn ~0000\n(d2) hello\n");
        let beat = Beat::last(&console).expect("a beat");
        assert_eq!((beat.beat, beat.missed, beat.max), (200, 1, 30));
        assert!((beat.ratio(beat.most) - 2.0).abs() < 1e-9);
        assert!(Beat::last("(XEN) up").is_none());
    }
}
