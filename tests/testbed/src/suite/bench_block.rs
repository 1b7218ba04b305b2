//! `cargo xtask bench block`: what a request of the block device costs, and how it compares with Linux's own
//! PV backend (xen-blkback) in the same boot and the same guest.
//!
//! Counts are exact. Times are of emulation, so only their ratio is told, of runs that take turns.

use super::bench::Figures;
use super::guests::{self, ADOPTED};
use super::{Context, Failed, ensure};
use crate::progress::Step;
use agent::client::Remote;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Ours, over grants; over foreign mappings; and xen-blkback.
pub(super) const OURS: &str = "/dev/vda";
const FOREIGN: &str = "/dev/vdb";
const PEER: &str = "/dev/xvda";
const PEER_IMAGE: &str = "/var/lib/avps/images/blkback.img";
/// Connects a loop device to xen-blkback, as /etc/xen/scripts/block does with more ado.
const HOTPLUG: &str = "#!/bin/sh\n\
    [ \"$1\" = add ] || exit 0\n\
    node=$(xenstore-read \"$XENBUS_PATH/params\")\n\
    xenstore-write \"$XENBUS_PATH/physical-device\" \"$(stat -c %t:%T \"$node\")\" \\\n\
    \x20 \"$XENBUS_PATH/physical-device-path\" \"$node\" \"$XENBUS_PATH/hotplug-status\" connected\n";

/// Another way to do it, that the backend's options choose.
struct Alternative {
    name: &'static str,
    options: &'static [&'static str],
    /// Classes it makes a difference for.
    concerns: fn(&Class) -> bool,
}

const ALTERNATIVES: [Alternative; 2] = [
    Alternative {
        name: "mapped",
        options: &["--copy-limit", "16384"],
        concerns: |class| class.bytes > 16 << 10,
    },
    Alternative {
        name: "asleep",
        options: &["--polling", "off"],
        concerns: |_| true,
    },
];

/// A kind of request that is measured.
pub(super) struct Class {
    pub(super) name: &'static str,
    kind: &'static str,
    bytes: u32,
    depth: u32,
}

pub(super) const CLASSES: [Class; 11] = [
    Class {
        name: "d1.4k.read",
        kind: "randread",
        bytes: 4 << 10,
        depth: 1,
    },
    Class {
        name: "d1.4k.write",
        kind: "randwrite",
        bytes: 4 << 10,
        depth: 1,
    },
    Class {
        name: "d1.64k.read",
        kind: "randread",
        bytes: 64 << 10,
        depth: 1,
    },
    Class {
        name: "d32.4k.read",
        kind: "randread",
        bytes: 4 << 10,
        depth: 32,
    },
    Class {
        name: "d32.4k.write",
        kind: "randwrite",
        bytes: 4 << 10,
        depth: 32,
    },
    Class {
        name: "d32.64k.read",
        kind: "randread",
        bytes: 64 << 10,
        depth: 32,
    },
    Class {
        name: "d32.64k.write",
        kind: "randwrite",
        bytes: 64 << 10,
        depth: 32,
    },
    Class {
        name: "d4.128k.read",
        kind: "read",
        bytes: 128 << 10,
        depth: 4,
    },
    Class {
        name: "d4.128k.write",
        kind: "write",
        bytes: 128 << 10,
        depth: 4,
    },
    Class {
        name: "d4.1m.read",
        kind: "read",
        bytes: 1 << 20,
        depth: 4,
    },
    Class {
        name: "d4.1m.write",
        kind: "write",
        bytes: 1 << 20,
        depth: 4,
    },
];

impl Class {
    /// Requests of one run: fewer where they are large.
    pub(super) fn requests(&self, requests: u32) -> u32 {
        let large = (self.bytes / (64 << 10)).max(1);
        (requests / large).max(2 * self.depth)
    }
}

/// Measures the classes whose name holds `filter`, each `rounds` times with `requests` requests.
pub(super) fn run(
    context: &Context,
    filter: &str,
    requests: u32,
    rounds: u32,
) -> Result<Figures, Failed> {
    let wanted = |class: &&Class| class.name.contains(filter);
    ensure(CLASSES.iter().any(|class| wanted(&class)), || {
        let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        format!(
            "no class has {filter:?} in its name; there are {}",
            names.join(", ")
        )
    })?;
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    start(context)?;
    let guest = context.guest(ADOPTED)?;
    let mut figures = Figures::default();
    for class in CLASSES.iter().filter(wanted) {
        let step = Step::begin(class.name, "measuring");
        let ours = Ours {
            backend: &dom0,
            name: ADOPTED,
            guest: &guest,
        };
        ours.counts(class, requests, &mut figures)?;
        let (mut to_peer, mut to_foreign) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let ours = measure(&guest, OURS, class, class.requests(requests))?;
            to_peer.push(ours / measure(&guest, PEER, class, class.requests(requests))?);
            to_foreign.push(ours / measure(&guest, FOREIGN, class, class.requests(requests))?);
        }
        figures.spread(&format!("ratio.blkback.{}", class.name), to_peer);
        figures.spread(&format!("ratio.foreign.{}", class.name), to_foreign);
        step.done("measured");
    }
    for class in CLASSES.iter().filter(wanted) {
        if class.kind == "randread" {
            syscalls(context, &guest, class, requests, &mut figures)?;
        }
    }
    for alternative in &ALTERNATIVES {
        let classes: Vec<&Class> = CLASSES
            .iter()
            .filter(|class| wanted(class) && (alternative.concerns)(class))
            .collect();
        compare(
            context,
            &guest,
            alternative,
            &classes,
            (requests, rounds),
            &mut figures,
        )?;
    }
    context.sh(&format!(
        "xl destroy {ADOPTED}; losetup -d /dev/loop0; rm -f {PEER_IMAGE}"
    ))?;
    figures.notes.push("Counts are per request. Ratios are requests per second of ours over grants divided by xen-blkback's, and by ours over foreign mappings; all images are in dom0's tmpfs, written back.".into());
    figures
        .notes
        .push("ratio.*.min and .max are the extremes of the rounds.".into());
    figures.notes.push("ratio.mapped: ours divided by ours with requests above 16 KiB mapped; ratio.asleep: by ours without polling.".into());
    Ok(figures)
}

/// The rate of ours divided by that of an alternative, which take turns.
fn compare(
    context: &Context,
    guest: &Remote,
    alternative: &Alternative,
    classes: &[&Class],
    (requests, rounds): (u32, u32),
    figures: &mut Figures,
) -> Result<(), Failed> {
    let step = Step::begin(alternative.name, "measuring");
    let mut ratios = vec![Vec::new(); classes.len()];
    for _ in 0..rounds {
        guests::restart_backend(context, alternative.options)?;
        let mut other = Vec::new();
        for class in classes {
            other.push(measure(guest, OURS, class, class.requests(requests))?);
        }
        guests::restart_backend(context, &[])?;
        for ((class, other), ratios) in classes.iter().zip(other).zip(&mut ratios) {
            ratios.push(measure(guest, OURS, class, class.requests(requests))? / other);
        }
    }
    for (class, ratios) in classes.iter().zip(ratios) {
        figures.spread(
            &format!("ratio.{}.{}", alternative.name, class.name),
            ratios,
        );
    }
    step.done("measured");
    Ok(())
}

/// One guest with all disks.
fn start(context: &Context) -> Result<(), Failed> {
    let dom0 = context.dom0();
    dom0.put_bytes(HOTPLUG.as_bytes(), "/tmp/bench-block", 0o755)?;
    context.sh(&format!(
        "truncate -s {}M {PEER_IMAGE} && losetup /dev/loop0 {PEER_IMAGE}",
        guests::IMAGE_MIB
    ))?;
    let devices = "virtio = [ \"backend=0,type=virtio,device2,transport=mmio,grant_usage=1\", \
                   \"backend=0,type=virtio,device2,transport=mmio,grant_usage=0\" ]\n\
                   disk = [ \"vdev=xvda,access=rw,backendtype=phy,script=/tmp/bench-block,target=/dev/loop0\" ]";
    let config = guests::plain_config(ADOPTED, "quiet", devices);
    dom0.put_bytes(config.as_bytes(), "/tmp/bench.cfg", 0o644)?;
    dom0.command(["xl", "create", "-q", "/tmp/bench.cfg"])
        .time(Duration::from_secs(60))
        .text()?;
    let guest = context.guest(ADOPTED)?;
    let until = Instant::now() + Duration::from_secs(20);
    while !guest
        .shell(&format!(
            "[ -b {OURS} ] && [ -b {FOREIGN} ] && [ -b {PEER} ]"
        ))
        .output()?
        .exit
        .success()
    {
        ensure(Instant::now() < until, || {
            format!("the guest has not all of {OURS}, {FOREIGN} and {PEER}")
        })?;
    }
    // Holes would be answered without touching memory: all images get contents first.
    for disk in [OURS, FOREIGN, PEER] {
        guests::load(&guest, &["exercise", disk, "--bytes", "16777216"])?;
    }
    Ok(())
}

/// Requests per second.
pub(super) fn measure(
    guest: &Remote,
    disk: &str,
    class: &Class,
    requests: u32,
) -> Result<f64, Failed> {
    let (bytes, depth, requests) = (
        class.bytes.to_string(),
        class.depth.to_string(),
        requests.to_string(),
    );
    let argv = [
        "bed-load",
        "bench",
        disk,
        "--kind",
        class.kind,
        "--request",
        &bytes,
        "--depth",
        &depth,
        "--requests",
        &requests,
    ];
    let text = guest.command(argv).time(Duration::from_secs(300)).text()?;
    let report: Value = serde_json::from_str(&text)?;
    report["requests_per_second"]
        .as_f64()
        .ok_or_else(|| Failed(format!("bed-load said {text:?}")))
}

/// A guest whose first disk is served by our backend over grants.
pub(super) struct Ours<'a> {
    /// Where the backend runs.
    pub(super) backend: &'a Remote,
    /// The guest's name.
    pub(super) name: &'a str,
    pub(super) guest: &'a Remote,
}

impl Ours<'_> {
    /// What one request of a class costs, from the backend's counters before and after a run.
    pub(super) fn counts(
        &self,
        class: &Class,
        requests: u32,
        figures: &mut Figures,
    ) -> Result<(), Failed> {
        let before = guests::counted(self.backend, self.name)?;
        let requests = class.requests(requests);
        measure(self.guest, OURS, class, requests)?;
        let after = guests::counted(self.backend, self.name)?;
        let mut add = |figure: &str, count: u64| -> Result<(), Failed> {
            let each = f64::from(u32::try_from(count)?) / f64::from(requests);
            figures.add(format!("{}.{figure}", class.name), each);
            Ok(())
        };
        for figure in ["copies", "maps", "unmaps", "kicks", "interrupts", "ioreqs"] {
            add(
                figure,
                grown(before.device(figure)?, after.device(figure)?)?,
            )?;
        }
        // Each of these calls to the kernel makes one hypercall.
        let hypercalls = [
            "grant_copies",
            "maps",
            "unmaps",
            "dm_ops",
            "notifies",
            "unmasks",
        ];
        let mut sum = 0;
        for name in hypercalls {
            sum += grown(before.worker(name)?, after.worker(name)?)?;
        }
        add("hypercalls", sum)
    }
}

/// How much a counter has grown; one that shrinks counts something else than is thought.
fn grown(before: u64, after: u64) -> Result<u64, Failed> {
    let grown = after.checked_sub(before);
    grown.ok_or_else(|| Failed(format!("a counter was {before}, and is {after}")))
}

/// System calls of the worker per request, by strace; it slows the run, so it is not part of the others.
fn syscalls(
    context: &Context,
    guest: &Remote,
    class: &Class,
    requests: u32,
    figures: &mut Figures,
) -> Result<(), Failed> {
    let dom0 = context.dom0();
    let log = format!("/var/log/bed/strace-{}.log", class.name);
    let worker = context.sh("ps -o pid,args | awk '/[a]vps-backend worker/ { print $1 }'")?;
    let tracer = dom0.spawn(
        [
            "strace",
            "-f",
            "-c",
            "-U",
            "calls,name",
            "-p",
            worker.trim(),
        ],
        &log,
    )?;
    let until = Instant::now() + Duration::from_secs(10);
    while !String::from_utf8_lossy(&dom0.get(&log)?).contains("attached") {
        ensure(Instant::now() < until, || "strace did not attach in 10 s")?;
    }
    measure(guest, OURS, class, requests)?;
    dom0.kill_only(tracer, 2)?;
    dom0.wait(tracer, Duration::from_secs(20))?;
    let said = String::from_utf8_lossy(&dom0.get(&log)?).into_owned();
    let total = said
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with("total"));
    let total = total.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    let total = total.ok_or_else(|| Failed(format!("strace said {said}")))?;
    figures.add(
        format!("{}.syscalls", class.name),
        f64::from(total) / f64::from(requests),
    );
    Ok(())
}
