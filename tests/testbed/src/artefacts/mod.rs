//! Everything a boot needs: got from Debian or built, cached by content, checked before use.
//!
//! Each module is one artefact or one tool of the trade. Callers take a [`Workshop`] and ask it
//! for a [`bed`]; whatever is missing is made, whatever is there is used without touching the network.

pub(crate) mod commands;
pub(crate) mod error;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod initramfs;
pub(crate) mod linux;
pub(crate) mod oracle;
pub(crate) mod rust;
pub(crate) mod store;
pub(crate) mod tee;
pub(crate) mod userland;
pub(crate) mod xen;

mod apt;
mod busybox;
mod download;
mod index;
mod kconfig;
mod key;
mod lock;
mod manifest;
mod pins;
mod tools;

use std::path::{Path, PathBuf};

use error::{Error, Result};
use initramfs::{Compression, Inputs, Program, Text};
use key::Key;
use pins::Pin;
use rust::Profile;
use store::{Artefact, Store};

use crate::paths;
use crate::progress::Step;

/// The caches and tools that recipes work with.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// Artefacts shared by all source trees of this user.
    pub(crate) store: Store,
    /// Artefacts of this source tree: initramfs images, which hold its binaries.
    pub(crate) tree: Store,
    /// Jobs of a compilation.
    pub(crate) jobs: usize,
    /// How the workspace's programs for arm64 are compiled.
    pub(crate) profile: Profile,
    apt: apt::Apt,
    downloads: download::Downloads,
    pins: pins::Pins,
}

/// Everything that one boot of the bed loads.
#[derive(Debug)]
pub(crate) struct Bed {
    /// The hypervisor.
    pub(crate) xen: Part,
    /// The kernel of dom0 and guests.
    pub(crate) linux: Part,
    /// Debian's programs.
    pub(crate) userland: Artefact,
    /// dom0's initial file system, ready to boot.
    pub(crate) dom0: PathBuf,
    /// The guests' initial file system; dom0's holds it too.
    pub(crate) guest: PathBuf,
    /// QEMU's program.
    pub(crate) qemu: PathBuf,
}

/// Everything that a machine without Xen loads.
#[derive(Debug)]
pub(crate) struct Plain {
    /// The uncompressed Linux image.
    pub(crate) kernel: PathBuf,
    /// Its initial file system.
    pub(crate) initramfs: PathBuf,
    /// QEMU's program.
    pub(crate) qemu: PathBuf,
}

/// A part of the bed that developers of Xen or Linux may bring along.
#[derive(Debug)]
pub(crate) enum Part {
    /// Built here.
    Built(Artefact),
    /// The file that an environment variable names.
    Brought(PathBuf),
}

impl Part {
    /// The file named by `variable`, else what `build` makes.
    fn get(variable: &str, build: impl FnOnce() -> Result<Artefact>) -> Result<Self> {
        match std::env::var_os(variable) {
            Some(path) if Path::new(&path).is_file() => Ok(Self::Brought(path.into())),
            Some(path) => Err(Error::Host(format!(
                "{variable} names {}, which is no file",
                path.display()
            ))),
            None => build().map(Self::Built),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Built(artefact) => artefact.file(name),
            Self::Brought(path) => path.clone(),
        }
    }
}

impl Bed {
    /// What policies are made of, as the folder of Xen's source; none for a hypervisor that was brought along.
    pub(crate) fn policy_source(&self) -> Option<PathBuf> {
        match &self.xen {
            Part::Built(artefact) => Some(artefact.file(xen::POLICY_SOURCE)),
            Part::Brought(_) => None,
        }
    }

    /// What QEMU is given as `-kernel`.
    pub(crate) fn hypervisor(&self) -> PathBuf {
        self.xen.file(xen::FILE)
    }

    /// The uncompressed Linux image.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.linux.file(linux::FILE)
    }
}

/// Gets and builds everything that is missing, and assembles the images that one boot loads.
///
/// `AVPS_BED_XEN` and `AVPS_BED_KERNEL` name a hypervisor or a Linux image to be used instead of the bed's own.
pub(crate) fn bed(workshop: &Workshop) -> Result<Bed> {
    assemble(workshop, None)
}

/// The same for a machine with a secure world, and its firmware: dom0 has the programs that call OP-TEE, and an initial file
/// system for guests that call it.
pub(crate) fn secure_bed(workshop: &Workshop, abi: tee::Abi) -> Result<(Bed, PathBuf)> {
    host::ensure(workshop)?;
    let firmware = tee::firmware(workshop, abi)?;
    let userland = tee::userland::artefact(workshop)?;
    let bed = assemble(workshop, Some(userland.file(tee::userland::TREE)))?;
    Ok((bed, firmware))
}

/// The bed, with the tree of programs that call OP-TEE or without.
fn assemble(workshop: &Workshop, tee: Option<PathBuf>) -> Result<Bed> {
    host::ensure(workshop)?;
    let xen = Part::get("AVPS_BED_XEN", || xen::artefact(workshop))?;
    let userland = userland::artefact(workshop)?;
    let linux = Part::get("AVPS_BED_KERNEL", || linux::artefact(workshop))?;
    let names = rust::BINARIES.map(|binary| binary.name);
    let binaries = rust::rust_binaries(workshop, &names)?;
    let of = |name: &str| -> Result<PathBuf> {
        let found = names
            .iter()
            .zip(&binaries)
            .find(|(other, _)| **other == name);
        found.map(|(_, path)| path.clone()).ok_or_else(|| {
            Error::Host(format!(
                "there is no program called {name} in this workspace"
            ))
        })
    };
    let guests = ["bed-load", "hostile-guest"]
        .map(|name| Ok(Program::new(of(name)?, format!("usr/bin/{name}"))));
    let guests = guests.into_iter().collect::<Result<_>>()?;
    let guest = guest_initramfs(workshop, &userland, of("bed-agent")?, guests)?;
    let drivers = ["avps-backend", "hostile-driver"]
        .map(|name| Ok(Program::new(of(name)?, format!("usr/bin/{name}"))));
    let drivers = drivers.into_iter().collect::<Result<_>>()?;
    let driver = guest_initramfs(workshop, &userland, of("bed-agent")?, drivers)?;
    let mut programs = vec![
        Program::new(linux.file(linux::FILE), initramfs::GUEST_KERNEL),
        Program::new(guest.clone(), initramfs::GUEST_INITRAMFS),
        Program::new(driver, initramfs::DRIVER_INITRAMFS),
    ];
    for name in [
        "avps-backend",
        "avps-backend-probe",
        "avpsctl",
        "in-dom0",
        "bed-load",
    ] {
        programs.push(Program::new(of(name)?, format!("usr/bin/{name}")));
    }
    let mut trees = vec![userland.file(userland::DOM0)];
    if let Some(tee) = tee {
        let guest =
            tee_guest_initramfs(workshop, &userland, of("bed-agent")?, of("bed-tee")?, &tee)?;
        programs.push(Program::new(guest, initramfs::TEE_INITRAMFS));
        for name in ["avps-tee", "bed-tee"] {
            programs.push(Program::new(of(name)?, format!("usr/bin/{name}")));
        }
        trees.push(tee);
    }
    let dom0 = initramfs::dom0_initramfs(
        workshop,
        &Inputs {
            trees,
            init: of("bed-agent")?,
            programs,
            texts: vec![],
            compression: Compression::None,
        },
    )?;
    let qemu = host::qemu(workshop)?;
    Ok(Bed {
        xen,
        linux,
        userland,
        dom0,
        guest,
        qemu,
    })
}

/// What a machine without Xen boots: the guests' kernel and initial file system.
pub(crate) fn plain(workshop: &Workshop) -> Result<Plain> {
    host::ensure(workshop)?;
    let userland = userland::artefact(workshop)?;
    let linux = Part::get("AVPS_BED_KERNEL", || linux::artefact(workshop))?;
    let binaries = rust::rust_binaries(workshop, &["bed-agent", "bed-load"])?;
    let mut binaries = binaries.into_iter();
    let (Some(agent), Some(load)) = (binaries.next(), binaries.next()) else {
        return Err(Error::Host(
            "the guests' programs were not built".to_owned(),
        ));
    };
    Ok(Plain {
        kernel: linux.file(linux::FILE),
        initramfs: guest_initramfs(
            workshop,
            &userland,
            agent,
            vec![Program::new(load, "usr/bin/bed-load")],
        )?,
        qemu: host::qemu(workshop)?,
    })
}

fn guest_initramfs(
    workshop: &Workshop,
    userland: &Artefact,
    agent: PathBuf,
    programs: Vec<Program>,
) -> Result<PathBuf> {
    initramfs::guest_initramfs(
        workshop,
        &Inputs {
            trees: vec![userland.file(userland::GUEST)],
            init: agent,
            programs,
            texts: guest_scripts(),
            compression: Compression::Gzip,
        },
    )
}

/// What guests run that call OP-TEE.
fn tee_guest_initramfs(
    workshop: &Workshop,
    userland: &Artefact,
    agent: PathBuf,
    client: PathBuf,
    tee: &Path,
) -> Result<PathBuf> {
    let mut programs = tee::userland::libraries(&userland.file(userland::DOM0));
    programs.push(Program::new(client, "usr/bin/bed-tee"));
    initramfs::guest_initramfs(
        workshop,
        &Inputs {
            trees: vec![userland.file(userland::GUEST), tee.to_path_buf()],
            init: agent,
            programs,
            texts: vec![],
            compression: Compression::None,
        },
    )
}

/// What guests of Xen's own boot run: how they bind a disk that comes late, and what the test has them do with it; and what
/// driver domains run.
fn guest_scripts() -> Vec<Text> {
    let script = |to: &str, content: &[u8]| Text {
        to: to.to_owned(),
        mode: 0o755,
        content: content.to_vec(),
    };
    vec![
        script(
            "usr/lib/avps/avps-bind-virtio",
            include_bytes!("../../../../configs/guest/avps-bind-virtio"),
        ),
        script(
            "usr/lib/bed/late-disk",
            include_bytes!("../../guest/late-disk"),
        ),
        script("usr/lib/bed/driver", include_bytes!("../../guest/driver")),
    ]
}

impl Workshop {
    /// The user's cache. Nothing is created or fetched yet.
    pub(crate) fn open() -> Self {
        Self::with(None, false)
    }

    /// The user's cache with a number of jobs, or with all versions chosen anew.
    pub(crate) fn with(jobs: Option<usize>, refresh: bool) -> Self {
        let cache = paths::cache();
        let jobs =
            jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        Self {
            apt: apt::Apt::new(cache.join("apt")),
            downloads: download::Downloads::new(cache.join("downloads")),
            pins: pins::Pins::new(cache.join("pins"), refresh),
            store: Store::new(cache),
            tree: Store::new(paths::tree_target()),
            jobs,
            profile: Profile::default(),
        }
    }

    /// The same, with programs compiled like this.
    pub(crate) fn compiling(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    fn fetch(&self, pins: &[Pin], step: &Step) -> Result<Vec<PathBuf>> {
        let remotes: Vec<_> = pins.iter().map(|pin| pin.remote.clone()).collect();
        self.downloads.fetch(&remotes, step)
    }

    /// Runs `make`; when a pinned file has gone from the archive, chooses anew and runs it once more.
    fn choosing_anew_when_gone<T>(
        &self,
        group: &str,
        request: &Key,
        make: impl Fn() -> Result<T>,
    ) -> Result<T> {
        match make() {
            Err(Error::Unavailable { what, .. }) if self.pins.read(group, request).is_some() => {
                eprintln!("  {group}: {what} is no longer to be had, choosing another version");
                self.pins.forget(group, request)?;
                make()
            }
            result => result,
        }
    }
}
