//! `cargo xtask bench vhost`: our disk over vhost-user against QEMU's own storage daemon, in one guest.
//!
//! Times are of emulation where the host is no arm64 machine, so only their ratio is told, of runs that take turns.

use super::bench::Figures;
use super::bench_block::{CLASSES, measure};
use super::vhost_user::{Disk, backend, image_holds, names};
use super::{Failed, ensure, guests};
use crate::artefacts::{self, Workshop};
use crate::failure::{Failure, HOST_CANNOT};
use crate::process::in_path;
use crate::progress::Step;
use crate::run::folder::Folder;
use crate::run::plain::Plain;
use std::path::Path;

/// Measures all classes, each `rounds` times with `requests` requests.
pub(super) fn run(requests: u32, rounds: u32) -> Result<Figures, Failure> {
    if !in_path("qemu-storage-daemon") {
        return Err(Failure {
            message: "qemu-storage-daemon, the peer, is missing: apt-get install qemu-utils".into(),
            code: HOST_CANNOT,
        });
    }
    let media = artefacts::plain(&Workshop::open())?;
    let program = backend(true)?;
    let folder = Folder::new("bench")?;
    compare(&media, &program, &folder, requests, rounds)
        .map_err(|Failed(seen)| Failure::new(format!("{seen}\nLogs: {}", folder.logs().display())))
}

fn compare(
    media: &artefacts::Plain,
    program: &Path,
    folder: &Folder,
    requests: u32,
    rounds: u32,
) -> Result<Figures, Failed> {
    let (disk, other) = (Disk::ours(program, folder)?, Disk::peer(folder)?);
    let machine = Plain::boot(media, folder, &[disk.socket.clone(), other.socket.clone()])?;
    let guest = machine.guest();
    let (ours, peer) = names(&guest)?;
    let peer = peer.ok_or_else(|| Failed("the guest has no disk of the peer's".into()))?;
    // Holes would be answered without reading: both images get contents first.
    for (name, image) in [(&ours, &disk.image), (&peer, &other.image)] {
        let load = guests::load(&guest, &["exercise", name])?;
        image_holds(image, &load)?;
    }
    let mut figures = Figures::default();
    for class in &CLASSES {
        let step = Step::begin(class.name, "measuring");
        let mut ratios = Vec::new();
        for round in 0..rounds {
            // Whoever is first has the warmer or the colder caches: they take turns at that as well.
            let ratio = if round % 2 == 0 {
                let ours = measure(&guest, &ours, class, class.requests(requests))?;
                ours / measure(&guest, &peer, class, class.requests(requests))?
            } else {
                let peer = measure(&guest, &peer, class, class.requests(requests))?;
                measure(&guest, &ours, class, class.requests(requests))? / peer
            };
            ratios.push(ratio);
        }
        figures.spread(&format!("ratio.qsd.{}", class.name), ratios);
        step.done("measured");
    }
    guests::kernel_is_content(&guest)?;
    ensure(machine.poweroff(), || "the guest did not switch off")?;
    figures.notes.push(
        "Ratios are requests per second of ours divided by qemu-storage-daemon's (its default options); \
         both images are files of one file system of this host, in its page cache."
            .into(),
    );
    figures
        .notes
        .push("ratio.*.min and .max are the extremes of the rounds.".into());
    Ok(figures)
}
