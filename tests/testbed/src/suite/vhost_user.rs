//! The same device without Xen: `avps-backend vhost-user` serves a guest of plain QEMU.

use super::case::Case;
use super::run::Run as TestRun;
use super::{Failed, Outcome, ensure, guests};
use crate::artefacts::{self, Workshop};
use crate::failure::Failure;
use crate::paths;
use crate::process::Run;
use crate::progress::Step;
use crate::run::folder::Folder;
use crate::run::plain::Plain;
use crate::run::qemu::Qemu;
use agent::client::{Error, Remote};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The test's name.
pub(super) const NAME: &str =
    "vhost-user: a guest of plain QEMU writes, reboots its backend, and reads its disk";

/// Bytes of an image.
const IMAGE: u64 = 64 << 20;
/// Our disk's serial, by which the guest finds it.
const SERIAL: &str = "avps";

/// A program that serves a disk, and its image.
pub(super) struct Disk {
    pub(super) server: Qemu,
    pub(super) socket: PathBuf,
    pub(super) image: PathBuf,
}

impl Disk {
    /// Ours.
    pub(super) fn ours(program: &Path, folder: &Folder) -> Result<Self, Failed> {
        Self::start("ours", program, folder, |image, socket| {
            vec![
                "vhost-user".into(),
                "--image".into(),
                image.into(),
                "--socket".into(),
                socket.into(),
                "--serial".into(),
                SERIAL.into(),
            ]
        })
    }

    /// QEMU's own storage daemon.
    pub(super) fn peer(folder: &Folder) -> Result<Self, Failed> {
        let program = Path::new("qemu-storage-daemon");
        Self::start("peer", program, folder, |image, socket| {
            let file = format!("driver=file,node-name=disk,filename={}", image.display());
            let export = format!(
                "type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path={}",
                socket.display()
            );
            vec![
                "--blockdev".into(),
                file.into(),
                "--export".into(),
                export.into(),
            ]
        })
    }

    fn start(
        name: &str,
        program: &Path,
        folder: &Folder,
        arguments: impl FnOnce(&Path, &Path) -> Vec<OsString>,
    ) -> Result<Self, Failed> {
        let image = folder.socket(&format!("{name}.img"));
        if !image.exists() {
            std::fs::File::create(&image)?.set_len(IMAGE)?;
        }
        let socket = folder.socket(&format!("{name}.sock"));
        let server = Qemu::launch(name, program, arguments(&image, &socket), folder)?;
        let until = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            let log = folder.log(&format!("{name}.log"));
            ensure(Instant::now() < until && server.ended().is_none(), || {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                format!("{} does not serve: {said}", program.display())
            })?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            server,
            socket,
            image,
        })
    }

    /// Ends it by a signal, as systemd does.
    fn end(self) -> Outcome {
        self.server.terminate();
        ensure(
            self.server.wait(Duration::from_secs(10)),
            || "avps-backend did not end in 10 s after SIGTERM",
        )?;
        let status = self.server.ended();
        ensure(status.is_some_and(|status| status.success()), || {
            format!("avps-backend ended with {status:?} after SIGTERM")
        })?;
        ensure(!self.socket.exists(), || "avps-backend left its socket")
    }
}

/// Builds the backend for this host.
pub(super) fn backend(release: bool) -> Result<PathBuf, Failure> {
    let step = Step::begin("avps-backend", "building it for this host");
    let mut cargo = Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(paths::workspace())
        .args(["build", "--quiet", "--package", "avps-backend"])
        .log(super::checks::log("avps-backend"));
    if release {
        cargo = cargo.arg("--release");
    }
    cargo
        .run()
        .map_err(|error| Failure::new(error.to_string()))?;
    step.done("built");
    let profile = if release { "release" } else { "debug" };
    let target = paths::tree_target();
    let target = target.parent().unwrap_or(Path::new("target"));
    Ok(target.join(profile).join("avps-backend"))
}

/// The guest's name of our disk, and of the other one, if there is another.
pub(super) fn names(guest: &Remote) -> Result<(String, Option<String>), Failed> {
    let disks = guest
        .shell("for disk in /sys/block/vd*; do echo /dev/${disk##*/} $(cat $disk/serial); done")
        .text()?;
    let (mut ours, mut other) = (None, None);
    for line in disks.lines() {
        match line.split_once(' ') {
            Some((disk, SERIAL)) => ours = Some(disk.to_owned()),
            _ => other = line.split(' ').next().map(str::to_owned),
        }
    }
    let ours = ours.ok_or_else(|| Failed(format!("the guest has no disk of ours: {disks:?}")))?;
    Ok((ours, other))
}

/// Runs it as a test.
pub(super) fn run(run: &TestRun) -> Result<(), Failure> {
    let media = artefacts::plain(&Workshop::open())?;
    let program = backend(false)?;
    let folder = Folder::new("vhost-user")?;
    let began = Instant::now();
    let failure = serve(&media, &program, &folder)
        .err()
        .map(|Failed(seen)| format!("{seen}\nLogs: {}", folder.logs().display()));
    let time = began.elapsed();
    run.report
        .case(Case::new("vhost-user", NAME, time, failure));
    Ok(())
}

fn serve(media: &artefacts::Plain, program: &Path, folder: &Folder) -> Outcome {
    let disk = Disk::ours(program, folder)?;
    let machine = Plain::boot(media, folder, std::slice::from_ref(&disk.socket))?;
    let guest = machine.guest();
    let (name, _) = names(&guest)?;
    let load = guests::load(&guest, &["exercise", &name, "--flush-every", "8"])?;
    ensure(
        load.writes > 0 && load.reads > 0 && load.flushes > 0,
        || "bed-load did nothing",
    )?;
    image_holds(&disk.image, &load)?;

    // Another backend in its place, while the machine runs: QEMU connects again, and the driver notices nothing.
    disk.end()?;
    let disk = Disk::ours(program, folder)?;
    let again = guests::load(&guest, &["verify", &name])?;
    ensure(again.sha256 == load.sha256, || "the disk reads differently")?;
    guests::kernel_is_content(&guest)?;

    // The machine dies with requests in flight; the backend serves the next one.
    let load = guest.spawn(
        ["bed-load", "exercise", &name, "--seconds", "60"],
        "/tmp/load.log",
    )?;
    let still = guest.wait(load, Duration::from_millis(500));
    ensure(matches!(still, Err(Error::Refused { .. })), || {
        format!("the load ended before the machine: {still:?}")
    })?;
    machine.kill();
    ensure(
        disk.server.ended().is_none(),
        || "avps-backend ended with its front end",
    )?;
    let machine = Plain::boot(media, folder, std::slice::from_ref(&disk.socket))?;
    let guest = machine.guest();
    let (name, _) = names(&guest)?;
    let load = guests::load(&guest, &["exercise", &name, "--seed", "7"])?;
    image_holds(&disk.image, &load)?;
    guests::kernel_is_content(&guest)?;
    ensure(machine.poweroff(), || "the guest did not switch off")?;
    disk.end()
}

/// The image's first bytes are what the guest read.
pub(super) fn image_holds(image: &Path, load: &guests::Load) -> Outcome {
    let mut bytes = Vec::new();
    std::fs::File::open(image)?
        .take(load.bytes)
        .read_to_end(&mut bytes)?;
    let sum: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure(sum == load.sha256, || {
        format!(
            "the image has SHA-256 {sum}, the guest read {}",
            load.sha256
        )
    })
}
