//! Which versions the bed is made of: written down in the source tree, with sizes and SHA-256.
//!
//! Pins give everybody the same bed, whatever Debian's archive offers today, and make a warm run independent of the network.
//! When the archive no longer has a pinned file, the group's nearest version stands in for it in this cache, and each report
//! says so. `cargo xtask update` moves the pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::apt::{Apt, From};
use super::download::Downloads;
use super::error::{Error, Result};
use super::groups::{self, Group};
use super::index::{Offer, Remote, file_name};
use super::key::Key;
use super::lock::Lock;
use super::store::{create, remove};
use crate::paths;
use crate::progress::Step;

/// Names a file of pins that takes the place of the source tree's.
const VARIABLE: &str = "AVPS_BED_PINS";
const HEAD: &str = "\
# The versions that the bed is made of: files of Debian's archive, with sizes in bytes and SHA-256.
# Written by `cargo xtask update`. Files of a group are used together; those of [xen] are of one release.
";

/// One chosen file of Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// Source or binary package.
    pub(crate) package: String,
    /// Debian version.
    pub(crate) version: String,
    /// Where it lies and what it is.
    #[serde(flatten)]
    pub(crate) remote: Remote,
}

impl Pin {
    /// Adds the file as an input of an artefact. Where it came from does not matter, what is in it does.
    pub(crate) fn add_to(&self, key: &mut Key) {
        key.value(
            &format!("{} {}", self.package, self.remote.file),
            &self.remote.sha256,
        );
    }
}

/// A file in the source tree's list; its name follows from its address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    package: String,
    version: String,
    size: u64,
    sha256: String,
    uri: String,
}

#[derive(Deserialize)]
struct Table {
    files: Vec<Line>,
}

/// The text of the file of pins.
#[derive(Deserialize)]
struct Text {
    /// Day of the last update.
    updated: String,
    /// The oldest major version of QEMU that the bed is used with.
    qemu: u32,
    #[serde(flatten)]
    groups: BTreeMap<String, Table>,
}

/// All pins of a source tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// Day of the last update, as `2026-12-01`.
    pub(crate) updated: String,
    /// The oldest major version of QEMU that the bed is used with.
    pub(crate) qemu: u32,
    groups: BTreeMap<String, Vec<Pin>>,
}

impl Pinned {
    /// Where the pins of this source tree are.
    pub(crate) fn path() -> PathBuf {
        std::env::var_os(VARIABLE).map_or_else(|| paths::testbed().join("pins.toml"), PathBuf::from)
    }

    /// Those of this source tree, read once.
    pub(crate) fn of_tree() -> Result<Self> {
        static READ: OnceLock<Pinned> = OnceLock::new();
        if let Some(pinned) = READ.get() {
            return Ok(pinned.clone());
        }
        let pinned = Self::read(&Self::path())?;
        Ok(READ.get_or_init(|| pinned).clone())
    }

    /// Reads and checks them.
    ///
    /// # Errors
    /// A file that is missing, cannot be understood, or pins a mix of Xen's releases.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let pinned = Self::read_unchecked(path)?;
        match pinned.problem() {
            None => Ok(pinned),
            Some(problem) => Err(cannot_use(
                path,
                &problem,
                "`cargo xtask update` chooses other versions",
            )),
        }
    }

    /// Reads them, whether or not they fit what the recipes need.
    pub(crate) fn read_unchecked(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|problem| cannot_use(path, &problem, "Take the file from the release again"))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut groups = BTreeMap::new();
        for (name, table) in text.groups {
            let pins = table.files.into_iter().map(pin_of);
            let Some(pins) = pins.collect::<Option<Vec<_>>>() else {
                return Err(format!(
                    "[{name}] has a SHA-256 or an address that cannot be one"
                ));
            };
            groups.insert(name, pins);
        }
        Ok(Self {
            updated: text.updated,
            qemu: text.qemu,
            groups,
        })
    }

    /// The first group that does not fit what the recipes need, and why.
    fn problem(&self) -> Option<String> {
        groups::ALL.into_iter().find_map(|group| {
            let problem = group.problem(self.of(group))?;
            Some(format!("[{}]: {problem}", group.name))
        })
    }

    /// A group's files; none when it is not pinned.
    pub(crate) fn of(&self, group: &Group) -> &[Pin] {
        self.groups.get(group.name).map_or(&[], Vec::as_slice)
    }

    /// Puts other files in place of a group's.
    pub(crate) fn set(&mut self, group: &Group, pins: Vec<Pin>) {
        self.groups.insert(group.name.to_owned(), pins);
    }

    /// Writes them.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        replace(path, self.text().as_bytes())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{HEAD}\nupdated = \"{}\"\n\n# The oldest major version of QEMU.\nqemu = {}\n",
            self.updated, self.qemu
        );
        for group in groups::ALL {
            text.push_str(&format!("\n[{}]\nfiles = [\n", group.name));
            for pin in self.of(group) {
                let remote = &pin.remote;
                text.push_str(&format!(
                    "  {{ package = \"{}\", version = \"{}\", size = {}, sha256 = \"{}\",\n    uri = \"{}\" }},\n",
                    pin.package, pin.version, remote.size, remote.sha256, remote.uri
                ));
            }
            text.push_str("]\n");
        }
        text
    }
}

fn cannot_use(path: &Path, problem: &str, remedy: &str) -> Error {
    Error::Host(format!(
        "cannot use the pins in {}: {problem}\n{remedy}.",
        path.display()
    ))
}

fn pin_of(line: Line) -> Option<Pin> {
    let hash = line.sha256.len() == 64 && line.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let file = file_name(&line.uri).filter(|_| hash)?;
    Some(Pin {
        package: line.package,
        version: line.version,
        remote: Remote {
            uri: line.uri,
            file,
            size: line.size,
            sha256: line.sha256,
        },
    })
}

/// Files that are used in place of pinned ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StandIn {
    /// Which file could not be had, and why.
    pub(crate) missing: String,
    /// What is used.
    pub(crate) pins: Vec<Pin>,
}

/// The folder of stand-ins.
#[derive(Debug)]
pub(crate) struct StandIns {
    folder: PathBuf,
}

impl StandIns {
    /// Stand-ins in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What stands in for these pinned files, if anything.
    pub(crate) fn get(&self, group: &str, pinned: &[Pin]) -> Option<StandIn> {
        serde_json::from_slice(&std::fs::read(self.path(group, pinned)).ok()?).ok()
    }

    /// Keeps a choice.
    pub(crate) fn set(&self, group: &str, pinned: &[Pin], stand_in: &StandIn) -> Result<()> {
        let path = self.path(group, pinned);
        let text = serde_json::to_vec_pretty(stand_in)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        replace(&path, &text)
    }

    /// Forgets a choice.
    pub(crate) fn forget(&self, group: &str, pinned: &[Pin]) -> Result<()> {
        remove(&self.path(group, pinned))
    }

    /// Taken while a choice is made, so that two runs make the same one.
    pub(crate) fn lock(&self, group: &str) -> Result<Lock> {
        Lock::take(&self.folder.join(format!("{group}.lock")), group)
    }

    /// A pin that has moved has no stand-in yet.
    fn path(&self, group: &str, pinned: &[Pin]) -> PathBuf {
        let mut key = Key::new(1);
        for pin in pinned {
            pin.add_to(&mut key);
        }
        self.folder
            .join(format!("stand-in-{group}-{}.json", key.id()))
    }
}

fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let failed = |source| Error::io("write", path)(source);
    let folder = path.parent().unwrap_or(Path::new("."));
    create(folder)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(failed)
}

/// Picks one offer per package, the newest of a wanted version whose file can really be had, and downloads it.
pub(crate) fn pick(
    apt: &Apt,
    downloads: &Downloads,
    packages: &[&str],
    from: From,
    wanted: impl Fn(&str) -> bool,
    step: &Step,
) -> Result<Vec<Pin>> {
    let mut offers = apt.offers(packages, from)?;
    offers.retain(|offer| wanted(&offer.version));
    let of = |package: &str| -> Vec<&Offer> {
        offers
            .iter()
            .filter(|offer| offer.package == package)
            .collect()
    };
    let mut first = Vec::new();
    for package in packages {
        first.push(*of(package).first().ok_or_else(|| not_offered(package))?);
    }
    // The usual case: all files at once.
    let remotes = apt.packages(&first)?;
    match downloads.fetch(&remotes, step) {
        Ok(_) => {
            return Ok(first
                .into_iter()
                .zip(remotes)
                .map(|(offer, remote)| pin(offer, remote))
                .collect());
        }
        Err(Error::Unavailable { .. }) => {}
        Err(error) => return Err(error),
    }
    packages
        .iter()
        .map(|package| first_available(apt, downloads, package, &of(package), step))
        .collect()
}

fn first_available(
    apt: &Apt,
    downloads: &Downloads,
    package: &str,
    offers: &[&Offer],
    step: &Step,
) -> Result<Pin> {
    let candidates = offers.iter().map(|offer| {
        let remotes = apt.packages(&[offer])?;
        let remote = remotes.into_iter().next();
        Ok(pin(offer, remote.ok_or_else(|| not_offered(package))?))
    });
    first(downloads, package, candidates, step)
}

/// Downloads and gives the first candidate for `package` whose file can really be had.
pub(crate) fn first(
    downloads: &Downloads,
    package: &str,
    candidates: impl Iterator<Item = Result<Pin>>,
    step: &Step,
) -> Result<Pin> {
    let mut last = not_offered(package);
    for candidate in candidates {
        let pin = match candidate {
            Ok(pin) => pin,
            Err(error @ Error::Unavailable { .. }) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        match downloads.fetch(std::slice::from_ref(&pin.remote), step) {
            Ok(_) => return Ok(pin),
            Err(error @ Error::Unavailable { .. }) => {
                step.note(&format!("{package} {} cannot be had", pin.version));
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The tarballs of a source package's wanted versions on offer, newest first. The description (`.dsc`) is not needed.
pub(crate) fn tarballs<'a>(
    apt: &'a Apt,
    source: &'a str,
    wanted: impl Fn(&str) -> bool,
) -> Result<impl Iterator<Item = Result<Pin>>> {
    let mut versions = apt.source_versions(source)?;
    versions.retain(|version| wanted(version));
    let tarball = |version: String| {
        let files = match apt.source(source, &version) {
            Ok(files) => files,
            Err(error) => return Some(Err(error)),
        };
        let mut files = files.into_iter();
        let remote = files.find(|remote| remote.file.contains(".orig.tar."))?;
        Some(Ok(Pin {
            package: source.to_owned(),
            version,
            remote,
        }))
    };
    Ok(versions.into_iter().filter_map(tarball))
}

fn pin(offer: &Offer, remote: Remote) -> Pin {
    Pin {
        package: offer.package.clone(),
        version: offer.version.clone(),
        remote,
    }
}

fn not_offered(package: &str) -> Error {
    Error::Unavailable {
        what: package.to_owned(),
        reason: "no suite offers it in the wanted version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pinned, StandIn, StandIns};
    use crate::artefacts::groups::{self, LINUX, XEN};
    use crate::paths;

    fn shipped() -> Pinned {
        Pinned::read(&paths::testbed().join("pins.toml")).unwrap()
    }

    #[test]
    fn everything_is_pinned_and_what_is_written_is_what_was_read() {
        let pinned = shipped();
        for group in groups::ALL {
            assert!(
                !pinned.of(group).is_empty(),
                "[{}] is not pinned",
                group.name
            );
        }
        assert_eq!(pinned.problem(), None);
        assert_eq!(Pinned::parse(&pinned.text()).unwrap(), pinned);
        let text = std::fs::read_to_string(paths::testbed().join("pins.toml")).unwrap();
        assert_eq!(text, pinned.text());
    }

    #[test]
    fn pins_of_a_mixed_xen_are_refused_and_both_releases_named() {
        let mut pinned = shipped();
        let mut pins = pinned.of(&XEN).to_vec();
        pins[2].version = "4.20.9-1".to_owned();
        pinned.set(&XEN, pins);
        let problem = Pinned::parse(&pinned.text()).unwrap().problem().unwrap();
        assert!(
            problem.contains("[xen]") && problem.contains("xen-utils-4.20 of 4.20.9-1"),
            "{problem}"
        );
    }

    #[test]
    fn pins_that_cannot_be_checked_are_refused() {
        let shipped = shipped();
        let (text, hash) = (shipped.text(), &shipped.of(&LINUX)[0].remote.sha256);
        assert!(Pinned::parse(&text.replace(hash, "abc")).is_err());
        assert!(Pinned::parse("").is_err());
        let other = Pinned::parse(&text.replace("linux-source-7", "linux-image-7")).unwrap();
        assert!(other.problem().unwrap().contains("[linux]"));
    }

    #[test]
    fn a_stand_in_is_of_one_pin_and_ends_when_that_moves() {
        let folder = tempfile::tempdir().unwrap();
        let stand_ins = StandIns::new(folder.path().to_path_buf());
        let mut pins = shipped().of(&LINUX).to_vec();
        let stand_in = StandIn {
            missing: "it is gone".to_owned(),
            pins: pins.clone(),
        };
        stand_ins.set("linux", &pins, &stand_in).unwrap();
        assert_eq!(stand_ins.get("linux", &pins).unwrap().pins, pins);
        pins[0].remote.sha256 = "0".repeat(64);
        assert!(stand_ins.get("linux", &pins).is_none());
        stand_ins.set("linux", &pins, &stand_in).unwrap();
        stand_ins.forget("linux", &pins).unwrap();
        assert!(stand_ins.get("linux", &pins).is_none());
    }
}
