//! A driver domain that ends takes its guests' disks with it: all come back in order, with what was written for good.

use super::super::bench::Figures;
use super::super::guests::IMAGES;
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::leftovers::keys_of;
use super::platform::{self, DURABLE};
use crate::progress::Step;
use agent::client::Remote;
use std::time::{Duration, Instant};

/// How often it ends in the gate and in the full tier.
const ENDS: [u32; 2] = [1, 3];
/// How long the platform may take until all of it runs again.
const AGAIN: Duration = Duration::from_secs(120);
/// Files that the guest writes for good before its driver domain ends, at least.
const FILES: usize = 5;
/// The driver domain.
const DRIVER: &str = "storage";
/// The guest that writes, and its disk.
const WRITER: (&str, &str) = ("beta", "/dev/vdb");

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "driver: a driver domain destroyed under load comes back with its guests, and what they wrote for good is there",
        420,
        |context| {
            let mut figures = Figures::default();
            run(context, context.amount(ENDS[0], ENDS[1]), &mut figures)?;
            for (name, value) in &figures.values {
                context.note(format!("{name} = {value:.2}"));
            }
            ensure(!figures.failed, || figures.notes.join("; "))
        },
    )]
}

/// Destroys the driver domain `ends` times while a guest writes.
pub(in super::super) fn run(context: &Context, ends: u32, figures: &mut Figures) -> Outcome {
    let document = platform::put(context)?;
    document.down(context, Ok(()))?;
    let images = DURABLE.map(|name| format!("{IMAGES}/{name}.img"));
    for image in &images {
        context.sh(&format!("/sbin/mke2fs -q -F -t ext4 {image}"))?;
    }
    document.up(context)?;
    let step = Step::begin("driver domain", "ends");
    let mut written = Vec::new();
    let (mut noticed, mut again) = (Vec::new(), Vec::new());
    for number in 0..ends {
        step.state(format!("{} of {ends}", number + 1));
        let old = ids(context)?;
        written.extend(write(context, number)?);
        let began = Instant::now();
        context.sh(&format!("xl destroy {DRIVER}"))?;
        let new = back(context, &old, began, &mut noticed)?;
        check(context, &written)?;
        again.push(began.elapsed().as_secs_f64());
        nothing_of(context, &old, &new)?;
    }
    step.done("done");
    figures.add("driver.ends", f64::from(ends));
    figures.add("driver.files", written.len() as f64);
    figures.series("driver.removed.seconds", noticed);
    figures.series("driver.again.seconds", again);
    let log =
        context.sh("cat /run/avps/driven.log 2>/dev/null | grep 'again after' | tail -n 1")?;
    figures.notes.push(log);
    document.down(context, Ok(()))?;
    for image in &images {
        let checked = context
            .dom0()
            .shell(&format!("/sbin/e2fsck -fn {image}"))
            .output()?;
        // A guest that was ended has left a journal; nothing else.
        if !checked.exit.success() {
            figures.failed = true;
            figures
                .notes
                .push(format!("e2fsck {image}: {}", checked.text()));
        }
    }
    context.sh(&format!("rm -f {}", images.join(" "))).map(drop)
}

/// Names and numbers of all domains but dom0.
fn ids(context: &Context) -> Result<Vec<(String, u16)>, Failed> {
    let list = context.sh("xl list | awk 'NR > 1 { print $1, $2 }'")?;
    let mut ids = Vec::new();
    for line in list.lines() {
        let (name, number) = line.split_once(' ').unwrap_or_default();
        if name != "Domain-0" {
            ids.push((name.to_owned(), number.trim().parse()?));
        }
    }
    Ok(ids)
}

/// Starts a guest that writes files, each for good before the next, until its disk fails it; names those that are for good.
fn write(context: &Context, round: u32) -> Result<Vec<String>, Failed> {
    let guest = context.guest(WRITER.0)?;
    mounted(&guest)?;
    // Each name appears here after its file is on the disk.
    let line = format!(
        "( n=0; while :; do f=/mnt/{round}-$n; head -c 65536 /dev/urandom > /tmp/data; \
           s=$(sha256sum < /tmp/data | cut -c -64); cp /tmp/data $f-$s && sync && echo $f-$s >> /tmp/for-good || exit; \
           n=$((n + 1)); done ) > /dev/null 2>&1 &"
    );
    guest.shell(&line).text()?;
    let until = Instant::now() + context.within(Duration::from_secs(30));
    loop {
        let text = guest
            .shell("cat /tmp/for-good 2>/dev/null || true")
            .text()?;
        let files: Vec<String> = text.lines().map(str::to_owned).collect();
        if files.len() >= FILES {
            return Ok(files);
        }
        ensure(Instant::now() < until, || {
            format!("{} wrote {} files in 30 s", WRITER.0, files.len())
        })?;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn mounted(guest: &Remote) -> Outcome {
    let line = format!(
        "mkdir -p /mnt && (grep -q ' /mnt ' /proc/mounts || mount -t ext4 {} /mnt)",
        WRITER.1
    );
    guest.shell(&line).text().map(drop).map_err(Failed::from)
}

/// Waits until the driver domain and its guests run under other numbers, and the rest under the old ones.
fn back(
    context: &Context,
    old: &[(String, u16)],
    began: Instant,
    noticed: &mut Vec<f64>,
) -> Result<Vec<(String, u16)>, Failed> {
    let concerned = [DRIVER, "alpha", "beta"];
    let mut seen_gone = None;
    loop {
        let now = ids(context)?;
        let same = |name: &str| {
            let of =
                |list: &[(String, u16)]| list.iter().find(|(n, _)| n == name).map(|(_, id)| *id);
            (of(old), of(&now))
        };
        if seen_gone.is_none()
            && old
                .iter()
                .all(|entry| !concerned.contains(&entry.0.as_str()) || !now.contains(entry))
        {
            seen_gone = Some(began.elapsed().as_secs_f64());
        }
        let others_stay = old
            .iter()
            .filter(|(name, _)| !concerned.contains(&name.as_str()))
            .all(|(name, id)| same(name).1 == Some(*id));
        ensure(others_stay, || format!("before: {old:?}, now: {now:?}"))?;
        let all_new = concerned
            .iter()
            .all(|name| matches!(same(name), (Some(before), Some(after)) if before != after));
        if all_new
            && now.len() == old.len()
            && context
                .sh("avpsctl diff /etc/avps/driven.avps.toml >/dev/null && echo same || true")?
                == "same"
        {
            noticed.extend(seen_gone);
            return Ok(now);
        }
        ensure(began.elapsed() < context.within(AGAIN), || {
            format!("not back after {AGAIN:?}; before: {old:?}, now: {now:?}")
        })?;
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// What was for good is there and whole.
fn check(context: &Context, written: &[String]) -> Outcome {
    let guest = context.guest(WRITER.0)?;
    mounted(&guest)?;
    let text = guest
        .shell("cd /mnt && for f in [0-9]*-*; do echo /mnt/$f $(sha256sum < $f | cut -c -64); done")
        .time(Duration::from_secs(60))
        .text()?;
    for file in written {
        let sum = file.rsplit('-').next().unwrap_or_default();
        ensure(
            text.contains(&format!("{file} {sum}\n")) || text.ends_with(&format!("{file} {sum}")),
            || format!("{file} was for good before the driver domain ended; now: {text}"),
        )?;
    }
    Ok(())
}

/// Nothing is left of domains that ended: no domain that is dying, no key.
fn nothing_of(context: &Context, old: &[(String, u16)], new: &[(String, u16)]) -> Outcome {
    let gone: Vec<u16> = old
        .iter()
        .filter(|entry| !new.contains(entry))
        .map(|(_, id)| *id)
        .collect();
    let keys = context.sh("xenstore-ls -f /")?;
    for (name, id) in new {
        ensure(!keys_of(&keys, *id).is_empty(), || {
            format!("the store shows no key of {name}, which runs as domain {id}: {keys}")
        })?;
    }
    for id in gone {
        let left = keys_of(&keys, id);
        ensure(left.is_empty(), || {
            format!("left of domain {id}: {left:#?}")
        })?;
    }
    Ok(())
}
