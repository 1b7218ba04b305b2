//! Disks that an unprivileged domain serves.

use super::super::guests;
use super::super::{Context, Outcome, Test, ensure};
use super::platform::{self, denials, sha256};
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new(
        "driver: two guests' disks are served by a domain without privileges, and Xen allows what the document needs",
        300,
        serves,
    )]
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
    let document = platform::running(context)?;
    let before = denials(context)?;
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
    let after = denials(context)?;
    ensure(after == before, || format!("Xen refused: {:#?}", after))?;
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
