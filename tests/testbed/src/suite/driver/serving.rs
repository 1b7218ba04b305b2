//! Disks that an unprivileged domain serves.

use super::super::document::Document;
use super::super::guests;
use super::super::{Context, Outcome, Test, ensure};
use super::platform::{self, sha256};
use super::refusals::Refusals;
use crate::paths;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "shipped: driver-domain.avps.toml: avps-backend alone in a driver domain serves two guests, and all ends in order",
            240,
            shipped,
        ),
        Test::new(
            "driver: two guests' disks are served by a domain without privileges, and Xen allows what the document needs",
            300,
            serves,
        ),
    ]
}

/// As it is shipped: avpsctl makes the driver domain's ramdisk, and nothing but avps-backend runs there.
fn shipped(context: &Context) -> Outcome {
    let text = std::fs::read_to_string(paths::workspace().join("configs/driver-domain.avps.toml"))?;
    guests::backend(&context.dom0())?;
    let document = Document::put(context, "driver-domain", &text, platform::TIME)?;
    let policy = platform::build(context, "driver-domain.avps.toml", &text, &[])?;
    platform::load(context, &policy)?;
    let refusals = Refusals::watch(context)?;
    document.up(context)?;
    // libxl has read the ramdisk: it takes no memory of dom0 any more.
    context.sh("! ls /run/avps/*.cpio")?;
    for guest in ["cockpit", "telematics"] {
        let guest = context.guest(guest)?;
        let exercise = [
            "exercise",
            "/dev/vda",
            "--depth",
            "32",
            "--flush-every",
            "2",
        ];
        guests::load(&guest, &exercise)?;
        guests::kernel_is_content(&guest)?;
    }
    let denied = refusals.seen(context, "cockpit")?;
    ensure(denied.is_empty(), || format!("Xen refused: {denied:#?}"))?;
    // Each is asked to end, the driver domain last.
    let down = ["avpsctl", "down", "--timeout", "60", &document.path];
    context.dom0().command(down).time(platform::TIME).text()?;
    guests::nothing_left(&context.dom0())
}

/// What comes behind all others.
pub(super) fn last() -> Vec<Test> {
    vec![Test::new("driver: all ends and nothing is left", 180, ends)]
}

/// A guest's disk, and what is behind it.
const DISKS: [(&str, &str, &str, &str); 4] = [
    ("alpha", "/dev/vda", "storage", "/run/disks/alpha.img"),
    ("alpha", "/dev/vdb", "storage", "/dev/vda"),
    ("alpha", "/dev/vdc", "spare", "/run/disks/alpha.img"),
    ("beta", "/dev/vda", "storage", "/run/disks/beta.img"),
];

fn serves(context: &Context) -> Outcome {
    let document = platform::put(context)?;
    // What building the domains needs is asked as well.
    let refusals = Refusals::watch(context)?;
    document.up(context)?;
    for (guest, disk, driver, image) in DISKS {
        let load = guests::load(
            &context.guest(guest)?,
            &["exercise", disk, "--depth", "32", "--flush-every", "2"],
        )?;
        let held = sha256(&context.guest(driver)?, image, load.bytes)?;
        ensure(held == load.sha256, || {
            format!(
                "{image} of {driver} has {held}, {guest} read {}",
                load.sha256
            )
        })?;
        context.note(format!(
            "{guest} {disk} from {driver}: {} writes, {} reads, {} flushes",
            load.writes, load.reads, load.flushes
        ));
    }
    for guest in ["alpha", "beta"] {
        guests::kernel_is_content(&context.guest(guest)?)?;
    }
    let denied = refusals.seen(context, "alpha")?;
    ensure(denied.is_empty(), || format!("Xen refused: {denied:#?}"))?;
    let check = ["avpsctl", "policy", "check", &document.path];
    let said = context
        .dom0()
        .command(check)
        .time(Duration::from_secs(60))
        .text()?;
    context.note(said);
    Ok(())
}

fn ends(context: &Context) -> Outcome {
    let document = platform::running(context)?;
    platform::down(context, &document)
}
