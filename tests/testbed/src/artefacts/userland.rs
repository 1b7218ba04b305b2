//! dom0's and the guests' programs: Debian's arm64 binaries, unpacked (never installed), trimmed to what runs.
//!
//! Two trees come out: `dom0/` with Xen's tools and what they link, `guest/` with busybox alone.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::groups::{Part, USERLAND, XEN};
use super::key::Key;
use super::pins::Pin;
use super::store::{Artefact, Build, create, remove};
use super::{Workshop, busybox, tools, xen};
use crate::process::Run;

/// dom0's tree in the artefact.
pub(crate) const DOM0: &str = "dom0";
/// The guests' tree in the artefact.
pub(crate) const GUEST: &str = "guest";

const RECIPE: u32 = 1;

/// Removed from dom0's tree: documentation, development files, and large programs that nothing in the bed calls.
const TRIMMED: [&str; 24] = [
    "etc/cron.d",
    "etc/default",
    "etc/init.d",
    "etc/skel",
    "usr/bin/xenalyze",
    "usr/include",
    "usr/lib/aarch64-linux-gnu/audit",
    "usr/lib/aarch64-linux-gnu/e2fsprogs",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/gcc",
    "usr/lib/locale",
    "usr/lib/python3",
    "usr/lib/systemd",
    "usr/lib/tmpfiles.d",
    "usr/lib/udev",
    "usr/lib/xen-4.20/bin/oxenstored",
    "usr/lib/xen-4.20/bin/pygrub",
    "usr/lib/xen-4.20/boot",
    "usr/lib/xen-4.20/lib/python",
    "usr/lib/xen-4.20/ocaml",
    "usr/libexec",
    "usr/sbin/debugfs",
    "usr/share",
    "var",
];

/// Xen's tools of one release, and what those need.
pub(crate) fn files(xen: &[Pin], others: &[Pin]) -> Vec<Pin> {
    [XEN.part(xen, Part::Tools), others.to_vec()].concat()
}

/// Everything that could change what is built from [`files`].
pub(crate) fn key(pins: &[Pin]) -> Key {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key.value("trimmed", &TRIMMED.join(" "));
    key
}

/// The two trees.
pub(crate) fn artefact(workshop: &Workshop) -> Result<Artefact> {
    workshop.with_group(&XEN, |xen| of(workshop, xen))
}

/// The two trees, with the tools of these files of [`XEN`].
pub(crate) fn of(workshop: &Workshop, xen: &[Pin]) -> Result<Artefact> {
    workshop.with_group(&USERLAND, |others| {
        let pins = files(xen, others);
        workshop.store.ensure("userland", &key(&pins), |build| {
            recipe(workshop, &pins, build)
        })
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    let dom0 = build.out.join(DOM0);
    create(&dom0)?;
    for (pin, file) in pins.iter().zip(&files) {
        build.step.state(format!("unpacking {}", pin.package));
        tools::unpack_deb(file, &dom0, &build.log)?;
    }
    merge_usr(&dom0)?;
    for path in TRIMMED {
        remove(&dom0.join(path))?;
    }
    remove_static_libraries(&dom0.join("usr/lib"))?;
    put_xens_programs_into_the_path(&dom0)?;
    complete_libraries(&dom0, build)?;

    build.step.state("adding busybox");
    let guest = build.out.join(GUEST);
    tools::copy(
        &dom0.join("usr/bin/busybox"),
        &guest.join("usr/bin/busybox"),
    )?;
    merge_usr(&guest)?;
    for tree in [&dom0, &guest] {
        busybox::install(tree)?;
        configuration(tree)?;
    }
    Ok(())
}

/// `/bin`, `/sbin` and `/lib` are links into `/usr`, as Debian has them.
fn merge_usr(tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib"] {
        create(&tree.join("usr").join(name))?;
        let path = tree.join(name);
        if path.is_dir() && !path.is_symlink() {
            tools::move_contents(&path, &tree.join("usr").join(name))?;
            remove(&path)?;
        }
        if !path.is_symlink() {
            symlink(format!("usr/{name}"), &path).map_err(Error::io("link", &path))?;
        }
    }
    Ok(())
}

fn remove_static_libraries(folder: &Path) -> Result<()> {
    for path in tools::files_below(folder)? {
        if path.extension().is_some_and(|extension| extension == "a") {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Debian keeps the tools of a release in a folder of its own and picks one with wrapper scripts; here there is one.
fn put_xens_programs_into_the_path(dom0: &Path) -> Result<()> {
    let folder = format!("usr/lib/xen-{}/bin", xen::RELEASE);
    let entries =
        std::fs::read_dir(dom0.join(&folder)).map_err(Error::io("read", &dom0.join(&folder)))?;
    for entry in entries.flatten() {
        let link = dom0.join("usr/sbin").join(entry.file_name());
        remove(&link)?;
        let target = format!("/{folder}/{}", entry.file_name().to_string_lossy());
        symlink(target, &link).map_err(Error::io("link", &link))?;
    }
    Ok(())
}

/// Each library that a program or library in the tree needs is in the tree.
fn complete_libraries(tree: &Path, build: &Build) -> Result<()> {
    build.step.state("checking libraries");
    let missing = needed_libraries(tree)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Product {
        what: "dom0's userland".to_owned(),
        problem: format!(
            "it lacks {}",
            missing.into_iter().collect::<Vec<_>>().join(", ")
        ),
        log: build.log.clone(),
    })
}

/// Libraries that a program or library in the tree needs and the tree does not have.
pub(crate) fn needed_libraries(tree: &Path) -> Result<BTreeSet<String>> {
    let files: Vec<PathBuf> = tools::files_below(tree)?
        .into_iter()
        .filter(|path| is_elf(path))
        .collect();
    let present: BTreeSet<String> = tools::names_below(tree)?;
    let output = Run::new(format!("{}readelf", tools::CROSS_PREFIX))
        .arg("--dynamic")
        .args(&files)
        .output()
        .map_err(Error::child("reading which libraries are needed"))?;
    Ok(output
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
        .filter(|name| !present.contains(*name))
        .map(str::to_owned)
        .collect())
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file())
        && std::fs::File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok()
        && magic == *b"\x7fELF"
}

fn configuration(tree: &Path) -> Result<()> {
    let etc = tree.join("etc");
    create(&etc)?;
    for (name, text) in [
        (
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        ),
        ("group", "root:x:0:\ndisk:x:6:\nnogroup:x:65534:\n"),
        ("hosts", "127.0.0.1 localhost\n"),
    ] {
        let path = etc.join(name);
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    let mounts = etc.join("mtab");
    remove(&mounts)?;
    symlink("/proc/self/mounts", &mounts).map_err(Error::io("link", &mounts))
}
