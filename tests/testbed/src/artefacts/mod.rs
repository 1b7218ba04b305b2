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
pub(crate) mod mirror;
pub(crate) mod notices;
pub(crate) mod oracle;
pub(crate) mod rust;
pub(crate) mod store;
pub(crate) mod tee;
pub(crate) mod update;
pub(crate) mod userland;
pub(crate) mod xen;

mod apt;
mod busybox;
mod download;
mod groups;
mod index;
mod kconfig;
mod key;
mod lock;
mod manifest;
mod pins;
mod tools;

use std::path::{Path, PathBuf};

use error::{Error, Result};
use groups::{Group, XEN};
use initramfs::{Compression, Inputs, Program, Text};
use pins::{Pin, Pinned, StandIn, StandIns};
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
    stand_ins: StandIns,
    /// Try to get what is pinned even where something stands in for it.
    insist: bool,
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
            Some(path) if Path::new(&path).is_file() => {
                let path = PathBuf::from(path);
                notices::add(format!(
                    "{variable}: {} is booted, which is not what is pinned",
                    path.display()
                ));
                Ok(Self::Brought(path))
            }
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
    let (firmware, userland) = tee::firmware(workshop, abi)?;
    let bed = assemble(workshop, Some(userland.file(tee::userland::TREE)))?;
    Ok((bed, firmware))
}

/// The bed, with the tree of programs that call OP-TEE or without.
fn assemble(workshop: &Workshop, tee: Option<PathBuf>) -> Result<Bed> {
    host::ensure(workshop)?;
    let (xen, userland) = xen_with_tools(workshop)?;
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

/// The hypervisor, and dom0's programs with tools of the same release.
fn xen_with_tools(workshop: &Workshop) -> Result<(Part, Artefact)> {
    workshop.with_group(&XEN, |pins| {
        let xen = Part::get("AVPS_BED_XEN", || xen::of(workshop, pins))?;
        Ok((xen, userland::of(workshop, pins)?))
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

    /// The user's cache with a number of jobs. One that insists tries again to get what is pinned where something stands in
    /// for it; so does each run that names a mirror.
    pub(crate) fn with(jobs: Option<usize>, insist: bool) -> Self {
        let cache = paths::cache();
        let jobs =
            jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        Self {
            apt: apt::Apt::new(cache.join("apt")),
            downloads: download::Downloads::new(cache.join("downloads"), mirror::all()),
            stand_ins: StandIns::new(cache.join("pins")),
            insist: insist || mirror::is_named(),
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

    /// The files that `group` is made of in this cache: what stands in for the pinned ones, else those.
    fn files_of(&self, group: &Group) -> Result<Vec<Pin>> {
        let pinned = Pinned::of_tree()?;
        let pinned = pinned.of(group);
        let stand_in = self.stand_ins.get(group.name, pinned);
        Ok(stand_in.map_or_else(|| pinned.to_vec(), |stand_in| stand_in.pins))
    }

    /// Runs `make` with the files of `group`. Where the archive no longer has them, others are chosen, which is told in a notice
    /// of this run and of each later one.
    fn with_group<T>(&self, group: &Group, make: impl Fn(&[Pin]) -> Result<T>) -> Result<T> {
        let pinned = Pinned::of_tree()?;
        let choose = |step: &Step| group.choose(self, step);
        self.with_files(group.name, pinned.of(group), choose, make)
    }

    /// The same with the files that are pinned, and a way to choose others.
    fn with_files<T>(
        &self,
        name: &str,
        pinned: &[Pin],
        choose: impl FnOnce(&Step) -> Result<Vec<Pin>>,
        make: impl Fn(&[Pin]) -> Result<T>,
    ) -> Result<T> {
        let stand_in = self.stand_ins.get(name, pinned);
        if let Some(stand_in) = stand_in.filter(|_| !self.insist) {
            match make(&stand_in.pins) {
                Err(error) if is_gone(&error, &stand_in.pins) => {}
                made => {
                    notices::add(told(name, pinned, &stand_in));
                    return made;
                }
            }
        }
        let missing = match pinned {
            [] => "no version of it is pinned that fits this host".to_owned(),
            pinned => match make(pinned) {
                Err(error) if is_gone(&error, pinned) => error.to_string(),
                Err(error) => return Err(error),
                Ok(made) => {
                    self.stand_ins.forget(name, pinned)?;
                    return Ok(made);
                }
            },
        };
        let stand_in = self.stand_in(name, pinned, missing, choose)?;
        let made = make(&stand_in.pins)?;
        notices::add(told(name, pinned, &stand_in));
        Ok(made)
    }

    /// Chooses what stands in for files that are gone, unless another run has done so meanwhile.
    fn stand_in(
        &self,
        name: &str,
        pinned: &[Pin],
        missing: String,
        choose: impl FnOnce(&Step) -> Result<Vec<Pin>>,
    ) -> Result<StandIn> {
        let before = self.stand_ins.get(name, pinned);
        let _lock = self.stand_ins.lock(name)?;
        match self.stand_ins.get(name, pinned) {
            Some(other) if before.is_none_or(|before| before.pins != other.pins) => {
                return Ok(other);
            }
            _ => {}
        }
        let step = Step::begin(format!("{name} packages"), "looking for another version");
        step.note(&missing);
        let pins = choose(&step).map_err(|error| match error {
            Error::Unavailable { what, reason } => Error::Unavailable {
                what,
                reason: format!(
                    "{reason}\nWhat is pinned cannot be had either: {missing}\n\
                     Name a source that has it, such as a snapshot of the day: \
                     --mirror http://snapshot.debian.org/archive/debian/YYYYMMDDT000000Z"
                ),
            },
            error => error,
        })?;
        let stand_in = StandIn { missing, pins };
        self.stand_ins.set(name, pinned, &stand_in)?;
        step.done(&versions(&stand_in.pins));
        Ok(stand_in)
    }
}

/// Whether an error says that one of these files cannot be had.
fn is_gone(error: &Error, pins: &[Pin]) -> bool {
    matches!(error, Error::Unavailable { what, .. } if pins.iter().any(|pin| pin.remote.file == *what))
}

fn told(name: &str, pinned: &[Pin], stand_in: &StandIn) -> String {
    let differing: Vec<Pin> = stand_in
        .pins
        .iter()
        .filter(|pin| !pinned.contains(pin))
        .cloned()
        .collect();
    let instead: Vec<Pin> = pinned
        .iter()
        .filter(|pin| !stand_in.pins.contains(pin))
        .cloned()
        .collect();
    let pinned = match instead.as_slice() {
        [] => String::new(),
        pins => format!(" instead of the pinned {}", versions(pins)),
    };
    format!(
        "{name}: {}{pinned}: {}",
        versions(&differing),
        stand_in.missing.lines().next().unwrap_or_default()
    )
}

/// Packages with their versions; those of the same version are counted.
fn versions(pins: &[Pin]) -> String {
    let mut told: Vec<(&Pin, usize)> = Vec::new();
    for pin in pins {
        match told
            .iter_mut()
            .find(|(other, _)| other.version == pin.version)
        {
            Some((_, count)) => *count += 1,
            None => told.push((pin, 1)),
        }
    }
    let text = |(pin, count): &(&Pin, usize)| match count {
        1 => format!("{} {}", pin.package, pin.version),
        more => format!("{} {} (and {} more)", pin.package, pin.version, more - 1),
    };
    told.iter().map(text).collect::<Vec<_>>().join(", ")
}
