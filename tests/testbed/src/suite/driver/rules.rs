//! Is every rule of a policy needed? Each is taken away in turn, and the platform must not work any more.

use super::super::bench::Figures;
use super::super::document::Document;
use super::super::guests::{self, DOCUMENTS, IMAGES};
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::faults::kill_worker;
use super::platform;
use crate::progress::Step;
use ::platform::flask::{Policy, Rule};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DOCUMENT: &str = include_str!("least.avps.toml");
/// For `avpsctl emit partial-dtb`: the tree that Xen gave dom0 has the device that is passed through.
const MACHINE: &str = "[machine]\ndevice_tree = \"/sys/firmware/fdt\"\n\n[xen]";
/// Rules without which this platform works on this machine all the same, and why others need them. Xen must be seen to refuse what
/// they allow.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "domain2 cacheflush",
        "libxl cleans the caches over a new domain's memory, which starts with its caches off; QEMU has no caches",
    ),
    (
        "grant query",
        "Linux then takes four frames for all that its grant table can have: 2048 grants, which is few for fast disks",
    ),
];
/// Rules taken away in `cargo xtask test`: others every day.
const SAMPLE: usize = 3;
/// Longest time of `avpsctl up` and `down`; backends get [`READY`] of it.
const TIME: Duration = Duration::from_secs(60);
/// Seconds in which a backend becomes ready where nothing is wrong, and then some.
const READY: &str = "15";

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "driver: without one rule of its policy the platform does not work (some rules; cargo xtask policy takes all)",
        300,
        some,
    )]
}

fn some(context: &Context) -> Outcome {
    let day = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let mut trials = Trials::new(SAMPLE, usize::try_from(day)?);
    let clean = trials.run(context)?;
    let mut figures = Figures::default();
    trials.tell(&mut figures);
    for note in &figures.notes {
        context.note(note.clone());
    }
    ensure(clean, || "what a trial left could not be removed")?;
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// A policy that lacks one permission.
pub(in super::super) struct Lacking {
    /// The rule that would allow it.
    pub(in super::super) what: String,
    /// What it is about: class and permission.
    asks: String,
    /// How Xen's log ends when it is refused.
    denial: String,
    policy: Policy,
}

/// Each permission, taken away alone. Where two rules give the same, for different needs, both lose it.
pub(in super::super) fn lacking(whole: &Policy) -> Vec<Lacking> {
    let mut all: Vec<Lacking> = Vec::new();
    for rule in &whole.rules {
        for permission in &rule.permissions {
            let what = format!(
                "{} {}:{} {permission}",
                rule.source, rule.target, rule.class
            );
            if all.iter().any(|lacking| lacking.what == what) {
                continue;
            }
            let mut policy = whole.clone();
            for other in &mut policy.rules {
                let ends = |rule: &Rule| (rule.source.clone(), rule.target.clone(), rule.class);
                if ends(other) == ends(rule) {
                    other.permissions.retain(|other| other != permission);
                }
            }
            policy.rules.retain(|rule| !rule.permissions.is_empty());
            all.push(Lacking {
                what,
                asks: format!("{} {permission}", rule.class),
                denial: format!(
                    "{{ {permission} }}.*:{} .*:{} tclass={}",
                    rule.source, rule.target, rule.class
                ),
                policy,
            });
        }
    }
    all
}

impl Lacking {
    /// Gives Xen this policy.
    pub(in super::super) fn load(&self, context: &Context) -> Outcome {
        platform::load(context, &compile(context, &self.policy)?)
    }

    /// Whether Xen was seen to refuse what the permission would allow.
    pub(in super::super) fn was_refused(&self, context: &Context) -> Result<bool, Failed> {
        let line = format!(
            "xl dmesg | grep -c 'avc:  denied .*{}' || true",
            self.denial
        );
        Ok(context.sh(&line)?.trim() != "0")
    }

    /// Why others need it, when this platform does not; Xen was seen to refuse it.
    fn needed_elsewhere(&self, context: &Context) -> Result<Option<&'static str>, Failed> {
        let Some((_, why)) = ELSEWHERE.iter().find(|(asks, _)| *asks == self.asks) else {
            return Ok(None);
        };
        Ok(self.was_refused(context)?.then_some(*why))
    }
}

/// Permissions that are taken away one by one, and what came of it.
pub(in super::super) struct Trials {
    count: usize,
    seed: usize,
    /// Trials made so far.
    made: usize,
    /// What does not work without, and how that was seen.
    needed: Vec<String>,
    /// What a real machine needs, and was seen refused.
    refused: Vec<String>,
    unneeded: Vec<String>,
}

impl Trials {
    /// `count` of them, beginning with a place that `seed` gives; all when there are no more.
    pub(in super::super) fn new(count: usize, seed: usize) -> Self {
        Self {
            count,
            seed,
            made: 0,
            needed: Vec::new(),
            refused: Vec::new(),
            unneeded: Vec::new(),
        }
    }

    /// Makes those that are left. False when this boot is of no use any more, and some may be left.
    pub(in super::super) fn run(&mut self, context: &Context) -> Result<bool, Failed> {
        guests::backend(&context.dom0())?;
        let document = Document::put(context, "least", DOCUMENT, TIME)?;
        partial_tree(context)?;
        context.sh(&format!("truncate -s 8M {IMAGES}/least.img"))?;
        let whole = Policy::of(&document.plan);
        let compiled = compile(context, &whole)?;
        platform::load(context, &compiled)?;
        works(context, &document).map_err(|Failed(seen)| {
            Failed(format!("it does not work with the whole policy: {seen}"))
        })?;
        let all = lacking(&whole);
        self.count = self.count.min(all.len());
        let begin = (self.seed * self.count) % all.len();
        let step = Step::begin("policy", "taking rules away");
        while self.made < self.count {
            let Some(lacking) = all.iter().cycle().nth(begin + self.made) else {
                break;
            };
            step.state(format!(
                "{} of {}: {}",
                self.made + 1,
                self.count,
                lacking.what
            ));
            lacking.load(context)?;
            let outcome = works(context, &document);
            self.made += 1;
            match outcome {
                Err(Failed(seen)) => {
                    let first = seen.lines().next().unwrap_or_default();
                    self.needed.push(format!("{}: {first}", lacking.what));
                }
                Ok(()) => match lacking.needed_elsewhere(context)? {
                    Some(why) => self.refused.push(format!("{}: {why}", lacking.what)),
                    None => self.unneeded.push(lacking.what.clone()),
                },
            }
            platform::load(context, &compiled)?;
            if let Err(Failed(left)) = clean(context, &document) {
                step.note(&format!("a fresh boot after {}: {left}", lacking.what));
                return Ok(self.made == self.count);
            }
        }
        step.done("done");
        context.sh(&format!("rm -f {IMAGES}/least.img"))?;
        Ok(true)
    }

    /// What was found.
    pub(in super::super) fn tell(&self, figures: &mut Figures) {
        figures.add("rules", self.made as f64);
        figures.add("rules_needed", self.needed.len() as f64);
        figures.add("rules_refused_without_effect", self.refused.len() as f64);
        figures.add("rules_unneeded", self.unneeded.len() as f64);
        figures.failed |= !self.unneeded.is_empty();
        let unneeded = self
            .unneeded
            .iter()
            .map(|what| format!("works without {what}"));
        let refused = self
            .refused
            .iter()
            .map(|what| format!("refused, without effect here: {what}"));
        let needed = self.needed.iter().map(|what| format!("without {what}"));
        figures.notes.extend(unneeded.chain(refused).chain(needed));
    }
}

/// A policy as Xen takes it.
pub(in super::super) fn compile(context: &Context, policy: &Policy) -> Result<Vec<u8>, Failed> {
    let labels = policy.contexts().map(|text| ("tried.contexts", text));
    platform::build(context, "tried.te", &policy.source(), labels.as_slice())
}

/// The partial device tree of the guest with a device, made where the document is.
fn partial_tree(context: &Context) -> Outcome {
    let path = "/tmp/least-with-machine.avps.toml";
    let text = DOCUMENT.replace("[xen]", MACHINE);
    context.dom0().put_bytes(text.as_bytes(), path, 0o644)?;
    context
        .sh(&format!(
            "avpsctl emit partial-dtb --output {DOCUMENTS} {path}"
        ))
        .map(drop)
}

/// Everything that a platform is there for.
fn works(context: &Context, document: &Document) -> Outcome {
    let dom0 = context.dom0();
    dom0.command(["avpsctl", "up", "--timeout", READY, &document.path])
        .time(TIME)
        .text()?;
    let alpha = context.guest("alpha")?;
    let exercise = ["exercise", "/dev/vda", "--bytes", "2097152", "--depth", "4"];
    guests::load(&alpha, &exercise)?;
    let storage = context.guest("storage")?;
    storage
        .shell("dd if=/dev/urandom of=/dev/vda bs=64k count=16 oflag=direct 2>&1 && dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct 2>&1")
        .text()?;
    let killed = kill_worker(&storage, platform::domid(context, "alpha")?)?;
    ensure(killed, || "the driver domain has no worker")?;
    guests::load(&alpha, &["exercise", "/dev/vda", "--bytes", "1048576"])?;
    guests::kernel_is_content(&alpha)?;
    alpha
        .shell("echo here > /dev/ttyAMA0 && dmesg | grep 'pl031: registered as rtc0'")
        .text()?;
    for name in ["alpha", "storage"] {
        for command in ["pause", "unpause", "info"] {
            context.sh(&format!("avpsctl {command} {name}"))?;
        }
    }
    balloon(context)?;
    let down = ["avpsctl", "down", "--timeout", "20", &document.path];
    dom0.command(down).time(TIME).text()?;
    guests::nothing_left(&dom0)
}

/// A guest gives memory back when it is told to.
fn balloon(context: &Context) -> Outcome {
    context.sh("xl mem-set alpha 88")?;
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let list = context.sh("xl list alpha | tail -n 1")?;
        let mib: u32 = list.split_whitespace().nth(2).unwrap_or_default().parse()?;
        if mib <= 88 {
            return Ok(());
        }
        ensure(Instant::now() < end, || {
            format!("alpha was to have 88 MiB and has {mib} after 10 s")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Nothing of an attempt that failed half-way is left, once all is allowed again.
fn clean(context: &Context, document: &Document) -> Outcome {
    let down = [
        "avpsctl",
        "down",
        "--timeout",
        "0",
        "--force",
        &document.path,
    ];
    context.dom0().command(down).time(TIME).output()?;
    // What libxl could not finish has no name by now.
    context.sh(
        "for domid in $(xl list | awk 'NR > 1 && $1 != \"Domain-0\" { print $(NF - 4) }'); do xl destroy $domid || true; done",
    )?;
    guests::nothing_left(&context.dom0())
}
