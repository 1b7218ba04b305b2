//! This workspace's own programs for arm64, by cargo.
//!
//! rustup's own target is used where it is installed or can be added; else Debian's `rustc-web` with the standard
//! library of exactly the same version, unpacked beside it (never installed: it is an arm64 package).

use std::path::{Path, PathBuf};

use super::apt::{self, compare, without_rebuild};
use super::error::{Error, Result};
use super::groups::RUST_STD;
use super::key::Key;
use super::lock::Lock;
use super::pins::{Pin, Pinned, pick};
use super::store::{Build, create};
use super::{Workshop, tools};
use crate::paths;
use crate::process::{Run, in_path};
use crate::progress::Step;

/// Target of everything that runs in the bed.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";
const STD_PACKAGE: &str = "libstd-rust-web-dev";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const RECIPE: u32 = 1;
/// The oldest Rust that this workspace is built with.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");
/// A shared target folder that has grown beyond this is emptied before the next build: each clone of the source leaves its own
/// crates there.
const MOST_BYTES: u64 = 4 << 30;

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linking {
    /// With everything inside: runs in a guest that has no C library.
    Static,
    /// Against glibc: programs that load libxl at run time.
    Dynamic,
    /// Without any library or kernel below it; the package's own build script says how.
    Bare,
}

impl Linking {
    /// The name of its folders.
    fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::Bare => "bare",
        }
    }
}

/// How programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests: optimised, without link-time optimisation.
    #[default]
    Bed,
    /// As shipped, for benchmarks.
    Release,
}

impl Profile {
    /// Cargo's name for it, which is also that of the folder below the target's.
    fn name(self) -> &'static str {
        match self {
            Self::Bed => "bed",
            Self::Release => "release",
        }
    }
}

/// A program of this workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binary {
    /// Cargo package.
    pub(crate) package: &'static str,
    /// Binary in it.
    pub(crate) name: &'static str,
    /// How it is linked.
    pub(crate) linking: Linking,
    /// Cargo features, as `package/feature`.
    pub(crate) features: &'static [&'static str],
}

/// Everything of this workspace that runs in the bed.
pub(crate) const BINARIES: [Binary; 10] = [
    Binary {
        package: "avps-backend",
        name: "avps-backend",
        linking: Linking::Static,
        features: &[],
    },
    // What users run is built without its features, hence on its own.
    Binary {
        package: "avps-backend",
        name: "avps-backend-probe",
        linking: Linking::Static,
        features: &["avps-backend/probe"],
    },
    Binary {
        package: "avps-tee",
        name: "avps-tee",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "bed-tee",
        name: "bed-tee",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "agent",
        name: "bed-agent",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "bed-load",
        name: "bed-load",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "hostile-guest",
        name: "hostile-guest",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "hostile-driver",
        name: "hostile-driver",
        linking: Linking::Static,
        features: &[],
    },
    Binary {
        package: "avpsctl",
        name: "avpsctl",
        linking: Linking::Dynamic,
        features: &[],
    },
    Binary {
        package: "in-dom0",
        name: "in-dom0",
        linking: Linking::Dynamic,
        features: &[],
    },
];

/// The bare-metal guest of the oracle, which is not part of a bed.
pub(crate) const ORACLE_GUEST: Binary = Binary {
    package: "oracle-guest",
    name: "oracle-guest",
    linking: Linking::Bare,
    features: &["oracle-guest/bare"],
};

/// Which compiler builds for arm64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The user's own, which has the target.
    Own,
    /// Debian's, with this folder as the target's sysroot.
    Debian(PathBuf),
}

/// Whether Debian's compiler has to be installed: there is none, and rustup cannot add the target either.
pub(crate) fn lacks_compiler(workshop: &Workshop) -> Result<bool> {
    Ok(!own_has_target() && debian_version().is_none() && !add_target(workshop)?)
}

/// Builds binaries by name and returns where they are, in the order asked for.
///
/// # Errors
/// A name that is not in [`BINARIES`] and not the oracle's guest; a missing toolchain; a failed build, with the compiler's words.
pub(crate) fn rust_binaries(workshop: &Workshop, names: &[&str]) -> Result<Vec<PathBuf>> {
    let toolchain = toolchain(workshop)?;
    let wanted = names
        .iter()
        .map(|name| {
            BINARIES
                .into_iter()
                .chain([ORACLE_GUEST])
                .find(|binary| binary.name == *name)
                .ok_or_else(|| {
                    Error::Host(format!(
                        "there is no program called {name} in this workspace"
                    ))
                })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut rest = wanted.clone();
    while let Some(first) = rest.first().copied() {
        let (together, others): (Vec<Binary>, _) = rest.into_iter().partition(|binary| {
            binary.linking == first.linking && binary.features == first.features
        });
        build(workshop, &toolchain, first.linking, &together)?;
        rest = others;
    }
    Ok(wanted
        .iter()
        .map(|binary| program(workshop, binary))
        .collect())
}

/// Where this tree's own copy of a program is.
fn program(workshop: &Workshop, binary: &Binary) -> PathBuf {
    paths::tree_target()
        .join("programs")
        .join(workshop.profile.name())
        .join(binary.linking.name())
        .join(binary.name)
}

/// Cargo's target folder. All source trees of this user share it, so that a new clone compiles no crate of others again.
fn target_folder(workshop: &Workshop, linking: Linking) -> PathBuf {
    // Apart, because they differ in flags that apply to every dependency.
    workshop.store.root().join("cargo").join(linking.name())
}

/// Copies what cargo built to this tree's own place. A file that is the same stays, with its time.
fn take(workshop: &Workshop, target: &Path, binary: &Binary) -> Result<()> {
    let from = target
        .join(TARGET)
        .join(workshop.profile.name())
        .join(binary.name);
    let to = program(workshop, binary);
    let read = |path: &Path| std::fs::read(path).map_err(Error::io("read", path));
    let built = read(&from)?;
    if std::fs::read(&to).is_ok_and(|old| old == built) {
        return Ok(());
    }
    create(to.parent().unwrap_or(Path::new(".")))?;
    let part = to.with_extension("part");
    std::fs::copy(&from, &part)
        .and_then(|_| std::fs::rename(&part, &to))
        .map_err(Error::io("write", &to))
}

fn build(
    workshop: &Workshop,
    toolchain: &Toolchain,
    linking: Linking,
    binaries: &[Binary],
) -> Result<()> {
    let names = binaries
        .iter()
        .map(|binary| binary.name)
        .collect::<Vec<_>>()
        .join(", ");
    let target = target_folder(workshop, linking);
    create(&target)?;
    let _lock = Lock::take(&target.with_extension("lock"), "arm64 programs")?;
    if tools::bytes_below(&target)? > MOST_BYTES {
        super::store::remove(&target)?;
    }
    let step = Step::begin("arm64 programs", format!("building {names}"));
    let mut flags = match linking {
        Linking::Static => "-C target-feature=+crt-static".to_owned(),
        Linking::Dynamic => String::new(),
        Linking::Bare => "-C target-feature=+crt-static -C panic=abort".to_owned(),
    };
    let mut cargo = Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(paths::workspace())
        .args(["build", "--profile", workshop.profile.name()])
        .args(["--target", TARGET, "--jobs"])
        .arg(workshop.jobs.to_string())
        .env("CARGO_TARGET_DIR", &target)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            format!("{}gcc", tools::CROSS_PREFIX),
        )
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    for binary in binaries {
        cargo = cargo.args(["--package", binary.package, "--bin", binary.name]);
        for feature in binary.features {
            cargo = cargo.args(["--features", feature]);
        }
    }
    if let Toolchain::Debian(sysroot) = toolchain {
        flags.push_str(&format!(" --sysroot={}", sysroot.display()));
        cargo = cargo.env("RUSTC", DEBIAN_RUSTC).env_remove("RUSTC_WRAPPER");
    }
    let log = workshop.store.log("arm64-programs");
    super::store::remove(&log)?;
    let mut crates = 0_u32;
    cargo
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            flags.trim(),
        )
        .log(&log)
        .lines(|line| {
            if let Some(rest) = line.trim_start().strip_prefix("Compiling ") {
                crates += 1;
                step.state(format!("building {names}… {crates} crates, now {rest}"));
            }
        })
        .map_err(Error::child(format!("building {names} for arm64")))?;
    for binary in binaries {
        take(workshop, &target, binary)?;
    }
    step.done(&names);
    Ok(())
}

/// The compiler to use.
fn toolchain(workshop: &Workshop) -> Result<Toolchain> {
    if own_has_target() || add_target(workshop)? {
        Ok(Toolchain::Own)
    } else {
        standard_library(workshop).map(Toolchain::Debian)
    }
}

/// Lets rustup add the target. Tried once per compiler: a refusal is remembered, so that later runs need no network.
fn add_target(workshop: &Workshop) -> Result<bool> {
    let marker = refused_marker(workshop);
    if !in_path("rustup") || marker.exists() {
        return Ok(false);
    }
    let step = Step::begin("rustup", format!("adding {TARGET}"));
    let added = Run::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(paths::workspace())
        .run();
    match added {
        Ok(()) if own_has_target() => {
            step.done(TARGET);
            Ok(true)
        }
        Err(crate::process::Error::Interrupted) => Err(Error::Interrupted),
        _ => {
            step.note("it cannot add the arm64 target here: using Debian's compiler");
            create(marker.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(&marker, "").map_err(Error::io("write", &marker))?;
            Ok(false)
        }
    }
}

fn own_has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Run::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(paths::workspace())
        .output()
        .is_ok_and(|folder| {
            std::fs::read_dir(folder.trim()).is_ok_and(|entries| {
                entries
                    .flatten()
                    .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
            })
        })
}

fn refused_marker(workshop: &Workshop) -> PathBuf {
    let version = tools::first_line("rustc", "--version").unwrap_or_default();
    let mut key = Key::new(1);
    key.value("rustc", &version);
    workshop
        .store
        .root()
        .join("pins")
        .join(format!("rustup-has-no-arm64-{}", key.id()))
}

/// Debian's standard library for arm64, of exactly the installed compiler's version.
fn standard_library(workshop: &Workshop) -> Result<PathBuf> {
    let version = debian_version().ok_or_else(|| Error::Host(no_compiler()))?;
    if compare(&version, OLDEST).is_lt() {
        return Err(Error::Host(too_old(&version)));
    }
    let pinned = pinned(&version)?;
    let choose = |step: &Step| choose(workshop, &version, step);
    let artefact = workshop.with_files(&name(&version), &pinned, choose, |pins| {
        workshop.store.ensure("rust-std", &key(pins), |build| {
            recipe(workshop, pins, build)
        })
    })?;
    Ok(artefact.file("usr"))
}

/// The version of the installed rustc-web.
fn debian_version() -> Option<String> {
    let output = Run::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${db:Status-Status} ${Version}",
            "rustc-web",
        ])
        .output()
        .ok()?;
    output
        .strip_prefix("installed ")
        .map(|version| version.trim().to_owned())
}

fn key(pins: &[Pin]) -> Key {
    let mut key = Key::new(RECIPE);
    for pin in pins {
        pin.add_to(&mut key);
    }
    key
}

/// Stands for the library that fits this compiler.
fn name(version: &str) -> String {
    format!("{}-{version}", RUST_STD.name)
}

/// Whether a standard library of version `one` fits a compiler of version `two`.
fn fits(one: &str, two: &str) -> bool {
    compare(without_rebuild(one), without_rebuild(two)).is_eq()
}

/// The pinned library that fits the compiler, if there is one.
fn pinned(version: &str) -> Result<Vec<Pin>> {
    let pinned = Pinned::of_tree()?;
    let pins = pinned.of(&RUST_STD).iter();
    Ok(pins
        .filter(|pin| fits(&pin.version, version))
        .take(1)
        .cloned()
        .collect())
}

/// The library in this cache for the installed compiler, and the artefact's key.
pub(crate) fn used(workshop: &Workshop) -> Result<Option<(Vec<Pin>, Key)>> {
    let Some(version) = debian_version() else {
        return Ok(None);
    };
    let pinned = pinned(&version)?;
    let stand_in = workshop.stand_ins.get(&name(&version), &pinned);
    let pins = stand_in.map_or(pinned, |stand_in| stand_in.pins);
    let key = key(&pins);
    Ok(Some((pins, key)))
}

/// What to do where Debian's Rust is not to be had.
pub(crate) fn no_target() -> String {
    format!(
        "Programs for {TARGET} are needed, and the Rust here has no standard library for it. \
         Take Rust from rustup (https://rustup.rs), then: rustup target add {TARGET}"
    )
}

fn too_old(version: &str) -> String {
    format!(
        "Rust {OLDEST} or newer is needed, and Debian's rustc-web here is {version}. \
         Add Debian's security updates to apt's sources (suite bookworm-security or trixie-security at \
         http://deb.debian.org/debian-security), then: \
         apt-get update && apt-get install rustc-web libstd-rust-web-dev"
    )
}

fn no_compiler() -> String {
    format!(
        "no Rust compiler for {TARGET}: rustup has not got the target, and Debian's rustc-web is not installed. \
         Either `rustup target add {TARGET}` or `apt-get install rustc-web`"
    )
}

fn choose(workshop: &Workshop, version: &str, step: &Step) -> Result<Vec<Pin>> {
    workshop.apt.update()?;
    let (apt, downloads) = (&workshop.apt, &workshop.downloads);
    let same = |other: &str| fits(other, version);
    let from = apt::From::Anywhere;
    pick(apt, downloads, &[STD_PACKAGE], from, same, step).map_err(|error| match error {
        Error::Unavailable { reason, .. } => Error::Unavailable {
            what: format!("{STD_PACKAGE} {version} for arm64"),
            reason: format!(
                "{reason}. It must match the installed rustc-web. \
                 Bring that up to date: apt-get install rustc-web libstd-rust-web-dev"
            ),
        },
        error => error,
    })
}

fn recipe(workshop: &Workshop, pins: &[Pin], build: &Build) -> Result<()> {
    let files = workshop.fetch(pins, &build.step)?;
    build.step.state("unpacking");
    for file in &files {
        tools::unpack_deb(file, &build.work, &build.log)?;
    }
    let libraries = format!("usr/lib/rustlib/{TARGET}");
    let from = build.work.join(&libraries);
    if !from.is_dir() {
        return Err(Error::Product {
            what: STD_PACKAGE.to_owned(),
            problem: format!("it does not hold {libraries}"),
            log: build.log.clone(),
        });
    }
    tools::move_contents(&from, &build.out.join(&libraries))
}

#[cfg(test)]
mod tests {
    use super::BINARIES;

    #[test]
    fn every_program_is_known_by_one_name() {
        for (index, binary) in BINARIES.iter().enumerate() {
            assert!(
                BINARIES[index + 1..]
                    .iter()
                    .all(|other| other.name != binary.name)
            );
        }
    }
}
