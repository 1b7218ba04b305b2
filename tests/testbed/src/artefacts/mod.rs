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
mod workshop;

pub(crate) use workshop::Workshop;

use std::path::{Path, PathBuf};

use error::{Error, Result};
use groups::XEN;
use initramfs::{Compression, Inputs, Program, Text};
use pins::Pin;
use store::Artefact;

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

/// What is in a bed besides Xen, Linux and Debian's programs.
enum Contents {
    /// What the demo runs.
    Demo,
    /// What the tests run.
    Tests,
    /// What the tests run where there is a secure world, and the tree of programs that call OP-TEE.
    SecureWorld(PathBuf),
}

/// The workspace's programs, by where they are: in guests, in driver domains that tests look into, in dom0.
const DEMO: ([&str; 1], [&str; 3]) = (["bed-load"], ["avps-backend", "avpsctl", "bed-load"]);
const TESTS: ([&str; 2], [&str; 2], [&str; 5]) = (
    ["bed-load", "hostile-guest"],
    ["avps-backend", "hostile-driver"],
    [
        "avps-backend",
        "avps-backend-probe",
        "avpsctl",
        "in-dom0",
        "bed-load",
    ],
);
const SECURE_WORLD: [&str; 2] = ["avps-tee", "bed-tee"];
/// The first process of dom0 and of guests.
const INIT: &str = "bed-agent";

/// Gets and builds everything that is missing, and assembles the images that one boot loads.
///
/// `AVPS_BED_XEN` and `AVPS_BED_KERNEL` name a hypervisor or a Linux image to be used instead of the bed's own.
pub(crate) fn bed(workshop: &Workshop) -> Result<Bed> {
    assemble(workshop, &Contents::Tests)
}

/// The same with no more programs than the demo runs.
pub(crate) fn demo(workshop: &Workshop) -> Result<Bed> {
    assemble(workshop, &Contents::Demo)
}

/// Whether the first build on this machine lies ahead: no kernel is in the cache.
pub(crate) fn is_cold(workshop: &Workshop) -> bool {
    let entries = std::fs::read_dir(workshop.store.root())
        .into_iter()
        .flatten();
    !entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("linux-"))
}

/// The bed for a machine with a secure world, and its firmware: dom0 has the programs that call OP-TEE, and an initial file
/// system for guests that call it.
pub(crate) fn secure_bed(workshop: &Workshop, abi: tee::Abi) -> Result<(Bed, PathBuf)> {
    host::ensure(workshop)?;
    let (firmware, userland) = tee::firmware(workshop, abi)?;
    let tree = userland.file(tee::userland::TREE);
    let bed = assemble(workshop, &Contents::SecureWorld(tree))?;
    Ok((bed, firmware))
}

fn assemble(workshop: &Workshop, contents: &Contents) -> Result<Bed> {
    host::ensure(workshop)?;
    let (xen, userland) = xen_with_tools(workshop)?;
    let linux = Part::get("AVPS_BED_KERNEL", || linux::artefact(workshop))?;
    let (in_guests, in_drivers, in_dom0): (&[&str], &[&str], &[&str]) = match contents {
        Contents::Demo => (&DEMO.0, &[], &DEMO.1),
        Contents::Tests | Contents::SecureWorld(_) => (&TESTS.0, &TESTS.1, &TESTS.2),
    };
    let mut names = match contents {
        // All at once: cargo compiles what they have in common once.
        Contents::Tests | Contents::SecureWorld(_) => rust::BINARIES.map(|one| one.name).to_vec(),
        Contents::Demo => [&[INIT][..], in_guests, in_dom0].concat(),
    };
    names.sort_unstable();
    names.dedup();
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
    let placed = |names: &[&str]| -> Result<Vec<Program>> {
        let program = |name: &&str| Ok(Program::new(of(name)?, format!("usr/bin/{name}")));
        names.iter().map(program).collect()
    };
    let guest = guest_initramfs(workshop, &userland, of(INIT)?, placed(in_guests)?)?;
    let mut programs = vec![
        Program::new(linux.file(linux::FILE), initramfs::GUEST_KERNEL),
        Program::new(guest.clone(), initramfs::GUEST_INITRAMFS),
    ];
    if !in_drivers.is_empty() {
        let driver = guest_initramfs(workshop, &userland, of(INIT)?, placed(in_drivers)?)?;
        programs.push(Program::new(driver, initramfs::DRIVER_INITRAMFS));
    }
    programs.extend(placed(in_dom0)?);
    let mut trees = vec![userland.file(userland::DOM0)];
    if let Contents::SecureWorld(tree) = contents {
        let guest = tee_guest_initramfs(workshop, &userland, of(INIT)?, of("bed-tee")?, tree)?;
        programs.push(Program::new(guest, initramfs::TEE_INITRAMFS));
        programs.extend(placed(&SECURE_WORLD)?);
        trees.push(tree.clone());
    }
    let dom0 = initramfs::dom0_initramfs(
        workshop,
        &Inputs {
            trees,
            init: of(INIT)?,
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
