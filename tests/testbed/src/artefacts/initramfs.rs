//! Initial file systems: dom0's and the guests'.
//!
//! They hold this source tree's own binaries, so they are kept below the tree's `target` folder, by content.
//! Uncompressed by default: under emulation, unpacking gzip costs more than copying.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::write::GzEncoder;
use ramdisk::cpio::Cpio;

use super::Workshop;
use super::error::{Error, Result};
use super::key::{Key, hash};
use super::store::{Artefact, Build, remove};
use super::tools::files_below;

const RECIPE: u32 = 1;
/// Images that no run has asked for so long are removed when a new one is made.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The file in the artefact.
const FILE: &str = "initramfs";

/// Where dom0 finds the guests' kernel.
pub(crate) const GUEST_KERNEL: &str = "usr/lib/avps/guest/Image";
/// Where dom0 finds the guests' initial file system.
pub(crate) const GUEST_INITRAMFS: &str = "usr/lib/avps/guest/initramfs.cpio.gz";
/// Where dom0 finds the initial file system of guests that call OP-TEE; only on machines that have one.
pub(crate) const TEE_INITRAMFS: &str = "usr/lib/avps/tee/initramfs.cpio";
/// Where dom0 finds the initial file system of driver domains that the tests look into.
pub(crate) const DRIVER_INITRAMFS: &str = "usr/lib/avps/driver/initramfs.cpio.gz";

/// How an archive is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As it is.
    None,
    /// gzip, fastest level.
    Gzip,
}

/// A file of the host and its place in the image.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// On this host.
    pub(crate) from: PathBuf,
    /// Path in the image, without a leading slash.
    pub(crate) to: String,
}

impl Program {
    /// `from` at `to`.
    pub(crate) fn new(from: impl Into<PathBuf>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
        }
    }
}

/// A small file made up by the caller: a configuration, a platform document.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Path in the image, without a leading slash.
    pub(crate) to: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Its content.
    pub(crate) content: Vec<u8>,
}

/// What an image is made of; later parts replace nothing, they add.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// Userland trees, unpacked at the root.
    pub(crate) trees: Vec<PathBuf>,
    /// Started by the kernel as `/init`.
    pub(crate) init: PathBuf,
    /// Further files of the host, with their permissions.
    pub(crate) programs: Vec<Program>,
    /// Further small files.
    pub(crate) texts: Vec<Text>,
    /// How the image is stored.
    pub(crate) compression: Compression,
}

/// dom0's initial file system.
pub(crate) fn dom0_initramfs(workshop: &Workshop, inputs: &Inputs) -> Result<PathBuf> {
    image(workshop, "dom0", inputs).map(|artefact| artefact.file(FILE))
}

/// The guests' initial file system.
pub(crate) fn guest_initramfs(workshop: &Workshop, inputs: &Inputs) -> Result<PathBuf> {
    image(workshop, "guest", inputs).map(|artefact| artefact.file(FILE))
}

/// An image as an artefact of this tree.
pub(crate) fn image(workshop: &Workshop, name: &str, inputs: &Inputs) -> Result<Artefact> {
    let key = key(inputs)?;
    let artefact = workshop.tree.ensure(name, &key, |build| {
        prune(workshop.tree.root(), name)?;
        recipe(inputs, build)
    })?;
    // Its last use, for pruning.
    let _ = File::open(&artefact.path).and_then(|folder| folder.set_modified(SystemTime::now()));
    Ok(artefact)
}

fn key(inputs: &Inputs) -> Result<Key> {
    let mut key = Key::new(RECIPE);
    for tree in &inputs.trees {
        // A tree of the cache: its folder's name holds its key.
        key.value("tree", &tree.display().to_string());
    }
    key.file("init", &inputs.init)?;
    for program in &inputs.programs {
        key.file(&program.to, &program.from)?;
    }
    for text in &inputs.texts {
        key.value(
            &text.to,
            &format!("{:o} {}", text.mode, hash(&text.content)),
        );
    }
    key.value("compression", &format!("{:?}", inputs.compression));
    Ok(key)
}

fn recipe(inputs: &Inputs, build: &Build) -> Result<()> {
    build.step.state("packing");
    let path = build.out.join(FILE);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    let file = BufWriter::with_capacity(1 << 20, file);
    match inputs.compression {
        Compression::None => write(file, inputs)?
            .into_inner()
            .map(drop)
            .map_err(|error| error.into_error()),
        Compression::Gzip => {
            let encoder = GzEncoder::new(file, flate2::Compression::fast());
            write(encoder, inputs)?.finish().map(drop)
        }
    }
    .map_err(Error::io("write", &path))
}

fn write<W: Write>(to: W, inputs: &Inputs) -> Result<W> {
    let failed = |source| Error::Io {
        wanted: "write",
        path: PathBuf::from("the initramfs"),
        source,
    };
    let mut cpio = Cpio::new(to);
    skeleton(&mut cpio).map_err(failed)?;
    for tree in &inputs.trees {
        add_tree(&mut cpio, tree, inputs)?;
    }
    add_file(&mut cpio, &inputs.init, "init", Some(0o755))?;
    for program in &inputs.programs {
        add_file(&mut cpio, &program.from, &program.to, None)?;
    }
    for text in &inputs.texts {
        cpio.file(&text.to, text.mode, &text.content)
            .map_err(failed)?;
    }
    cpio.finish().map_err(failed)
}

/// Mount points, and the two devices that a program needs before devtmpfs is mounted.
fn skeleton<W: Write>(cpio: &mut Cpio<W>) -> std::io::Result<()> {
    for folder in [
        "dev",
        "etc",
        "mnt",
        "proc",
        "run",
        "sys",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "var/lib/xen",
        "var/log/xen",
    ] {
        cpio.folder(folder, 0o755)?;
    }
    cpio.folder("root", 0o700)?;
    cpio.folder("tmp", 0o1777)?;
    cpio.link("var/run", "/run")?;
    cpio.character_device("dev/console", 0o600, 5, 1)?;
    cpio.character_device("dev/null", 0o666, 1, 3)
}

/// Adds what lies in a tree, except what the caller puts in the same place.
fn add_tree<W: Write>(cpio: &mut Cpio<W>, tree: &Path, inputs: &Inputs) -> Result<()> {
    let mut paths = files_below(tree)?;
    paths.sort();
    for path in paths {
        let relative = path
            .strip_prefix(tree)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        let replaced = inputs.programs.iter().any(|program| program.to == relative)
            || inputs.texts.iter().any(|text| text.to == relative);
        if replaced {
            continue;
        }
        if path.is_symlink() {
            let target = path.read_link().map_err(Error::io("read", &path))?;
            cpio.link(&relative, &target.to_string_lossy())
                .map_err(Error::io("pack", &path))?;
        } else {
            add_file(cpio, &path, &relative, None)?;
        }
    }
    Ok(())
}

fn add_file<W: Write>(cpio: &mut Cpio<W>, from: &Path, to: &str, mode: Option<u32>) -> Result<()> {
    let metadata = from.metadata().map_err(Error::io("read", from))?;
    let mode = mode.unwrap_or(metadata.permissions().mode() & 0o7777);
    let content = std::fs::read(from).map_err(Error::io("read", from))?;
    cpio.file(to, mode, &content)
        .map_err(Error::io("pack", from))
}

/// Removes images of this name that were last used long ago: every rebuilt binary makes a new one.
fn prune(root: &Path, name: &str) -> Result<()> {
    let prefix = format!("{name}-");
    for entry in std::fs::read_dir(root)
        .map_err(Error::io("read", root))?
        .flatten()
    {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|used| used.elapsed().is_ok_and(|age| age > KEPT));
        if old && entry.file_name().to_string_lossy().starts_with(&prefix) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Compression, Inputs, Program, Text, key, write};
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    fn inputs(folder: &Path) -> Inputs {
        let tree = folder.join("tree");
        std::fs::create_dir_all(tree.join("usr/bin")).unwrap();
        std::fs::write(tree.join("usr/bin/tool"), "of the tree").unwrap();
        std::fs::write(tree.join("usr/bin/other"), "of the tree").unwrap();
        std::os::unix::fs::symlink("usr/bin", tree.join("bin")).unwrap();
        std::fs::write(folder.join("agent"), "agent").unwrap();
        std::fs::write(folder.join("own"), "own").unwrap();
        Inputs {
            trees: vec![tree],
            init: folder.join("agent"),
            programs: vec![Program::new(folder.join("own"), "usr/bin/tool")],
            texts: vec![Text {
                to: "etc/a.toml".to_owned(),
                mode: 0o600,
                content: b"x = 1".to_vec(),
            }],
            compression: Compression::None,
        }
    }

    fn unpack(archive: &[u8], options: &[&str]) -> String {
        let mut child = Command::new("cpio")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(archive).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn own_programs_take_the_place_of_the_trees_and_nothing_is_there_twice() {
        let folder = tempfile::tempdir().unwrap();
        let archive = write(Vec::new(), &inputs(folder.path())).unwrap();
        let names = unpack(&archive, &["-t"]);
        let count = |name: &str| names.lines().filter(|line| *line == name).count();
        for name in [
            "init",
            "bin",
            "usr/bin/tool",
            "usr/bin/other",
            "etc/a.toml",
            "dev/console",
            "proc",
        ] {
            assert_eq!(count(name), 1, "{name} in\n{names}");
        }
        assert_eq!(
            unpack(&archive, &["-i", "--to-stdout", "usr/bin/tool"]),
            "own"
        );
    }

    #[test]
    fn a_changed_binary_gives_another_image() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = inputs(folder.path());
        let before = key(&inputs).unwrap().id();
        std::fs::write(folder.path().join("own"), "changed").unwrap();
        assert_ne!(key(&inputs).unwrap().id(), before);
    }
}
