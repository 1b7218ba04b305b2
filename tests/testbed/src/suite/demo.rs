//! `cargo xtask demo`: from nothing to a verified disk write, told in a dozen lines.
//!
//! What it shows is checked, not assumed: a line with ✓ is a fact about this run.

use super::guests::{self, Counted, DOCUMENTS};
use super::style::Style;
use super::{Failed, Outcome, ensure};
use crate::artefacts::{self, Workshop, notices};
use crate::failure::{FAILED, Failure};
use crate::interrupt::interrupted;
use crate::paths;
use crate::progress::{duration, size};
use crate::run::Error;
use crate::run::bed::Bed;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use agent::client::Remote;
use clap::Args;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The document in `configs/`.
const DOCUMENT: &str = "demo.avps.toml";
const GUEST: &str = "cockpit";
const IMAGE: &str = "/var/lib/avps/images/cockpit.img";
const IMAGE_MIB: u64 = 64;
/// What the first run costs.
const COST: &str = "  The first run downloads about 450 MB and builds Xen and Linux: 13 to 17 minutes on two cores, and\n  \
                    6 GB of disk while it builds. Later runs take less than a minute and need no network.\n";
/// Warm, on two cores.
const BUDGET: Duration = Duration::from_secs(60);

/// Show the main path: Xen boots, a guest starts from a platform document and writes its disk over grants.
#[derive(Args)]
pub(crate) struct Demo {
    /// MiB that the guest writes and reads back.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=IMAGE_MIB))]
    mib: u64,
    /// One JSON object on standard output instead of the report.
    #[arg(long)]
    json: bool,
}

impl Demo {
    /// Shows it; exit code 1 when a step failed.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut show = Show::new(self.json);
        show.head("Xen on QEMU: from a platform document to a verified disk write");
        let workshop = Workshop::open();
        if artefacts::is_cold(&workshop) {
            show.print(COST);
        }
        let media = Media::demo(&workshop)?;
        show.line(
            "artefacts",
            "Xen, Linux, Debian's tools, this workspace for arm64",
        );
        let bed = Bed::boot(&media, &Machine::default(), "demo")?;
        let played = self.play(&bed, &mut show);
        bed.collect_logs();
        if interrupted() {
            return Err(Error::Interrupted.into());
        }
        let passed = match played {
            Ok(()) => true,
            Err(Failed(seen)) => {
                show.failed(&seen, &bed);
                false
            }
        };
        bed.poweroff();
        show.end(passed);
        Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }

    fn play(&self, bed: &Bed, show: &mut Show) -> Outcome {
        let dom0 = bed.dom0();
        let times = bed.times();
        let about = dom0.shell("xl info xen_version; uname -r").text()?;
        let (xen, linux) = about.split_once('\n').unwrap_or((&about, "?"));
        show.timed(
            "Xen",
            &format!("{xen} started dom0's Linux {linux}"),
            times.xen,
        );
        show.timed(
            "dom0",
            "xenstored, xenconsoled and the bed's agent are up",
            times.dom0,
        );
        show.lap();

        prepare(&dom0)?;
        show.line("backend", "avps-backend serves dom0's virtio devices");
        let up = format!("{DOCUMENTS}/{DOCUMENT}");
        dom0.command(["avpsctl", "up", &up])
            .time(Duration::from_secs(90))
            .text()?;
        show.line(
            "avpsctl up",
            &format!("guest {GUEST} started from {DOCUMENT}, its disk ready"),
        );
        let guest = bed.guest(GUEST, Duration::from_secs(60))?;
        show.line("guest", "its Linux is up and found /dev/vda");

        let bytes = (self.mib << 20).to_string();
        let wrote = guests::load(&guest, &["exercise", "/dev/vda", "--bytes", &bytes])?;
        let detail = format!(
            "{} written and read back, 4 KiB to 1 MiB, depth 32",
            size(wrote.bytes)
        );
        show.figure("writes", wrote.writes);
        show.figure("reads", wrote.reads);
        show.line("disk", &detail);
        let moved = grants(&guests::counted(&dom0, GUEST)?, show)?;
        show.line("grants", &moved);

        guests::image_holds(&dom0, IMAGE, &wrote)?;
        show.line(
            "SHA-256",
            &format!(
                "{}… in the guest and in dom0's image",
                wrote.sha256.get(..16).unwrap_or(&wrote.sha256)
            ),
        );

        dom0.command(["avpsctl", "down", "--force", &up])
            .time(Duration::from_secs(60))
            .text()?;
        guests::nothing_left(&dom0)?;
        show.line("avpsctl down", "no domain and no XenStore key left behind");
        Ok(())
    }
}

fn prepare(dom0: &Remote) -> Outcome {
    let local = paths::workspace().join("configs").join(DOCUMENT);
    dom0.put_file(&local, &format!("{DOCUMENTS}/{DOCUMENT}"))?;
    dom0.shell(&format!(
        "mkdir -p ${{IMAGE%/*}} && truncate -s {IMAGE_MIB}M $IMAGE"
    ))
    .env("IMAGE", IMAGE)
    .text()?;
    guests::backend(dom0)
}

/// The line about how the bytes went; that they went over grants is checked.
fn grants(counted: &Counted, show: &mut Show) -> Result<String, Failed> {
    for (name, count) in counted.devices() {
        show.figure(name, *count);
    }
    let of = |name: &str| counted.device(name);
    ensure(
        of("copies")? + of("maps")? > 0 && counted.worker("grant_copies")? > 0,
        || format!("the backend moved nothing over grants: {counted:?}"),
    )?;
    Ok(format!(
        "{} requests: {} grant copies, {} grant maps",
        of("requests")?,
        of("copies")?,
        of("maps")?
    ))
}

/// The report as it grows.
struct Show {
    style: Style,
    json: bool,
    began: Instant,
    last: Instant,
    figures: BTreeMap<String, f64>,
    notes: Vec<String>,
}

impl Show {
    fn new(json: bool) -> Self {
        let now = Instant::now();
        Self {
            style: Style::stdout(),
            json,
            began: now,
            last: now,
            figures: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    fn print(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    fn head(&self, text: &str) {
        self.print(&format!("\n{}\n", self.style.strong(text)));
    }

    /// A fact, with the time since the last one.
    fn line(&mut self, what: &str, detail: &str) {
        let time = self.last.elapsed();
        self.timed(what, detail, time);
        self.lap();
    }

    fn timed(&mut self, what: &str, detail: &str, time: Duration) {
        self.figures.insert(
            format!("seconds.{}", what.replace(' ', "_")),
            time.as_secs_f64(),
        );
        let mark = self.style.good("✓");
        let time = format!("{:>9}", duration(time));
        self.print(&format!(
            "  {mark} {what:<13} {detail:<56} {}",
            self.style.faint(&time)
        ));
    }

    fn lap(&mut self) {
        self.last = Instant::now();
    }

    fn figure(&mut self, name: &str, count: u64) {
        // Counters of one demo are far below 2^53.
        self.figures.insert(name.into(), count as f64);
    }

    fn failed(&mut self, seen: &str, bed: &Bed) {
        self.notes.push(seen.to_owned());
        let mut lines = seen.lines();
        self.print(&format!(
            "  {} {}",
            self.style.bad("✗"),
            lines.next().unwrap_or_default()
        ));
        for line in lines {
            self.print(&format!("    {line}"));
        }
        self.print(&format!("    logs: {}", bed.logs().display()));
    }

    fn end(&mut self, passed: bool) {
        let total = self.began.elapsed();
        self.figures
            .insert("seconds.total".into(), total.as_secs_f64());
        let notices = notices::all();
        if self.json {
            let notes: Vec<&String> = notices.iter().chain(&self.notes).collect();
            let object = serde_json::json!({
                "name": "demo", "passed": passed, "figures": self.figures, "notes": notes,
            });
            println!("{object}");
            return;
        }
        for notice in notices {
            println!("  {}", self.style.warn(&format!("notice: {notice}")));
        }
        let mut line = format!("\n  {} in all", duration(total));
        if total > BUDGET {
            line.push_str(&format!(
                " (warm, on two idle cores, it takes less than {})",
                duration(BUDGET)
            ));
        }
        println!("{line}");
        let next = "Look around: cargo xtask shell   Everything: cargo xtask test   Logs: cargo xtask logs";
        println!("  {}\n", self.style.faint(next));
    }
}
