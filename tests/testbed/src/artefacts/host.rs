//! What the host itself must have: compilers, build tools, QEMU. Named, and installed when missing.
//!
//! Only ordinary packages of the host's own architecture are ever installed, and only through apt.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Error, Result};
use super::pins::Pinned;
use super::store::create;
use super::{Workshop, mirror, notices, rust};
use crate::process::{Run, in_path};
use crate::progress::Step;

const QEMU: &str = "qemu-system-aarch64";
const QEMU_PACKAGE: &str = "qemu-system-arm";

/// Pythons that scripts may be run with, in this order.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];
/// What OP-TEE's scripts import.
const PYTHON_PACKAGES: [&str; 2] = ["python3-cryptography", "python3-pyelftools"];

/// How the presence of a package is seen: works on any distribution, and for what was built by hand.
enum Sign {
    /// A program in the path.
    Program(&'static str),
    /// A file at one of these places.
    File(&'static [&'static str]),
}

const NEEDS: [(&str, Sign); 20] = [
    (
        "gcc-aarch64-linux-gnu",
        Sign::Program("aarch64-linux-gnu-gcc"),
    ),
    (
        "libc6-dev-arm64-cross",
        Sign::File(&[
            "/usr/aarch64-linux-gnu/lib/libc.a",
            "/usr/lib/aarch64-linux-gnu/libc.a",
        ]),
    ),
    ("gcc", Sign::Program("gcc")),
    ("libc6-dev", Sign::File(&["/usr/include/stdio.h"])),
    ("make", Sign::Program("make")),
    ("flex", Sign::Program("flex")),
    ("bison", Sign::Program("bison")),
    ("bc", Sign::Program("bc")),
    ("m4", Sign::Program("m4")),
    ("perl", Sign::Program("perl")),
    ("python3", Sign::Program("python3")),
    (
        "libssl-dev",
        Sign::File(&["/usr/include/openssl/opensslv.h"]),
    ),
    ("libelf-dev", Sign::File(&["/usr/include/libelf.h"])),
    ("kmod", Sign::Program("depmod")),
    ("cpio", Sign::Program("cpio")),
    ("patch", Sign::Program("patch")),
    ("xz-utils", Sign::Program("xz")),
    ("device-tree-compiler", Sign::Program("dtc")),
    ("checkpolicy", Sign::Program("checkpolicy")),
    (
        "debian-archive-keyring",
        Sign::File(&["/usr/share/keyrings/debian-archive-keyring.gpg"]),
    ),
];

/// Makes sure that the host has what building and booting need.
///
/// # Errors
/// [`Error::HostPackages`] with the exact commands, when xtask may not or cannot install.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    if let Some(reason) = cannot_install() {
        return all_at_once(workshop, reason);
    }
    ensure_tools(workshop)?;
    qemu(workshop).map(drop)
}

/// Makes sure that the host has what building needs.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_tools(workshop: &Workshop) -> Result<()> {
    let missing = missing_tools(workshop)?;
    if !missing.is_empty() {
        install(workshop, &missing, &[])?;
    }
    Ok(())
}

fn missing_tools(workshop: &Workshop) -> Result<Vec<&'static str>> {
    let mut missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(_, sign)| !is_there(sign))
        .map(|(package, _)| *package)
        .collect();
    if rust::lacks_compiler(workshop)? {
        if os_release("ID").as_deref() != Some("debian") {
            return Err(Error::Host(rust::no_target()));
        }
        missing.extend(["rustc-web", "libstd-rust-web-dev"]);
    }
    Ok(missing)
}

/// Why nothing can be installed from here, if so.
fn cannot_install() -> Option<String> {
    if !in_path("apt-get") {
        return Some("This host has no apt-get: install what holds them here.".to_owned());
    }
    let root = rustix::process::geteuid().is_root();
    (!root && !in_path("sudo"))
        .then(|| "xtask is not root, and there is no sudo: root has to install them.".to_owned())
}

/// Names everything that is missing, QEMU as well, so that whoever installs it is asked once.
fn all_at_once(workshop: &Workshop, reason: String) -> Result<()> {
    let mut missing = missing_tools(workshop)?;
    let mut commands = Vec::new();
    let lacks_qemu = qemu_major().is_none();
    let of_backports = lacks_qemu && codename().as_deref() == Some("bookworm");
    if lacks_qemu && !of_backports {
        missing.push(QEMU_PACKAGE);
    }
    if !missing.is_empty() {
        commands.push(installation(&missing, &[]).join(" "));
    }
    if of_backports {
        let options = backports(workshop)?;
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        commands.push(installation(&[QEMU_PACKAGE], &options).join(" "));
        missing.push(QEMU_PACKAGE);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::HostPackages {
        packages: missing.into_iter().map(str::to_owned).collect(),
        reason,
        command: commands.join("\n  "),
    })
}

/// QEMU for arm64, installed when it is missing or too old.
pub(crate) fn qemu(workshop: &Workshop) -> Result<PathBuf> {
    let oldest = Pinned::of_tree()?.qemu;
    if qemu_major().is_some_and(|major| major >= oldest) {
        return Ok(PathBuf::from(QEMU));
    }
    let installed = if let Some(reason) = cannot_install() {
        Err(Error::HostPackages {
            packages: vec![QEMU_PACKAGE.to_owned()],
            reason,
            command: installation(&[QEMU_PACKAGE], &[]).join(" "),
        })
    } else if codename().as_deref() == Some("bookworm") {
        // Debian 12's own QEMU is too old; its backports are asked for without touching the user's sources.
        backports(workshop).and_then(|options| {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            install(workshop, &[QEMU_PACKAGE], &options)
        })
    } else {
        install(workshop, &[QEMU_PACKAGE], &[])
    };
    match (installed, qemu_major()) {
        (_, Some(major)) if major >= oldest => Ok(PathBuf::from(QEMU)),
        (_, Some(major)) => {
            notices::add(format!(
                "host: QEMU {major} is older than {oldest}; the ordinary bed works with it, Armv8-R does not"
            ));
            Ok(PathBuf::from(QEMU))
        }
        (Err(error), None) => Err(error),
        (Ok(()), None) => Err(Error::Host(format!(
            "{QEMU_PACKAGE} is installed, but {QEMU} cannot be run"
        ))),
    }
}

/// A Python that has what OP-TEE's scripts import; Debian's, with those packages installed, where there is none. The first one in
/// the path need not be Debian's.
pub(crate) fn python_for_optee(workshop: &Workshop) -> Result<PathBuf> {
    let find = || {
        let mut pythons = PYTHONS.into_iter();
        pythons.find(|python| {
            let asked = Run::new(python).args(["-c", "import cryptography, elftools"]);
            asked.output().is_ok()
        })
    };
    if find().is_none() {
        install(workshop, &PYTHON_PACKAGES, &[])?;
    }
    find().map(PathBuf::from).ok_or_else(|| {
        let packages = PYTHON_PACKAGES.join(" and ");
        Error::Host(format!(
            "{packages} are installed, but no Python can import cryptography and elftools"
        ))
    })
}

fn is_there(sign: &Sign) -> bool {
    match sign {
        Sign::Program(name) => in_path(name),
        Sign::File(places) => places.iter().any(|place| Path::new(place).exists()),
    }
}

fn qemu_major() -> Option<u32> {
    let output = Run::new(QEMU).arg("--version").output().ok()?;
    major(&output)
}

/// `QEMU emulator version 10.0.2 (Debian …)` → 10.
fn major(version: &str) -> Option<u32> {
    version
        .split_once("version ")?
        .1
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// A field of the system's own description (os-release(5)).
fn os_release(field: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once('='));
    let (_, value) = fields.find(|(name, _)| *name == field)?;
    Some(value.trim_matches('"').to_owned())
}

fn codename() -> Option<String> {
    os_release("VERSION_CODENAME")
}

/// apt options that add bookworm-backports for one command. The indices are fetched as the user, read as root.
fn backports(workshop: &Workshop) -> Result<Vec<String>> {
    let folder = workshop.store.root().join("apt-backports");
    create(&folder.join("lists/partial"))?;
    let list = folder.join("sources.list");
    let line = |place: String| {
        format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {place} main\n")
    };
    let mirror = mirror::first();
    let (archive, security) = (mirror.archive(), mirror.security());
    let text = [
        format!("{archive} bookworm"),
        format!("{archive} bookworm-backports"),
        format!("{security} bookworm-security"),
    ]
    .map(line)
    .concat();
    std::fs::write(&list, text).map_err(Error::io("write", &list))?;
    let options = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}/lists", folder.display()),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
    ];
    let options: Vec<String> = options
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
    let step = Step::begin("backports", "fetching indices");
    Run::new("apt-get")
        .args(&options)
        .args(["-q", "-o", "APT::Sandbox::User=root", "update"])
        .lines(|line| step.state(line))
        .map_err(Error::child("fetching the indices of bookworm-backports"))?;
    step.done("indices");
    Ok([
        options,
        vec!["-t".to_owned(), "bookworm-backports".to_owned()],
    ]
    .concat())
}

/// The command that installs packages, for root.
fn installation<'a>(packages: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    let apt: &[&str] = &["apt-get"];
    let install: &[&str] = &["install", "-y", "--no-install-recommends", "--no-remove"];
    [apt, options, install, packages].concat()
}

/// apt's options for the proxies that the environment names: sudo hands on no variables.
fn proxies() -> Vec<String> {
    let option = |scheme: &str| {
        let proxy = std::env::var(format!("{scheme}_proxy")).ok()?;
        Some(format!("Acquire::{scheme}::Proxy={proxy}"))
    };
    let named = ["http", "https"].into_iter().filter_map(option);
    named.flat_map(|option| ["-o".to_owned(), option]).collect()
}

/// Installs packages of this host's own architecture by apt; `options` are for apt-get.
pub(crate) fn install(workshop: &Workshop, packages: &[&str], options: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let proxies = if root { vec![] } else { proxies() };
    let proxies: Vec<&str> = proxies.iter().map(String::as_str).collect();
    let mut command = installation(packages, &[proxies.as_slice(), options].concat());
    if !root {
        command.insert(0, "sudo");
    }
    let told = command.join(" ");
    let cannot = |reason: String| Error::HostPackages {
        packages: packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect(),
        reason,
        command: told.clone(),
    };
    if let Some(reason) = cannot_install() {
        return Err(cannot(reason));
    }
    eprintln!(
        "These packages are needed: {}\n  $ {told}",
        packages.join(" ")
    );
    if !root && !may_use_sudo() {
        return Err(cannot("sudo was refused.".to_owned()));
    }
    let prefix: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    let log = workshop.store.log("host-packages");
    let step = Step::begin("host packages", "fetching indices");
    if options.is_empty() {
        // A fresh machine may have no indices, or old ones. If this fails, the installation tells why.
        let mut update = vec!["apt-get"];
        update.extend(&proxies);
        update.extend(["-q", "update"]);
        let _ = privileged(prefix, &update).log(&log).run();
    }
    let start = usize::from(!root);
    privileged(prefix, &command[start..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .log(&log)
        .lines(|line| step.state(line))
        .map_err(|error| match error {
            crate::process::Error::Interrupted => Error::Interrupted,
            error => cannot(error.to_string()),
        })?;
    step.done(&format!("{} installed", packages.len()));
    Ok(())
}

fn privileged(prefix: &[&str], command: &[&str]) -> Run {
    let words: Vec<&str> = prefix.iter().chain(command).copied().collect();
    Run::new(words[0]).args(&words[1..])
}

/// Asks for the password, if one is needed, in the foreground; later calls do not ask again.
fn may_use_sudo() -> bool {
    Command::new("sudo")
        .arg("-v")
        .stdin(Stdio::inherit())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::{Sign, is_there, major};

    #[test]
    fn qemus_version_is_understood() {
        assert_eq!(
            major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"),
            Some(10)
        );
        assert_eq!(major("QEMU emulator version 7.2.17"), Some(7));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn presence_is_seen_by_programs_and_files() {
        assert!(is_there(&Sign::Program("sh")));
        assert!(!is_there(&Sign::Program("no-such-program-here")));
        assert!(is_there(&Sign::File(&["/no/such/file", "/"])));
        assert!(!is_there(&Sign::File(&["/no/such/file"])));
    }
}
