//! A guest that Xen itself starts, with a disk that the control domain serves later.
//!
//! The guest runs before anybody serves its disk; `avpsctl up` tells it when that has changed. Its program speaks by Xen's
//! console: there is no other way to it.

use super::guests::{self, DOCUMENTS, IMAGES};
use super::kills::{self, Victim};
use super::own_machine::{self, console};
use super::report::Report;
use super::{Context, Failed, Outcome, ensure};
use crate::artefacts::{self, Workshop};
use crate::failure::Failure;
use crate::oracle::{Content, Oracle, documents};
use crate::paths;
use crate::progress::Step;
use crate::run::media::Media;
use platform::plan::{Module, ModuleRole};
use std::time::{Duration, Instant};

/// The test's name.
pub(super) const NAME: &str =
    "dom0less: a guest of Xen's own boot gets its disks once dom0 serves them, and keeps them";
/// The document.
const DOCUMENT: &str = "dom0less-disk.avps.toml";
/// The guest with the disk.
const GUEST: &str = "cockpit";
/// Longest wait for the guest to say something.
const TIME: Duration = Duration::from_secs(120);
/// Begins what the guest says.
const SAYS: &str = "late-disk: ";

/// Runs it.
pub(super) fn run(media: &Media, oracle: &Oracle, report: &Report) -> Result<(), Failure> {
    let own = own_machine::Test {
        name: NAME,
        folder: "dom0less-disk",
        boots: "booting Xen, a control domain and a guest",
    };
    let plan = documents::shipped(oracle, DOCUMENT)?;
    let guest = artefacts::bed(&Workshop::open())?.guest;
    let content = |module: &Module| {
        let is_control = own_machine::is_control(&plan, module);
        Content::File(match (module.role, is_control) {
            (ModuleRole::Kernel, _) => media.kernel.clone(),
            (_, true) => media.initramfs.clone(),
            (_, false) => guest.clone(),
        })
    };
    let machine = own_machine::laid_out(oracle, &plan, own.folder, &content)?;
    own.run(media, &machine, report, served)
}

fn served(context: &Context, step: &Step) -> Outcome {
    step.state("the guest runs without its disks".to_owned());
    said(context, "waits")?;
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let [first, second] = ["cockpit", "cockpit-maps"].map(|name| format!("{IMAGES}/{name}.img"));
    context.sh(&format!("truncate -s 8M {first} {second}"))?;
    let text = std::fs::read(paths::workspace().join("configs").join(DOCUMENT))?;
    let document = format!("{DOCUMENTS}/{DOCUMENT}");
    dom0.put_bytes(&text, &document, 0o644)?;
    let too_early = guests::avpsctl(context, &["up", &document])?;
    let words = String::from_utf8_lossy(&too_early.stderr).into_owned();
    ensure(
        !too_early.exit.success() && words.contains("init-dom0less"),
        || {
            format!(
                "without XenStore in the guest, avpsctl up {}: {words}",
                too_early.exit
            )
        },
    )?;
    context.sh("init-dom0less")?;
    up(context, &document, "cockpit: served (domain 1)")?;
    step.state("the guest writes and checks its disks".to_owned());
    said(context, "wrote 2 vdb ")?;
    up(context, &document, "cockpit: unchanged (domain 1)")?;
    for victim in [Victim::Worker, Victim::Holder] {
        step.state(format!(
            "it goes on while the backend is killed: {victim:?}"
        ));
        let before = passes(context)?;
        let killed = kills::kill(context, GUEST, victim)?;
        ensure(killed, || format!("there is no {victim:?} to be killed"))?;
        said(context, &format!("wrote {} vdb ", before + 2))?;
    }
    step.state("its last words are on the disks".to_owned());
    context.sh("xenstore-write /local/domain/1/device/bed/0/state 1")?;
    for (disk, image) in [("vda", &first), ("vdb", &second)] {
        let line = said(context, &format!("ends {} {disk} ", last_pass(context)?))?;
        let sum = context.sh(&format!("head -c 4194304 {image} | sha256sum"))?;
        let sum = sum.split_whitespace().next().unwrap_or_default().to_owned();
        ensure(line == format!("bytes=4194304 sha256={sum}"), || {
            format!("dom0's {image} has SHA-256 {sum}, the guest read {line}")
        })?;
    }
    let console = console(context)?;
    let failed = format!("{SAYS}failed");
    let failed = console.lines().find(|line| line.contains(&failed));
    ensure(failed.is_none(), || failed.unwrap_or_default())?;
    context.note(format!(
        "{} passes over two disks, no error",
        passes(context)?
    ));
    Ok(())
}

/// Runs `avpsctl up`, which has to say this.
fn up(context: &Context, document: &str, wanted: &str) -> Outcome {
    let output = guests::avpsctl(context, &["up", document])?;
    let (said, complaint) = (output.text(), String::from_utf8_lossy(&output.stderr));
    let fine = output.exit.success() && said.lines().any(|line| line == wanted);
    ensure(fine, || {
        format!("avpsctl up {}: {said} {complaint}", output.exit)
    })
}

/// The last pass that the guest has completed on both disks.
fn passes(context: &Context) -> Result<u64, Failed> {
    let console = console(context)?;
    let wrote = format!("{SAYS}wrote ");
    let mut lines = console.lines().rev();
    let last = lines.find_map(|line| {
        let (_, words) = line.split_once(&wrote)?;
        let (number, rest) = words.split_once(' ')?;
        rest.starts_with("vdb ").then(|| number.parse().ok())?
    });
    Ok(last.unwrap_or(0))
}

/// The number of the pass that the guest ends with; waits for it.
fn last_pass(context: &Context) -> Result<u64, Failed> {
    let line = said(context, "ends ")?;
    let number = line.split(' ').next().unwrap_or_default();
    number
        .parse()
        .map_err(|_| Failed(format!("the guest ends with {line:?}")))
}

/// Waits until the guest has said something that begins so; the rest of the line.
fn said(context: &Context, what: &str) -> Result<String, Failed> {
    let wanted = format!("{SAYS}{what}");
    let until = Instant::now() + context.within(TIME);
    loop {
        let console = console(context)?;
        // The last line may be half a line.
        let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some((_, rest)) = whole.lines().find_map(|line| line.split_once(&wanted)) {
            return Ok(rest.trim().to_owned());
        }
        ensure(context.bed().alive(), || "the machine ended")?;
        ensure(Instant::now() < until, || {
            let last = console.lines().rev().find(|line| line.contains(SAYS));
            format!("the guest did not say {what:?}; its last words: {last:?}")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
