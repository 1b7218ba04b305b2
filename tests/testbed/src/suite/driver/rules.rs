//! Is every rule of a policy needed? Each is taken away in turn, and the platform must not work any more.

use super::super::bench::Figures;
use super::super::document::Document;
use super::super::guests::{self, DOCUMENTS, IMAGES};
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::faults::kill_worker;
use super::platform;
use super::refusals::{Refusal, Refusals};
use crate::oracle::documents::Random;
use crate::paths;
use crate::process::Run;
use crate::progress::Step;
use ::platform::flask::{Policy, Rule};
use std::time::{Duration, Instant};

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
/// Rules taken away in the gate and in the full tier: others for each commit.
const SAMPLE: [usize; 2] = [1, 3];
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
    let mut trials = Trials::new(
        Some(context.amount(SAMPLE[0], SAMPLE[1])),
        Seed::of_the_commit(),
    );
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
    /// Types of who acts and on what, class and permission.
    denial: [String; 4],
    policy: Policy,
}

/// What chooses the rules, where not all are taken away.
pub(in super::super) struct Seed {
    number: u64,
    /// Where the number is from.
    from: String,
}

impl Seed {
    pub(in super::super) fn given(number: u64) -> Self {
        Self {
            number,
            from: "as given".to_owned(),
        }
    }

    /// The same for everybody who tests this commit, and another one for the next; a fixed one outside a git repository.
    pub(in super::super) fn of_the_commit() -> Self {
        let commit = Run::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(paths::workspace())
            .output();
        match commit.ok().as_deref().and_then(number_of_commit) {
            Some((number, commit)) => Self {
                number,
                from: format!("of commit {commit}"),
            },
            None => Self {
                number: 0,
                from: "fixed, for this is no git repository".to_owned(),
            },
        }
    }
}

/// A commit's number and its name, shortened.
fn number_of_commit(said: &str) -> Option<(u64, String)> {
    let short = said.trim().get(..12)?;
    let number = u64::from_str_radix(short, 16).ok()?;
    Some((number, short.to_owned()))
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
                denial: [&rule.source, &rule.target, rule.class, permission]
                    .map(|word: &str| word.to_owned()),
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
    pub(in super::super) fn was_refused(
        &self,
        context: &Context,
        refusals: &Refusals,
    ) -> Result<bool, Failed> {
        let [source, target, class, permission] = &self.denial;
        let what = Refusal {
            permission,
            source,
            target,
            class,
        };
        refusals.has(context, &what)
    }

    /// What a trial shows: how it ended, and whether Xen was seen to refuse the permission meanwhile.
    fn judge(&self, outcome: Outcome, refused: bool) -> Finding {
        let elsewhere = ELSEWHERE.iter().find(|(asks, _)| *asks == self.asks);
        match (outcome, refused, elsewhere) {
            (Err(Failed(seen)), true, _) => {
                let first = seen.lines().next().unwrap_or_default();
                Finding::Needed(format!("{}: {first}", self.what))
            }
            (Err(Failed(seen)), false, _) => Finding::Unexplained(format!("{}: {seen}", self.what)),
            (Ok(()), true, Some((_, why))) => Finding::Refused(format!("{}: {why}", self.what)),
            (Ok(()), ..) => Finding::Unneeded(self.what.clone()),
        }
    }
}

/// What the trial of a permission shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// Xen refused it, and then the platform did not work.
    Needed(String),
    /// Xen refused it, and a real machine would need it.
    Refused(String),
    /// The platform works without it.
    Unneeded(String),
    /// The platform did not work, and Xen has not refused the permission: something else was wrong.
    Unexplained(String),
}

/// Permissions that are taken away one by one, and what came of it.
pub(in super::super) struct Trials {
    /// All without.
    count: Option<usize>,
    seed: Seed,
    /// Trials that are to be made, once that is known.
    wanted: usize,
    /// One for each trial so far.
    findings: Vec<Finding>,
}

impl Trials {
    /// `count` of them, which `seed` chooses; all when there are no more.
    pub(in super::super) fn new(count: Option<usize>, seed: Seed) -> Self {
        Self {
            count,
            seed,
            wanted: 0,
            findings: Vec::new(),
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
        let mut all = lacking(&whole);
        choose(&mut all, self.count, self.seed.number);
        self.wanted = all.len();
        let step = Step::begin("policy", "taking rules away");
        while let Some(lacking) = all.get(self.findings.len()) {
            step.state(format!(
                "{} of {}: {}",
                self.findings.len() + 1,
                self.wanted,
                lacking.what
            ));
            let refusals = Refusals::watch(context)?;
            lacking.load(context)?;
            let outcome = works(context, &document);
            let refused = lacking.was_refused(context, &refusals)?;
            self.findings.push(lacking.judge(outcome, refused));
            platform::load(context, &compiled)?;
            if let Err(Failed(left)) = clean(context, &document) {
                step.note(&format!("a fresh boot after {}: {left}", lacking.what));
                return Ok(self.findings.len() == self.wanted);
            }
        }
        step.done("done");
        context.sh(&format!("rm -f {IMAGES}/least.img"))?;
        Ok(true)
    }

    /// What was found.
    pub(in super::super) fn tell(&self, figures: &mut Figures) {
        let of = |kind: fn(&Finding) -> Option<&String>| -> Vec<&String> {
            self.findings.iter().filter_map(kind).collect()
        };
        let needed = of(|finding| match finding {
            Finding::Needed(what) => Some(what),
            _ => None,
        });
        let refused = of(|finding| match finding {
            Finding::Refused(what) => Some(what),
            _ => None,
        });
        let unneeded = of(|finding| match finding {
            Finding::Unneeded(what) => Some(what),
            _ => None,
        });
        let unexplained = of(|finding| match finding {
            Finding::Unexplained(what) => Some(what),
            _ => None,
        });
        figures.add("rules", self.findings.len() as f64);
        figures.add("rules_needed", needed.len() as f64);
        figures.add("rules_refused_without_effect", refused.len() as f64);
        figures.add("rules_unneeded", unneeded.len() as f64);
        figures.add("rules_unexplained", unexplained.len() as f64);
        let all = self.wanted > 0 && self.findings.len() == self.wanted;
        figures.failed |= !all || !unneeded.is_empty() || !unexplained.is_empty();
        if !all {
            let (made, wanted) = (self.findings.len(), self.wanted);
            figures
                .notes
                .push(format!("{made} of {wanted} trials were made"));
        }
        if self.count.is_some() {
            let Seed { number, from } = &self.seed;
            let count = self.wanted;
            figures.notes.push(format!(
                "rules chosen by seed {number}, {from}: cargo xtask policy --cases {count} --seed {number}"
            ));
        }
        let told = [
            ("works without", unneeded),
            (
                "does not work, and Xen did not refuse it, without",
                unexplained,
            ),
            ("refused, without effect here:", refused),
            ("without", needed),
        ];
        for (words, found) in told {
            let lines = found.into_iter().map(|what| format!("{words} {what}"));
            figures.notes.extend(lines);
        }
    }
}

/// Keeps so many, which the seed chooses; all without a count.
fn choose<T>(all: &mut Vec<T>, count: Option<usize>, seed: u64) {
    let Some(count) = count.filter(|count| *count < all.len()) else {
        return;
    };
    let mut random = Random::new(seed);
    all.sort_by_cached_key(|_| random.next());
    all.truncate(count);
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
    let end = Instant::now() + context.within(Duration::from_secs(10));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Policy {
        let plan = ::platform::analyse(DOCUMENT, DOCUMENTS).plan;
        Policy::of(&plan.expect("a document without errors"))
    }

    fn one(asks: &str) -> Lacking {
        let mut all = lacking(&whole()).into_iter();
        all.find(|lacking| lacking.asks == asks).expect(asks)
    }

    #[test]
    fn only_a_refusal_of_the_permission_shows_that_it_is_needed() {
        let pause = one("domain pause");
        let failed = || Err(Failed("no answer in 60 s\nmore".into()));
        let needed = format!("{}: no answer in 60 s", pause.what);
        assert_eq!(pause.judge(failed(), true), Finding::Needed(needed));
        assert!(matches!(
            pause.judge(failed(), false),
            Finding::Unexplained(_)
        ));
        assert!(matches!(pause.judge(Ok(()), true), Finding::Unneeded(_)));
        assert!(matches!(pause.judge(Ok(()), false), Finding::Unneeded(_)));
        let flush = one("domain2 cacheflush");
        assert!(matches!(flush.judge(Ok(()), true), Finding::Refused(_)));
        assert!(matches!(flush.judge(Ok(()), false), Finding::Unneeded(_)));
    }

    fn told(findings: &[Finding], wanted: usize) -> Figures {
        let mut trials = Trials::new(Some(wanted), Seed::given(7));
        trials.wanted = wanted;
        trials.findings = findings.to_vec();
        let mut figures = Figures::default();
        trials.tell(&mut figures);
        figures
    }

    #[test]
    fn a_trial_that_was_not_made_or_not_explained_is_a_failure() {
        let needed = Finding::Needed("a".into());
        let good = told(&[needed.clone(), Finding::Refused("b".into())], 2);
        assert!(!good.failed, "{good:?}");
        assert!(good.notes[0].contains("--cases 2 --seed 7"), "{good:?}");
        assert!(told(std::slice::from_ref(&needed), 2).failed);
        assert!(told(&[], 0).failed);
        for bad in [
            Finding::Unneeded("c".into()),
            Finding::Unexplained("c".into()),
        ] {
            assert!(told(&[needed.clone(), bad], 2).failed);
        }
    }

    #[test]
    fn a_commit_chooses_the_same_rules_each_time_and_the_next_one_others() {
        let chosen = |seed| {
            let mut all = lacking(&whole());
            choose(&mut all, Some(SAMPLE[1]), seed);
            all.into_iter()
                .map(|lacking| lacking.what)
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(1).len(), SAMPLE[1]);
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        let commit = "acde0f6123456789abcdef0123456789abcdef01\n";
        let (number, name) = number_of_commit(commit).expect("a commit");
        assert_eq!((number, name.as_str()), (0xacde_0f61_2345, "acde0f612345"));
        assert_eq!(number_of_commit("fatal: not a git repository"), None);
    }
}
