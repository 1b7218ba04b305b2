//! "Unmap before publish" at length: a driver that gets a request back while the backend still maps one of its grants
//! disables the disk for good, and its kernel says so. Mixed requests of all sizes, each checked, on an image in the
//! page cache (where large requests are mapped, by the backend's options) and on a block device past it (where none may be).

use super::bench::Figures;
use super::guests::{self, Spec};
use super::{Context, Failed, Outcome, Test, ensure, null_disk};
use crate::progress::Step;
use agent::client::{Error, Remote};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Requests on each disk in the gate and in the full tier, besides some 200 for first contents and the last look; `cargo xtask soak
/// block` makes more.
const REQUESTS: [u64; 2] = [300, 800];
/// Requests of one run of `bed-load`.
const ROUND: u64 = 1_000;
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// Time between two looks at the guest's kernel during a round.
const LOOK: Duration = Duration::from_secs(5);
/// What `bed-load` says, in the guest.
const LOG: &str = "/tmp/mixed.log";
/// The disks' serials, and how figures are named.
const CACHED: &str = "cached";
const DIRECT: &str = "direct";

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "block: mixed requests of all sizes leave no grant in use, cached and direct",
        480,
        short,
    )]
}

fn short(context: &Context) -> Outcome {
    let mut figures = Figures::default();
    let [gate, full] = REQUESTS;
    let requests = context.amount(gate, full);
    run(context, requests, &mut figures)?;
    let of = |name: &str| figures.values.get(name).copied().unwrap_or(f64::NAN);
    context.note(format!(
        "{} requests, {:.0} MiB: {} maps, {} unmaps, {} copies",
        of("requests"),
        of("bytes") / f64::from(1 << 20),
        of("maps"),
        of("unmaps"),
        of("copies"),
    ));
    ensure(!figures.failed, || figures.notes.join("; "))
}

/// What `bed-load mixed` reports.
#[derive(Default, Deserialize)]
struct Mixed {
    requests: u64,
    bytes: u64,
    errors: u64,
    corruptions: u64,
    trouble: Option<String>,
}

/// Makes at least `requests` requests on each disk of one guest.
pub(super) fn run(context: &Context, requests: u64, figures: &mut Figures) -> Outcome {
    let device = null_disk::make(context, DIRECT, guests::IMAGE_MIB, "")?;
    let block = format!(
        "serial = \"{CACHED}\"\nmemory = \"grant\"\n\
         [[domain.block]]\nimage = \"{device}\"\nserial = \"{DIRECT}\"\nmemory = \"grant\"\ncache = \"direct\""
    );
    let spec = Spec::new("soaked", &block);
    guests::backend(&context.dom0())?;
    // So that large requests are mapped, which they are not by default.
    guests::restart_backend(context, &["--copy-limit", "16384"])?;
    let outcome = guests::with_guest(context, &spec, |guest| {
        // Before there is trouble: a disabled disk does not even tell its serial.
        let nodes = [
            (CACHED, node(guest, CACHED)?),
            (DIRECT, node(guest, DIRECT)?),
        ];
        for (disk, node) in &nodes {
            if !figures.failed {
                soak(context, guest, &spec, (disk, node), requests, figures)?;
            }
        }
        if !figures.failed
            && let Err(Failed(seen)) = again(context, guest, &spec, &device)
        {
            trouble(figures, format!("after the driver was bound again: {seen}"));
        }
        let complaints = guests::complaints(guest)?;
        figures.add("complaints", complaints.lines().count() as f64);
        if !complaints.is_empty() {
            trouble(figures, format!("the guest's kernel says:\n{complaints}"));
        }
        Ok(())
    });
    for name in SUMS {
        let part = |disk: &str| figures.values.get(&format!("{disk}.{name}"));
        let sum = [CACHED, DIRECT].into_iter().filter_map(part).sum();
        figures.add(name, sum);
    }
    outcome
        .and(guests::restart_backend(context, &[]))
        .and(null_disk::remove(context, DIRECT))
}

/// Figures of each disk, and of both together.
const SUMS: [&str; 7] = [
    "requests",
    "bytes",
    "maps",
    "unmaps",
    "copies",
    "guest_errors",
    "corruptions",
];

fn trouble(figures: &mut Figures, seen: String) {
    figures.failed = true;
    figures.notes.push(seen);
}

fn soak(
    context: &Context,
    guest: &Remote,
    spec: &Spec<'_>,
    (disk, node): (&str, &str),
    requests: u64,
    figures: &mut Figures,
) -> Outcome {
    let dom0 = context.dom0();
    let before = guests::counted(&dom0, spec.name)?;
    let step = Step::begin(disk, "begun");
    let mut sum = Mixed::default();
    let mut seed = 1;
    while sum.requests < requests && sum.trouble.is_none() {
        step.state(format!("{} of {requests} requests", sum.requests));
        let round = mixed(guest, node, ROUND.min(requests - sum.requests), seed)?;
        seed += 1;
        sum.requests += round.requests;
        sum.bytes += round.bytes;
        sum.errors += round.errors;
        sum.corruptions += round.corruptions;
        sum.trouble = round.trouble;
        if !guests::complaints(guest)?.is_empty() {
            break;
        }
    }
    drop(step);
    let after = guests::counted(&dom0, spec.name)?;
    let counted =
        |name: &str| Ok::<_, Failed>(after.device(name)?.saturating_sub(before.device(name)?));
    if let Some(seen) = sum.trouble {
        trouble(figures, format!("{disk}: {seen}"));
    }
    let (maps, unmaps, errors) = (counted("maps")?, counted("unmaps")?, counted("errors")?);
    let (taken, copies) = (counted("requests")?, counted("copies")?);
    // The guest may merge some.
    if taken < sum.requests / 2 || copies == 0 {
        let seen = format!(
            "{disk}: of {} requests {taken} were counted, {copies} copies",
            sum.requests
        );
        trouble(figures, seen);
    }
    if maps != unmaps || errors > 0 {
        trouble(
            figures,
            format!(
                "{disk}: {maps} maps, {unmaps} unmaps, {errors} requests answered with an error"
            ),
        );
    }
    if disk == CACHED && maps == 0 {
        let seen = "no request was mapped: this run says nothing about unmapping";
        trouble(figures, seen.into());
    }
    if disk == DIRECT && maps > 0 {
        trouble(
            figures,
            format!("{disk}: {maps} maps, where direct I/O allows none"),
        );
    }
    let values = [
        sum.requests,
        sum.bytes,
        maps,
        unmaps,
        copies,
        // An error that the driver hid by a second try counts as well.
        sum.errors.max(errors),
        sum.corruptions,
    ];
    for (name, value) in SUMS.into_iter().zip(values) {
        figures.add(format!("{disk}.{name}"), value as f64);
    }
    Ok(())
}

/// One run of `bed-load`. One that does not end, or not with a report, is an error of the disk.
fn mixed(guest: &Remote, node: &str, requests: u64, seed: u64) -> Result<Mixed, Failed> {
    let (requests, seed) = (requests.to_string(), seed.to_string());
    let argv = [
        "bed-load",
        "mixed",
        node,
        "--requests",
        &requests,
        "--seed",
        &seed,
        "--depth",
        "8",
    ];
    guest.shell(&format!("rm -f {LOG}")).text()?;
    let load = guest.spawn(argv, LOG)?;
    let end = Instant::now() + guest.within(ROUND_LIMIT);
    let seen = loop {
        match guest.wait(load, LOOK) {
            Ok(exit) => {
                let said = String::from_utf8_lossy(&guest.get(LOG)?).into_owned();
                let report = said.lines().next().map(serde_json::from_str);
                if let Some(Ok(report)) = report {
                    return Ok(report);
                }
                break format!("bed-load {exit}: {said}");
            }
            // It still runs.
            Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Requests on a disabled disk wait for ever.
        if !guests::complaints(guest)?.is_empty() {
            break "bed-load was not waited for, because the kernel complains".into();
        }
        if Instant::now() > end {
            break format!("bed-load did not end in {ROUND_LIMIT:?}");
        }
    };
    Ok(Mixed {
        errors: 1,
        trouble: Some(seen),
        ..Mixed::default()
    })
}

/// The disk with this serial.
fn node(guest: &Remote, serial: &str) -> Result<String, Failed> {
    let line = "for disk in /sys/block/vd*; do [ $(cat $disk/serial) != $SERIAL ] || echo /dev/${disk##*/}; done";
    let node = guest.shell(line).env("SERIAL", serial).text()?;
    ensure(!node.is_empty(), || {
        format!("the guest has no disk {serial:?}")
    })?;
    Ok(node)
}

/// Takes both disks from their driver, gives them back, and writes and checks them once more, from dom0 as well.
///
/// From `virtio_blk`, not from the bus's own driver `virtio-mmio`: Linux does not survive that.
fn again(context: &Context, guest: &Remote, spec: &Spec<'_>, device: &str) -> Outcome {
    let rebind = "cd /sys/bus/virtio/drivers/virtio_blk && for d in $(ls -d virtio[0-9]*); do \
                  echo $d > unbind && ! [ -e $d ] && echo $d > bind && [ -e $d ] || exit 1; done";
    guest.shell(rebind).text()?;
    for (disk, image) in [(CACHED, spec.image().as_str()), (DIRECT, device)] {
        let node = node(guest, disk)?;
        let load = guests::load(guest, &["exercise", &node, "--flush-every", "4"])?;
        guests::image_holds(&context.dom0(), image, &load)?;
    }
    let counted = guests::counted(&context.dom0(), spec.name)?;
    counted.each_map_was_undone()?;
    ensure(counted.device("resets")? >= 2, || format!("{counted:?}"))
}
