//! The documents in `configs/` that the toolstack starts: each as it is shipped.

use super::document::Document;
use super::guests;
use super::{Context, Failed, Outcome, Test, ensure};
use crate::paths;
use agent::client::Remote;
use platform::plan::{BlockPlan, DevicePlan, DomainPlan, Plan};
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "shipped: single.avps.toml runs, and its disk is usable",
            150,
            |context| whole(context, "single"),
        ),
        Test::new(
            "shipped: cockpit.avps.toml runs, and its disks are usable",
            300,
            |context| whole(context, "cockpit"),
        ),
        Test::new(
            "shipped: driver-domain.avps.toml is not started where Xen runs without FLASK",
            60,
            without_flask,
        ),
    ]
}

const UP: Duration = Duration::from_secs(120);
/// Bytes that a guest writes to a disk, or reads of one it may only read.
const BYTES: u64 = 2 << 20;
/// Size of each image.
const IMAGE_MIB: u64 = 16;

/// A document of `configs/`, in dom0.
fn put(context: &Context, name: &str) -> Result<Document, Failed> {
    let file = paths::workspace().join(format!("configs/{name}.avps.toml"));
    Document::put(context, name, &std::fs::read_to_string(file)?, UP)
}

/// Images of every disk that dom0 serves, in order.
fn images(plan: &Plan) -> impl Iterator<Item = &BlockPlan> {
    let devices = plan.domains.iter().flat_map(|domain| &domain.virtio);
    let here = devices.filter(|device| device.backend.is_none());
    here.map(|device| {
        let DevicePlan::Block(block) = &device.device;
        block
    })
}

fn whole(context: &Context, name: &str) -> Outcome {
    guests::backend(&context.dom0())?;
    let shipped = put(context, name)?;
    for block in images(&shipped.plan) {
        context.sh(&format!(
            "image={}; mkdir -p ${{image%/*}} && head -c {BYTES} /dev/urandom > $image && truncate -s {IMAGE_MIB}M $image",
            block.image
        ))?;
    }
    shipped.up(context)?;
    let check = || {
        let mut disks = 0;
        for domain in &shipped.plan.domains {
            let guest = context.guest(&domain.name)?;
            for device in &domain.virtio {
                let DevicePlan::Block(block) = &device.device;
                disk(context, &guest, domain, device.index, block)?;
                disks += 1;
            }
            guests::kernel_is_content(&guest)?;
        }
        ensure(disks > 0, || format!("{name}.avps.toml has no disk"))?;
        context
            .sh(&format!("avpsctl diff {}", shipped.path))
            .map(drop)
    };
    shipped.down(context, check())?;
    for block in images(&shipped.plan) {
        context.sh(&format!("rm -f {}", block.image))?;
    }
    Ok(())
}

/// The guest has the disk that the plan says, and it does what it is there for.
fn disk(
    context: &Context,
    guest: &Remote,
    domain: &DomainPlan,
    index: u32,
    block: &BlockPlan,
) -> Outcome {
    // In the order of the plan; there are less than 26.
    let letter = char::from(b'a' + u8::try_from(index)?);
    let device = format!("/dev/vd{letter}");
    let facts = guest
        .shell(&format!(
            "cd /sys/block/vd{letter} && cat size ro && cat serial"
        ))
        .text()?;
    let sectors = IMAGE_MIB * 2048;
    let serial = block.serial.as_deref().unwrap_or_default();
    let wanted = format!("{sectors}\n{}\n{serial}", u8::from(block.readonly));
    ensure(facts.trim_end() == wanted.trim_end(), || {
        format!(
            "{device} of {}: {facts:?}, planned: {wanted:?}",
            domain.name
        )
    })?;
    let dom0 = context.dom0();
    if !block.readonly {
        let bytes = BYTES.to_string();
        let load = guests::load(guest, &["exercise", &device, "--bytes", &bytes])?;
        return guests::image_holds(&dom0, &block.image, &load);
    }
    let sum = |machine: &Remote, file: &str| {
        machine
            .shell(&format!("head -c {BYTES} {file} | sha256sum | cut -c -64"))
            .text()
    };
    let (theirs, ours) = (sum(guest, &device)?, sum(&dom0, &block.image)?);
    ensure(theirs == ours, || {
        format!("the guest reads {theirs}, the image has {ours}")
    })?;
    let line = format!("dd if=/dev/zero of={device} bs=4096 count=1 conv=fsync");
    guests::is_not_permitted(&guest.shell(&line).output()?)
}

/// A driver domain is of no use where Xen does not ask FLASK, and a document that wants it is not started there.
fn without_flask(context: &Context) -> Outcome {
    let shipped = put(context, "driver-domain")?;
    let up = ["up", shipped.path.as_str()];
    let create = ["create", shipped.path.as_str(), "storage"];
    for args in [up.as_slice(), &create] {
        let output = guests::avpsctl(context, args)?;
        let said = output.error_text();
        ensure(
            output.exit.code == Some(3) && said.contains("Xen runs without FLASK"),
            || format!("avpsctl {args:?}: {} {said}", output.exit),
        )?;
    }
    guests::nothing_left(&context.dom0())
}
