//! Guests of plain `xl create`, which asks no backend whether it is ready.

use super::guests::{self, ADOPTED, IMAGES};
use super::{Context, Failed, Outcome, Test, ensure};
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "xl: created paused, adopted, unpaused: windows are claimed before images are opened",
        150,
        paused_adopted_unpaused,
    )]
}

/// What the README tells people to do.
fn paused_adopted_unpaused(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let device = "\"backend=0,type=virtio,device2,transport=mmio,grant_usage=1\"";
    let devices = format!("virtio = [ {device}, {device} ]");
    let config = format!("/tmp/{ADOPTED}.cfg");
    dom0.put_bytes(
        guests::plain_config(ADOPTED, "quiet", &devices).as_bytes(),
        &config,
        0o644,
    )?;
    // xl writes the keys of one device after the other: stopped meanwhile, the holder finds both.
    guests::while_stopped(context, |_| {
        let create = dom0.command(["xl", "create", "-q", "-p", &config]);
        Ok(create.time(Duration::from_secs(60)).text()?)
    })?;
    let outcome = adopted(context);
    context.sh(&format!("xl destroy {ADOPTED}"))?;
    outcome?;
    guests::nothing_left(&dom0)
}

fn adopted(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    let domid = context.sh(&format!("xl domid {ADOPTED}"))?;
    let domid = domid.trim();
    let until = Instant::now() + context.within(Duration::from_secs(30));
    loop {
        let list = context.sh(&format!("avpsctl list {ADOPTED}"))?;
        if list.matches(": ready").count() == 2 {
            break;
        }
        ensure(Instant::now() < until, || {
            format!("not ready in 30 s: {list}")
        })?;
    }
    let log = String::from_utf8_lossy(&dom0.get(guests::BACKEND_LOG)?).into_owned();
    let place = |what: &str| -> Result<usize, Failed> {
        let line = format!("virtio/{domid}/{what}");
        // An earlier guest may have had the number.
        log.rfind(&line)
            .ok_or_else(|| Failed(format!("no \"{line}\" in the backend's log: {log}")))
    };
    let windows = place("0: window")?.max(place("1: window")?);
    let images = place("0: image")?.min(place("1: image")?);
    ensure(windows < images, || {
        format!("an image was opened before all windows were claimed: {log}")
    })?;
    context.sh(&format!("xl unpause {ADOPTED}"))?;
    let guest = context.guest(ADOPTED)?;
    for (disk, image) in [("/dev/vda", ""), ("/dev/vdb", "-2")] {
        let load = guests::load(&guest, &["exercise", disk, "--bytes", "1048576"])?;
        guests::image_holds(&dom0, &format!("{IMAGES}/{ADOPTED}{image}.img"), &load)?;
    }
    guests::kernel_is_content(&guest)
}
